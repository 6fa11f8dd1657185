"""Audio: any recording or video -> mono samples at 16 kHz by time stamps, and back to wav."""

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float

from geneface_kit.person.clip.container import JUMP_S, SAMPLE_RATE, opened, probe, readable
from geneface_kit.runs import replacing

SILENCE_RMS = 1e-3
"""Below this root mean square (full scale is 1) a recording counts as silent (ours)."""
GAP_S = 0.1
"""A hole in the time stamps at least this long is filled with silence, seconds (ours)."""

log = logging.getLogger(__name__)


def sound_of(path: Path | str) -> Float[np.ndarray, " n"] | None:
    """Sound of a video at 16 kHz, sample 0 at its first frame; None when there is none.

    Falls back to a .wav with the same stem beside the video.
    """
    path = Path(path)
    about = probe(path)
    if about.has_sound:
        return _decoded(path, about.start_s)
    beside = path.with_suffix(".wav")
    return _decoded(beside, 0.0) if beside.exists() and beside != path else None


def read_audio(path: Path | str) -> Float[np.ndarray, " n"]:
    """Sound of any file PyAV reads, mono float32 in [-1, 1] at 16 kHz.

    Raises: FileNotFoundError; ValueError when the file holds no sound. Silence is a warning.
    """
    return _decoded(Path(path), None)


def write_audio(path: Path | str, audio: Float[np.ndarray, " n"]) -> None:
    """Write mono 16 kHz sound as a 16-bit wav."""
    path = Path(path)
    if not len(audio):
        raise ValueError(f"no sound to write to {path}")
    with replacing(path) as partial:
        with av.open(str(partial), "w", format="wav") as container:
            stream = container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
            for start in range(0, len(audio), SAMPLE_RATE):
                piece = np.clip(audio[None, start : start + SAMPLE_RATE], -1, 1)
                samples = np.round(piece * 32767).astype(np.int16)
                container.mux(stream.encode(sound_frame(samples, "s16", start)))
            container.mux(stream.encode(None))


def sound_frame(samples: np.ndarray, sample_format: str, start: int) -> av.AudioFrame:
    """Samples (1, n) of mono 16 kHz sound as a frame that begins with sample `start`."""
    frame = av.AudioFrame.from_ndarray(samples, format=sample_format, layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
    return frame


def _decoded(path: Path, start_s: float | None) -> np.ndarray:
    """Mono 16 kHz samples from start_s on (None: from the first sample)."""
    with opened(path) as container:
        stream = container.streams.best("audio")
        if stream is None or stream.codec_context is None:
            raise ValueError(f"{path} holds no sound; use a recording of speech")
        pieces, first_s = _pieces(readable(container, stream, path), path)
    audio = np.concatenate(pieces or [np.zeros(0, np.float32)])
    if start_s is not None and pieces:
        lead_s = first_s - start_s
        if abs(lead_s) > JUMP_S:
            log.warning("%s: the clocks of sound and picture differ; both start at 0", path)
            lead_s = 0.0
        lead = round(lead_s * SAMPLE_RATE)
        audio = np.pad(audio, (lead, 0)) if lead >= 0 else audio[-lead:]
    if not len(audio):
        raise ValueError(f"{path} holds no sound samples; use a recording of speech")
    if np.sqrt(np.mean(audio**2)) < SILENCE_RMS:
        log.warning("%s is silent; nothing will move the mouth", path)
    return audio


def _pieces(frames: Iterator[av.AudioFrame], path: Path) -> tuple[list[np.ndarray], float]:
    """Resampled pieces in a row, holes of the clock filled with silence; time of the first."""
    pieces, first_s, n_samples, n_holes = [], 0.0, 0, 0
    resampler = kind = None
    for frame in frames:
        if frame.sample_rate <= 0 or not frame.samples:
            continue
        if kind != (frame.format.name, frame.layout.name, frame.sample_rate):
            pieces += _resampled(resampler, None)
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
        time = frame.time
        if not n_samples:
            first_s = time or 0.0
        elif time is not None:
            hole_s = time - first_s - n_samples / SAMPLE_RATE
            if GAP_S < hole_s < JUMP_S:
                pieces += _resampled(resampler, None)
                resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
                pieces.append(np.zeros(round(hole_s * SAMPLE_RATE), np.float32))
                n_samples, n_holes = n_samples + hole_s * SAMPLE_RATE, n_holes + 1
        n_samples += frame.samples * SAMPLE_RATE / frame.sample_rate
        pieces += _resampled(resampler, frame)
    pieces += _resampled(resampler, None)
    if n_holes:
        log.warning("%s: %d hole(s) in its sound filled with silence", path, n_holes)
    return pieces, first_s


def _resampled(
    resampler: av.AudioResampler | None, frame: av.AudioFrame | None
) -> list[np.ndarray]:
    """Mono pieces out of the resampler; frame None: what it still holds.

    Channels are averaged here: the library's own float mix of stereo is louder by sqrt 2.
    """
    if resampler is None:
        return []
    return [
        piece.to_ndarray().mean(axis=0, dtype=np.float32) for piece in resampler.resample(frame)
    ]
