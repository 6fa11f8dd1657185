"""PnP: meshes of a clip -> the head's mean shape and its motion.

The mean shape fixes the head frame of `camera`. Poses come from robust nonlinear least squares on
the reprojection error of its rigid points, all frames of a clip together.
"""

import functools

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from scipy.ndimage import gaussian_filter1d
from scipy.sparse.linalg import spsolve
from scipy.spatial.transform import Rotation

from geneface_kit.person.spans import ONE, Spans, each, stretches

Shape = Float[np.ndarray, "n 3"]
Shapes = Float[np.ndarray, "t n 3"]  # of every frame

# fmt: off
RIGID = np.array([
    33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 10, 151, 9, 8, 127, 356, 234, 454, 93, 323,
    21, 251, 54, 284, 103, 332, 67, 297, 109, 338,
])
"""Mesh points that move with the skull: eye corners, nose ridge, forehead, temples, cheeks' rim."""
# fmt: on
RIGHT_EYE, LEFT_EYE, BROW, CHIN = 33, 263, 10, 152
"""Mesh points: outer eye corners, right and left in the face; top of the forehead; chin."""
SHAPE_STEPS = 6  # passes of the mean shape (ours)
SMOOTH_FRAMES = 0.6  # sigma of the smoothing in time of all points but lips and jaw, frames (ours)
OUTLIER_PX, NOISE_PX = 1.6, 0.8
"""Error beyond which a point counts linearly (Huber), and usual error, px at width 256 (ours)."""
DEPTH_WEIGHT = 0.7  # trust in the mesh's depth against its pixels (ours)
TURN_NOISE, SHIFT_NOISE = 0.4, 0.02  # change a frame of turn (degrees) and shift (iod) speed (ours)
STEPS, DIFFERENCE = 8, 1e-5  # Gauss-Newton steps; of poses, by which slopes are measured


