"""Layers: labels, plate and torso on small drawn pictures, and on the demo's truth."""

import numpy as np
import pytest

from geneface_kit import demo, layers

SIZE = 128
CONFIG = layers.LayersConfig()


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
    palette = layers.learn_palette([(frame, person, points)], CONFIG)
    return frame, layers.label_frame(frame, person, points, palette, CONFIG), points


def test_head_neck_torso_background_are_where_they_are_drawn(drawn):
    _, labels, _ = drawn
    expected = {
        (48, 64): layers.HEAD,
        (20, 64): layers.HEAD,
        (60, 42): layers.HEAD,
        (88, 64): layers.NECK,
        (110, 64): layers.TORSO,
        (110, 40): layers.TORSO,
        (30, 10): layers.BACKGROUND,
    }
    found = {place: int(labels[place]) for place in expected}
    assert found == expected


def test_a_stray_island_is_no_person(drawn):
    frame, person, points = drawn_person()
    person[2:6, 2:6] = 1
    palette = layers.learn_palette([(frame, person, points)], CONFIG)
    labels = layers.label_frame(frame, person, points, palette, CONFIG)
    assert (labels[2:6, 2:6] == layers.BACKGROUND).all()


def test_the_mask_moves_towards_the_edge_of_the_picture():
    frame = np.zeros((512, 512, 3), np.uint8)
    frame[:, 256:] = 200
    wrong = np.zeros((512, 512), np.float32)
    wrong[:, 252:] = 1.0
    refined = layers.refine_mask(wrong, frame, CONFIG)[256]
    assert 253 <= (refined > 0.5).argmax() <= 257
    blank = layers.refine_mask(wrong, np.full_like(frame, 90), CONFIG)[256]
    assert (blank > 0.5).argmax() == 252  # without an edge the mask stays where it is


def test_the_plate_takes_each_pixel_where_the_person_is_farthest():
    frames, labels = [], []
    for offset, value in ((0, 10), (64, 250)):
        frame = np.full((SIZE, SIZE, 3), value, np.uint8)
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[:, offset : offset + 64] = layers.HEAD
        frames.append(frame)
        labels.append(mask)
    plate, seen = layers.plate_from(zip(frames, labels, strict=True), CONFIG)
    assert (plate[:, 100] == 10).all() and (plate[:, 20] == 250).all()
    assert seen[:, 100].all() and seen[:, 20].all()


def test_what_is_always_covered_is_filled_from_the_nearest_seen_pixel():
    frame = np.full((SIZE, SIZE, 3), 80, np.uint8)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[40:, 30:90] = layers.TORSO
    frame[mask > 0] = 255
    plate, seen = layers.plate_from([(frame, mask)], CONFIG)
    assert not seen[100, 60] and np.abs(plate.astype(int) - 80).max() <= 1


def test_the_torso_is_painted_on_behind_the_chin(drawn):
    frame, labels, _ = drawn
    torso = layers.torso_image(frame, labels, CONFIG)
    body = (labels == layers.NECK) | (labels == layers.TORSO)
    assert (torso[body][:, 3] == 255).all()
    top = int(np.flatnonzero(labels[:, 64] == layers.NECK)[0])
    rows = round(CONFIG.neck_fill * SIZE / 512)
    assert (torso[top - rows : top, 64, 3] == 255).all() and torso[top - rows - 2, 64, 3] == 0
    assert torso[top - 8, 64, 0] < torso[top - 2, 64, 0] < 195  # darker upwards
    assert (torso[torso[..., 3] == 0] == 0).all()


def test_torso_over_plate_with_head_is_the_frame(drawn):
    frame, labels, _ = drawn
    plate = np.full_like(frame, 77)
    torso = layers.torso_image(frame, labels, CONFIG)
    composed = np.where(torso[..., 3:] > 0, torso[..., :3], plate)
    composed = np.where((labels == layers.HEAD)[..., None], frame, composed)
    assert (composed == layers.gt_image(frame, labels, plate)).all()


def test_demo_labels_agree_with_the_truth(demo_person):
    scale = 256 // demo_person.size
    true = demo.truth("demo").labels[: len(demo_person), ::scale, ::scale]
    found = np.asarray(demo_person.labels)
    least = {layers.BACKGROUND: 0.96, layers.HEAD: 0.85, layers.TORSO: 0.9}
    for part, bound in least.items():
        both = ((true == part) & (found == part)).sum()
        assert both / ((true == part) | (found == part)).sum() > bound


def test_demo_labels_are_steady(demo_person):
    found = np.asarray(demo_person.labels)
    assert (found[1:] != found[:-1]).mean() < 0.02
