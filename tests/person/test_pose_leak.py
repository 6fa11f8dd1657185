"""What a track says about itself: leaks of the pose are seen, and the lips are not smoothed."""

import dataclasses

import numpy as np
from films import DRAWN, truth
from geneface_kit_figures.report import pose_leak
from scipy.spatial.transform import Rotation

from geneface_kit.person import camera
from geneface_kit.person.tracking.pnp import smooth_upper_face
from geneface_kit.person.tracking.track import Track


def true_track() -> Track:
    """The truth of the drawn person as if it had been tracked."""
    true = truth(DRAWN)
    points = true.landmarks.astype(np.float32)
    return Track(
        poses=true.poses.astype(np.float32),
        focal=true.focal,
        landmarks=points,
        landmarks2d=true.landmarks2d,
        error_px=np.zeros(len(points), np.float32),
    )


def turned_track(share: float) -> Track:
    """A head that turns and nods; `share` of its turn is left in the landmarks; the lips talk."""
    random, n_frames = np.random.default_rng(3), len(truth(DRAWN).poses)
    t = np.arange(n_frames) / 25
    angles = np.radians(np.stack([4 * np.sin(2.1 * t), 9 * np.sin(1.3 * t), 0 * t], axis=1))
    points = np.tile(truth(DRAWN).landmarks.mean(0), (n_frames, 1, 1)).astype(float)
    points[:, 57:59, 1] -= (opening := np.abs(random.normal(0, 0.1, n_frames)))[:, None]
    points[:, 65:68, 1] -= opening[:, None]
    left = Rotation.from_rotvec(share * angles).as_matrix()
    poses = camera.pose_from_head(
        Rotation.from_rotvec(angles).as_matrix(), np.tile([0.0, 0, -7], (n_frames, 1))
    )
    points = np.einsum("tij,tnj->tni", left, points).astype(np.float32)
    return dataclasses.replace(true_track(), poses=poses, landmarks=points)


def test_a_leak_of_the_pose_is_seen():
    clean, leaky = (pose_leak(turned_track(share)) for share in (0.0, 0.3))
    assert clean["jaw_still"] < 1e-6 and max(abs(clean["lips_yaw"]), clean["lips_pitch"]) < 0.1
    assert leaky["lips_yaw"] > 0.4 and leaky["jaw_still"] > 0.02
    assert leaky["turn_still"] > 3


def test_the_true_landmarks_do_not_leak():
    leak = pose_leak(true_track())
    assert leak["jaw_still"] < 0.02 and leak["turn_still"] > 2
    assert abs(leak["opening_pitch"]) < 0.3 and abs(leak["opening_yaw"]) < 0.3


def test_smoothing_in_time_leaves_lips_and_jaw_alone():
    points = true_track().landmarks
    moved = np.abs(smooth_upper_face(points) - points).max((0, 2))
    assert (moved[:17] == 0).all() and (moved[48:] == 0).all() and (moved[17:48] > 0).all()
