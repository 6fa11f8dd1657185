"""Landmarks: faces found anew in two sets of frames -> landmark distances, mouth correlation.

Scale: pixels of a 512 px picture, whatever the size of the frames.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

from geneface_kit.metrics.networks import NotMeasured
from geneface_kit.metrics.pictures import same_frames
from geneface_kit.person import landmarks

__all__ = ["LIPS", "Detected", "correlation", "detected", "lmd"]

LIPS = tuple(range(48, 68))
"""iBUG indices of the outer (48-59) and inner (60-67) lip points."""


@dataclass(frozen=True)
class Detected:
    """Faces of a set of frames.

    points: (t, 68, 2), px. boxes: (t, 4), left, top, right, bottom of the whole face mesh, from
    forehead to chin, px. found: (t,); where there is no face, points and boxes mean nothing.
    """

    points: Float[np.ndarray, "t 68 2"]
    boxes: Float[np.ndarray, "t 4"]
    found: Bool[np.ndarray, " t"]


def detected(frames: UInt8[np.ndarray, "t h w 3"]) -> Detected:
    """The face of every frame, each frame on its own."""
    mesh = landmarks.detect(frames)
    flat = np.asarray(mesh.points, np.float32)[..., :2]
    points = np.asarray(landmarks.to_68(mesh), np.float32)[..., :2]
    boxes = np.concatenate([flat.min(axis=1), flat.max(axis=1)], axis=1)
    return Detected(points, boxes, np.asarray(mesh.found, bool))


def lmd(
    predicted: Float[np.ndarray, "t 68 2"],
    truth: Float[np.ndarray, "_ 68 2"],
    size: int,
    *,
    points: Literal["all", "lips"] = "all",
    centred: bool = False,
) -> float:
    """Landmark distance: mean Euclidean distance of points, in pixels of a 512 px picture.

    predicted, truth: points in pixels of a `size` x `size` picture. centred: the mean of the
    chosen points is taken off each frame first, as the evaluation code of RAD-NeRF does for lips;
    else nothing is aligned: a shifted head is an error. Points 3 right and 4 down
    at size 256 give 10, and 0 when centred.
    """
    same_frames(predicted, truth)
    chosen = list(LIPS) if points == "lips" else slice(None)
    a, b = predicted[:, chosen].astype(np.float64), truth[:, chosen].astype(np.float64)
    if centred:
        a, b = (set_ - set_.mean(axis=1, keepdims=True) for set_ in (a, b))
    return float(np.linalg.norm(a - b, axis=-1).mean() * 512 / size)


def correlation(a: Float[np.ndarray, " t"], b: Float[np.ndarray, " _"]) -> float | NotMeasured:
    """Pearson correlation of two curves; a constant curve has none.

    For two mouth openings it says whether the mouth moves with the other one.
    """
    same_frames(a, b)
    spread = a.astype(np.float64).std() * b.astype(np.float64).std()
    if len(a) < 3 or spread < 1e-12:
        return NotMeasured("a curve that does not move has no correlation")
    return float(np.corrcoef(a, b)[0, 1])
