"""Films: whole clips in memory, for tests that look at every frame."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geneface_kit.person import clip


@dataclass(frozen=True)
class Film:
    """A decoded clip. frames: (t, h, w, 3) at 25 fps; audio: (n,) at 16 kHz, empty without."""

    frames: np.ndarray
    audio: np.ndarray


def read_film(path: Path | str, *, size: int | None = None, max_s: float | None = None) -> Film:
    """Frames whose longer side is `size` (None: as stored), and their sound."""
    frames = np.stack(list(clip.stream_frames(path, long_side=size, max_s=max_s)))
    audio = clip.sound_of(path)
    audio = np.zeros(0, np.float32) if audio is None else audio
    return Film(frames, audio[: round(len(frames) / clip.FPS * clip.SAMPLE_RATE)])


def another_face(frames: np.ndarray) -> np.ndarray:
    """Pictures of the demo in the same room, with a dark beard that it does not have."""
    size, bearded = frames.shape[1], frames.copy()
    bearded[:, round(0.61 * size) : round(0.875 * size), size * 4 // 15 : size * 3 // 4] //= 5
    return bearded
