"""Mouth: opening and width of the lips, and which of their shapes a clip shows.

Points are the 68 of iBUG (300-W): jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, outer lips 48-59,
inner lips 60-67. Their numbers are in the order of the face seen from the front.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from geneface_kit.runs.files import Facts

LIPS = slice(48, 68)  # the 20 points of the outer and the inner lips among the 68
INNER_LIPS = ((61, 67), (62, 66), (63, 65))  # upper and lower points, one above the other
CELL = 0.04  # side of a cell of mouth shapes, eye distances (ours)
N_OPENING, N_WIDTH = 10, 11  # cells from closed to wide open; from narrow over usual to broad
ROWS = (
    "...####....",  # closed; columns: narrower than usual, usual (6th), broader
    "...####....",
    "...####....",
    "....####...",
    "....###....",
    "......#....",
    *4 * ("...........",),  # the last: 0.36 eye distances and more
)
COMMON_SHAPES: Bool[np.ndarray, "10 11"] = np.array([list(row) for row in ROWS]) == "#"
"""Shapes that at least 4 of 8 speakers showed, in two frames or more, in 5 to 20 s of real speech
each (97 s in all), tracked by this kit."""


def mouth_opening(landmarks: Float[np.ndarray, "t 68 3"]) -> Float[np.ndarray, " t"]:
    """Height of the gap between the inner lips (62 over 66), inter-ocular distances, of landmarks
    in the head frame: about 0 with closed lips, 0.3 wide open."""
    return landmarks[:, 62, 1] - landmarks[:, 66, 1]


def mouth_width(landmarks: Float[np.ndarray, "t 68 3"]) -> Float[np.ndarray, " t"]:
    """Distance along x of the corners of the mouth (48 and 54), inter-ocular distances."""
    return landmarks[:, 54, 0] - landmarks[:, 48, 0]


def mouth_shape(landmarks: Float[np.ndarray, "t 68 3"]) -> Float[np.ndarray, "t 2"]:
    """Opening and width of the mouth side by side, inter-ocular distances, float32."""
    return np.stack([mouth_opening(landmarks), mouth_width(landmarks)], 1).astype(np.float32)


def seen_opening(
    points: Float[np.ndarray, "t 68 2"], *, pairs: Sequence[tuple[int, int]] = INNER_LIPS
) -> Float[np.ndarray, " t"]:
    """Opening of the mouth in a picture, in seen inter-ocular distances (outer corners 36, 45): the
    mean gap over `pairs` of the inner lips. A head that turns or comes nearer changes it little."""
    upper, lower = np.array(pairs).T
    gaps = np.linalg.norm(points[:, upper] - points[:, lower], axis=-1).mean(axis=1)
    return gaps / np.linalg.norm(points[:, 36] - points[:, 45], axis=-1)


def mouth_cells(mouth: Float[np.ndarray, "t 2"]) -> Int[np.ndarray, "t 2"]:
    """The cell of each frame's mouth (`mouth_shape`): opening from closed, width against the clip's
    median. A mouth 0.09 open at its usual width lies in cell (2, 5)."""
    opening = np.clip(np.floor(mouth[:, 0] / CELL), 0, N_OPENING - 1)
    side = N_WIDTH // 2
    width = np.clip(np.round((mouth[:, 1] - np.median(mouth[:, 1])) / CELL), -side, side) + side
    return np.stack([opening, width], axis=1).astype(np.int64)


def shown_cells(mouth: Float[np.ndarray, "t 2"]) -> Bool[np.ndarray, "10 11"]:
    """The cells of mouth shapes that two frames or more are in."""
    numbers = mouth_cells(mouth) @ np.array([N_WIDTH, 1])
    return np.bincount(numbers, minlength=N_OPENING * N_WIDTH).reshape(N_OPENING, N_WIDTH) >= 2


def mouth_coverage(mouth: Float[np.ndarray, "t 2"]) -> Facts:
    """What a person's report says of the mouth shapes of a clip, opening and width given.

    mouth_shapes: their number; _common: share of COMMON_SHAPES among them; _missing: what the
    absent common shapes have in common, a few words or "".
    """
    shown = shown_cells(mouth)
    return {
        "mouth_shapes": int(shown.sum()),
        "mouth_shapes_common": float((shown & COMMON_SHAPES).sum() / COMMON_SHAPES.sum()),
        "mouth_shapes_missing": _missing(COMMON_SHAPES & ~shown),
    }


def _missing(absent: np.ndarray) -> str:
    """Absent common shapes in words: closed, wide open, narrow (oo), broad (ee)."""
    opening, width = np.nonzero(absent)
    kinds = {
        "closed lips": (opening == 0, COMMON_SHAPES[0].sum()),
        "wide open mouths": (opening >= 4, COMMON_SHAPES[4:].sum()),
        "narrow mouths (oo)": (width <= 4, COMMON_SHAPES[:, :5].sum()),
        "broad mouths (ee)": (width >= 6, COMMON_SHAPES[:, 6:].sum()),
    }
    return ", ".join(name for name, (hits, all_of) in kinds.items() if 2 * hits.sum() >= all_of)