def similarity(
    points: Shapes, target: Shape
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


def mean_shape(solid: Float[np.ndarray, "t 478 3"]) -> Float[np.ndarray, "478 3"]:
    """Mean shape in the head frame, eye distances. solid: from `unproject`."""
    shape = _upright(solid[len(solid) // 2].astype(np.float64))
    for _ in range(SHAPE_STEPS):
        shape = _upright(align(solid, shape).mean(0))
    return shape


def align(solid: Shapes, shape: Shape, rigid: Int[np.ndarray, " k"] = RIGID) -> Shapes:
    """Every frame's points moved onto the shape by its rigid points: pose-free."""
    scale, rotation, shift = similarity(solid[:, rigid], shape[rigid])
    return scale[:, None, None] * solid @ rotation.transpose(0, 2, 1) + shift[:, None]


def unproject(
    points: Shapes, focal: float, size: int, rigid: Int[np.ndarray, " k"] | slice = RIGID
) -> Shapes:
    """Mesh points without perspective: pixels at the depth of the head, `focal` pixels away.

    points: pixels x right, y down and depth; the result is y up, z towards the camera.
    """
    farther = points[..., 2] - points[:, rigid, 2].mean(1, keepdims=True)
    stretch = 1 + farther / focal
    x = (points[..., 0] - size / 2) * stretch
    y = -(points[..., 1] - size / 2) * stretch
    return np.stack([x, y, -points[..., 2]], axis=-1).astype(np.float64)


def smooth_upper_face(points: Shapes, spans: Spans = ONE) -> Shapes:
    """The 68 points, brows, nose and eyes lightly smoothed in time, stretch by stretch; jaw and
    lips untouched."""
    softened = functools.partial(gaussian_filter1d, sigma=SMOOTH_FRAMES, axis=0, mode="nearest")
    smooth = points.copy()
    smooth[:, 17:48] = each(softened, points[:, 17:48], spans)
    return smooth


def solve_pnp(
    shape: Shape, points: Shapes, focal: float, size: int, *, spans: Spans = ONE
) -> tuple[Float[np.ndarray, "t 3"], Float[np.ndarray, "t 3"]]:
    """Rotation vectors and translations of the head in the camera, radians and eye distances.

    shape: rigid points in the head frame; points: the same ones seen, pixels and depth of the
    mesh; spans: of the frames that follow each other in time. Gauss-Newton with Huber weights on
    all poses; second differences of those that follow each other are small too.
    """
    solid = unproject(points, focal, size, slice(None))
    points = np.concatenate([points[..., :2], solid[..., 2:] - solid[..., 2:].mean(1)[:, None]], -1)
    poses = _far_camera_poses(shape, solid, points, focal, size)
    noise, limit = NOISE_PX * size / 256, OUTLIER_PX * size / 256
    trust = np.array([1, 1, DEPTH_WEIGHT**2]) / noise**2 / len(shape) * 6
    stiff = np.array([1 / np.radians(TURN_NOISE)] * 3 + [1 / SHIFT_NOISE] * 3)
    curvature = _second_differences(spans, len(poses))
    bend = sparse.kron(curvature.T @ curvature, np.diag(stiff**2))
    steps = DIFFERENCE * np.eye(6)
    for _ in range(STEPS):
        distance = -poses[:, 5]
        residual = _seen(shape, poses, focal, size, distance) - points
        ahead, behind = (
            [_seen(shape, poses + step, focal, size, distance) for step in side]
            for side in (steps, -steps)
        )
        slope = np.stack(np.subtract(ahead, behind) / (2 * DIFFERENCE), -1)
        slope = slope.reshape(len(poses), -1, 6)  # (t, 3 n, 6)
        error = np.linalg.norm(residual[..., :2], axis=-1)
        error = np.stack([error, error, np.abs(residual[..., 2])], -1)
        weight = trust * np.minimum(1, limit / np.maximum(error, 1e-9))
        weight = weight.reshape(len(poses), -1, 1)
        hessian = slope.transpose(0, 2, 1) @ (weight * slope) + 1e-6 * np.eye(6)
        gradient = (slope * weight * residual.reshape(weight.shape)).sum(1)
        blocks = sparse.bsr_array((hessian, np.arange(len(poses)), np.arange(len(poses) + 1)))
        step = spsolve((blocks + bend).tocsc(), gradient.ravel() + bend @ poses.ravel())
        poses = poses - step.reshape(-1, 6)
    return poses[:, :3], poses[:, 3:]


def _upright(shape: np.ndarray) -> np.ndarray:
    """The shape in the head frame: outer eye corners on x, face plane upright, unit eye distance.

    Upright: the line from the top of the forehead to the chin has no component along z.
    """
    right = shape[LEFT_EYE] - shape[RIGHT_EYE]
    unit = np.linalg.norm(right)
    x = right / unit
    up = shape[BROW] - shape[CHIN]
    y = up - (up @ x) * x
    y /= np.linalg.norm(y)
    axes = np.stack([x, y, np.cross(x, y)])
    middle = (shape[RIGHT_EYE] + shape[LEFT_EYE]) / 2
    return (shape - middle) @ axes.T / unit


def _far_camera_poses(
    shape: np.ndarray, solid: np.ndarray, points: np.ndarray, focal: float, size: int
) -> np.ndarray:
    """Rotation vectors and translations side by side, (t, 6), as if the camera were far away."""
    scale, rotation, _ = similarity(solid, shape)  # picture to head
    head = rotation.transpose(0, 2, 1)
    # the pixels per eye distance give the depth: focal / depth = 1 / scale
    depth = focal * scale
    centre = points[..., :2].mean(1) - size / 2
    middle = np.stack([centre[:, 0], -centre[:, 1]], 1) * (depth / focal)[:, None]
    shift = np.concatenate([middle, -depth[:, None]], 1)
    shift -= np.einsum("tij,j->ti", head, shape.mean(0))
    return np.concatenate([Rotation.from_matrix(head).as_rotvec(), shift], 1)


def _second_differences(spans: np.ndarray, n: int) -> sparse.sparray:
    """The matrix (n, n) whose row k gives the second difference of frames k, k + 1 and k + 2, or 0
    where these are not in one stretch."""
    linked = np.zeros(n)
    for part in stretches(spans, n):
        linked[part.start : max(part.start, part.stop - 2)] = 1
    rows = sparse.diags_array([1.0, -2.0, 1.0], offsets=[0, 1, 2], shape=(n, n + 2))
    return sparse.diags_array(linked) @ rows.tocsr()[:, :n]


def _seen(shape: Shape, poses: np.ndarray, focal: float, size: int, distance: np.ndarray) -> Shapes:
    """The shape in the picture, (t, n, 3) pixels: right, down (the pinhole of `camera`), and how
    far before their mean the points are, at the scale of a head at that distance (t,)."""
    turned = shape @ Rotation.from_rotvec(poses[:, :3]).as_matrix().transpose(0, 2, 1)
    x, y, z = np.moveaxis(turned + poses[:, None, 3:], -1, 0)
    depth = turned[..., 2] * (focal / distance)[:, None]
    depth -= depth.mean(1, keepdims=True)
    return np.stack([size / 2 - focal * x / z, size / 2 + focal * y / z, depth], -1)
