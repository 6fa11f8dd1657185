"""The detector's response: bent pictures show the turned head, gains and leaks come out right."""

import logging

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from geneface_kit.person import camera
from geneface_kit.person.tracking import track as calibration


def half_ball() -> np.ndarray:
    """478 points in front of the head frame's origin, on a ball of radius 1; RIM at its edge."""
    k = np.arange(478) + 0.5
    z, around = k / 478, k * np.pi * (3 - 5**0.5)
    flat = np.sqrt(1 - z**2)
    ball = np.stack([flat * np.cos(around), flat * np.sin(around), z - 0.5], axis=1)
    edge, inner = ball[: len(calibration.RIM)], ball[len(calibration.RIM) :]
    shape = np.empty_like(ball)
    shape[calibration.RIM], shape[np.setdiff1d(np.arange(478), calibration.RIM)] = edge, inner
    return shape


def spot(picture: np.ndarray) -> np.ndarray:
    """Centre of what is bright, pixels."""
    y, x = np.nonzero(picture[..., 0] > 128)
    return np.array([x.mean() + 0.5, y.mean() + 0.5])


def test_bending_moves_what_it_shows():
    picture = np.zeros((64, 96, 3), np.uint8)
    cv2.circle(picture, (30, 20), 3, (255,) * 3, -1)
    moved = calibration.warp(picture, np.array([[30.5, 20.5]]), np.array([[40.5, 28.5]]))
    assert np.abs(spot(moved) - [40.5, 28.5]).max() < 1.5
    same = calibration.warp(picture, np.array([[30.5, 20.5]]), np.array([[30.5, 20.5]]))
    assert np.abs(same.astype(int) - picture).max() == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_turned_picture_shows_the_turned_head(axis):
    shape, shift, focal = half_ball(), np.array([0.1, 0.2, -7.0]), 400.0
    turn = Rotation.from_rotvec(np.radians(8) * np.eye(3)[axis]).as_matrix()
    nearby = np.linalg.norm(shape[calibration.CONTROL] - [0.4, 0.3, 0.36], axis=1).argmin()
    place = shape[calibration.CONTROL[nearby]]
    pose = camera.pose_from_head(np.eye(3)[None], shift[None])[0]
    picture = np.zeros((256, 256, 3), np.uint8)
    start = camera.project(place[None], pose, focal, 256)[0]
    cv2.circle(picture, tuple(np.floor(start).astype(int).tolist()), 3, (255,) * 3, -1)
    bent = calibration._turned(picture, shape, (np.eye(3), shift), turn, focal)
    middle = shape.mean(0)
    turned = (turn @ (place - middle) + middle)[None]
    assert np.abs(spot(bent) - camera.project(turned, pose, focal, 256)[0]).max() < 1


def response_of(
    gain: np.ndarray,
    leak: np.ndarray,
    lost: frozenset[int] = frozenset(),
    noise: np.ndarray | float = 0.0,
) -> calibration.Response | None:
    """What is measured of a detector that reads `gain @ turn` and leaves `leak` of it behind.

    lost: pictures in which it finds nothing; noise: (5, 1) added to the gain, by picture.
    """
    count = 5
    angles = np.radians([calibration.NOD, calibration.TURN, calibration.TILT])
    known = np.tile(np.concatenate([np.diag(angles), -np.diag(angles)]), (count, 1))
    first = Rotation.random(count, random_state=0)

    def read(pictures):
        assert len(list(pictures)) == 6 * count
        readings = known @ gain.T + known * np.repeat(np.broadcast_to(noise, (count, 1)), 6, axis=0)
        seen = Rotation.from_rotvec(readings) * first[np.repeat(np.arange(count), 6)]
        found = np.array([k // 6 not in lost for k in range(6 * count)])
        return found, seen.as_matrix(), np.einsum("ka,anc->knc", known, leak)

    pictures = np.zeros((count, 32, 32, 3), np.uint8)
    shapes, shifts = np.tile(half_ball(), (count, 1, 1)), np.tile([0.0, 0, -7], (count, 1))
    return calibration.calibrate(pictures, shapes, first.as_matrix(), shifts, 50.0, read)


def test_gain_and_leak_are_recovered():
    random = np.random.default_rng(0)
    gain = np.diag([0.8, 1.2, 1.0]) + random.normal(0, 0.05, (3, 3))
    leak = random.normal(0, 0.1, (3, 68, 3))
    for lost in (frozenset(), frozenset({1, 3})):
        found_gain, found_leak = response_of(gain, leak, lost)
        assert np.allclose(found_gain, gain, atol=1e-6) and np.allclose(found_leak, leak)


def test_a_detector_that_loses_the_face_is_left_alone(caplog):
    with caplog.at_level(logging.WARNING):
        assert response_of(np.eye(3), np.zeros((3, 68, 3)), frozenset({0, 1, 2})) is None
    assert "confuse" in caplog.text


def test_an_uncertain_gain_is_drawn_towards_one():
    """Readings that scatter by 0.5 from picture to picture prove little about a gain of 1.6."""
    random = np.random.default_rng(1)
    gain = np.diag([1.6, 1.6, 1.6])
    sure, _ = response_of(gain, np.zeros((3, 68, 3)))
    unsure, _ = response_of(gain, np.zeros((3, 68, 3)), noise=random.normal(0, 0.5, (5, 1)))
    assert np.diag(sure) == pytest.approx(1.6)
    assert (np.diag(unsure) < 1.6).all() and (np.diag(unsure) > 1).all()
