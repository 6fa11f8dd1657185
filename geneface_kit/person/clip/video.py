"""Video: a file -> upright frames at 25 fps by time stamps; frames and sound -> an mp4.

Both go frame by frame: a video is never held in memory as a whole.
"""

import contextlib
import functools
import itertools
import logging
from collections.abc import Collection, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace
from jaxtyping import Float, UInt8

from geneface_kit.person.clip.colour import HD, to_rgb
from geneface_kit.person.clip.container import (
    FPS,
    JUMP_S,
    SAMPLE_RATE,
    SAMPLES,
    opened,
    readable,
    shown_size,
    video_stream,
)
from geneface_kit.runs import replacing

Picture = UInt8[np.ndarray, "h w 3"]
CRF = 18  # constant rate factor of written h264: hardly to be told from the frames (ours)
EARLY_S = 0.0199  # a frame may be shown this much early: just under half a step at 25 fps
BACK_S = 1.0  # a longer step back in time is a new start of the file's clock, seconds (ours)

log = logging.getLogger(__name__)


def stream_frames(
    path: Path | str,
    *,
    long_side: int | None = None,
    max_s: float | None = None,
    wanted: Collection[int] | None = None,
) -> Iterator[Picture]:
    """Frames of a video one by one at 25 fps, upright, chosen by their time stamps.

    Picture k is the latest frame stamped up to k / 25 s (and a little more) after the first one,
    so variable and odd rates keep their timing. long_side: pixels of the longer side. wanted: the
    numbers of the frames that are given, None for all; no others are converted. A file that breaks
    off ends early with a logged warning.
    """
    n_frames = 0
    last = None  # (seconds since the first frame, picture to be)
    limit = np.inf if max_s is None else int(round(max_s * FPS))
    for seconds, picture in _timed_pictures(path, long_side):
        while last is not None and n_frames / FPS + EARLY_S < seconds:
            if n_frames >= limit:
                return
            if wanted is None or n_frames in wanted:
                yield last[1]()
            n_frames += 1
        step_s = 1 / FPS if last is None else max(seconds - last[0], 0.0)
        last = (seconds, picture)
    while last is not None and n_frames / FPS < last[0] + step_s / 2 and n_frames < limit:
        if wanted is None or n_frames in wanted:
            yield last[1]()
        n_frames += 1


def write_video(
    path: Path | str,
    frames: Iterable[Picture],
    audio: Float[np.ndarray, " n"] | None = None,
    *,
    metadata: dict[str, str] | None = None,
) -> None:
    """Write an mp4 (h264 yuv420p, aac, 25 fps, index first).

    Odd sizes grow by one pixel. audio: mono 16 kHz, starting with the first frame. metadata: text
    tags of the file, which appears under its name only when it is complete.
    """
    odd = ((one, *(side % 2 for side in one.shape[:2])) for one in frames)  # made even
    pictures = (np.pad(one, ((0, y), (0, x), (0, 0)), mode="edge") for one, y, x in odd)
    audio = np.zeros(0) if audio is None else audio
    flags = {"movflags": "+faststart+use_metadata_tags"}
    with replacing(Path(path)) as partial:
        first = next(pictures, None)
        if first is None:
            raise ValueError(f"no frames to write to {path}")
        with av.open(str(partial), "w", format="mp4", options=flags) as container:
            container.metadata.update(metadata or {})
            height, width = first.shape[:2]
            matrix = Colorspace.ITU709 if height >= HD else Colorspace.ITU601  # a stream's too
            how = {"pix_fmt": "yuv420p", "colorspace": int(matrix), "options": {"crf": str(CRF)}}
            video = container.add_stream("libx264", FPS, height=height, width=width, **how)
            if len(audio):
                sound = container.add_stream("aac", SAMPLE_RATE, layout="mono", bit_rate=96_000)
            pairs = itertools.zip_longest(itertools.chain([first], pictures), _sounds(audio))
            for number, (picture, heard) in enumerate(pairs):
                if picture is not None:
                    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                    frame = frame.reformat(format="yuv420p", dst_colorspace=matrix)
                    frame.pts, frame.time_base = number, Fraction(1, FPS)
                    container.mux(video.encode(frame))
                if heard is not None:
                    container.mux(sound.encode(heard))
            for stream in reversed(container.streams.get()):  # what their encoders still hold
                container.mux(stream.encode(None))


def _timed_pictures(path: Path | str, long_side: int | None) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds since the first frame, upright picture) of each readable frame, times rising.

    Where the file's clock jumps (damage, recordings joined end to end) time goes on by one step.
    """
    with opened(path) as container:
        stream = video_stream(container, path)
        step_s = 1 / float(stream.average_rate or stream.guessed_rate or FPS)
        step_s = step_s if 0 < step_s < 1 else 1 / FPS
        stamp, seconds, count, n_jumps = 0.0, 0.0, 0, 0
        for frame in _progressive(readable(container, stream, path)):
            time = stamp + step_s if frame.time is None else frame.time
            move_s = time - stamp if count else 0.0
            if move_s > JUMP_S or move_s < -BACK_S:
                move_s, n_jumps = step_s, n_jumps + 1
            if count and move_s <= 0:
                continue  # a repeated or slightly backward time stamp
            stamp, seconds, count = time, seconds + move_s, count + 1
            upright = functools.partial(_upright, frame, shown_size(frame, stream), long_side)
            yield seconds, functools.cache(upright)
        if n_jumps:
            log.warning("%s: the time stamps jump %d time(s); joined there", path, n_jumps)
        # an edit list shows fewer frames than the file holds
        shown = float((stream.duration or 0) * (stream.time_base or 0)) / step_s
        expected = min(stream.frames, round(shown)) if shown else stream.frames
        if count < 0.9 * expected:
            log.warning("%s is cut short: %d of %d frames", path, count, expected)
    if not count:
        raise ValueError(f"{path} has no readable video frame; use another file")


def _upright(frame: av.VideoFrame, size: tuple[int, int], long_side: int | None) -> Picture:
    width, height = size
    if long_side is not None:
        scale = long_side / max(width, height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
    quarter_turns = round(frame.rotation / 90) % 4  # counter-clockwise
    width, height = (height, width) if quarter_turns % 2 else (width, height)
    return np.ascontiguousarray(np.rot90(to_rgb(frame, width, height), quarter_turns))


def _progressive(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """The frames, those that are two interlaced fields made whole ones (FFmpeg's bwdif)."""
    graph = None
    for frame in itertools.chain(frames, [None]):
        if graph is None and frame is not None and frame.interlaced_frame:
            graph = av.filter.Graph()
            names = ("width", "height", "format", "time_base")
            source = graph.add_buffer(**{name: getattr(frame, name) for name in names})
            whole = graph.add("bwdif", "mode=send_frame:deint=interlaced")
            graph.link_nodes(source, whole, graph.add("buffersink")).configure()
        if graph is not None:
            graph.push(frame)  # None ends it
            with contextlib.suppress(av.BlockingIOError, av.EOFError):
                while True:
                    yield graph.pull()
        elif frame is not None:
            yield frame


def _sounds(audio: np.ndarray) -> Iterator[av.AudioFrame]:
    """The sound of each frame, and of those there would be after the last one."""
    for start in range(0, len(audio), SAMPLES):
        piece = np.asarray(audio[start : start + SAMPLES], np.float32)[None]
        sound = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
        yield sound
