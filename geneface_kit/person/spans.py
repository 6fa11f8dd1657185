"""Spans: the stretches that a person's frames come in, a clip or shot each; none sees another.

They are given by the first frame of each, `spans`, rising from 0. Between two of them is a joint:
the frames on its two sides follow each other in the files, but not in time.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Int

from geneface_kit.person.clip.container import FPS

Item = TypeVar("Item")
Spans = Int[np.ndarray, " k"]
Parts = Sequence[tuple[int, int]]  # first frame and end of each
ONE: Spans = np.zeros(1, np.int64)  # spans of a recording without a joint
HELD_OUT = 1 / 11  # share of the frames that is held out, at the end (official code)


def stretches(spans: Spans, stop: int, start: int = 0) -> list[slice]:
    """The parts of frames start .. stop - 1 that hold no joint, in order."""
    edges = [start, *(int(first) for first in spans if start < first < stop), stop]
    return [slice(a, b) for a, b in itertools.pairwise(edges) if a < b]


def firsts_of(parts: Parts) -> Spans:
    """Spans of frames that are taken from parts of clips, in a row."""
    lengths = [stop - start for start, stop in parts]
    return np.cumsum([0, *lengths[:-1]])


def each(
    change: Callable[[np.ndarray], np.ndarray], values: np.ndarray, spans: Spans
) -> np.ndarray:
    """What a function makes of every stretch of some values over time, one after the other."""
    return np.concatenate([change(values[part]) for part in stretches(spans, len(values))])


def held_out_from(spans: Spans, n_frames: int) -> int:
    """The first frame that is held out: of the last whole stretches, where such are HELD_OUT of the
    frames up to twice as much, else of as many frames, up to a second less to begin at a joint."""
    most = n_frames * 10 // 11
    near = [int(first) for first in spans if n_frames * (1 - 2 * HELD_OUT) <= first <= most + FPS]
    return max([first for first in near if first <= most] or near, default=most)


def runs_of(
    flags: Bool[np.ndarray, " t"], max_gap: int = 0, cuts: Sequence[int] | np.ndarray = ()
) -> list[tuple[int, int]]:
    """First frame and end of every run of set flags, in order of time, with gaps of at most max_gap
    frames. cuts: frames at which a new run starts, rising."""
    seen = np.flatnonzero(flags)
    parts = np.searchsorted(cuts, seen, side="right")
    starts = 1 + np.flatnonzero((np.diff(seen) > max_gap + 1) | (np.diff(parts) > 0))
    return [(int(part[0]), int(part[-1]) + 1) for part in np.split(seen, starts) if len(part)]


def evenly_spaced(n_frames: int, n: int) -> Int[np.ndarray, " _"]:
    """Up to n frame numbers, evenly over the clip."""
    return np.unique(np.linspace(0, n_frames - 1, min(n_frames, n)).astype(int))


def windows(items: Iterable[Item], reach: int) -> Iterator[list[Item | None]]:
    """Each item of a stream amid the `reach` before and the `reach` after it, None for none."""
    held = deque([None] * reach, maxlen=2 * reach + 1)
    for item in itertools.chain(items, [None] * reach):
        held.append(item)
        if len(held) == 2 * reach + 1:
            yield list(held)
