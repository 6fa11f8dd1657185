"""Tracking: poses, focal length and pose-free landmarks against truth."""

import functools

import numpy as np
import pytest
from films import DRAWN, clip_path, truth
from geneface_kit_figures.report import pose_leak
from scipy.spatial.transform import Rotation

from geneface_kit.person import camera, clip, landmarks
from geneface_kit.person.camera import euler_degrees
from geneface_kit.person.mouth import mouth_shape
from geneface_kit.person.tracking import pnp as solver
from geneface_kit.person.tracking.pnp import RIGID, similarity
from geneface_kit.person.tracking.track import Track, TrackingConfig, track

CASES = [("demo", 256), ("demo", 128), ("demo_b", 128), (DRAWN, 256), (DRAWN, 128)]
TURN_ERRORS = {"demo": (0.7, 1.5), "demo_b": (0.8, 2.5), DRAWN: (1.05, 2.7)}
"""Largest mean and largest of all errors of a head's rotation, degrees."""
TOLD = TrackingConfig(relief=1.0)
"""For made-up meshes: their depth is right already."""


@functools.cache
def demo_mesh(name: str) -> landmarks.Mesh:
    """The face mesh of a demo person in pictures of 640 x 640, as the stage `person` finds it."""
    frames = clip.stream_frames(clip_path(name), long_side=640)
    return landmarks.fill_gaps(landmarks.detect(frames))


@functools.cache
def tracked_demo(name: str, size: int) -> Track:
    """A demo person tracked with pictures of size x size."""
    pictures = np.stack(list(clip.stream_frames(clip_path(name), long_side=size)))
    return track(demo_mesh(name).moved(0.0, 0.0, size / 640), size, pictures=pictures)


@pytest.fixture(scope="module")
def demo_track() -> Track:
    return tracked_demo("demo", 256)


def nodding_head(n_frames: int = 40, noise: float = 0.0) -> tuple[landmarks.Mesh, np.ndarray]:
    """A rigid cloud of 478 points that nods and turns, seen by a camera with f = 2.4 x 256."""
    random = np.random.default_rng(1)
    shape = random.uniform(-0.8, 0.8, (478, 3)) * [1, 1.2, 0.5]
    shape[33], shape[263] = [-0.5, 0, 0], [0.5, 0, 0]
    shape[10], shape[152] = [0, 0.9, 0.1], [0, -1.1, 0.1]
    t = np.arange(n_frames) / 25
    turns = np.radians(np.stack([6 * np.sin(3 * t), 12 * np.sin(2 * t + 1), 4 * np.cos(t)], axis=1))
    rotation = Rotation.from_rotvec(turns).as_matrix()
    shift = np.stack([0.2 * np.sin(t), 0.1 * np.cos(t), -7 + 0.3 * np.sin(t)], axis=1)
    poses = camera.pose_from_head(rotation, shift)
    pixels = camera.project(np.tile(shape, (n_frames, 1, 1)), poses, 2.4 * 256, 256)
    seen = np.einsum("tij,nj->tni", rotation, shape) + shift[:, None]
    depth = -seen[..., 2:] * 2.4 * 256 / 7  # away from the camera, in pixels at 7 units
    points = np.concatenate([pixels, depth], axis=-1) + random.normal(0, noise, (n_frames, 478, 3))
    alone = np.zeros(n_frames, np.float32)
    return landmarks.Mesh(points.astype(np.float32), np.ones(n_frames, bool), alone), poses


