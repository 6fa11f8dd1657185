"""Sound of a person: brought into step with the lips, then its features."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from geneface_kit import clip, speech, tracking
from geneface_kit.person.settings import PersonConfig

__all__ = ["hear"]


def hear(
    source: Path, start: int, tracked: tracking.Track, config: PersonConfig
) -> tuple[np.ndarray, speech.Speech, speech.Offset, list[str]]:
    """Sound and features of the span, brought into step with the lips; offset and warnings."""
    heard = clip.sound_of(source)
    if heard is None:
        raise ValueError(
            f"{source.name} has no sound; a person needs speech, inside the video or in a .wav "
            "of the same name beside it"
        )
    n_frames = len(tracked.poses)
    spoken = speech.encode(_span_of(heard, start, n_frames, 0.0)).cut(n_frames)
    found = speech.offset(spoken, tracked.landmarks)
    warnings = []
    if np.sqrt(np.mean(heard**2)) < clip.SILENCE_RMS:
        warnings.append("the clip is silent: nothing can be learnt from its sound")
    clear = found.confidence >= config.offset_confidence
    shift_s = found.seconds if clear and abs(found.seconds) >= config.offset_least_s else 0.0
    if shift_s and config.correct_offset:
        side = "late" if shift_s > 0 else "early"
        warnings.append(f"the sound was {abs(shift_s):.2f} s {side} against the lips; corrected")
    elif not clear:
        warnings.append(
            f"the audio-video offset is uncertain (confidence {found.confidence:.2f}); left as is"
        )
    sound = _span_of(heard, start, n_frames, shift_s if config.correct_offset else 0.0)
    if config.encoder != "hama" or shift_s:
        spoken = speech.encode(sound, config.encoder, weights=config.encoder_weights)
    return sound, spoken.cut(n_frames), found, warnings


def _span_of(sound: np.ndarray, start: int, n_frames: int, shift_s: float) -> np.ndarray:
    """Sound of n_frames frames from frame `start`, taken shift_s later; silence outside."""
    first = round((start / clip.FPS + shift_s) * clip.SAMPLE_RATE)
    n_samples = n_frames * clip.SAMPLE_RATE // clip.FPS
    padded = np.pad(sound, (max(0, -first), max(0, first + n_samples - len(sound))))
    return padded[max(first, 0) :][:n_samples].astype(np.float32)
