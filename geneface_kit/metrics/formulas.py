"""Formulas: PSNR, SSIM, LMD, Pearson's r and the Frechet distance; arrays in, one number out.

Pictures are uint8 stacks (t, h, w, 3) as they were stored, before any codec.
"""

from collections.abc import Iterable

import numpy as np
import scipy
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

Frames = UInt8[np.ndarray, "_ _ _ 3"]  # (t, h, w, 3); that two sets fit is told in words
Mask = Bool[np.ndarray, "_ _ _"] | None  # (t, h, w), the pixels that count; None counts all
Points = Float[np.ndarray, "_ _ 2"]  # (t, n, 2)
Curve = Float[np.ndarray, " _"]  # a number for each frame


def pearson(a: Curve, b: Curve, *, still: float = np.nan) -> float:
    """Pearson's correlation of two curves, -1 to 1; `still` where one of them does not move.

    Of two mouth openings: whether one moves with the other. None moves when the product of the
    standard deviations is under 1e-12, or there are fewer than 3 values.
    Raises: ValueError for curves of different length.
    """
    same_frames(a, b)
    a, b = (curve.astype(np.float64) for curve in (a, b))
    if len(a) < 3 or a.std() * b.std() < 1e-12:
        return still
    return float(np.corrcoef(a, b)[0, 1])


def closed_below(opening: Curve) -> float:
    """The opening below which lips are closed: a fifth of the range, 5th to 95th percentile."""
    low, high = np.percentile(opening, [5, 95])
    return float(low + 0.2 * (high - low))


def closures(shut: Bool[np.ndarray, " t"]) -> list[slice]:
    """Where lips are closed for 10 frames at most: longer ones are pauses, and of those that touch
    an end of the clip nobody knows how long they are (ours)."""
    runs = [run for (run,) in ndimage.find_objects(ndimage.label(shut)[0])]
    inside = [run for run in runs if 0 < run.start and run.stop < len(shut)]
    return [run for run in inside if run.stop - run.start <= 10]


def closures_met(wanted: list[slice], shut: Bool[np.ndarray, " t"]) -> float:
    """Share of closures during which, within 2 frames (ours), `shut` is true; NaN without any."""
    met = [shut[max(0, run.start - 2) : run.stop + 2].any() for run in wanted]
    return float(np.mean(met)) if met else float("nan")


def peak_distance(a: Curve, b: Curve) -> float:
    """Median distance, frames, from a peak of b to the nearest one of a; NaN without peaks. A peak
    stands out by half a standard deviation of its curve (ours)."""
    ours, theirs = (scipy.signal.find_peaks(x, prominence=0.5 * x.std())[0] for x in (a, b))
    apart = np.abs(ours[:, None] - theirs[None])
    return float(np.median(apart.min(axis=0))) if apart.size else float("nan")


def psnr_of_error(squared_error: float, *, peak: float = 1.0, floor: float = 1e-12) -> float:
    """Peak signal-to-noise ratio, dB: 10 log10(peak^2 / MSE) of a mean squared error.

    floor: the least error that counts, so that equal pictures in [0, 1] have 120 dB; with 0 they
    have infinity.
    """
    with np.errstate(divide="ignore"):
        return float(20 * np.log10(peak) - 10 * np.log10(max(squared_error, floor)))


def psnr(predicted: Frames, truth: Frames, *, mask: Mask = None) -> float:
    """Mean over frames of the peak signal-to-noise ratio, dB (`psnr_of_error` with peak 255).

    Frames that differ by 51 everywhere give 20 log10(255 / 51) = 13.979 dB, equal ones infinity.
    Raises: ValueError for sets of different length or size, or a frame without counted pixels.
    """
    same_frames(predicted, truth)
    pairs = zip(predicted, truth, strict=True)
    errors = (((a - b.astype(np.float64)) ** 2).mean(axis=-1) for a, b in pairs)
    per_frame = _masked_means(errors, mask, truth.shape[:3])
    return float(np.mean([psnr_of_error(one, peak=255.0, floor=0.0) for one in per_frame]))


