"""Track: face meshes -> head pose, one focal length, pose-free landmarks in the head frame.

The mean shape of the clip is found first (it fixes the head frame of `camera`), then every pose by
robust least squares on the rigid points' projections. Given the pictures, the detector is asked
about turns that are known (`calibration`), and its gain on poses and the share of the pose that it
leaves in the landmarks are taken out.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation

from geneface_kit.person import camera
from geneface_kit.person.landmarks import MESH_TO_68, Mesh, detect, fill_gaps, to_68
from geneface_kit.person.spans import ONE, Spans
from geneface_kit.person.tracking import pnp
from geneface_kit.person.tracking.calibration import N_PICTURES, calibrate
from geneface_kit.runs.ranges import Positive


@dataclass(frozen=True)
class TrackingConfig:
    """What is assumed of a clip before it is tracked. All ours."""

    focal_prior: Positive = 2.4  # focal length, picture widths; a talking head hardly shows it
    relief: Positive = 1.1  # depth of heads over that of mediapipe's mesh (30 heads: 1.07-1.13)


@dataclass(frozen=True)
class Track:
    """A tracked head.

    poses: (t, 4, 4) camera-to-world, see `camera`; focal: pixels; landmarks: (t, 68, 3)
    pose-free, head frame; landmarks2d: (t, 68, 2) pixels; error_px: (t,) mean distance of the
    projected rigid mean shape from the detected points.
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
        response = calibrate(
            np.asarray(pictures[some]), aligned[some], rotations, shifts[some], focal, read
        )
        if response is not None:
            turns, shifts, landmarks = _without(*response, turns, shifts, landmarks, shape[rigid])

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


def _without(
    gain: np.ndarray,
    leak: np.ndarray,
    turns: np.ndarray,
    shifts: np.ndarray,
    landmarks: np.ndarray,
    solid: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses and landmarks without the detector's gain and leak, about the clip's mean pose."""
    read = Rotation.from_rotvec(turns)
    mean = read.mean()
    moved = (read * mean.inv()).as_rotvec() @ np.linalg.inv(gain).T
    true = Rotation.from_rotvec(moved) * mean
    middle = solid.mean(0)  # stays where it was seen
    shifts = shifts + read.apply(middle) - true.apply(middle)
    landmarks = landmarks - np.einsum("ta,anc->tnc", moved, leak)
    return true.as_rotvec(), shifts, landmarks
