"""Clip: video and sound files -> 25 fps frames and 16 kHz mono sound, and back to mp4.

Reads any container PyAV reads; writes h264 + aac. Time zero is the first video frame.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float, UInt8

__all__ = [
    "FPS",
    "SAMPLE_RATE",
    "Clip",
    "probe",
    "read_audio",
    "read_clip",
    "sound_of",
    "stream_frames",
    "write_audio",
    "write_video",
]

FPS = 25
"""Frames per second everywhere in the kit (method.md 0)."""
SAMPLE_RATE = 16_000
"""Samples per second of all sound, mono (method.md 0)."""
SILENCE_RMS = 1e-3
"""Below this root mean square (full scale is 1) a recording counts as silent (ours)."""
EARLY_S = 0.0199
"""A frame may be shown this much before its time stamp: just under half a step at 25 fps."""

log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Probe:
    """What a video file says about itself: its picture's size as shown, rate, sound or not."""

    width: int
    height: int
    fps: float
    has_sound: bool


def probe(path: Path | str) -> Probe:
    """Size (after rotation), average rate and presence of sound, from the first frame.

    Raises: FileNotFoundError without the file, ValueError when it holds no readable video.
    """
    with _opened(path) as container:
        stream = _video_stream(container, path)
        has_sound = bool(container.streams.audio)
        try:
            frame = next(container.decode(stream))
        except (StopIteration, av.FFmpegError):
            raise ValueError(f"{path} has no readable video frame; use another file") from None
        width, height = _shown_size(frame, stream)
        rate = stream.average_rate or stream.guessed_rate or FPS
        return Probe(width, height, float(rate), has_sound)


def stream_frames(
    path: Path | str, *, long_side: int | None = None, max_s: float | None = None
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Frames of a video one by one at 25 fps, upright, chosen by their time stamps.

    Picture k is the latest frame stamped up to k / 25 s (and a little more) after the first one,
    so variable and odd rates keep their timing. long_side: resize so that the longer side has
    this many pixels. A file that breaks off ends early with a logged warning.
    """
    n_frames = 0
    last = None  # (seconds since the first frame, picture)
    limit = np.inf if max_s is None else int(round(max_s * FPS))
    for seconds, picture in _timed_pictures(path, long_side):
        while last is not None and n_frames / FPS + EARLY_S < seconds:
            if n_frames >= limit:
                return
            yield last[1]
            n_frames += 1
        step_s = 1 / FPS if last is None else max(seconds - last[0], 0.0)
        last = (seconds, picture)
    while last is not None and n_frames / FPS < last[0] + step_s / 2 and n_frames < limit:
        yield last[1]
        n_frames += 1


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


def sound_of(path: Path | str) -> Float[np.ndarray, " n"] | None:
    """Sound of a video at 16 kHz, sample 0 at its first frame; None when there is none.

    Falls back to a .wav with the same stem beside the video.
    """
    path = Path(path)
    if probe(path).has_sound:
        with _opened(path) as container:
            stream = container.streams.video[0]
            start_s = float((stream.start_time or 0) * (stream.time_base or 0))
        return _decode_audio(path, start_s)
    beside = path.with_suffix(".wav")
    return _decode_audio(beside, 0.0) if beside.exists() and beside != path else None


def read_audio(path: Path | str) -> Float[np.ndarray, " n"]:
    """Sound of any file PyAV reads, mono float32 in [-1, 1] at 16 kHz.

    Raises: FileNotFoundError; ValueError when the file holds no sound. Silence is a warning.
    """
    return _decode_audio(Path(path), None)


def write_audio(path: Path | str, audio: Float[np.ndarray, " n"]) -> None:
    """Write mono 16 kHz sound as a 16-bit wav."""
    path = Path(path)
    if not len(audio):
        raise ValueError(f"no sound to write to {path}")
    partial = path.with_name(f".{path.stem}.partial.wav")
    with av.open(str(partial), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
        samples = np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16)
        for start in range(0, len(samples), SAMPLE_RATE):
            piece = samples[None, start : start + SAMPLE_RATE]
            container.mux(stream.encode(_sound_frame(piece, "s16", start)))
        container.mux(stream.encode(None))
    os.replace(partial, path)


def write_video(
    path: Path | str,
    frames: Iterable[UInt8[np.ndarray, "h w 3"]],
    audio: Float[np.ndarray, " n"] | None = None,
    *,
    metadata: dict[str, str] | None = None,
    crf: int = 18,
) -> int:
    """Write an mp4 (h264 yuv420p, aac, 25 fps, index first) and give its number of frames.

    frames: an iterable, so a video is never held in memory; odd sizes grow by one pixel.
    audio: mono 16 kHz, starting with the first frame. metadata: text tags of the file.
    The file appears under its name only when it is complete.
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem}.partial.mp4")
    flags = {"movflags": "+faststart+use_metadata_tags"}
    n_frames = 0
    try:
        with av.open(str(partial), "w", options=flags) as container:
            container.metadata.update(metadata or {})
            video = sound = None
            for picture in frames:
                if video is None:
                    video = _add_video_stream(container, picture, crf)
                    if audio is not None and len(audio):
                        sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
                        sound.bit_rate = 96_000
                frame = av.VideoFrame.from_ndarray(_even(picture), format="rgb24")
                frame.pts, frame.time_base = n_frames, Fraction(1, FPS)
                container.mux(video.encode(frame))
                n_frames += 1
                if sound is not None:
                    _write_sound(container, sound, audio, n_frames - 1, n_frames)
            if video is None:
                raise ValueError(f"no frames to write to {path}")
            if sound is not None:
                _write_sound(container, sound, audio, n_frames, None)
                container.mux(sound.encode(None))
            container.mux(video.encode(None))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return n_frames


