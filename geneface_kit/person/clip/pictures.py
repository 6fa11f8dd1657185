"""Pictures: a video file -> upright frames at 25 fps by time stamps, one after the other."""

import logging
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from geneface_kit.person.clip.media import FPS, JUMP_S, opened, readable, shown_size, video_stream

__all__ = ["stream_frames"]

EARLY_S = 0.0199
"""A frame may be shown this much before its time stamp: just under half a step at 25 fps."""
BACK_S = 1.0
"""A longer step back in time is a new start of the file's clock, seconds (ours)."""

log = logging.getLogger(__name__)


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


def _timed_pictures(path: Path | str, long_side: int | None) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds since the first frame, upright picture) of each readable frame, times rising.

    Where the file's clock jumps (damage, recordings joined end to end) time goes on by one step.
    """
    with opened(path) as container:
        stream = video_stream(container, path)
        step_s = 1 / float(stream.average_rate or stream.guessed_rate or FPS)
        step_s = step_s if 0 < step_s < 1 else 1 / FPS
        stamp, seconds, count, n_jumps = 0.0, 0.0, 0, 0
        for frame in readable(container, stream, path):
            time = stamp + step_s if frame.time is None else frame.time
            move_s = time - stamp if count else 0.0
            if move_s > JUMP_S or move_s < -BACK_S:
                move_s, n_jumps = step_s, n_jumps + 1
            if count and move_s <= 0:
                continue  # a repeated or slightly backward time stamp
            stamp, seconds, count = time, seconds + move_s, count + 1
            yield seconds, _upright(frame, stream, long_side)
        if n_jumps:
            log.warning("%s: the time stamps jump %d time(s); joined there", path, n_jumps)
        if count < 0.9 * stream.frames:
            log.warning("%s is cut short: %d of %d frames", path, count, stream.frames)
    if not count:
        raise ValueError(f"{path} has no readable video frame; use another file")


def _upright(frame: av.VideoFrame, stream: av.VideoStream, long_side: int | None) -> np.ndarray:
    width, height = shown_size(frame, stream)
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
