"""PnP: meshes of a clip -> the head's mean shape, its motion and the focal length.

The mean shape fixes the head frame of `camera`. Poses come from robust nonlinear least squares on
the reprojection error of its rigid points, all frames of a clip together.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import solveh_banded
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from geneface_kit.person.spans import ONE, each, stretches

# fmt: off
RIGID = np.array([
    33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 10, 151, 9, 8, 127, 356, 234, 454, 93, 323,
    21, 251, 54, 284, 103, 332, 67, 297, 109, 338,
])
"""Mesh points that move with the skull: eye corners, nose ridge, forehead, temples, cheeks' rim."""
RIGID_68 = np.array([0, 1, 15, 16, 27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45])
"""The same among the 68 points, for detectors without a mesh."""
# fmt: on
SHAPE_STEPS = 6  # passes of the mean shape (ours)
SMOOTH_FRAMES = 0.6  # sigma of the smoothing in time of all points but lips and jaw, frames (ours)
FOCAL_EVIDENCE = 2.0
"""Independent observations that the clip's errors are worth against the focal's prior (ours)."""
FOCAL_STEPS = 25  # candidates of the focal length between 1.2 and 4.8 picture widths (ours)
OUTLIER_PX, NOISE_PX = 1.6, 0.8
"""Error beyond which a point counts linearly (Huber), and usual error, px at width 256 (ours)."""
DEPTH_WEIGHT = 0.7  # trust in the mesh's depth against its pixels (ours)
TURN_NOISE, SHIFT_NOISE = 0.4, 0.02  # change a frame of turn (degrees) and shift (iod) speed (ours)
STEPS = 8  # Gauss-Newton steps


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


def smooth_upper_face(
    points: Float[np.ndarray, "t 68 3"], spans: Int[np.ndarray, " k"] = ONE
) -> Float[np.ndarray, "t 68 3"]:
    """Brows, nose and eyes lightly smoothed in time, stretch by stretch; jaw and lips untouched."""

    def softened(part: np.ndarray) -> np.ndarray:
        return gaussian_filter1d(part, SMOOTH_FRAMES, axis=0, mode="nearest")

    smooth = points.copy()
    smooth[:, 17:48] = each(softened, points[:, 17:48], spans)
    return smooth


def solve_pnp(
    shape: Float[np.ndarray, "n 3"],
    points: Float[np.ndarray, "t n 3"],
    focal: float,
    size: int,
    *,
    spans: Int[np.ndarray, " k"] | None = ONE,
) -> tuple[Float[np.ndarray, "t 3"], Float[np.ndarray, "t 3"]]:
    """Rotation vectors and translations of the head in the camera, radians and eye distances.

    shape: rigid points in the head frame; points: the same ones seen, pixels and depth of the
    mesh; spans: of the frames that follow each other in time, None when none do.
    """
    solid = unproject(points, slice(None), focal, size)
    pixels, depths = points[..., :2], solid[..., 2] - solid[..., 2].mean(1, keepdims=True)
    start = _far_camera_poses(shape, solid, pixels, focal, size)
    poses = _refine(shape, pixels, start, focal, size, depths=depths, spans=spans)
    return poses[:, :3], poses[:, 3:]


def estimate_focal(
    points: Float[np.ndarray, "t n 3"],
    rigid: Int[np.ndarray, " k"],
    eyes: tuple[int, int],
    size: int,
    *,
    prior: float,
    spread: float,
) -> float:
    """The focal length with the smallest reprojection error plus the prior's penalty, pixels.

    prior: expected focal length, picture widths; spread: its uncertainty, natural log.
    It is mostly the prior. A talking head hardly shows its focal length, and what it shows is
    the detector's taste: on every clip tried, real or rendered, the error falls by a few per cent
    towards the shortest candidate. So its logarithm counts as few independent observations, and
    only points that are projected exactly move the answer far.
    """
    some = points[np.unique(np.linspace(0, len(points) - 1, 60).astype(int))]
    pixels = some[:, rigid, :2]
    candidates = np.geomspace(1.2, 4.8, FOCAL_STEPS) * size
    costs = []
    for focal in candidates:
        solid = unproject(some, rigid, focal, size)
        shape, _ = mean_shape(solid, rigid, eyes)
        shape = shape[rigid]
        poses = _far_camera_poses(shape, solid[:, rigid], pixels, focal, size)
        poses = _refine(shape, pixels, poses, focal, size)
        errors = np.linalg.norm(_residuals(shape, pixels, poses, focal, size), axis=-1)
        doubt = np.log(focal / (prior * size)) / spread
        costs.append(FOCAL_EVIDENCE * np.log(np.sqrt((errors**2).mean())) + doubt**2 / 2)
    return float(candidates[int(np.argmin(costs))])


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


