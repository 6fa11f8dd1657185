"""Track: face meshes -> head pose, one focal length, pose-free landmarks in the head frame.

The mean shape of the clip is found first (it fixes the head frame of `camera`), then the focal
length, then every pose by robust least squares on the rigid points' projections. Given the
pictures, the detector is asked about turns that are known (`calibration`), and its gain on poses
and the share of the pose that it leaves in the landmarks are taken out.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.spatial.transform import Rotation

from geneface_kit.metrics.formulas import pearson
from geneface_kit.person import camera
from geneface_kit.person.landmarks import MESH_TO_68, Mesh, detect, fill_gaps, to_68
from geneface_kit.person.mouth import LIPS, mouth_opening
from geneface_kit.person.spans import ONE
from geneface_kit.person.tracking import pnp
from geneface_kit.person.tracking.calibration import N_PICTURES, calibrate
from geneface_kit.runs.ranges import Positive


@dataclass(frozen=True)
class TrackingConfig:
    """What is assumed of a clip before it is tracked. All ours."""

    focal_prior: Positive = 2.4  # focal length expected of a talking-head clip, picture widths
    focal_spread: Positive = 0.3  # its uncertainty, natural log; the clip says little about f
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
    spans: Int[np.ndarray, " k"] = ONE,
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
    prior, rigid = {"prior": config.focal_prior, "spread": config.focal_spread}, pnp.RIGID
    focal = pnp.estimate_focal(points, size, **prior)
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
        focal=float(focal),
        landmarks=pnp.smooth_upper_face(landmarks, spans).astype(np.float32),
        landmarks2d=to_68(mesh)[..., :2].astype(np.float32),
        error_px=error.astype(np.float32),
    )


def pose_leak(tracked: Track) -> dict[str, float]:
    """How much of the head's motion is left in the pose-free landmarks; all 0 at best.

    opening_yaw, opening_pitch: correlation of the mouth's opening (inner lips) with the head's
    turn and nod. lips_yaw, lips_pitch: mean size of the correlation over the 60 coordinates of the
    lips. jaw_still: rms motion of the jaw line, eye distances, in the quarter of the frames in
    which the lips are most nearly closed, so that little but the head moves; turn_still: rms turn
    and nod in these frames, degrees.
    Speakers nod with their words: a correlation of a few tenths need not be a leak.
    """
    points = tracked.landmarks
    lips = points[:, LIPS].reshape(len(points), -1).astype(np.float64)
    pitch, yaw, _ = camera.euler_degrees(tracked.poses).T.astype(np.float64)
    opening = mouth_opening(points.astype(np.float64))
    still = opening <= np.percentile(opening, 25)
    jaw, turns = points[still, :17], np.stack([pitch, yaw], 1)[still]
    leak = {}
    for name, angle in (("yaw", yaw), ("pitch", pitch)):
        leak[f"opening_{name}"] = pearson(opening, angle, still=0.0)
        leak[f"lips_{name}"] = float(np.mean([abs(pearson(x, angle, still=0.0)) for x in lips.T]))
    leak["jaw_still"] = float(np.sqrt(((jaw - jaw.mean(0)) ** 2).sum(-1).mean()))
    leak["turn_still"] = float(np.sqrt(((turns - turns.mean(0)) ** 2).sum(-1).mean()))
    return leak


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
