"""Mouths: which mouth shapes a clip shows, the seconds that show most of them, what is missing."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from geneface_kit.person.clip import FPS

__all__ = ["COMMON_SHAPES", "Coverage", "coverage", "shapes"]

STEP = 0.04
"""Side of a cell of mouth shapes, eye distances (ours)."""
N_OPENING, N_WIDTH = 10, 11
"""Cells from closed to wide open; from narrow over the usual width, in the middle, to broad."""
COMMON_SHAPES: Bool[np.ndarray, "10 11"] = np.array(
    [
        [cell == "#" for cell in row]
        for row in (
            "...####....",  # closed; columns: narrower than usual, usual (6th), broader
            "...####....",
            "...####....",
            "....####...",
            "....###....",
            "......#....",
            "...........",
            "...........",
            "...........",
            "...........",  # 0.36 eye distances and more
        )
    ]
)
"""Shapes that at least 4 of 8 speakers showed in 5 to 20 s of real speech each (97 s in all).

Counted with this module on clips tracked by this kit, a shape being shown by two frames or more.
"""


@dataclass(frozen=True)
class Coverage:
    """The mouth shapes of a clip.

    n_shapes: cells of opening and width shown by two frames or more; common: share of
    COMMON_SHAPES among them; missing: what the absent common shapes have in common, a few words
    or ""; windows: first frames of the one-second windows, best first, that together show
    `reached` of the clip's own shapes.
    """

    n_shapes: int
    common: float
    missing: str
    windows: tuple[int, ...]
    reached: float


def shapes(mouth: Float[np.ndarray, "t 2"]) -> Int[np.ndarray, "t 2"]:
    """The cell of each frame's mouth: opening from closed, width against the clip's median.

    mouth: opening and width in eye distances (`mouth.mouth_shape`). A mouth 0.09 open at its
    usual width lies in cell (2, 5).
    """
    opening = np.clip(np.floor(mouth[:, 0] / STEP), 0, N_OPENING - 1)
    side = N_WIDTH // 2
    width = np.clip(np.round((mouth[:, 1] - np.median(mouth[:, 1])) / STEP), -side, side) + side
    return np.stack([opening, width], axis=1).astype(np.int64)


def coverage(
    mouth: Float[np.ndarray, "t 2"], *, enough: float = 0.9, most_windows: int = 8
) -> Coverage:
    """Shapes of a clip, and the few seconds that show most of them, by greedy choice.

    Windows start at multiples of a fifth of a second; each next one adds the most shapes that
    are not yet shown, until `enough` of them are, or `most_windows` are chosen.
    """
    cells = shapes(mouth) @ np.array([N_WIDTH, 1])
    counts = np.bincount(cells, minlength=N_OPENING * N_WIDTH)
    shown = counts >= 2
    starts = range(0, max(1, len(cells) - FPS + 1), FPS // 5)
    sets = {start: set(cells[start : start + FPS]) & set(np.flatnonzero(shown)) for start in starts}
    windows: list[int] = []
    seen: set[int] = set()
    while len(seen) < enough * shown.sum() and len(windows) < most_windows:
        best = max(sets, key=lambda start: len(sets[start] - seen))
        if not sets[best] - seen:
            break
        windows.append(best)
        seen |= sets[best]
    common = COMMON_SHAPES.ravel()
    return Coverage(
        n_shapes=int(shown.sum()),
        common=float((shown & common).sum() / common.sum()),
        missing=_missing(common & ~shown),
        windows=tuple(windows),
        reached=len(seen) / max(1, int(shown.sum())),
    )


def _missing(absent: np.ndarray) -> str:
    """Absent common shapes in words: closed, wide open, narrow (oo), broad (ee)."""
    opening, width = np.nonzero(absent.reshape(N_OPENING, N_WIDTH))
    total = COMMON_SHAPES
    kinds = {
        "closed lips": (opening == 0, total[0].sum()),
        "wide open mouths": (opening >= 4, total[4:].sum()),
        "narrow mouths (oo)": (width <= 4, total[:, :5].sum()),
        "broad mouths (ee)": (width >= 6, total[:, 6:].sum()),
    }
    return ", ".join(name for name, (hits, all_of) in kinds.items() if 2 * hits.sum() >= all_of)
