"""Audio: any recording or video -> mono samples at 16 kHz by time stamps, and back to wav."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
import scipy.io.wavfile
from jaxtyping import Float

from geneface_kit.person.clip.container import JUMP_S, SAMPLE_RATE, opened, probe, readable
from geneface_kit.runs import replacing

SILENCE_RMS = 2e-5
"""Below this root mean square (full scale is 1) a recording counts as silent: what 16 bits make of
nothing. Faint speech is speech, its level does not matter (ours)."""
CANCELLED = 0.25  # a mean of the channels under this share of the first one cancels it out (ours)
GAP_S = 0.1  # a hole in the time stamps at least this long is filled with silence, seconds (ours)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sound:
    """The sound of a clip: mono at 16 kHz, sample 0 at its first frame; starts_s: seconds before
    which there is none; notes: what a reader should know of it."""

    samples: Float[np.ndarray, " n"]
    starts_s: float
    notes: tuple[str, ...] = ()


def chosen_sound(path: Path | str, choice: str = "auto") -> Sound:
    """The sound of a video.

    choice: "track", the file's own; "beside", the .wav with the same stem; "auto": the first track
    that is not silent, else the .wav, else a silent track.
    Raises: FileNotFoundError for "beside" without a .wav; ValueError without any sound.
    """
    path = Path(path)
    beside = beside_of(path, choice)
    if choice == "beside":
        return _decoded(beside, 0.0)
    about, silent = probe(path), None
    for number in range(about.n_sounds):
        found = _decoded(path, about.start_s, number)
        if not is_silent(found.samples):
            notes = [f"sound stream {number + 1} of {about.n_sounds} is used"] * bool(number)
            if beside is not None:
                notes.append(f"the video's own sound is used, not {beside.name} beside it; ")
                notes[-1] += "person.sound=beside takes that"
            return replace(found, notes=tuple(notes))
        silent = found if silent is None else silent
    if beside is not None and choice == "auto":
        notes = [f"the video's own sound is silent: {beside.name} is used"] * (silent is not None)
        return replace(_decoded(beside, 0.0), notes=tuple(notes))
    if silent is None:
        there = f"no {path.stem}.wav beside it"
        if beside is not None:
            there = f"{beside.name} beside it was not asked for (person.sound=auto takes it)"
        raise ValueError(f"{path.name} has no sound and {there}; speech is needed")
    return silent


def sound_of(path: Path | str) -> Float[np.ndarray, " n"]:
    """The samples of `chosen_sound`, which see."""
    return chosen_sound(path).samples


def beside_of(path: Path, choice: str = "auto") -> Path | None:
    """The .wav of the same name beside a video, its ending in any case.

    Raises: FileNotFoundError when there is none and the choice is "beside".
    """
    names = (path.with_suffix(".wav"), path.with_suffix(".WAV"))
    found = next((name for name in names if name.exists() and name != path), None)
    if found is None and choice == "beside":
        raise FileNotFoundError(f"person.sound=beside needs {path.stem}.wav beside {path}")
    return found


def is_silent(audio: Float[np.ndarray, " n"]) -> bool:
    """Whether a recording is quieter than SILENCE_RMS, a constant in it not counted."""
    return not audio.size or float(audio.std(dtype=np.float64)) < SILENCE_RMS


def read_audio(path: Path | str) -> Float[np.ndarray, " n"]:
    """Sound of any file PyAV reads, mono float32 in [-1, 1] at 16 kHz.

    Raises: FileNotFoundError; ValueError when the file holds no sound. Silence is a warning.
    """
    audio = _decoded(Path(path), None).samples
    if is_silent(audio):
        log.warning("%s is silent; nothing will move the mouth", path)
    return audio


def write_audio(path: Path | str, audio: Float[np.ndarray, " n"]) -> None:
    """Write mono 16 kHz sound as a 16-bit wav."""
    path = Path(path)
    if not len(audio):
        raise ValueError(f"no sound to write to {path}")
    samples = np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16)
    with replacing(path) as partial:
        scipy.io.wavfile.write(partial, SAMPLE_RATE, samples)


def _decoded(path: Path, start_s: float | None, number: int | None = None) -> Sound:
    """A file's sound from start_s on (None: from the first sample). number: of its sound streams,
    None for the best one."""
    with opened(path) as container:
        best = container.streams.best("audio")
        stream = best if number is None else container.streams.audio[number]
        if stream is None or stream.codec_context is None:
            raise ValueError(f"{path} holds no sound; use a recording of speech")
        pieces, first_s = _pieces(readable(container, stream, path), path)
    mono, first = np.concatenate(pieces or [np.zeros((2, 0), np.float32)], axis=1)
    cancels = mono.size and mono.std() < CANCELLED * first.std()
    audio = first if cancels else mono
    lead_s = 0.0 if start_s is None or not pieces else first_s - start_s
    if abs(lead_s) > JUMP_S:
        log.warning("%s: the clocks of sound and picture differ; both start at 0", path)
        lead_s = 0.0
    audio = in_step(audio, -lead_s)
    if not len(audio):
        raise ValueError(f"{path} holds no sound samples; use a recording of speech")
    return Sound(audio, max(lead_s, 0.0))


def in_step(audio: Float[np.ndarray, " n"], late_s: float) -> Float[np.ndarray, " m"]:
    """Sound that is `late_s` late moved back to its picture (early sound gets silence in front)."""
    lead = round(late_s * SAMPLE_RATE)
    return audio[lead:] if lead >= 0 else np.pad(audio, (-lead, 0))


def _pieces(frames: Iterator[av.AudioFrame], path: Path) -> tuple[list[np.ndarray], float]:
    """Resampled pieces (2, n) in a row, the mean of the channels and the first one, holes of the
    clock filled with silence; time of the first."""
    pieces, first_s, n_samples, n_holes, kind = [], 0.0, 0, 0, None
    resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
    for frame in frames:
        if frame.sample_rate <= 0 or not frame.samples:
            continue
        time, hole_s = frame.time, 0.0
        if not n_samples:
            first_s = time or 0.0
        elif time is not None:
            hole_s = time - first_s - n_samples / SAMPLE_RATE
        is_hole = GAP_S < hole_s < JUMP_S
        if is_hole or kind != (frame.format.name, frame.layout.name, frame.sample_rate):
            pieces += _resampled(resampler, None)
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
        if is_hole:
            pieces.append(np.zeros((2, round(hole_s * SAMPLE_RATE)), np.float32))
            n_samples, n_holes = n_samples + hole_s * SAMPLE_RATE, n_holes + 1
        n_samples += frame.samples * SAMPLE_RATE / frame.sample_rate
        pieces += _resampled(resampler, frame)
    pieces += _resampled(resampler, None)
    if n_holes:
        log.warning("%s: %d hole(s) in its sound filled with silence", path, n_holes)
    return pieces, first_s


def _resampled(resampler: av.AudioResampler, frame: av.AudioFrame | None) -> list[np.ndarray]:
    """Pieces (2, n) out of the resampler; frame None: what it still holds.

    Channels are averaged here: the library's own float mix of stereo is louder by sqrt 2.
    """
    made = [piece.to_ndarray() for piece in resampler.resample(frame)]
    return [np.stack([one.mean(axis=0, dtype=np.float32), one[0]]) for one in made]
