"""Misplaced: what each fit to the truth finds on pictures made by hand."""

import cv2
import numpy as np
import pytest

from notebooks.studies.misplaced import Squares, coloured, flowed, moved, placed


@pytest.fixture
def picture():
    """Smooth random colours, (128, 128, 3)."""
    noise = np.random.default_rng(0).uniform(0, 255, (16, 16, 3)).astype(np.float32)
    return (
        cv2.resize(noise, (128, 128), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    )


def error(one, other):
    return np.square(one.astype(float) - other).mean()


def test_a_picture_beside_its_place_is_moved_back(picture):
    true = np.roll(picture, 3, axis=1)
    inside = np.zeros((128, 128), bool)
    inside[32:96, 32:96] = True
    found, flow = flowed(picture, true)
    assert error(found[inside], true[inside]) < 0.02 * error(picture[inside], true[inside])
    assert flow[inside].mean(0) == pytest.approx([-3, 0], abs=0.2)


def test_colours_are_fitted_where_they_are_looked_at(picture):
    inside = np.zeros((128, 128), bool)
    inside[:64] = True
    true = (0.5 * picture + [10, 20, 30]).round().astype(np.uint8)
    wrong = np.where(inside[..., None], picture, 0)
    assert np.abs(coloured(wrong, true, inside)[inside].astype(int) - true[inside]).max() <= 1


def test_a_pose_is_turned_and_shifted_about_the_head():
    pose = np.eye(4, dtype=np.float32)
    pose[2, 3] = 4
    assert np.array_equal(moved(pose, np.zeros(6)), pose)
    # the head 0.1 to the right is the camera 0.1 to the left
    assert moved(pose, np.array([0, 0, 0, 0.1, 0, 0]))[:3, 3] == pytest.approx([-0.1, 0, 4])
    turned = moved(pose, np.array([0, np.pi / 2, 0, 0, 0, 0]))
    assert turned[:3, 3] == pytest.approx([-4, 0, 0], abs=1e-6)


def test_a_head_is_placed_where_its_picture_is(picture):
    pose = np.eye(4, dtype=np.float32)

    def render(at):
        rotation, (x, y, _) = at[:3, :3], at[:3, 3]
        angle = np.degrees(np.arctan2(rotation[1, 0], rotation[0, 0]))
        matrix = cv2.getRotationMatrix2D((64, 64), angle, 1.0)
        matrix[:, 2] += -100 * x, 100 * y
        return cv2.warpAffine(picture, matrix, (128, 128), borderMode=cv2.BORDER_REFLECT)

    inside = np.zeros((128, 128), bool)
    inside[32:96, 32:96] = True
    true = render(moved(pose, np.array([0, 0, 0.02, 0.015, -0.01, 0])))
    before = error(render(pose)[inside], true[inside])
    assert error(placed(render, pose, true, inside)[inside], true[inside]) < 0.02 * before
    # what is right already stays as it is
    assert np.array_equal(placed(render, pose, render(pose), inside), render(pose))


def test_squares_are_of_all_frames_together(picture):
    squares, inside = Squares(), np.ones((128, 128), bool)
    dark = np.zeros_like(picture)
    squares.add(dark, dark, inside)
    squares.add(dark, dark + 255, inside)
    assert squares.total / squares.n == pytest.approx(0.5)