def _far_camera_poses(
    shape: np.ndarray, solid: np.ndarray, pixels: np.ndarray, focal: float, size: int
) -> np.ndarray:
    """Rotation vectors and translations side by side, (t, 6), as if the camera were far away."""
    scale, rotation, _ = similarity(solid, shape)  # picture to head
    head = rotation.transpose(0, 2, 1)
    # the pixels per eye distance give the depth: focal / depth = 1 / scale
    depth = focal * scale
    centre = pixels.mean(1) - size / 2
    middle = np.stack([centre[:, 0], -centre[:, 1]], 1) * (depth / focal)[:, None]
    shift = np.concatenate([middle, -depth[:, None]], 1)
    shift -= np.einsum("tij,j->ti", head, shape.mean(0))
    return np.concatenate([Rotation.from_matrix(head).as_rotvec(), shift], 1)


def _refine(
    shape: np.ndarray,
    pixels: np.ndarray,
    poses: np.ndarray,
    focal: float,
    size: int,
    *,
    depths: np.ndarray | None = None,
    spans: np.ndarray | None = None,
) -> np.ndarray:
    """Gauss-Newton with Huber weights on all poses; in spans, second differences are small too."""
    noise = NOISE_PX * size / 256
    limit = OUTLIER_PX * size / 256
    stiff = np.array([1 / np.radians(TURN_NOISE)] * 3 + [1 / SHIFT_NOISE] * 3)
    for _ in range(STEPS):
        residual = _residuals(shape, pixels, poses, focal, size)
        slope = _slopes(shape, poses, focal)
        distance = np.linalg.norm(residual, axis=-1)  # (t, n)
        weight = np.minimum(1, limit / np.maximum(distance, 1e-9)) / noise**2 / len(shape) * 6
        hessian = np.einsum("tnki,tn,tnkj->tij", slope, weight, slope)
        gradient = np.einsum("tnki,tn,tnk->ti", slope, weight, residual)
        if depths is not None:
            residual, slope = _depth_residuals(shape, depths, poses, focal)
            weight = np.minimum(1, limit / np.maximum(np.abs(residual), 1e-9))
            weight *= (DEPTH_WEIGHT / noise) ** 2 / len(shape) * 6
            hessian += np.einsum("tni,tn,tnj->tij", slope, weight, slope)
            gradient += np.einsum("tni,tn,tn->ti", slope, weight, residual)
        hessian += 1e-6 * np.eye(6)
        if spans is not None and len(poses) > 2:
            step = _linked_step(hessian, gradient, poses, stiff, spans)
        else:
            step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        poses = poses - step
    return poses


