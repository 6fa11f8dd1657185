"""Properties of camera and tracking geometry that hold for any head, pose and camera."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from geneface_kit.person import camera, landmarks
from geneface_kit.person.camera import euler_degrees
from geneface_kit.person.tracking.pnp import RIGID, align, similarity, unproject
from geneface_kit.person.tracking.track import TrackingConfig, track

FEW = settings(max_examples=8, deadline=None, derandomize=True)
MANY = settings(max_examples=100, deadline=None, derandomize=True)

focals = st.floats(1.2, 4.8)  # picture widths
sizes = st.sampled_from([64, 128, 256, 512])
seeds = st.integers(0, 2**32 - 1)


def vectors(low: float, high: float, *shape: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, shape or (3,), elements=st.floats(low, high))


places = st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(-12, -5)).map(np.array)
turns = vectors(-0.6, 0.6)  # rotation vectors of a head that faces the camera more or less


def pose_of(turn: np.ndarray, place: np.ndarray) -> np.ndarray:
    rotation = Rotation.from_rotvec(turn).as_matrix()
    return camera.pose_from_head(rotation[None], place[None])[0].astype(np.float64)


@MANY
@given(turn=turns, place=places, point=vectors(-1.5, 1.5))
def test_a_pose_and_the_heads_motion_undo_each_other(turn, place, point):
    in_camera = Rotation.from_rotvec(turn).apply(point) + place
    pose = pose_of(turn, place)
    assert pose[:3, :3] @ in_camera + pose[:3, 3] == pytest.approx(point, abs=1e-5)


@MANY
@given(turn=turns, place=places, focal=focals, size=sizes, pixel=vectors(0, 1, 2))
def test_a_ray_hits_the_pixel_it_was_shot_through(turn, place, focal, size, pixel):
    pose, focal = pose_of(turn, place), focal * size
    column_row = np.floor(pixel * (size - 1)).astype(np.int64)
    ray = camera.rays(torch.from_numpy(pose), focal, size, torch.from_numpy(column_row[None]))
    for far in (3.0, 40.0):
        point = (ray.origins + far * ray.directions).numpy()
        seen = camera.project(point, pose, focal, size)[0]
        assert seen == pytest.approx(column_row + 0.5, abs=1e-4)


@MANY
@given(turn=turns, place=places, focal=focals, size=sizes, point=vectors(-1, 1))
def test_projection_scales_with_the_picture(turn, place, focal, size, point):
    pose = pose_of(turn, place)
    one = camera.project(point[None], pose, focal * size, size)
    assert camera.project(point[None], pose, 3 * focal * size, 3 * size) == pytest.approx(
        3 * one, abs=1e-6
    )


@MANY
@given(point=vectors(-2, 2, 1, 3))
def test_the_box_and_the_head_frame_undo_each_other(point):
    back = camera.from_box(camera.to_box(torch.from_numpy(point)))
    assert back.numpy() == pytest.approx(point, abs=1e-12)


@MANY
@given(angles=vectors(-80, 80), place=places)
def test_euler_angles_come_back(angles, place):
    pitch, yaw, roll = angles
    head = Rotation.from_euler("YXZ", [yaw, pitch, roll], degrees=True)
    poses = camera.pose_from_head(head.as_matrix()[None], place[None])
    assert euler_degrees(poses)[0] == pytest.approx(angles, abs=1e-2)


@MANY
@given(seed=seeds, scale=st.floats(0.05, 20), shift=vectors(-50, 50), n=st.integers(4, 30))
def test_any_similarity_is_recovered(seed, scale, shift, n):
    random = np.random.default_rng(seed)
    target, turn = random.normal(size=(n, 3)), Rotation.random(random_state=seed)
    points = ((target - shift) / scale) @ turn.as_matrix()  # target = scale * turn(points) + shift
    found_scale, found_turn, found_shift = similarity(points[None], target)
    assert found_scale[0] == pytest.approx(scale, rel=1e-6)
    assert found_turn[0] == pytest.approx(turn.as_matrix(), abs=1e-6)
    assert found_shift[0] == pytest.approx(shift, abs=1e-5)


@MANY
@given(seed=seeds, n=st.integers(4, 30))
def test_a_similarity_never_mirrors(seed, n):
    points, target = np.random.default_rng(seed).normal(size=(2, n, 3))
    _, turn, _ = similarity(points[None], target)
    assert np.linalg.det(turn[0]) == pytest.approx(1)


@MANY
@given(seed=seeds, scale=st.floats(0.2, 5), shift=vectors(-9, 9))
def test_canonical_landmarks_do_not_depend_on_the_heads_motion(seed, scale, shift):
    random = np.random.default_rng(seed)
    shape = random.normal(size=(478, 3))
    face = shape + random.normal(0, 0.05, (478, 3))  # an expression, and jitter of the skull
    turned = scale * face @ Rotation.random(random_state=seed).as_matrix().T + shift
    still, moved = align(np.stack([face, turned]), shape, RIGID)
    assert moved == pytest.approx(still, abs=1e-6)


def filmed(seed: int, focal: float, size: int) -> tuple[landmarks.Mesh, np.ndarray]:
    """A random rigid face of 478 points that turns smoothly, seen exactly, and its poses."""
    random = np.random.default_rng(seed)
    shape = random.uniform(-0.8, 0.8, (478, 3)) * [1, 1.2, 0.5]
    shape[33], shape[263] = [-0.5, 0, 0], [0.5, 0, 0]
    shape[10], shape[152] = [0, 0.9, 0.1], [0, -1.1, 0.1]
    t = np.arange(24) / 25
    speed, phase = random.uniform(1, 4, (2, 3)), random.uniform(0, 6, (2, 3))
    sway = np.sin(speed[:, None] * t[:, None] + phase[:, None])  # (2, t, 3)
    motion = Rotation.from_rotvec(np.radians([7, 14, 5]) * sway[0])
    place = np.array([0.2, 0.1, 0.2]) * sway[1] + [0, 0, -3 * focal]
    poses = camera.pose_from_head(motion.as_matrix(), place)
    pixels = camera.project(np.tile(shape, (len(t), 1, 1)), poses.astype(float), focal * size, size)
    seen = np.einsum("tij,nj->tni", motion.as_matrix(), shape) + place[:, None]
    middle = seen[:, RIGID, 2].mean(1)[:, None]
    depth = -(seen[..., 2] - middle) * focal * size / -middle
    points = np.concatenate([pixels, depth[..., None]], axis=-1).astype(np.float32)
    return landmarks.Mesh(points, np.ones(24, bool), np.zeros(24, np.float32)), poses


@FEW
@given(seed=seeds, focal=focals, size=st.sampled_from([128, 512]))
@pytest.mark.slow
def test_a_rigid_face_is_tracked_in_any_camera(seed, focal, size):
    """Told the focal length: poses up to a constant turn, landmarks that stand still."""
    mesh, poses = filmed(seed, focal, size)
    told = TrackingConfig(focal_prior=focal, relief=1.0)
    tracked = track(mesh, size, told)
    assert tracked.focal == focal * size
    apart = Rotation.from_matrix(
        tracked.poses[:, :3, :3].astype(float) @ poses[:, :3, :3].transpose(0, 2, 1)
    )
    assert np.degrees((apart.mean().inv() * apart).magnitude()).max() < 0.5
    assert tracked.landmarks.std(0).max() < 0.01
    assert tracked.error_px.mean() < 0.5 * size / 256


@FEW
@given(seed=seeds, focal=focals)
def test_perspective_is_undone(seed, focal):
    """Solid points keep their proportions to a fiftieth of a pixel, whatever the camera."""
    mesh, _ = filmed(seed, focal, 256)
    solid = unproject(mesh.points, focal * 256, 256)
    assert np.abs(align(solid, solid[0], np.arange(478)) - solid[0]).max() < 0.02
