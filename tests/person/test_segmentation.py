"""Segmentation: labels, background and torso on small drawn pictures, and on the demo's truth."""

import numpy as np
import pytest
from films import truth
from geneface_kit_figures.report import flicker

from geneface_kit.person import segmentation
from geneface_kit.person.background import (
    NECK_FILL,
    background_from,
    background_motion,
    make_background,
    medoid_frame,
    torso_image,
)
from geneface_kit.person.segmentation import (
    BACKGROUND,
    HEAD,
    NECK,
    TORSO,
    label_frame,
    learn_palette,
    refine_mask,
    smooth_labels,
)

SIZE = 128


def drawn_person() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A skin-coloured head and neck over a blue torso: frame, person probability, landmarks."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    head = ((columns - 64) / 26) ** 2 + ((rows - 48) / 34) ** 2 < 1
    neck = (np.abs(columns - 64) < 13) & (rows > 60) & (rows < 96)
    torso = (rows > 92) & (np.abs(columns - 64) < 20 + (rows - 92))
    frame = np.full((SIZE, SIZE, 3), (90, 160, 90), np.uint8)
    frame[torso], frame[neck], frame[head] = (30, 40, 140), (190, 140, 120), (200, 150, 130)
    person = (head | neck | torso).astype(np.float32)
    angle = np.linspace(np.pi, 0, 17)
    points = np.full((68, 2), 64.0, np.float32)
    points[:17] = np.stack([64 + 25 * np.cos(angle), 50 + 32 * np.sin(angle)], axis=1)
    points[17:27] = np.stack([np.linspace(48, 80, 10), np.full(10, 36)], axis=1)
    points[27:36] = np.stack([np.full(9, 64), np.linspace(42, 58, 9)], axis=1)
    points[36:42], points[42:48] = (54, 42), (74, 42)
    points[36], points[45] = (48, 42), (80, 42)
    points[48], points[54] = (56, 68), (72, 68)
    points[31], points[35] = (59, 56), (69, 56)
    return frame, person, points


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    frame, person, points = drawn_person()
    palette = learn_palette([(frame, person, points)])
    return frame, label_frame(frame, person, points, palette), points


def test_head_neck_torso_background_are_where_they_are_drawn(drawn):
    _, labels, _ = drawn
    expected = {
        (48, 64): HEAD,
        (20, 64): HEAD,
        (60, 42): HEAD,
        (88, 64): NECK,
        (110, 64): TORSO,
        (110, 40): TORSO,
        (30, 10): BACKGROUND,
    }
    found = {place: int(labels[place]) for place in expected}
    assert found == expected


def test_a_stray_island_is_no_person(drawn):
    frame, person, points = drawn_person()
    person[2:6, 2:6] = 1
    palette = learn_palette([(frame, person, points)])
    labels = label_frame(frame, person, points, palette)
    assert (labels[2:6, 2:6] == BACKGROUND).all()


def test_the_mask_moves_towards_the_edge_of_the_picture():
    frame = np.zeros((512, 512, 3), np.uint8)
    frame[:, 256:] = 200
    wrong = np.zeros((512, 512), np.float32)
    wrong[:, 252:] = 1.0
    refined = refine_mask(wrong, frame)[256]
    assert 253 <= (refined > 0.5).argmax() <= 257
    blank = refine_mask(wrong, np.full_like(frame, 90))[256]
    assert (blank > 0.5).argmax() == 252  # without an edge the mask stays where it is


def test_the_background_takes_each_pixel_where_the_person_is_farthest():
    frames, labels = [], []
    for offset, value in ((0, 10), (64, 250)):
        frame = np.full((SIZE, SIZE, 3), value, np.uint8)
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[:, offset : offset + 64] = HEAD
        frames.append(frame)
        labels.append(mask)
    background, seen = background_from(np.stack(frames), np.stack(labels))
    assert (background[:, 100] == 10).all() and (background[:, 20] == 250).all()
    assert seen[:, 100].all() and seen[:, 20].all()


