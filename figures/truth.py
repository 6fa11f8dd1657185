"""Truth: what is known exactly of the films of the demo person, which were rendered from it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from geneface_kit.person import camera, demo
from geneface_kit.runs.arrays import read_npz

LAYOUT = {
    "landmarks": "real t 68 3",
    "poses": "real t 4 4",
    "focal": "real",
    "labels": "byte 2 t h b",
    "labels_shape": "whole 3",
    "phonemes": "word p",
    "starts_s": "real p",
    "ends_s": "real p",
    "text": "word",
}
"""Of the file of a truth; labels are two planes of bits."""


@dataclass(frozen=True)
class Truth:
    """What is known exactly about a rendered clip, t frames of 256 x 256 at 25 fps.

    landmarks: head frame of camera.py; poses: camera-to-world; focal, landmarks2d: px; labels: 0
    background, 1 head, 3 torso and neck; phonemes: misaki alphabet, "_" silence; times in seconds
    of the picture.
    """

    landmarks: Float[np.ndarray, "t 68 3"]
    poses: Float[np.ndarray, "t 4 4"]
    focal: float
    landmarks2d: Float[np.ndarray, "t 68 2"]
    labels: UInt8[np.ndarray, "t h w"]
    phonemes: tuple[str, ...]
    starts_s: Float[np.ndarray, " p"]
    ends_s: Float[np.ndarray, " p"]
    text: str


def truth(name: str, *, folder: Path | None = None) -> Truth:
    """The truth of an embedded demo person, or of one made by the script in `folder`."""
    held = read_npz((folder or demo.FOLDER) / f"{name}_truth.npz", LAYOUT)
    t, h, w = (int(n) for n in held.pop("labels_shape"))
    low, high = np.unpackbits(held.pop("labels"), axis=-1, count=w)
    focal = float(held.pop("focal"))
    points = camera.project(held["landmarks"], held["poses"], focal, w)
    return Truth(
        focal=focal,
        landmarks2d=points.astype(np.float32),
        labels=(low + 2 * high).reshape(t, h, w),
        phonemes=tuple(map(str, held.pop("phonemes"))),
        text=str(held.pop("text")),
        **held,
    )
