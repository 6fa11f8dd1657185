"""Temporal smoothing: labels that agree in time where the picture does not change."""

from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from jaxtyping import UInt8

__all__ = ["flicker", "smooth_labels"]

N_LABELS = 4
VOTE_FRAMES = 2
"""Frames before and after that vote on a label (ours)."""
VOTE_COLOUR = 8.0
"""Colour change at which a neighbour's vote fades, of 255 (ours)."""


def smooth_labels(
    pictures: Iterable[tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]],
    *,
    reach: int = VOTE_FRAMES,
) -> Iterator[UInt8[np.ndarray, "h w"]]:
    """Labels of each frame by a vote of the frames within `reach` of it.

    pictures: (frame, labels) in order of time, streamed. At each pixel a neighbour's vote
    weighs exp(-(d / VOTE_COLOUR)^2), d its colour's distance (mean over 3 x 3 pixels, levels of
    255), so that nothing is voted onto what has moved. The frame itself weighs 1.
    """
    held: deque = deque(maxlen=2 * reach + 1)  # (soft frame, labels) around the one voted on
    n_seen = 0
    for frame, labels in pictures:
        held.append((cv2.blur(frame, (3, 3)).astype(np.int16), labels))
        n_seen += 1
        if n_seen > reach:
            yield _vote(held, len(held) - 1 - reach)
    for left in range(min(reach, n_seen) - 1, -1, -1):
        if left + reach + 1 < len(held):
            held.popleft()
        yield _vote(held, len(held) - 1 - left)


def flicker(
    pictures: Iterable[tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]],
    *,
    still_level: float = 4.0,
) -> float:
    """Share of the still pixels near the person's edges whose label changes from frame to frame.

    pictures: neighbouring (frame, labels) pairs in order of time. Still: the colour (mean over
    3 x 3 pixels) changes by less than `still_level` of 255. Near: another label lies within 3
    pixels in one of the two frames. 0 for labels that change with the picture only.
    """
    n_near = n_changed = 0
    before: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    for frame, labels in pictures:
        soft = cv2.blur(frame, (3, 3)).astype(np.int16)
        edge = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, np.ones((7, 7), np.uint8)) > 0
        if before is not None:
            still = np.abs(soft - before[0]).max(-1) < still_level
            near = still & (edge | before[2])
            n_near += int(near.sum())
            n_changed += int((near & (labels != before[1])).sum())
        before = (soft, labels, edge)
    return n_changed / n_near if n_near else 0.0


def _vote(held: deque, at: int) -> np.ndarray:
    soft, own = held[at]
    disputed = np.zeros(own.shape, bool)
    for _, labels in held:
        disputed |= labels != own
    rows, columns = np.nonzero(disputed)
    if not len(rows):
        return own.copy()
    votes = np.zeros((len(rows), N_LABELS), np.float32)
    for other, labels in held:
        away = np.abs(other[rows, columns] - soft[rows, columns]).max(-1)
        weight = np.exp(-((away / VOTE_COLOUR) ** 2))
        votes[np.arange(len(rows)), labels[rows, columns]] += weight
    steady = own.copy()
    steady[rows, columns] = votes.argmax(1)
    return steady
