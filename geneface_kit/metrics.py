"""Metrics: rendered frames, true frames, sound -> numbers, or "not measured" with the reason.

Reads networks/ (optional). Pictures are uint8 stacks (t, h, w, 3), as they were stored.
"""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from geneface_kit import landmarks, runs

__all__ = [
    "LIPS",
    "NETWORKS",
    "NotMeasured",
    "correlation",
    "detected_landmarks",
    "fid",
    "frechet_distance",
    "lmd",
    "lpips",
    "lse",
    "network",
    "psnr",
    "ssim",
    "statistics",
]

LIPS = tuple(range(48, 68))
"""iBUG indices of the outer (48-59) and inner (60-67) lip points."""

NETWORKS = {
    "inception": "inception-2015-12-05.pt",
    "vgg16": "vgg16.pt",
    "syncnet": "syncnet_v2.pt",
}
"""File names of the networks that the published metrics need."""


@dataclass(frozen=True)
class NotMeasured:
    """A measurement that could not be made. Prints as "not measured", never as a number.

    reason: one sentence that says what is missing and how to supply it.
    """

    reason: str

    def __str__(self) -> str:
        return "not measured"


def network(name: Literal["inception", "vgg16", "syncnet"]) -> Path | NotMeasured:
    """The file of a measuring network, or why it cannot be used.

    The folder is the environment variable GENEFACE_KIT_NETWORKS, else data/networks of the
    repository.
    """
    named = os.environ.get("GENEFACE_KIT_NETWORKS")
    folder = Path(named) if named else runs.root() / "data" / "networks"
    path = folder / NETWORKS[name]
    if path.is_file():
        return path
    return NotMeasured(f"the network {NETWORKS[name]} is not in {path.parent.name}/; put it there")


def psnr(
    predicted: UInt8[np.ndarray, "t h w 3"],
    truth: UInt8[np.ndarray, "_ _ _ 3"],
    *,
    mask: Bool[np.ndarray, "t h w"] | None = None,
) -> float:
    """Mean over frames of the peak signal-to-noise ratio, dB: 10 log10(255^2 / MSE).

    mask: pixels that count (head only, for example); None counts all. Two frames that differ
    by 51 everywhere give 20 log10(255 / 51) = 13.979 dB; equal frames give infinity.
    """
    _same_shape(predicted, truth)
    error = (predicted.astype(np.float64) - truth.astype(np.float64)) ** 2
    counted = np.ones(error.shape[:3], bool) if mask is None else mask
    if not counted.any(axis=(1, 2)).all():
        raise ValueError("mask leaves no pixel in some frame, so its PSNR does not exist")
    per_frame = [frame[inside].mean() for frame, inside in zip(error, counted, strict=True)]
    with np.errstate(divide="ignore"):
        return float(np.mean(10 * np.log10(255.0**2 / np.array(per_frame))))


def ssim(predicted: UInt8[np.ndarray, "t h w 3"], truth: UInt8[np.ndarray, "_ _ _ 3"]) -> float:
    """Mean over frames of the structural similarity, 1 for equal frames.

    Wang et al. 2004: Gaussian window of sigma 1.5, population covariance, mean over channels.
    """
    from skimage.metrics import structural_similarity

    _same_shape(predicted, truth)
    options = dict(channel_axis=-1, data_range=255, gaussian_weights=True, sigma=1.5)
    return float(
        np.mean(
            [
                structural_similarity(a, b, use_sample_covariance=False, **options)
                for a, b in zip(predicted, truth, strict=True)
            ]
        )
    )


def detected_landmarks(
    frames: UInt8[np.ndarray, "t h w 3"],
) -> tuple[Float[np.ndarray, "t 68 2"], Bool[np.ndarray, " t"]]:
    """68 points detected anew in each frame, px, and whether a face was found."""
    mesh = landmarks.detect(frames)
    points = np.asarray(landmarks.to_68(mesh), np.float32)[..., :2]
    return points, np.asarray(mesh.found, bool)


def lmd(
    predicted: Float[np.ndarray, "t 68 2"],
    truth: Float[np.ndarray, "_ 68 2"],
    size: int,
    *,
    points: Literal["all", "lips"] = "all",
) -> float:
    """Landmark distance: mean Euclidean distance of points, in pixels of a 512 px picture.

    predicted, truth: points in pixels of a `size` x `size` picture. No alignment of the two
    sets: a shifted head counts as an error. Points 3 right and 4 down at size 256 give 10.
    """
    _same_shape(predicted, truth)
    chosen = list(LIPS) if points == "lips" else slice(None)
    distance = np.linalg.norm(predicted[:, chosen] - truth[:, chosen], axis=-1)
    return float(distance.mean() * 512 / size)


