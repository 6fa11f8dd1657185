"""Mouth: opening and width of the lips, from landmarks or from points seen in a picture.

Points are the 68 of iBUG (300-W): jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, outer lips 48-59,
inner lips 60-67. Their numbers are in the order of the face seen from the front.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

__all__ = ["INNER_LIPS", "LIPS", "mouth_opening", "mouth_shape", "mouth_width", "seen_opening"]

LIPS = slice(48, 68)
"""The 20 points of the outer and the inner lips among the 68."""
INNER_LIPS = ((61, 67), (62, 66), (63, 65))
"""Pairs of points of the upper and the lower inner lip, one above the other."""


def mouth_opening(landmarks: Float[np.ndarray, "t 68 3"]) -> Float[np.ndarray, " t"]:
    """Height of the gap between the inner lips (62 over 66), inter-ocular distances.

    landmarks: head frame of `camera`, y up. About 0 with closed lips, 0.3 wide open.
    """
    return landmarks[:, 62, 1] - landmarks[:, 66, 1]


def mouth_width(landmarks: Float[np.ndarray, "t 68 3"]) -> Float[np.ndarray, " t"]:
    """Distance along x of the corners of the mouth (48 and 54), inter-ocular distances."""
    return landmarks[:, 54, 0] - landmarks[:, 48, 0]


def mouth_shape(landmarks: Float[np.ndarray, "t 68 3"]) -> Float[np.ndarray, "t 2"]:
    """Opening and width of the mouth side by side, inter-ocular distances, float32."""
    shape = [mouth_opening(landmarks), mouth_width(landmarks)]
    return np.stack(shape, axis=1).astype(np.float32)


def seen_opening(
    points: Float[np.ndarray, "t 68 2"], *, pairs: Sequence[tuple[int, int]] = INNER_LIPS
) -> Float[np.ndarray, " t"]:
    """Opening of the mouth in a picture, in seen inter-ocular distances (outer corners 36, 45).

    points: pixels. The mean gap over `pairs` of the inner lips. A head that turns or comes
    nearer changes it little.
    """
    upper, lower = np.array(pairs).T
    gaps = np.linalg.norm(points[:, upper] - points[:, lower], axis=-1).mean(axis=1)
    return gaps / np.linalg.norm(points[:, 36] - points[:, 45], axis=-1)
