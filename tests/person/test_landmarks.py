"""Landmarks: the detector's faces on the demo clip, gaps, spans, cuts."""

import numpy as np
import pytest
from films import read_film, truth

from geneface_kit.person import demo, landmarks
from geneface_kit.person.spans import runs_of


def mesh_of(points: np.ndarray, found) -> landmarks.Mesh:
    return landmarks.Mesh(
        points.astype(np.float32), np.array(found, bool), np.zeros(len(found), np.float32)
    )


@pytest.fixture(scope="module")
def ten_frames() -> np.ndarray:
    return read_film(demo.clip_path("demo"), size=256, max_s=0.4).frames


def test_points_lie_on_the_true_ones(ten_frames):
    mesh = landmarks.detect(ten_frames)
    assert mesh.found.all() and mesh.points.shape == (10, 478, 3)
    true = truth("demo").landmarks2d[:10]
    error = np.linalg.norm(landmarks.to_68(mesh)[..., :2] - true, axis=-1)
    assert error[:, 36:].mean() < 1.5 and error.mean() < 3  # pixels of 256


def test_an_oblong_picture_gives_the_same_face(ten_frames):
    wide = np.pad(ten_frames[:2], ((0, 0), (0, 0), (100, 60), (0, 0)))
    plain, padded = landmarks.detect(ten_frames[:2]), landmarks.detect(wide)
    assert np.abs(padded.moved(100.0, 0.0, 1.0).points - plain.points)[..., :2].mean() < 1.0


def test_no_face_is_not_found():
    mesh = landmarks.detect(np.zeros((3, 64, 64, 3), np.uint8))
    assert not mesh.found.any()
    with pytest.raises(ValueError, match="no face"):
        landmarks.fill_gaps(mesh)


def test_a_second_face_is_measured(ten_frames):
    small = ten_frames[:2, ::2, ::2]
    beside = np.concatenate([ten_frames[:2], np.pad(small, ((0, 0), (64, 64), (0, 0), (0, 0)))], 2)
    mesh = landmarks.detect(beside)
    assert np.allclose(mesh.rival, 0.5, atol=0.07)
    assert (landmarks.to_68(mesh)[..., 0].mean(1) < 256).all()  # the larger one is followed


def test_gaps_are_interpolated_and_flagged():
    points = np.zeros((5, 68, 3))
    points[0], points[4] = 0.0, 8.0
    filled = landmarks.fill_gaps(mesh_of(points, [1, 0, 0, 0, 1]))
    assert filled.points[:, 0, 0].tolist() == [0, 2, 4, 6, 8]
    assert filled.found.tolist() == [True, False, False, False, True]


def test_ends_repeat_the_nearest_face():
    points = np.zeros((3, 68, 3))
    points[1] = 5.0
    assert landmarks.fill_gaps(mesh_of(points, [0, 1, 0])).points[:, 0, 0].tolist() == [5, 5, 5]


@pytest.mark.parametrize(
    ("found", "max_gap", "cuts", "stretches"),
    [
        ("111111", 2, (), [(0, 6)]),
        ("110011", 2, (), [(0, 6)]),
        ("1100011", 2, (), [(0, 2), (5, 7)]),
        ("11000111", 2, (), [(0, 2), (5, 8)]),
        ("011110", 2, (), [(1, 5)]),
        ("11111111", 2, (3,), [(0, 3), (3, 8)]),
        ("11100111", 2, (4,), [(0, 3), (5, 8)]),
        ("11111", 2, (0,), [(0, 5)]),
        ("000", 2, (), []),
    ],
)
def test_long_gaps_and_cuts_split_the_clip(found, max_gap, cuts, stretches):
    seen = np.array([letter == "1" for letter in found])
    assert runs_of(seen, max_gap, cuts) == stretches


def test_a_cut_is_a_jump_of_picture_and_face():
    random = np.random.default_rng(0)
    face = random.uniform(20, 40, (1, 68, 3))
    points = np.repeat(face, 20, axis=0) + random.normal(0, 0.1, (20, 68, 3))
    pictures = np.full((20, 16, 16, 3), 100, np.uint8)
    pictures[12:] = 160
    steady = mesh_of(points, [1] * 20)
    assert landmarks.find_cuts(pictures, steady) == ()  # only the light changes
    points[12:] += 30
    assert landmarks.find_cuts(pictures, mesh_of(points, [1] * 20)) == (12,)
