"""Verdict: rendered frames -> what a viewer would find wrong with them, and which stage to look at.

Measured on pictures and labels alone, against frames of the clip itself; the limits are ours.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from geneface_kit.person.segmentation import BACKGROUND, HEAD, NECK, TORSO

Picture = UInt8[np.ndarray, "h w 3"]
Labels = UInt8[np.ndarray, "h w"]
SEAM = "line between head and body over the clip's own"
HALO = "halo round the head over the clip's own"
FLOATING = "parts that float beside the head, share of it"
FLICKER = "flicker over the clip's own"
TREMBLE = "tremble of the head's border over the clip's own"
DETAIL = "fine detail of the head over the clip's own"
BODY = "fine detail of the body over the clip's own"
EVERY = 4  # of so many frames one is looked at for all but flicker and trembling
BORDER, RINGS, AROUND = 1.5, (2.5, 5.5), 6.0
"""Half the width of a border, the distances of what lies beside it, and how far about a place both
are averaged: pixels of a picture of 256, or of a smaller one."""
SLACK = 1.0
"""Levels of 255 by which any picture may tremble or have a line, and squared by which its body may
lack detail: bare shoulders have little."""


@dataclass(frozen=True)
class Check:
    """One measured quality. low, high: the limits inside which it is fine; value None: not
    measured, for the reason in `remedy`. remedy: what to look at when it is not fine."""

    name: str
    value: float | None
    low: float
    high: float
    remedy: str

    @property
    def fine(self) -> bool:
        """Inside the limits, or not measured."""
        return self.value is None or self.low <= self.value <= self.high

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name}: not measured ({self.remedy})"
        limits = f"{self.low:g} to {self.high:g}"
        if self.fine:
            return f"{self.name}: {self.value:.2f} (fine: {limits})"
        return f"{self.name}: {self.value:.2f}, outside {limits}: look at {self.remedy}"


def verdict_lines(checks: Sequence[Check]) -> list[str]:
    """The verdict in words: one line for the whole, one for every check."""
    failed = sum(not check.fine for check in checks)
    head = f"{failed} of {len(checks)} checks failed" if failed else "good"
    return [f"verdict: {head}", *(f"  {check}" for check in checks)]


class Look:
    """Watches frames go by, in order of time, and what each of their pixels shows.

    floating: the largest share of a head's pixels that are not joined to it.
    """

    def __init__(self, frames: Iterable[tuple[Picture, Labels]] = ()):
        self.sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))
        self.last: list[tuple[np.ndarray, np.ndarray]] = []
        self.floating, self.n = 0.0, 0
        for frame in frames:
            self.add(*frame)

    def add(self, picture: Picture, labels: Labels, *, follows: bool = True) -> None:
        """Takes a frame into account. follows: at once on the one before."""
        gray = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY).astype(np.float32)
        head = (labels == HEAD).astype(np.uint8)
        reach = np.ones((2 * round(2 * BORDER * max(1.0, len(gray) / 256)) + 1,) * 2, np.uint8)
        body = (labels == NECK) | (labels == TORSO)
        inside, in_body = (cv2.erode(one, reach) > 0 for one in (head, body.astype(np.uint8)))
        border = (cv2.dilate(head, reach) > 0) & ~inside
        self.last = [*self.last[-2:], (gray, border)] if follows else [(gray, border)]
        if len(self.last) == 3:
            (first, a), (middle, b), (last, c) = self.last
            bend = np.abs(first - 2 * middle + last)
            self._count(FLICKER, bend)
            self._count(TREMBLE, bend[a | b | c])
        if self.n % EVERY == 0:
            self._count(SEAM, line_strength(gray, head > 0, body))
            self._count(HALO, line_strength(gray, head > 0, labels == BACKGROUND))
            fine = fine_detail(gray) ** 2
            self._count(DETAIL, fine[inside])
            self._count(BODY, fine[in_body])
            self.floating = max(self.floating, floating_share(head > 0))
        self.n += 1

    def value(self, name: str) -> float | None:
        """The mean of a measure over all its pixels, None for one that no frame showed: of lines in
        levels of 255, of detail in their squares; of flicker and trembling the second difference
        in time, levels: 0 for a steady movement."""
        total, n = self.sums[name]
        return float(total / n) if n else None

    def _count(self, name: str, values: np.ndarray) -> None:
        self.sums[name] += values.sum(dtype=np.float64), values.size


def fine_detail(gray: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """A picture without what is coarser than about a quarter of the sampling rate: [1 2 1] / 4
    halves what has that along one axis."""
    return gray - cv2.sepFilter2D(gray, -1, *[np.float32([0.25, 0.5, 0.25])] * 2)


def line_strength(
    gray: Float[np.ndarray, "h w"], one: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, " n"]:
    """By how many levels each pixel of the border of two masks is darker, or brighter, than what
    lies on both its sides; 0 for a border that leads from one to the other."""
    if not (one.any() and other.any()):
        return gray[:0, 0]
    unit = max(1.0, len(gray) / 256)
    to_one, to_other, to_third = (
        cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5).astype(np.float64) / unit
        for mask in (one, other, ~(one | other))
    )
    window = (2 * round(AROUND * unit) + 1,) * 2
    known = (to_one <= BORDER) & (to_other <= BORDER) & (to_third > RINGS[0])
    sides = []
    for mask, distance in ((one, to_other), (other, to_one)):
        beside = (mask & (distance > RINGS[0]) & (distance <= RINGS[1])).astype(np.float32)
        share = cv2.blur(beside, window)
        sides.append(cv2.blur(gray * beside, window) / np.maximum(share, 1e-6))
        known &= share > 0.02
    low, high = np.minimum(*sides), np.maximum(*sides)
    return np.maximum(0, np.maximum(low - gray, gray - high))[known]


def floating_share(head: Bool[np.ndarray, "h w"]) -> float:
    """The share of a head's pixels that are not joined to its largest part."""
    sizes = cv2.connectedComponentsWithStats(head.astype(np.uint8), connectivity=8)[2][1:, -1]
    return 1 - float(sizes.max() / sizes.sum()) if len(sizes) else 0.0


def picture_checks(seen: Look, own: Look) -> tuple[Check, ...]:
    """The checks of rendered frames, beside frames of the clip itself."""
    joint = "the nerf stage (03), more joint.steps, then the person stage (00), labels at the "
    border = "the person stage (00), whose poses or labels jump from frame to frame"
    fine = "the nerf stage (03): too low is soft, for more head.steps; too high is noise"
    still = "the person stage (00): shoulders that turn, or that hair covers, cannot be followed"
    loose = "the nerf stage (03), where cells beside the head are dense, then the labels (00)"
    limits = {
        SEAM: (0.0, 1.5, SLACK, joint + "neck"),
        HALO: (0.0, 1.5, SLACK, joint + "hair, and the background"),
        FLICKER: (0.0, 1.5, SLACK, "the nerf stage (03): train longer, or more talk.smooth_frames"),
        TREMBLE: (0.0, 1.5, SLACK, border),
        DETAIL: (0.25, 1.5, 0.0, fine),
        BODY: (0.35, 1.5, SLACK, still),
    }
    checks = [Check(FLOATING, seen.floating, 0.0, 0.01, loose)]
    for name, (low, high, slack, remedy) in limits.items():
        values = (seen.value(name), own.value(name))
        if None in values or not values[1] + slack:
            checks.append(Check(name, None, low, high, "no frames of the clip, or none shows it"))
        else:
            ratio = (values[0] + slack) / (values[1] + slack)
            checks.append(Check(name, ratio, low, high, remedy))
    return tuple(checks)
