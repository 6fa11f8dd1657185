"""Rigid shape: meshes of a clip -> the head's mean shape in the head frame of `camera`."""

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter1d

__all__ = [
    "RIGID",
    "RIGID_68",
    "align",
    "mean_shape",
    "similarity",
    "smooth_upper_face",
    "unproject",
]

# fmt: off
RIGID = np.array([
    33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 10, 151, 9, 8, 127, 356, 234, 454, 93, 323,
    21, 251, 54, 284, 103, 332, 67, 297, 109, 338,
])
"""Mesh points that move with the skull: eye corners, nose ridge, forehead, temples, cheeks' rim."""
RIGID_68 = np.array([0, 1, 15, 16, 27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45])
"""The same among the 68 points, for detectors without a mesh."""
# fmt: on
SHAPE_STEPS = 6
"""Passes of the mean shape (ours)."""
SMOOTH_FRAMES = 0.6
"""Sigma of the smoothing in time of all points but lips and jaw, frames (ours)."""


def similarity(
    points: Float[np.ndarray, "t n 3"], target: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, "t 3 3"], Float[np.ndarray, "t 3"]]:
    """Scale s, rotation R, shift b of each set so that s * R @ p + b is nearest to the target.

    Umeyama's closed form, least squares.
    """
    mean, goal = points.mean(1), target.mean(0)
    centred, wanted = points - mean[:, None], target - goal
    u, sizes, vt = np.linalg.svd(np.einsum("ni,tnj->tij", wanted, centred))
    sign = np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= sign[:, None]
    sizes[:, 2] *= sign
    rotation = u @ vt
    scale = sizes.sum(1) / (centred**2).sum((1, 2))
    return scale, rotation, goal - scale[:, None] * np.einsum("tij,tj->ti", rotation, mean)


def mean_shape(
    solid: Float[np.ndarray, "t n 3"], rigid: Int[np.ndarray, " k"], eyes: tuple[int, int]
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "t n 3"]]:
    """Mean shape in the head frame and all frames aligned with it, eye distances.

    solid: from `unproject`; rigid: points that move with the skull; eyes: outer corners.
    """
    shape = _upright(solid[len(solid) // 2].astype(np.float64), eyes)
    for _ in range(SHAPE_STEPS):
        shape = _upright(align(solid, shape, rigid).mean(0), eyes)
    return shape, align(solid, shape, rigid)


def align(
    solid: Float[np.ndarray, "t n 3"], shape: Float[np.ndarray, "n 3"], rigid: Int[np.ndarray, " k"]
) -> Float[np.ndarray, "t n 3"]:
    """Every frame's points moved onto the shape by its rigid points: pose-free."""
    scale, rotation, shift = similarity(solid[:, rigid], shape[rigid])
    return scale[:, None, None] * solid @ rotation.transpose(0, 2, 1) + shift[:, None]


def _upright(shape: np.ndarray, eyes: tuple[int, int]) -> np.ndarray:
    """The shape in the head frame: outer eye corners on x, face plane upright, unit eye distance.

    Upright: the line from the top of the forehead to the chin (68 points: from between the
    eyes to below the nose) has no component along z.
    """
    top, bottom = (10, 152) if len(shape) == 478 else (27, 33)
    right = shape[eyes[1]] - shape[eyes[0]]
    unit = np.linalg.norm(right)
    x = right / unit
    up = shape[top] - shape[bottom]
    y = up - (up @ x) * x
    y /= np.linalg.norm(y)
    axes = np.stack([x, y, np.cross(x, y)])
    middle = (shape[eyes[0]] + shape[eyes[1]]) / 2
    return (shape - middle) @ axes.T / unit


def unproject(
    points: Float[np.ndarray, "t n 3"],
    rigid: Int[np.ndarray, " k"] | slice,
    focal: float,
    size: int,
) -> Float[np.ndarray, "t n 3"]:
    """Mesh points without perspective: pixels at the depth of the head, `focal` pixels away.

    points: pixels x right, y down and depth; the result is y up, z towards the camera.
    """
    farther = points[..., 2] - points[:, rigid, 2].mean(1, keepdims=True)
    stretch = 1 + farther / focal
    x = (points[..., 0] - size / 2) * stretch
    y = -(points[..., 1] - size / 2) * stretch
    return np.stack([x, y, -points[..., 2]], axis=-1).astype(np.float64)


def smooth_upper_face(points: Float[np.ndarray, "t 68 3"]) -> Float[np.ndarray, "t 68 3"]:
    """Brows, nose and eyes lightly smoothed in time; jaw and lips untouched."""
    smooth = points.copy()
    smooth[:, 17:48] = gaussian_filter1d(points[:, 17:48], SMOOTH_FRAMES, axis=0, mode="nearest")
    return smooth