def test_one_wrong_mask_puts_no_hair_into_the_background():
    frames, labels = striped_clip(20)
    frames[7][60:90, 50:60] = 0  # hair, once taken for background
    labels[7][50:100, 40:70] = BACKGROUND
    background, seen = background_from(frames, labels)
    assert not seen[75, 55] and background[60:90, 50:60].min() > 50


def test_what_is_always_covered_is_filled_from_the_nearest_seen_pixel():
    frame = np.full((SIZE, SIZE, 3), 80, np.uint8)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[40:, 30:90] = TORSO
    frame[mask > 0] = 255
    background, seen = background_from(frame[None], mask[None])
    assert not seen[100, 60] and np.abs(background.astype(int) - 80).max() <= 1


def test_the_torso_is_painted_on_behind_the_chin(drawn):
    frame, labels, _ = drawn
    torso = torso_image(frame, labels)
    body = (labels == NECK) | (labels == TORSO)
    assert (torso[body][:, 3] == 255).all()
    top = int(np.flatnonzero(labels[:, 64] == NECK)[0])
    rows = round(NECK_FILL * SIZE / 512)
    assert (torso[top - rows : top, 64, 3] == 255).all() and torso[top - rows - 2, 64, 3] == 0
    assert torso[top - 8, 64, 0] < torso[top - 2, 64, 0] < 195  # darker upwards
    assert (torso[torso[..., 3] == 0] == 0).all()


def test_torso_over_background_with_head_is_the_frame(drawn):
    frame, labels, _ = drawn
    background = np.full_like(frame, 77)
    torso = torso_image(frame, labels)
    composed = np.where(torso[..., 3:] > 0, torso[..., :3], background)
    composed = np.where((labels == HEAD)[..., None], frame, composed)
    assert (composed == np.where((labels == BACKGROUND)[..., None], background, frame)).all()


def test_demo_labels_agree_with_the_truth(demo_person):
    scale = 256 // demo_person.size
    true = truth("demo").labels[: len(demo_person), ::scale, ::scale]
    found = np.asarray(demo_person.labels)
    found = np.where(found == NECK, TORSO, found)  # the truth is one torso
    least = {BACKGROUND: 0.96, HEAD: 0.9, TORSO: 0.9}
    for part, bound in least.items():
        both = ((true == part) & (found == part)).sum()
        assert both / ((true == part) | (found == part)).sum() > bound
    called_neck = (np.asarray(demo_person.labels) == NECK) & (true == TORSO)
    assert called_neck.sum() < 0.5 * (true == TORSO).sum()  # 0.39: the truth's torso has its neck


def test_demo_labels_are_steady(demo_person):
    found = np.asarray(demo_person.labels)
    assert (found[1:] != found[:-1]).mean() < 0.02


def test_shade_under_the_chin_is_neck():
    frame, person, points = drawn_person()
    frame[86:90, 58:70] = (25, 30, 60)  # no skin colour, but skin below it
    palette = learn_palette([(frame, person, points)])
    labels = label_frame(frame, person, points, palette)
    assert (labels[86:90, 58:70] == NECK).all()
    assert labels[100, 64] == TORSO


def test_shoulders_parted_by_the_neck_are_no_hair(monkeypatch):
    frame, person, points = drawn_person()
    bare = (np.abs(np.arange(SIZE) - 63.5) < 13) & (np.arange(SIZE)[:, None] > 84)
    frame[bare] = (190, 140, 120)  # a neck that reaches the lower border
    monkeypatch.setattr(segmentation, "NECK_DEPTH", 3.0)
    palette = learn_palette([(frame, person, points)])
    labels = label_frame(frame, person, points, palette)
    assert labels[126, 64] == NECK
    assert labels[120, 40] == TORSO and labels[120, 88] == TORSO