def correlation(a: Float[np.ndarray, " t"], b: Float[np.ndarray, " _"]) -> float | NotMeasured:
    """Pearson correlation of two curves; a constant curve has none.

    For two mouth openings it says whether the mouth moves with the other one.
    """
    _same_shape(a, b)
    spread = a.astype(np.float64).std() * b.astype(np.float64).std()
    if len(a) < 3 or spread < 1e-12:
        return NotMeasured("a curve that does not move has no correlation")
    return float(np.corrcoef(a, b)[0, 1])


def statistics(
    features: Float[np.ndarray, "n c"],
) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, "c c"]]:
    """Mean and covariance (n - 1 in the denominator) of feature vectors."""
    if len(features) < 2:
        raise ValueError(f"features must hold at least 2 rows, got {len(features)}")
    values = features.astype(np.float64)
    return values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False))


def frechet_distance(
    mean_a: Float[np.ndarray, " c"],
    covariance_a: Float[np.ndarray, "c c"],
    mean_b: Float[np.ndarray, " c"],
    covariance_b: Float[np.ndarray, "c c"],
) -> float:
    """Frechet distance of two Gaussians: |ma - mb|^2 + tr(Ca + Cb - 2 (Ca Cb)^1/2).

    In one dimension, means 0 and 3, variances 1 and 4: 9 + 1 + 4 - 2 * 2 = 10.
    """
    root = _root(covariance_a)
    # (Ca Cb) and (Ca^1/2 Cb Ca^1/2) have the same eigenvalues; the second is symmetric.
    mixed = np.clip(np.linalg.eigvalsh(root @ covariance_b @ root), 0, None)
    traces = np.trace(covariance_a) + np.trace(covariance_b) - 2 * np.sqrt(mixed).sum()
    return float(((mean_a - mean_b) ** 2).sum() + traces)


def fid(
    predicted: UInt8[np.ndarray, "n h w 3"], truth: UInt8[np.ndarray, "m h w 3"]
) -> float | NotMeasured:
    """Frechet Inception distance through the public Inception-v3 of 2015-12-05 (2048-d).

    The network resizes by itself, as in its TensorFlow original. Biased upwards when there are
    few frames: compare only values from the same number of frames.
    """
    path = network("inception")
    if isinstance(path, NotMeasured):
        return path
    a, b = (statistics(_inception_features(path, frames)) for frames in (predicted, truth))
    return frechet_distance(*a, *b)


@torch.no_grad()
def lpips(
    predicted: UInt8[np.ndarray, "t h w 3"], truth: UInt8[np.ndarray, "_ _ _ 3"]
) -> float | NotMeasured:
    """LPIPS distance with VGG-16 (Zhang et al. 2018), mean over frames; 0 for equal frames."""
    _same_shape(predicted, truth)
    path = network("vgg16")
    if isinstance(path, NotMeasured):
        return path
    model = _scripted(path)
    distances = []
    for pair in zip(predicted, truth, strict=True):
        batch = _channels_first(np.stack(pair)).float()
        a, b = model(batch, resize_images=False, return_lpips=True)
        distances.append(float((a - b).square().sum()))
    return float(np.mean(distances))


def lse() -> NotMeasured:
    """LSE-C and LSE-D need SyncNet, for which no loader exists yet."""
    return NotMeasured("LSE-C and LSE-D need SyncNet, which this version does not load")


def _same_shape(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"the two sets must have one shape, got {a.shape} and {b.shape}")


def _scripted(path: Path) -> torch.jit.ScriptModule:
    """A network as its authors published it; torch announces the end of this format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(str(path), map_location="cpu").eval()


def _root(covariance: Float[np.ndarray, "c c"]) -> Float[np.ndarray, "c c"]:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def _channels_first(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[Tensor, "t 3 h w"]:
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))


@torch.no_grad()
def _inception_features(
    path: Path, frames: UInt8[np.ndarray, "t h w 3"]
) -> Float[np.ndarray, "t c"]:
    model = _scripted(path)
    batches = [
        model(_channels_first(frames[start : start + 16]), return_features=True)
        for start in range(0, len(frames), 16)
    ]
    return torch.cat(batches).float().numpy()
