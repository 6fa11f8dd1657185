"""Tracking: face meshes -> head pose, one focal length, pose-free landmarks in the head frame.

The mean shape of the clip is found first (it fixes the head frame of `camera`), then the focal
length, then every pose by robust least squares on the rigid points' projections.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from geneface_kit import camera
from geneface_kit.landmarks import MESH_TO_68, Mesh, to_68
from geneface_kit.tracking.poses import TrackingConfig, find_focal, first_poses, refine
from geneface_kit.tracking.result import Track, euler_degrees, pose_leak, smoothing_effect
from geneface_kit.tracking.shape import (
    RIGID,
    RIGID_68,
    mean_shape,
    similarity,
    smooth_still_points,
    undo_perspective,
)

__all__ = [
    "RIGID",
    "Track",
    "TrackingConfig",
    "euler_degrees",
    "pose_leak",
    "similarity",
    "smoothing_effect",
    "track",
]


def track(mesh: Mesh, size: int, config: TrackingConfig | None = None) -> Track:
    """Pose, focal length and pose-free landmarks of a clip of one head.

    mesh: pixels of `size` x `size` pictures, gaps filled (`landmarks.fill_gaps`).
    """
    config = config or TrackingConfig()
    if not np.isfinite(mesh.points).all():
        raise ValueError("mesh.points must be finite; fill gaps before tracking")
    rigid = RIGID if mesh.points.shape[1] == 478 else RIGID_68
    eyes = (33, 263) if mesh.points.shape[1] == 478 else (36, 45)
    pixels = mesh.points[:, :, :2].astype(np.float64)

    focal = find_focal(mesh.points.astype(np.float64), rigid, eyes, size, config)
    solid = undo_perspective(mesh.points, rigid, focal, size)
    shape, aligned = mean_shape(solid, rigid, eyes, config.shape_steps)

    turns, shifts = first_poses(shape, solid, pixels, rigid, focal, size)
    reliefs = solid[:, rigid, 2] - solid[:, rigid, 2].mean(1, keepdims=True)
    turns, shifts = refine(
        shape[rigid], pixels[:, rigid], turns, shifts, focal, size, config, reliefs=reliefs
    )
    poses = camera.pose_from_head(Rotation.from_rotvec(turns).as_matrix(), shifts)
    projected = camera.project(np.tile(shape[rigid], (len(poses), 1, 1)), poses, focal, size)
    error = np.linalg.norm(projected - pixels[:, rigid], axis=-1).mean(1)

    points = aligned[:, MESH_TO_68] if aligned.shape[1] == 478 else aligned
    return Track(
        poses=poses.astype(np.float32),
        focal=float(focal),
        landmarks=smooth_still_points(points, config.smooth_frames).astype(np.float32),
        landmarks2d=to_68(mesh)[..., :2].astype(np.float32),
        error_px=error.astype(np.float32),
        unsmoothed=points.astype(np.float32),
    )
