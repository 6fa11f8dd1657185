"""Container: a media file -> its streams, what it says of itself, all that can be decoded."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av

Container = av.container.InputContainer
FPS = 25  # frames per second everywhere in the kit (official code)
SAMPLE_RATE = 16_000  # samples per second of all sound, mono (official code)
SAMPLES = SAMPLE_RATE // FPS  # samples of sound per frame
SUFFIXES = tuple(
    ".mp4 .mov .mkv .webm .avi .m4v .mpg .mpeg .ts .mts .m2ts .3gp .wmv .flv .ogv".split()
)
"""Endings of video files that are looked for by name; a file named in full may have any."""
JUMP_S = 10.0  # a longer gap between neighbouring time stamps is the file's error, seconds (ours)
MAX_PIXELS = 2**26  # larger pictures are refused before they are decoded: 8192 x 8192 (ours)
MAX_BROKEN = 100  # after so many unreadable pieces the rest of a stream is given up (ours)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Probe:
    """What a video file says about itself: size as shown, average rate, number of sound streams,
    time stamp of the first frame that can be decoded, length (0 where it does not say)."""

    width: int
    height: int
    fps: float
    n_sounds: int
    start_s: float
    seconds: float = 0.0


def probe(path: Path | str) -> Probe:
    """What a video says. Raises: FileNotFoundError without the file, ValueError when it holds no
    readable video."""
    with opened(path) as container:
        stream = video_stream(container, path)
        for frame in readable(container, stream, path, warn=False):
            width, height = shown_size(frame, stream)
            rate = float(stream.average_rate or stream.guessed_rate or FPS)
            n_sounds = sum(one.codec_context is not None for one in container.streams.audio)
            seconds = (container.duration or 0) / av.time_base
            return Probe(width, height, rate, n_sounds, frame.time or 0.0, seconds)
    raise ValueError(f"{path} has no readable video frame; use another file")


def opened(path: Path | str) -> Container:
    """The container of a file, to be used in a `with`. Raises: FileNotFoundError without the file,
    ValueError when it is no media file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; check the name")
    try:
        return av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise ValueError(f"{path} is not a readable media file ({reason})") from None


def video_stream(container: Container, path: Path | str) -> av.VideoStream:
    """The picture of a container, not its cover art. Raises: ValueError when there is none."""
    stream = container.streams.best("video")
    if stream is None:
        raise ValueError(f"{path} holds no video; use a video file")
    if stream.codec_context is None:
        raise ValueError(f"the codec of {path} is not known here; convert it to mp4")
    stream.thread_type = "AUTO"
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def shown_size(frame: av.VideoFrame, stream: av.VideoStream) -> tuple[int, int]:
    """Width and height as shown: square pixels, rotation flag honoured."""
    ratio = float(stream.sample_aspect_ratio or 1)
    ratio = ratio if 0.2 < ratio < 5 else 1.0  # else the flag is broken
    width, height = round(frame.width * ratio), frame.height
    return (height, width) if frame.rotation % 180 else (width, height)


def readable(
    container: Container, stream: "av.stream.Stream", path: Path | str, *, warn: bool = True
) -> Iterator["av.frame.Frame"]:
    """Decoded frames of a stream; what cannot be read is left out with one warning."""
    n_broken, reason = 0, None
    packets = container.demux(stream)
    while n_broken <= MAX_BROKEN:
        try:
            packet = next(packets)
            yield from packet.decode()
        except StopIteration:
            break
        except (av.FFmpegError, ValueError, IndexError) as problem:
            n_broken, reason = n_broken + 1, problem  # IndexError: a stream that appears late
            packets = container.demux(stream)
    if n_broken and warn:
        log.warning("%s is damaged: %d pieces could not be read (%s)", path, n_broken, reason)
