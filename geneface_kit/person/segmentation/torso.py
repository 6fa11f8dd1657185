"""Torso picture: neck and torso alone, painted on upwards behind the chin."""

import cv2
import numpy as np
from jaxtyping import UInt8

from geneface_kit.person.segmentation.labels import HEAD, NECK, TORSO

__all__ = ["torso_image"]

TORSO_FILL, NECK_FILL = 9, 53
"""Rows painted upwards above the torso and the neck, pixels of a picture of 512 (official code)."""
NECK_INSIDE = 4
"""How far inside the neck its colour is taken, pixels of a picture of 512 (official code)."""
DARKENING = 0.98
"""Factor on the colour per painted row of a picture of 512 (official code)."""


def torso_image(
    frame: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 4"]:
    """Neck and torso as RGBA, painted on upwards behind the chin (official code, as AD-NeRF).

    In each column the top torso pixel under the head is copied upwards, then the neck's (whose
    colour is taken a little inside), darkened per row, so there is body behind a moving chin.
    Colour is 0 where alpha is 0.
    """
    scale = len(frame) / 512
    body = (labels == NECK) | (labels == TORSO)
    colour = np.where(body[..., None], frame, 0).astype(np.float32)
    covered = body.copy()
    torso_rows, neck_rows, inside = (
        max(1, round(n * scale)) for n in (TORSO_FILL, NECK_FILL, NECK_INSIDE)
    )
    _paint_up(colour, covered, labels, TORSO, n_rows=torso_rows, inside=0)
    painted = _paint_up(colour, covered, labels, NECK, n_rows=neck_rows, inside=inside)
    width = 2 * max(1, round(2 * scale)) + 1
    weight = cv2.blur(covered.astype(np.float32), (width, width))[..., None]
    soft = cv2.blur(colour, (width, width)) / np.maximum(weight, 1e-6)
    colour[painted] = soft[painted]
    alpha = np.where(covered, 255, 0).astype(np.uint8)
    colour = np.where(covered[..., None], colour, 0).round().clip(0, 255).astype(np.uint8)
    return np.concatenate([colour, alpha[..., None]], axis=-1)


def _paint_up(
    colour: np.ndarray,
    covered: np.ndarray,
    labels: np.ndarray,
    part: int,
    *,
    n_rows: int,
    inside: int,
) -> np.ndarray:
    """Paint each column's top `part` pixel under the head upwards, in place; what was painted."""
    darkening = DARKENING ** (512 / len(labels))
    painted = np.zeros(covered.shape, bool)
    is_part = labels == part
    top = is_part.argmax(0)
    columns = np.flatnonzero(is_part.any(0) & (top > 0))
    columns = columns[labels[top[columns] - 1, columns] == HEAD]
    depth = np.minimum(inside, is_part[:, columns].sum(0) - 1)
    source = colour[np.minimum(top[columns] + depth, len(labels) - 1), columns].copy()
    for k in range(1, n_rows + 1):
        rows = top[columns] - k
        free = rows >= 0
        free[free] &= labels[rows[free], columns[free]] == HEAD
        colour[rows[free], columns[free]] = source[free] * darkening**k
        covered[rows[free], columns[free]] = painted[rows[free], columns[free]] = True
    return painted
