"""Clip: video and sound files -> 25 fps frames and 16 kHz mono sound, and back to mp4.

Reads any container PyAV reads; writes h264 + aac. Time zero is the first video frame.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from geneface_kit.person.clip.film import write_video
from geneface_kit.person.clip.media import FPS, SAMPLE_RATE, SUFFIXES, Probe, probe
from geneface_kit.person.clip.pictures import stream_frames
from geneface_kit.person.clip.sound import SILENCE_RMS, read_audio, sound_of, write_audio

__all__ = [
    "FPS",
    "SAMPLE_RATE",
    "SILENCE_RMS",
    "SUFFIXES",
    "Clip",
    "Probe",
    "probe",
    "read_audio",
    "read_clip",
    "sound_of",
    "stream_frames",
    "write_audio",
    "write_video",
]


@dataclass(frozen=True)
class Clip:
    """A decoded clip.

    frames: (t, h, w, 3) at 25 fps; audio: (n,) mono at 16 kHz, starting with the first frame,
    empty without sound; fps: average rate of the file; warnings: what was repaired.
    """

    frames: UInt8[np.ndarray, "t h w 3"]
    audio: Float[np.ndarray, " n"]
    fps: float
    warnings: tuple[str, ...]


def read_clip(path: Path | str, *, size: int | None, max_s: float | None = None) -> Clip:
    """A whole clip in memory: frames whose longer side is `size` (None: as stored), and sound.

    The sound is that of the file, else of a .wav with the same name beside it, else empty.
    """
    about = probe(path)
    notes = []
    if abs(about.fps - FPS) > 0.01:
        notes.append(f"frame rate {about.fps:.2f} resampled to {FPS} by time stamps")
    frames = list(stream_frames(path, long_side=size, max_s=max_s))
    audio = sound_of(path)
    if audio is None:
        notes.append("the clip has no sound")
        audio = np.zeros(0, np.float32)
    audio = audio[: round(len(frames) / FPS * SAMPLE_RATE)]
    return Clip(np.stack(frames), audio, about.fps, tuple(notes))