def _linked_step(
    hessian: np.ndarray,
    gradient: np.ndarray,
    poses: np.ndarray,
    stiff: np.ndarray,
    spans: np.ndarray,
) -> np.ndarray:
    """Newton step of the data term plus |stiff * second difference|^2 (banded, exact)."""
    n_frames = len(poses)
    linked = np.zeros(n_frames - 2)  # whether frames k, k + 1, k + 2 lie in one stretch
    for part in stretches(spans, n_frames):
        linked[part.start : max(part.start, part.stop - 2)] = 1
    second = np.zeros((n_frames, 3))  # band of D^T D: diagonal, first, second off-diagonal
    for offset, row in enumerate(_second_difference_bands(linked)):
        second[: len(row), offset] = row
    bend = np.zeros_like(poses)
    bend[2:] += (curve := linked[:, None] * np.diff(poses, 2, axis=0))
    bend[1:-1] -= 2 * curve
    bend[:-2] += curve
    band = np.zeros((18, n_frames * 6))  # lower form: band[d, j] = H[j + d, j]
    for row in range(6):
        for column in range(row + 1):
            band[row - column, column::6] += hessian[:, row, column]
        for offset in range(3):
            band[6 * offset, row::6] += stiff[row] ** 2 * second[:, offset]
    right = (gradient + bend * stiff**2).ravel()
    return solveh_banded(band, right, lower=True).reshape(n_frames, 6)


def _second_difference_bands(linked: np.ndarray) -> list[np.ndarray]:
    """Diagonals 0, 1, 2 of D^T D for the (n - 2, n) second-difference matrix D of linked rows."""
    # a row of D is 1, -2, 1
    return [np.convolve(linked, [1.0, 4.0, 1.0]), np.convolve(linked, [-2.0, -2.0]), linked]


def _in_camera(shape: np.ndarray, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shape turned only, and turned and shifted: (t, n, 3) each."""
    turned = np.einsum("tij,nj->tni", Rotation.from_rotvec(poses[:, :3]).as_matrix(), shape)
    return turned, turned + poses[:, None, 3:]


def _residuals(
    shape: np.ndarray, pixels: np.ndarray, poses: np.ndarray, focal: float, size: int
) -> np.ndarray:
    """Projected minus detected points, (t, n, 2) pixels (the pinhole of `camera`)."""
    x, y, z = np.moveaxis(_in_camera(shape, poses)[1], -1, 0)
    return np.stack([size / 2 - focal * x / z, size / 2 + focal * y / z], -1) - pixels


def _depth_residuals(
    shape: np.ndarray, depths: np.ndarray, poses: np.ndarray, focal: float
) -> tuple[np.ndarray, np.ndarray]:
    """The same for the depth of each point against the others': (t, n) pixels, (t, n, 6)."""
    turned, _ = _in_camera(shape, poses)
    pixels_per_unit = (focal / -poses[:, 5])[:, None]
    turning = -_cross(turned)[..., 2, :] @ _left_jacobian(poses[:, :3])
    slope = np.concatenate([turning, np.zeros_like(turning)], axis=-1) * pixels_per_unit[..., None]
    depth = turned[..., 2] * pixels_per_unit
    slope -= slope.mean(1, keepdims=True)
    return depth - depth.mean(1, keepdims=True) - depths, slope


def _slopes(shape: np.ndarray, poses: np.ndarray, focal: float) -> np.ndarray:
    """d(residual) / d(rotation vector, shift), (t, n, 2, 6)."""
    turned, seen = _in_camera(shape, poses)
    x, y, z = np.moveaxis(seen, -1, 0)
    zero = np.zeros_like(x)
    along = np.stack(  # d(u, v) / d(point in the camera)
        [
            np.stack([-focal / z, zero, focal * x / z**2], -1),
            np.stack([zero, focal / z, -focal * y / z**2], -1),
        ],
        axis=-2,
    )
    # d(turned) / d(rotation vector) = -[turned]x J
    turning = -_cross(turned) @ _left_jacobian(poses[:, :3])[:, None]
    return np.concatenate([along @ turning, along], axis=-1)


def _left_jacobian(vectors: np.ndarray) -> np.ndarray:
    """J with exp((v + d)^) = exp((J d)^) exp(v^) to first order; (t, 3, 3)."""
    angle = np.linalg.norm(vectors, axis=-1)[:, None, None] + 1e-8
    wedge = _cross(vectors)
    first = (1 - np.cos(angle)) / angle**2
    second = (angle - np.sin(angle)) / angle**3
    return np.eye(3) + first * wedge + second * wedge @ wedge


def _cross(vectors: np.ndarray) -> np.ndarray:
    """Matrices [v]x with [v]x w = v x w."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
