"""Pictures: rendered and true frames -> PSNR, SSIM; of the whole frame, or of the pixels of a mask.

Frames are uint8 stacks (t, h, w, 3) as they were stored, before any codec.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8

__all__ = ["psnr", "same_frames", "ssim"]


def psnr(
    predicted: UInt8[np.ndarray, "t h w 3"],
    truth: UInt8[np.ndarray, "_ _ _ 3"],
    *,
    mask: Bool[np.ndarray, "_ _ _"] | None = None,
) -> float:
    """Mean over frames of the peak signal-to-noise ratio, dB: 10 log10(255^2 / MSE).

    mask: (t, h, w), pixels that count (head only, for example); None counts all. Two frames that
    differ by 51 everywhere give 20 log10(255 / 51) = 13.979 dB; equal frames give infinity.
    Raises: ValueError for sets of different length or size, or a frame without counted pixels.
    """
    same_frames(predicted, truth)
    error = (predicted.astype(np.float64) - truth.astype(np.float64)) ** 2
    per_frame = _masked_means(error.mean(axis=-1), mask)
    with np.errstate(divide="ignore"):
        return float(np.mean(10 * np.log10(255.0**2 / per_frame)))


def ssim(
    predicted: UInt8[np.ndarray, "t h w 3"],
    truth: UInt8[np.ndarray, "_ _ _ 3"],
    *,
    mask: Bool[np.ndarray, "_ _ _"] | None = None,
) -> float:
    """Mean over frames of the structural similarity, 1 for equal frames.

    Wang et al. 2004: Gaussian window of sigma 1.5, population covariance, mean over channels.
    mask: (t, h, w), pixels over which the map of similarities is averaged; a window at the edge
    of the mask sees its neighbours outside. None takes the usual mean, without the frame's border.
    """
    from skimage.metrics import structural_similarity

    same_frames(predicted, truth)
    options = dict(
        channel_axis=-1, data_range=255, gaussian_weights=True, sigma=1.5, full=mask is not None
    )
    found = [
        structural_similarity(a, b, use_sample_covariance=False, **options)
        for a, b in zip(predicted, truth, strict=True)
    ]
    if mask is None:
        return float(np.mean(found))
    return float(_masked_means(np.stack([whole.mean(axis=-1) for _, whole in found]), mask).mean())


def same_frames(predicted: np.ndarray, truth: np.ndarray) -> None:
    """Refuses sets that cannot be compared frame by frame.

    Raises: ValueError that says whether the number of frames or their size differs.
    """
    if len(predicted) != len(truth):
        raise ValueError(
            f"the two sets must hold the same frames, got {len(predicted)} and {len(truth)}"
        )
    if predicted.shape != truth.shape:
        raise ValueError(
            "the two sets must have frames of one size, "
            f"got {predicted.shape[1:]} and {truth.shape[1:]}"
        )
    if len(predicted) == 0:
        raise ValueError("the two sets hold no frames")


def _masked_means(
    values: Float[np.ndarray, "t h w"], mask: Bool[np.ndarray, "_ _ _"] | None
) -> Float[np.ndarray, " t"]:
    if mask is None:
        return values.mean(axis=(1, 2))
    if mask.shape != values.shape:
        raise ValueError(f"mask must be {values.shape} like the frames, got {mask.shape}")
    if not mask.any(axis=(1, 2)).all():
        raise ValueError("mask leaves no pixel in some frame, so nothing can be measured there")
    return np.array([frame[inside].mean() for frame, inside in zip(values, mask, strict=True)])