def turn_error_degrees(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Angle between two pose tracks after a constant turn (the choice of the head's axes)."""
    apart = Rotation.from_matrix(
        found[:, :3, :3].astype(float) @ true[:, :3, :3].transpose(0, 2, 1).astype(float)
    )
    return np.degrees((apart.mean().inv() * apart).magnitude())


def test_similarity_is_undone_exactly():
    random = np.random.default_rng(0)
    target = random.normal(size=(9, 3))
    turns = Rotation.random(4, random_state=0)
    points = np.stack([turn.apply(target) for turn in turns]) * 3 + 5
    scale, rotation, shift = similarity(points, target)
    back = scale[:, None, None] * points @ rotation.transpose(0, 2, 1) + shift[:, None]
    assert np.allclose(back, target) and np.allclose(scale, 1 / 3)


def test_a_rigid_head_is_tracked_within_a_tenth_of_a_degree():
    mesh, poses = nodding_head()
    tracked = track(mesh, 256, TOLD)
    assert abs(tracked.focal / (2.4 * 256) - 1) < 1e-3
    assert turn_error_degrees(tracked.poses, poses).max() < 0.3
    distance = np.linalg.norm(tracked.poses[:, :3, 3], axis=1)
    assert np.abs(distance / np.linalg.norm(poses[:, :3, 3], axis=1) - 1).max() < 0.02
    assert tracked.landmarks.std(0).max() < 0.02  # pose-free: nothing but the pose moved


def test_noise_and_outliers_do_not_turn_the_head():
    mesh, poses = nodding_head(noise=0.7)
    mesh.points[7, RIGID[:4]] += 40
    tracked = track(mesh, 256, TOLD)
    assert turn_error_degrees(tracked.poses, poses).max() < 1.5


@pytest.mark.parametrize(("spans", "linked"), [([0], (1, 1, 1, 1, 1)), ([0, 3], (1, 0, 0, 1, 1))])
def test_the_temporal_term_is_the_matrix_of_second_differences(spans, linked):
    found = solver._second_differences(np.array(spans), 7).toarray()
    assert np.array_equal(found[:5], np.diag(linked) @ np.diff(np.eye(7), 2, axis=0))
    assert not found[5:].any()


def test_a_frame_or_two_have_no_temporal_term():
    for n_frames in (1, 2):
        assert not solver._second_differences(np.array([0]), n_frames).toarray().any()


def test_the_head_frame_is_upright_with_unit_eye_distance(demo_track):
    mean = demo_track.landmarks.mean(0)
    assert np.allclose(mean[45] - mean[36], [1, 0, 0], atol=0.01)
    assert np.abs((mean[36] + mean[45]) / 2).max() < 0.01
    assert mean[8, 1] < mean[30, 1] < 0 and mean[30, 2] > mean[36, 2]  # y up, nose forward


def test_projected_landmarks_meet_the_detected_ones(demo_track):
    seen = camera.project(demo_track.landmarks, demo_track.poses, demo_track.focal, 256)
    assert np.linalg.norm(seen - demo_track.landmarks2d, axis=-1).mean() < 2
    assert demo_track.error_px.mean() < 1


@pytest.mark.parametrize(("name", "size"), CASES)
@pytest.mark.slow
def test_rotation_is_about_a_degree_from_the_truth(name, size):
    error = turn_error_degrees(tracked_demo(name, size).poses, truth(name).poses)
    mean, most = TURN_ERRORS[name]
    assert error.mean() < mean and error.max() < most


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), CASES)
def test_focal_length_is_near_the_truth(name, size):
    """It is assumed, as a talking head hardly shows it."""
    true = truth(name)
    assert abs(tracked_demo(name, size).focal / size / (true.focal / 256) - 1) < 0.03


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), CASES)
def test_canonical_landmarks_move_as_the_true_ones(name, size):
    """Within 0.02 eye distances, the mean of each point removed.

    The means are apart by 0.05 to 0.08: the mesh's point 234 is not the vertex that the truth
    calls point 1 of the jaw, and its depth is a guess. Whatever is learned sees the constant part
    in training and in use alike.
    """
    found, true = tracked_demo(name, size).landmarks, truth(name).landmarks
    moved = (found - found.mean(0)) - (true - true.mean(0))
    assert np.linalg.norm(moved, axis=-1).mean() < 0.02
    _, turn, _ = similarity(found.mean(0)[None].astype(float), true.mean(0).astype(float))
    apart = found.mean(0) @ turn[0].T - true.mean(0)
    assert np.linalg.norm(apart - apart.mean(0), axis=-1).mean() < 0.09


@pytest.mark.slow
@pytest.mark.parametrize("size", [256, 128])
def test_canonical_landmarks_are_pose_free(size):
    leak = pose_leak(tracked_demo(DRAWN, size))
    assert leak["turn_still"] > 2, "the head turns in the frames that are looked at"
    assert leak["jaw_still"] < 0.02, "but the jaw line does not"
    for key in ("opening_yaw", "opening_pitch"):
        assert abs(leak[key]) < 0.3
    assert max(leak["lips_yaw"], leak["lips_pitch"]) < 0.4


@pytest.mark.slow
def test_the_turned_pictures_are_worth_their_time():
    plain = track(demo_mesh(DRAWN).moved(0.0, 0.0, 256 / 640), 256)
    true, better = truth(DRAWN).poses, tracked_demo(DRAWN, 256)
    before, after = (turn_error_degrees(each.poses, true).mean() for each in (plain, better))
    assert after < 0.8 * before
    assert pose_leak(better)["jaw_still"] < 0.8 * pose_leak(plain)["jaw_still"]


def test_demo_mouth_follows_the_truth(demo_track):
    found = mouth_shape(demo_track.landmarks)
    true = mouth_shape(truth("demo").landmarks.astype(np.float32))
    assert np.corrcoef(found[:, 0], true[:, 0])[0, 1] > 0.9
    assert np.corrcoef(found[:, 1], true[:, 1])[0, 1] > 0.9


def test_demo_lips_do_not_follow_the_head(demo_track):
    opening = mouth_shape(demo_track.landmarks)[:, 0]
    angles = euler_degrees(demo_track.poses)
    for k in range(3):
        assert abs(np.corrcoef(opening, angles[:, k])[0, 1]) < 0.4


def test_euler_angles_of_a_nod():
    head = Rotation.from_euler("X", 10, degrees=True).as_matrix()[None]
    poses = camera.pose_from_head(head, np.array([[0.0, 0, -7]]))
    assert np.allclose(euler_degrees(poses), [[10, 0, 0]], atol=1e-4)


def test_infinite_points_are_refused():
    mesh, _ = nodding_head(5)
    mesh.points[0, 0, 0] = np.inf
    with pytest.raises(ValueError, match="finite"):
        track(mesh, 256)