def _opened(path: Path | str) -> "av.container.InputContainer":
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; check the name")
    try:
        return av.open(str(path))
    except (av.FFmpegError, OSError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise ValueError(f"{path} is not a readable media file ({reason})") from None


def _video_stream(container, path: Path | str):
    if not container.streams.video:
        raise ValueError(f"{path} holds no video; use a video file")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return stream


def _shown_size(frame: av.VideoFrame, stream) -> tuple[int, int]:
    """Width and height as shown: square pixels, rotation flag honoured."""
    ratio = stream.sample_aspect_ratio or 1
    width, height = round(frame.width * float(ratio)), frame.height
    return (height, width) if frame.rotation % 180 else (width, height)


def _timed_pictures(path: Path | str, long_side: int | None) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds since the first frame, upright picture) of each readable frame, times rising."""
    with _opened(path) as container:
        stream = _video_stream(container, path)
        step_s = float(1 / (stream.average_rate or stream.guessed_rate or FPS))
        start_s, seconds, count = None, 0.0, 0
        for frame in _readable(container, stream, path):
            time = frame.time if frame.time is not None else (start_s or 0) + seconds + step_s
            start_s = time if start_s is None else start_s
            if count and time - start_s <= seconds:
                continue  # a repeated or backward time stamp
            seconds, count = time - start_s, count + 1
            yield seconds, _upright(frame, stream, long_side)
        if count < 0.9 * stream.frames:
            log.warning("%s is cut short: %d of %d frames", path, count, stream.frames)
    if not count:
        raise ValueError(f"{path} has no readable video frame; use another file")


def _readable(container, stream, path: Path | str) -> Iterator:
    """Frames of a stream; what cannot be read is left out with one warning."""
    n_broken, reason = 0, None
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
            yield from packet.decode()
        except StopIteration:
            break
        except (av.FFmpegError, ValueError) as problem:
            n_broken, reason = n_broken + 1, problem
            if n_broken > 100:
                break
    if n_broken:
        log.warning("%s is damaged: %d pieces could not be read (%s)", path, n_broken, reason)


def _upright(frame: av.VideoFrame, stream, long_side: int | None) -> np.ndarray:
    width, height = _shown_size(frame, stream)
    if long_side is not None:
        scale = long_side / max(width, height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
    quarter_turns = round(frame.rotation / 90) % 4  # counter-clockwise
    if quarter_turns % 2:
        width, height = height, width
    shrinks = width * height < frame.width * frame.height
    frame = frame.reformat(
        width=width, height=height, format="rgb24", interpolation="AREA" if shrinks else "BICUBIC"
    )
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(), quarter_turns))


def _decode_audio(path: Path, start_s: float | None) -> np.ndarray:
    """Mono 16 kHz samples from start_s on (None: from the first sample)."""
    pieces, first_s = [], None
    with _opened(path) as container:
        if not container.streams.audio:
            raise ValueError(f"{path} holds no sound; use a recording of speech")
        # Channels are averaged here: the library's own float mix of stereo is louder by sqrt 2.
        resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
        for frame in _readable(container, container.streams.audio[0], path):
            first_s = (frame.time or 0.0) if first_s is None else first_s
            pieces += [piece.to_ndarray().mean(axis=0) for piece in resampler.resample(frame)]
        if pieces:
            pieces += [piece.to_ndarray().mean(axis=0) for piece in resampler.resample(None)]
    audio = np.concatenate(pieces or [np.zeros(0)]).astype(np.float32)
    if start_s is not None and pieces:
        lead = round((first_s - start_s) * SAMPLE_RATE)
        audio = np.pad(audio, (lead, 0)) if lead >= 0 else audio[-lead:]
    if not len(audio):
        raise ValueError(f"{path} holds no sound samples; use a recording of speech")
    if np.sqrt(np.mean(audio**2)) < SILENCE_RMS:
        log.warning("%s is silent; nothing will move the mouth", path)
    return audio


def _add_video_stream(container, picture: np.ndarray, crf: int):
    stream = container.add_stream("libx264", rate=FPS, options={"crf": str(crf)})
    stream.height, stream.width = _even(picture).shape[:2]
    stream.pix_fmt = "yuv420p"
    return stream


def _even(picture: np.ndarray) -> np.ndarray:
    """The picture with even sides: the last row or column is repeated if need be."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _write_sound(container, stream, audio: np.ndarray, frame: int, end: int | None) -> None:
    """Encode the sound of frames [frame, end); end None: all that is left."""
    per_frame = SAMPLE_RATE // FPS
    start, stop = frame * per_frame, len(audio) if end is None else end * per_frame
    piece = np.asarray(audio[start:stop], np.float32)[None]
    if piece.size:
        container.mux(stream.encode(_sound_frame(piece, "fltp", start)))


def _sound_frame(samples: np.ndarray, sample_format: str, start: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(samples, format=sample_format, layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
    return frame
