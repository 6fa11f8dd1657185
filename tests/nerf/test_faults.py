"""Verdict of pictures: each fault that a person sees, made by hand, is found and named."""

import cv2
import numpy as np
import pytest

from geneface_kit.nerf.verdict import (
    BODY,
    DETAIL,
    FLICKER,
    FLOATING,
    HALO,
    SEAM,
    TREMBLE,
    Look,
    floating_share,
    line_strength,
    picture_checks,
    verdict_lines,
)
from geneface_kit.person.segmentation import BACKGROUND, HEAD, NECK, TORSO

SIZE = 128
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE]
GRAIN = np.random.default_rng(0).normal(0, 4, (SIZE, SIZE))


def drawn(shift=0.0, *, grain=GRAIN):
    """A head (150) that stands on a body (100) before a wall (200), and its labels."""
    head = (ROWS - 50) ** 2 + (COLUMNS - 64 - shift) ** 2 < 30**2
    body = (ROWS > 70) & (np.abs(COLUMNS - 64) < 50) & ~head
    labels = np.where(head, HEAD, np.where(body, TORSO, BACKGROUND)).astype(np.uint8)
    levels = np.where(head, 150.0, np.where(body, 100.0, 200.0)) + grain * head
    return np.clip(levels, 0, 255), labels


def film(change=lambda levels, labels, k: (levels, labels), n=9):
    """Frames of a head that moves by a fifth of a pixel a frame, each with a fault."""
    for k in range(n):
        levels, labels = change(*drawn(0.2 * k), k)
        yield np.repeat(levels.round().astype(np.uint8)[..., None], 3, -1), labels


def between(labels, one, other):
    """The pixels within one pixel of two labels."""
    near = [
        cv2.dilate((labels == label).astype(np.uint8), np.ones((3, 3))) for label in (one, other)
    ]
    return (near[0] & near[1]) > 0


def failed(change):
    checks = picture_checks(Look(film(change)), Look(film()))
    return {check.name: check for check in checks if not check.fine}


def test_a_film_like_the_clip_is_good():
    checks = picture_checks(Look(film()), Look(film()))
    assert [check.value for check in checks] == [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert verdict_lines(checks)[0] == "verdict: good"


def test_a_dark_line_under_the_chin_is_a_seam():
    def change(*_):
        levels, labels = drawn()
        return np.where(between(labels, HEAD, TORSO), 60.0, levels), labels

    found = failed(change)
    assert found.keys() == {SEAM} and "joint.steps" in found[SEAM].remedy
    assert "nerf stage (03)" in found[SEAM].remedy and "neck" in found[SEAM].remedy


def test_a_bright_fringe_before_the_wall_is_a_halo():
    def change(*_):
        levels, labels = drawn()
        return np.where(between(labels, HEAD, BACKGROUND), 250.0, levels), labels

    found = failed(change)
    assert found.keys() == {HALO} and "background" in found[HALO].remedy


def test_a_piece_of_head_in_the_air_floats():
    def change(levels, labels, k):
        piece = (ROWS > 20) & (ROWS < 30) & (COLUMNS > 105) & (COLUMNS < 115) & (k == 4)
        return levels, np.where(piece, HEAD, labels)  # 81 of some 2900 pixels, in one frame

    found = failed(change)
    assert found.keys() == {FLOATING}
    assert found[FLOATING].value == pytest.approx(81 / (81 + (drawn()[1] == HEAD).sum()), rel=0.01)


def test_a_border_that_jumps_to_and_fro_trembles():
    def change(levels, labels, k):
        return drawn(0.2 * k + 2 * (k % 2))

    found = failed(change)
    assert found.keys() == {TREMBLE, FLICKER} and "person stage (00)" in found[TREMBLE].remedy


def test_light_that_jumps_to_and_fro_flickers():
    def change(levels, labels, k):
        return levels + 5 * (k % 2), labels

    found = failed(change)
    assert FLICKER in found and "nerf stage (03)" in found[FLICKER].remedy
    seen = Look(film(lambda levels, labels, k: (drawn()[0] + 5 * (k % 2), labels)))
    assert seen.value(FLICKER) == pytest.approx(10, rel=0.01)  # 0 - 2 * 5 + 0
    assert Look(film(lambda *_: drawn())).value(FLICKER) == 0


@pytest.mark.parametrize(("share", "is_low"), [(0.3, True), (2.0, False)])
def test_a_soft_and_a_noisy_head_have_too_little_and_too_much_detail(share, is_low):
    def change(levels, labels, k):
        return drawn(0.2 * k, grain=share * GRAIN)

    found = failed(change)
    assert DETAIL in found and (found[DETAIL].value < 0.25) == is_low
    assert found[DETAIL].value == pytest.approx(share**2, rel=0.1)


def test_blurred_clothes_are_named_and_bare_shoulders_are_not():
    def clothes(share):
        return lambda levels, labels, k: (levels + share * GRAIN * (labels == TORSO), labels)

    checks = picture_checks(Look(film(clothes(0.2))), Look(film(clothes(1.0))))
    found = {check.name: check for check in checks if not check.fine}
    assert found.keys() == {BODY} and "person stage (00)" in found[BODY].remedy
    # white grain of variance 16 keeps 1 - 2 / 4 + (3 / 8) ** 2 of it; a slack of 1 on both sides
    full = 16 * (0.5 + (3 / 8) ** 2)
    assert found[BODY].value == pytest.approx((0.04 * full + 1) / (full + 1), rel=0.1)
    assert all(one.fine for one in picture_checks(Look(film(clothes(0))), Look(film(clothes(0.2)))))


def test_a_line_is_what_is_darker_or_brighter_than_both_sides():
    gray = np.full((256, 256), 80, np.float32)
    gray[:, 128:] = 120
    left = np.zeros((256, 256), bool)
    left[:, :128] = True
    assert line_strength(gray, left, ~left).max() == 0  # an edge is no line
    gray[:, 127:129] = 50
    assert line_strength(gray, left, ~left).max() == pytest.approx(30, abs=1e-3)
    gray[:, 127:129] = 150
    assert line_strength(gray, left, ~left).max() == pytest.approx(30, abs=1e-3)
    assert line_strength(gray, left, np.zeros_like(left)).size == 0


def test_floating_is_the_share_beside_the_largest_part():
    head = np.zeros((20, 20), bool)
    assert floating_share(head) == 0
    head[2:8, 2:7] = True  # 30 pixels
    assert floating_share(head) == 0
    head[12:14, 10:15] = True  # 10 more
    assert floating_share(head) == pytest.approx(10 / 40)
    head[8, 7] = True  # joined by a corner
    assert floating_share(head) == pytest.approx(10 / 41)


def test_what_no_frame_shows_is_not_measured():
    def close_up(levels, labels, k):
        return levels, np.where(labels == BACKGROUND, NECK, labels)

    checks = {one.name: one for one in picture_checks(Look(film(close_up)), Look(film(close_up)))}
    assert checks[HALO].value is None and checks[HALO].fine
    assert "not measured" in str(checks[HALO])
    assert all(
        one.value is None for one in picture_checks(Look(film()), Look()) if one.name != FLOATING
    )
    alone = Look()
    for picture, labels in film():
        alone.add(picture, labels, follows=False)
    assert alone.value(TREMBLE) is None and alone.value(DETAIL) is not None
