"""Audio-video synchronisation: a clip's sound and its features, in step with the lips."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from geneface_kit.person import clip, speech
from geneface_kit.person.settings import PersonConfig

__all__ = ["CLEAR_CONFIDENCE", "SyncedAudio", "read_speech", "synchronise"]

CLEAR_CONFIDENCE = 0.3
"""Least confidence of an offset that is corrected (ours)."""
LEAST_OFFSET_S = 0.05
"""Smaller offsets are within the estimate's error, seconds (ours)."""


@dataclass(frozen=True)
class SyncedAudio:
    """The sound of a span in step with the picture.

    sound: 16 kHz; speech: two steps a frame; offset: as found; rms: loudness of the clip's sound,
    full scale 1; notes: what was repaired or is doubtful, a sentence each.
    """

    sound: Float[np.ndarray, " n"]
    speech: speech.Speech
    offset: speech.Offset
    rms: float
    notes: tuple[str, ...]


def read_speech(
    source: Path, start: int, n_frames: int
) -> tuple[Float[np.ndarray, " n"], speech.Speech]:
    """The clip's whole sound, and the embedded features of its span as it stands.

    Raises: ValueError when the clip has no sound.
    """
    sound = clip.sound_of(source)
    if sound is None:
        raise ValueError(
            f"{source.name} has no sound; a person needs speech, inside the video or in a .wav "
            "of the same name beside it"
        )
    return sound, speech.encode(_span_of(sound, start, n_frames, 0.0)).cut(n_frames)


def synchronise(
    sound: Float[np.ndarray, " n"],
    spoken: speech.Speech,
    start: int,
    offset: speech.Offset,
    config: PersonConfig,
) -> SyncedAudio:
    """Sound and features of the span with a clear offset corrected.

    sound, spoken: from `read_speech`; offset: of `spoken` against the tracked lips.
    """
    n_frames = len(spoken) // 2
    rms = float(np.sqrt(np.mean(sound.astype(np.float64) ** 2))) if len(sound) else 0.0
    notes = []
    if rms < clip.SILENCE_RMS:
        notes.append("the clip is silent: nothing can be learnt from its sound")
    clear = offset.confidence >= CLEAR_CONFIDENCE
    shift_s = offset.seconds if clear and abs(offset.seconds) >= LEAST_OFFSET_S else 0.0
    if shift_s:
        side = "late" if shift_s > 0 else "early"
        notes.append(f"the sound was {abs(shift_s):.2f} s {side} against the lips; corrected")
    elif not clear:
        notes.append(
            f"the audio-video offset is uncertain (confidence {offset.confidence:.2f}); left as is"
        )
    moved = _span_of(sound, start, n_frames, shift_s)
    if config.encoder != "hama" or shift_s:
        spoken = speech.encode(moved, config.encoder, weights=config.encoder_weights)
    return SyncedAudio(moved, spoken.cut(n_frames), offset, rms, tuple(notes))


def _span_of(sound: np.ndarray, start: int, n_frames: int, shift_s: float) -> np.ndarray:
    """Sound of n_frames frames from frame `start`, taken shift_s later; silence outside."""
    first = round((start / clip.FPS + shift_s) * clip.SAMPLE_RATE)
    n_samples = n_frames * clip.SAMPLE_RATE // clip.FPS
    padded = np.pad(sound, (max(0, -first), max(0, first + n_samples - len(sound))))
    return padded[max(first, 0) :][:n_samples].astype(np.float32)