def striped_clip(n_frames: int = 12, step: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Stripes that move `step` pixels a frame behind a person who sways a little."""
    frames, labels = [], []
    columns = np.arange(SIZE)
    for t in range(n_frames):
        stripes = np.where((columns + step * t) // 16 % 2 == 0, 60, 200).astype(np.uint8)
        frame = np.repeat(np.repeat(stripes[None, :, None], SIZE, 0), 3, 2)
        mask = np.zeros((SIZE, SIZE), np.uint8)
        left = 40 + 4 * (t % 3)
        mask[30:, left : left + 40] = HEAD
        frame[mask > 0] = (180, 120, 100)
        frames.append(frame)
        labels.append(mask)
    return np.stack(frames), np.stack(labels)


def test_a_still_background_does_not_move_whatever_the_exposure():
    frames, labels = striped_clip()
    assert background_motion(frames, labels) == 0.0
    dimmed = (frames * (1 - 0.02 * np.arange(len(frames)))[:, None, None, None]).astype(np.uint8)
    assert background_motion(dimmed, labels) < 0.02
    assert make_background(frames, labels).still_frame == -1


def test_a_moving_background_gives_a_background_of_one_moment():
    frames, labels = striped_clip(step=5)
    background = make_background(frames, labels)
    assert background.moving > 0.5 and background.still_frame >= 0
    chosen = frames[background.still_frame]
    assert (background.picture[background.seen] == chosen[background.seen]).all()
    patchwork, seen = background_from(frames, labels)
    assert (patchwork[seen] != chosen[seen]).any()  # what is avoided: many moments in one


def test_something_that_passes_by_is_not_in_the_best_still():
    frames, labels = striped_clip()
    for frame in frames[:4]:
        frame[:, 90:] = 0  # somebody walks through the first frames
    assert medoid_frame(frames, labels) >= 4


def test_labels_that_change_on_a_still_picture_flicker():
    frame = np.full((32, 32, 3), 90, np.uint8)
    one, other = np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8)
    one[:, :16], other[:, :17] = HEAD, HEAD
    # with 7 x 7 windows the edges are near columns 13-18 and 14-19; one of the 7 changes
    still, changed = np.stack([frame, frame]), np.stack([one, other])
    assert flicker(still, changed) == pytest.approx(1 / 7)
    assert flicker(still, np.stack([one, one])) == 0.0
    assert flicker(np.stack([frame, frame + 50]), changed) == 0.0  # the picture changed


def test_one_odd_frame_is_outvoted_unless_the_picture_changes():
    frame = np.full((16, 16, 3), 90, np.uint8)
    usual, odd = np.zeros((16, 16), np.uint8), np.full((16, 16), TORSO, np.uint8)
    still = [(frame, usual), (frame, usual), (frame, odd), (frame, usual), (frame, usual)]
    steady = list(smooth_labels(iter(still)))
    assert len(steady) == 5 and not np.any(steady)
    moved = [(frame + 120 * (k == 2), label) for k, (_, label) in enumerate(still)]
    moved = [(picture.astype(np.uint8), label) for picture, label in moved]
    steady = list(smooth_labels(iter(moved)))
    assert (steady[2] == TORSO).all() and not np.any(steady[1])


@pytest.mark.parametrize("n_frames", [0, 1, 2, 3, 4, 7])
def test_voting_keeps_the_number_and_order_of_frames(n_frames):
    pictures = [
        (np.full((8, 8, 3), 40 * (t % 5), np.uint8), np.full((8, 8), t % 4, np.uint8))
        for t in range(n_frames)
    ]
    # neighbours differ in colour: nothing is voted
    steady = list(smooth_labels(iter(pictures)))
    assert [int(labels[0, 0]) for labels in steady] == [t % 4 for t in range(n_frames)]


def test_demo_labels_flicker_little(demo_person):
    assert flicker(demo_person.frames[:60], demo_person.labels[:60]) < 0.02
