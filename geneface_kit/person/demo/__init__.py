"""Demo: the embedded person, an avatar of this kit ready to talk, two clips of it and their truth.

All is made by `python -m notebooks.studies.demo_person` from clips of talker s1 of the GRID corpus
and the voice of `hibari-tts` 0.2.1 (Apache-2.0), see CREDIT. "demo", the default person
everywhere, and "demo_b", held out, are two films of the avatar: nothing in them was said, seen or
endorsed by the talker.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from geneface_kit.person import camera

NAMES = ("demo", "demo_b")
FOLDER = Path(__file__).parent
AVATAR = FOLDER / "avatar"
"""The finished avatar, for `talk.plan.embedded_actor`."""
CREDIT = (
    "Synthetic: not said, seen or endorsed by the talker. Rendered from an avatar trained on clips "
    "of talker s1 of the GRID audiovisual sentence corpus (Cooke, Barker, Cunningham and Shao), "
    "CC BY 4.0, doi 10.5281/zenodo.3625687; changed: cut, cropped, learned and rendered anew with "
    "other words, motion and voice."
)
"""What is said wherever the demo is shown."""


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


def clip_path(name: str) -> Path:
    """The mp4 of an embedded demo person."""
    return _file(name, f"{name}.mp4")


def truth(name: str, *, folder: Path | None = None) -> Truth:
    """The truth of an embedded demo person, or of one made by the script in `folder`."""
    path = _file(name, f"{name}_truth.npz") if folder is None else folder / f"{name}_truth.npz"
    with np.load(path, allow_pickle=False) as held:
        t, h, w = (int(n) for n in held["labels_shape"])
        low, high = np.unpackbits(held["labels"], axis=-1, count=w)
        arrays = {name: held[name] for name in ("landmarks", "poses", "starts_s", "ends_s")}
        focal = float(held["focal"])
        points = camera.project(arrays["landmarks"], arrays["poses"], focal, w)
        return Truth(
            focal=focal,
            landmarks2d=points.astype(np.float32),
            labels=(low + 2 * high).reshape(t, h, w),
            phonemes=tuple(str(s) for s in held["phonemes"]),
            text=str(held["text"]),
            **arrays,
        )


def _file(name: str, file_name: str) -> Path:
    if name not in NAMES:
        raise ValueError(f"the embedded demo persons are {', '.join(NAMES)}; there is no {name!r}")
    if not (FOLDER / file_name).is_file():
        raise FileNotFoundError(f"{FOLDER / file_name} is missing; install the kit again")
    return FOLDER / file_name