def ssim(predicted: Frames, truth: Frames, *, mask: Mask = None) -> float:
    """Mean over frames of the structural similarity, 1 for equal frames.

    Wang et al. 2004: Gaussian window of sigma 1.5, population covariance, mean over channels.
    mask: where the map of similarities is averaged; a window at its edge sees its neighbours
    outside. None takes the usual mean, without the frame's border.
    """
    from skimage.metrics import structural_similarity

    same_frames(predicted, truth)
    options = {"channel_axis": -1, "data_range": 255, "gaussian_weights": True, "sigma": 1.5}
    options |= {"use_sample_covariance": False, "full": mask is not None}
    pairs = zip(predicted, truth, strict=True)
    found = (structural_similarity(a, b, **options) for a, b in pairs)
    if mask is None:
        return float(np.mean(list(found)))
    maps = (whole.mean(axis=-1) for _, whole in found)
    return float(_masked_means(maps, mask, truth.shape[:3]).mean())


def lmd(predicted: Points, truth: Points, size: int, *, centred: bool = False) -> float:
    """Landmark distance: mean Euclidean distance of points, in pixels of a 512 px picture.

    LMD of Chen et al. 2018 (Lip movements generation at a glance), GeneFace section 4.
    predicted, truth: points found in both pictures, pixels of a `size` x `size` picture. centred:
    the mean of each frame's points is taken off first, as the evaluation code of RAD-NeRF does
    for lips; else nothing is aligned: a shifted head is an error. Points 3 right and 4 down at
    size 256 give 10, and 0 when centred.
    """
    same_frames(predicted, truth)
    a, b = predicted.astype(np.float64), truth.astype(np.float64)
    if centred:
        a, b = (points - points.mean(axis=1, keepdims=True) for points in (a, b))
    return float(np.linalg.norm(a - b, axis=-1).mean() * 512 / size)


def frechet_distance(a: Float[np.ndarray, "n c"], b: Float[np.ndarray, "m c"]) -> float:
    """Frechet distance of the Gaussians (covariance over n - 1) of two sets of feature vectors.

    FID (Heusel et al. 2017) is this distance of Inception-v3's features. Biased upwards, the more
    the fewer rows: two sets of n rows drawn from one Gaussian of c independent features of
    variance 1 are about (2 c + c (c + 1) / 2) / n apart when n is much larger than c. So n stands
    beside them in every table.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"features must hold at least 2 rows, got {len(a)} and {len(b)}")
    sets = [features.astype(np.float64) for features in (a, b)]
    of_a, of_b = ((x.mean(axis=0), np.atleast_2d(np.cov(x, rowvar=False))) for x in sets)
    return frechet_of_gaussians(*of_a, *of_b)


def frechet_of_gaussians(
    mean_a: Float[np.ndarray, " c"],
    covariance_a: Float[np.ndarray, "c c"],
    mean_b: Float[np.ndarray, " c"],
    covariance_b: Float[np.ndarray, "c c"],
) -> float:
    """|ma - mb|^2 + tr(Ca + Cb - 2 (Ca Cb)^1/2) (Dowson and Landau 1982).

    In one dimension, means 0 and 3, variances 1 and 4: 9 + 1 + 4 - 2 * 2 = 10.
    """
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    # (Ca Cb) and (Ca^1/2 Cb Ca^1/2) have the same eigenvalues; the second is symmetric.
    mixed = np.clip(np.linalg.eigvalsh(root @ covariance_b @ root), 0, None)
    traces = np.trace(covariance_a) + np.trace(covariance_b) - 2 * np.sqrt(mixed).sum()
    return float(((mean_a - mean_b) ** 2).sum() + traces)


def same_frames(predicted: np.ndarray, truth: np.ndarray) -> None:
    """Raises ValueError where two sets differ in number or size of frames, or hold none."""
    if predicted.shape != truth.shape or len(truth) == 0:
        found = f"got {predicted.shape} and {truth.shape}"
        raise ValueError(f"the two sets must hold the same frames, of one size, {found}")


def _masked_means(maps: Iterable[np.ndarray], mask: Mask, shape: tuple) -> Curve:
    """Of one map after the other: all maps of a long clip would take gigabytes."""
    if mask is None:
        return np.array([one.mean() for one in maps])
    if mask.shape != shape:
        raise ValueError(f"mask must be {shape} like the frames, got {mask.shape}")
    if not mask.any(axis=(1, 2)).all():
        raise ValueError("mask leaves no pixel in some frame, so nothing can be measured there")
    return np.array([one[inside].mean() for one, inside in zip(maps, mask, strict=True)])
