"""Features: frames through a network -> the Frechet distance of two Gaussians.

FID is the name of one network's distance, Inception-v3 of 2015; any other network gives a metric
of another name. All are estimates from n frames, too large when n is small.
"""

import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from geneface_kit.metrics import mobilenet
from geneface_kit.metrics.networks import NotMeasured, network

__all__ = [
    "channels_first",
    "distance",
    "fd_mobilenet",
    "fid",
    "frechet_distance",
    "scripted",
    "statistics",
]

BATCH = 16
"""Frames that go through a network at once (ours: memory)."""


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


def distance(a: Float[np.ndarray, "n c"], b: Float[np.ndarray, "m c"]) -> float:
    """Frechet distance of the Gaussians fitted to two sets of feature vectors.

    Biased upwards, the more the fewer rows: two sets of n rows drawn from one Gaussian of c
    independent features of variance 1 are about (2 c + c (c + 1) / 2) / n apart when n is much
    larger than c. So a distance is only compared with distances of as many frames, and its n
    stands beside it in every table.
    """
    return frechet_distance(*statistics(a), *statistics(b))


def fid(
    predicted: UInt8[np.ndarray, "n h w 3"], truth: UInt8[np.ndarray, "m _ _ 3"]
) -> float | NotMeasured:
    """Frechet Inception distance through the public Inception-v3 of 2015-12-05 (2048-d).

    Frames go in as they are, 0..255: the published TorchScript resizes to 299 x 299 itself, as
    TensorFlow 1 did (bilinear, corners at corner, no smoothing), and scales to [-1, 1]. Any
    resize before it gives another number.
    """
    path = network("inception")
    if isinstance(path, NotMeasured):
        return path
    return _between(lambda frames: _inception_features(path, frames), predicted, truth)


def fd_mobilenet(
    predicted: UInt8[np.ndarray, "n h w 3"], truth: UInt8[np.ndarray, "m _ _ 3"]
) -> float | NotMeasured:
    """FD-MobileNetV2: Frechet distance of pooled ImageNet MobileNetV2 features (1280-d).

    Not FID: another network, another scale. Frames are resized to 224 x 224 (bilinear,
    antialiased) and normalised as in the network's training.
    """
    path = network("mobilenet")
    if isinstance(path, NotMeasured):
        return path
    model = mobilenet.load(path)
    return _between(lambda frames: mobilenet.features(model, frames, BATCH), predicted, truth)


def _between(features, predicted: np.ndarray, truth: np.ndarray) -> float | NotMeasured:
    if min(len(predicted), len(truth)) < 2:
        return NotMeasured("a Frechet distance needs at least two frames")
    return distance(features(predicted), features(truth))


def scripted(path: Path) -> torch.jit.ScriptModule:
    """A network as its authors published it; torch announces the end of this format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(str(path), map_location="cpu").eval()


def channels_first(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[Tensor, "t 3 h w"]:
    """A stack of pictures as torch wants it."""
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))


def _root(covariance: Float[np.ndarray, "c c"]) -> Float[np.ndarray, "c c"]:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


@torch.no_grad()
def _inception_features(
    path: Path, frames: UInt8[np.ndarray, "t h w 3"]
) -> Float[np.ndarray, "t c"]:
    model = scripted(path)
    batches = [
        model(channels_first(frames[start : start + BATCH]), return_features=True)
        for start in range(0, len(frames), BATCH)
    ]
    return torch.cat(batches).float().numpy()
