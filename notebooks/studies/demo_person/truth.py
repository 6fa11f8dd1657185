"""Truth: what is known exactly about the embedded demo persons, beside their clips in the kit."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from geneface_kit.person import demo


@dataclass(frozen=True)
class Truth:
    """What is known exactly about a rendered clip, t frames of 256 x 256 at 25 fps.

    landmarks: (t, 68, 3) iBUG points, head frame of camera.py. poses: (t, 4, 4) camera-to-world.
    focal: px. landmarks2d: (t, 68, 2) px. labels: 0 background, 1 head, 2 neck, 3 torso.
    phonemes: symbols (misaki alphabet, "_" silence) with starts_s and ends_s, in seconds.
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


def truth_of(name: str, *, folder: Path = demo.FOLDER) -> Truth:
    """The truth of an embedded demo person, or of one made by the script in `folder`."""
    with np.load(folder / f"{name}_truth.npz", allow_pickle=False) as held:
        t, h, w = (int(n) for n in held["labels_shape"])
        low, high = np.unpackbits(held["labels"], axis=-1, count=w)
        return Truth(
            landmarks=held["landmarks"],
            poses=held["poses"],
            focal=float(held["focal"]),
            landmarks2d=held["landmarks2d"],
            labels=(low + 2 * high).reshape(t, h, w),
            phonemes=tuple(str(s) for s in held["phonemes"]),
            starts_s=held["starts_s"],
            ends_s=held["ends_s"],
            text=str(held["text"]),
        )
