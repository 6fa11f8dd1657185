"""Framing: usable stretches by number, one crop that holds the head through the clip."""

import dataclasses

import numpy as np
import pytest

from geneface_kit.person import clip, framing, landmarks, takes


def face_at(centres: np.ndarray, height: float) -> landmarks.Mesh:
    """Faces of a height from brows to chin, centred at (t, 2) pixels."""
    points = np.zeros((len(centres), 68, 3), np.float32)
    points[..., :2] = centres[:, None]
    points[:, 17:27, 1] -= height / 2
    points[:, 8, 1] += height / 2
    points[:, 0, 0] -= height / 2
    points[:, 16, 0] += height / 2
    n_frames = len(centres)
    return landmarks.Mesh(points, np.ones(n_frames, bool), np.zeros(n_frames, np.float32))


def scan_of(found: np.ndarray) -> framing.Scan:
    n_frames = len(found)
    mesh = face_at(np.full((n_frames, 2), 50.0), 20)
    mesh = landmarks.Mesh(mesh.points, found, mesh.rival)
    pictures = np.zeros((n_frames, 4, 4, 3), np.uint8)
    about = clip.Probe(100, 100, 25.0, 1, 0.0)
    return framing.Scan(mesh, pictures, np.zeros(n_frames), 100, 100, about)


@pytest.fixture
def three_stretches() -> framing.Scan:
    """Faces in frames 0-29, 50-99, 120-159, and a flash of one in 180-189."""
    found = np.zeros(200, bool)
    for start, stop in ((0, 30), (50, 100), (120, 160), (180, 190)):
        found[start:stop] = True
    return scan_of(found)


def test_all_usable_stretches_by_length(three_stretches):
    assert takes.usable_spans(three_stretches) == [(50, 100), (120, 160), (0, 30)]


def test_a_gap_of_0_4_s_is_bridged_a_longer_one_splits():
    found = np.ones(80, bool)
    found[30:40] = False  # 10 frames are 0.4 s
    assert takes.usable_spans(scan_of(found)) == [(0, 80)]
    found[40] = False
    assert takes.usable_spans(scan_of(found)) == [(41, 80), (0, 30)]


@pytest.mark.parametrize(("number", "span"), [(0, (50, 100)), (1, (120, 160)), (2, (0, 30))])
def test_a_stretch_is_chosen_by_its_number(three_stretches, number, span):
    taken, warnings = takes.chosen(three_stretches, number)
    assert taken == [span]
    others = next(text for text in warnings if "other usable stretch" in text)
    assert f"which is {number}" in others
    assert ("2.00 to 4.00 s" in others) == (number != 0)


def test_all_stretches_that_are_alike_are_taken_in_order_of_time(three_stretches):
    taken, warnings = takes.chosen(three_stretches)
    assert taken == [(0, 30), (50, 100), (120, 160)]
    assert warnings == ["only 0.00 to 1.20 s, 2.00 to 4.00 s, 4.80 to 6.40 s of 8.00 s are usable"]


@pytest.mark.parametrize("number", [3, -2])
def test_a_stretch_that_does_not_exist_is_one_sentence(three_stretches, number):
    with pytest.raises(ValueError, match=rf"span {number} does not exist.*has 3 usable") as caught:
        takes.chosen(three_stretches, number)
    assert "\n" not in str(caught.value)


def test_a_head_that_walks_stays_inside_the_crop():
    across = np.stack([np.linspace(300, 620, 50), np.linspace(200, 260, 50)], axis=1)
    mesh = face_at(across, 60)
    crop = framing.square_crop(mesh, 1280, 720)
    points = mesh.points[..., :2] - [crop.left, crop.top]
    assert (points[..., 0].min(), points[..., 0].max()) > (15, 15)
    assert points[..., 0].max() < crop.side - 15
    top_of_head = points[:, 17:27, 1].min() - 0.6 * 60  # hair, above the brows
    assert top_of_head > 0 and points[..., 1].max() < crop.side
    assert crop.left >= 0 and crop.top >= 0
    assert crop.left + crop.side <= 1280 and crop.top + crop.side <= 720


def test_one_frame_of_a_wrong_face_does_not_widen_the_crop():
    still = np.full((50, 2), 300.0)
    astray = still.copy()
    astray[20] = [1200, 650]
    alone, disturbed = (
        framing.square_crop(face_at(centres, 60), 1280, 720) for centres in (still, astray)
    )
    assert disturbed == alone


def test_a_small_head_in_a_square_picture_is_cropped():
    centres = np.full((5, 2), 500.0)
    small = framing.square_crop(face_at(centres, 100), 1000, 1000)
    assert small.side == pytest.approx(150 / framing.HEAD_SHARE)
    assert framing.square_crop(face_at(centres, 300), 1000, 1000) == framing.Crop(0.0, 0.0, 1000.0)


def test_a_dark_first_line_of_analogue_video_and_its_halo_are_no_picture():
    brightest = np.full((512, 640), 200, np.uint8)
    assert framing.black_bars(brightest) == (0, 0, 0, 0)
    brightest[:2] = 90
    assert framing.black_bars(brightest) == (0, framing.HALO + 1, 0, 0)
    brightest[:, :320] = np.linspace(60, 200, 512).astype(np.uint8)[:, None]  # a dark corner
    assert framing.black_bars(brightest) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("width", "side", "most", "shown"),
    [
        (640, 360.0, 512, 360),
        (1280, 360.0, 512, 512),
        (640, 360.0, 256, 256),
        (640, 77.4, 512, 128),
    ],
)
def test_pictures_are_as_large_as_the_clip_shows_them_and_no_larger(width, side, most, shown):
    """The clip was scanned at a width of 640; what is too small for landmarks is enlarged."""
    scan = dataclasses.replace(
        scan_of(np.ones(3, bool)), width=640, source=clip.Probe(width, 720, 25.0, 1, 0.0)
    )
    assert framing.picture_side(scan, framing.Crop(0.0, 0.0, side), most) == shown
