"""Metrics: rendered frames, true frames, sound -> numbers, or "not measured" with the reason.

Reads networks/ (optional). Pictures are uint8 stacks (t, h, w, 3), as they were stored.
"""

from geneface_kit.metrics.definitions import METRICS, Definition
from geneface_kit.metrics.features import distance, fd_mobilenet, fid, frechet_distance, statistics
from geneface_kit.metrics.identity import identity
from geneface_kit.metrics.landmarks import (
    LIPS,
    Detected,
    correlation,
    detected,
    lmd,
)
from geneface_kit.metrics.networks import NETWORKS, PACKAGED, NotMeasured, fetch, network
from geneface_kit.metrics.perceptual import lpips, vgg_hed
from geneface_kit.metrics.pictures import psnr, same_frames, ssim
from geneface_kit.metrics.syncnet import Lse, lse

__all__ = [
    "LIPS",
    "METRICS",
    "NETWORKS",
    "PACKAGED",
    "Definition",
    "Detected",
    "Lse",
    "NotMeasured",
    "aue",
    "correlation",
    "detected",
    "distance",
    "fd_mobilenet",
    "fetch",
    "fid",
    "frechet_distance",
    "identity",
    "lmd",
    "lpips",
    "lse",
    "network",
    "psnr",
    "same_frames",
    "ssim",
    "statistics",
    "vgg_hed",
]


def aue() -> NotMeasured:
    """AUE needs the action-unit models of OpenFace, whose licence keeps them out of this kit."""
    return NotMeasured(
        "AUE needs the action units of OpenFace, whose licence forbids commercial use and whose "
        "models come in no package; this kit does not run it"
    )
