"""Joint training: what the labels cut off and leave free comes back."""

import copy
import dataclasses

import cv2
import numpy as np
import pytest
import torch

from geneface_kit.nerf.avatar import Avatar
from geneface_kit.nerf.config import AvatarConfig, HeadConfig, JointConfig, TorsoConfig
from geneface_kit.nerf.dataset import BOX, RayDataset
from geneface_kit.nerf.head_training import HeadTask
from geneface_kit.nerf.joint_training import JointTask
from geneface_kit.nerf.renderer import HeadRenderer
from geneface_kit.nerf.torso import TorsoTask
from geneface_kit.person import camera
from geneface_kit.person.artefact import Person
from geneface_kit.person.segmentation import FREE, HEAD, NECK, SURE_HEAD, SURE_NOT, TORSO
from tests.puppet import SHIRT, WALL, puppet

HAIR = (40, 20, 10)
HEAD_CONFIG = HeadConfig(steps=150, n_samples=3000, n_frames=6, precision="float32")
TORSO_CONFIG = TorsoConfig(steps=40, n_pixels=512, n_head_frames=4, precision="float32")


def cut_hair() -> tuple[Person, np.ndarray]:
    """The puppet with a ring of dark hair that its labels call background; and where that is."""
    person = puppet()
    is_head = person.labels == HEAD
    wide = np.stack([cv2.dilate(one.astype(np.uint8), np.ones((5, 5))) for one in is_head]) > 0
    hair = wide & (person.labels == 0)
    frames = person.frames.copy()
    frames[hair] = HAIR
    narrow = np.stack([cv2.erode(one.astype(np.uint8), np.ones((7, 7))) for one in is_head]) > 0
    kinds = np.where(narrow, SURE_HEAD, np.where(wide, FREE, SURE_NOT)).astype(np.uint8)
    return dataclasses.replace(person, frames=frames, kinds=kinds), hair


def learned_apart(dataset: RayDataset) -> tuple[HeadTask, TorsoTask]:
    """A head and a torso after their own starts."""
    generator = torch.Generator().manual_seed(0)
    head = HeadTask.make(HEAD_CONFIG, dataset, generator)
    for index in range(HEAD_CONFIG.steps):
        head.step(index, generator)
    renderer = HeadRenderer(head.field, AvatarConfig())
    torso = TorsoTask.make(TORSO_CONFIG, dataset, renderer, generator)
    for index in range(TORSO_CONFIG.steps):
        torso.step(index, generator)
    return head, torso


def learn_together(head: HeadTask, torso: TorsoTask, n: int) -> None:
    joint, generator = JointTask(JointConfig(steps=n), head, torso, None), torch.Generator()
    generator.manual_seed(1)
    for index in range(n):
        joint.step(index, generator)


def look(head: HeadTask, torso: TorsoTask, where: np.ndarray) -> tuple[float, float]:
    """Opacity of the head and squared error of the picture there, in held-out frames."""
    dataset, exact = head.dataset, HeadRenderer(head.field, AvatarConfig(exact=True))
    person, found = dataset.person, []
    avatar = Avatar(exact, torso.field, person.background, person.focal)
    for frame in dataset.held_out(0):
        window, part = dataset.windows(torch.tensor([frame]), head.config)[0], where[frame]
        made = avatar.render_frame(window, dataset.poses[frame])
        error = made.rgb.numpy()[part] - person.frames[frame][part] / 255
        found.append((float(made.head.alpha.numpy()[part].mean()), (error**2).mean()))
    return tuple(np.mean(found, axis=0))


@pytest.mark.slow
def test_hair_that_the_labels_cut_off_becomes_head():
    person, hair = cut_hair()
    head, torso = learned_apart(RayDataset(person))
    opacity, error = look(head, torso, hair)
    learn_together(head, torso, 200)
    joint_opacity, joint_error = look(head, torso, hair)
    assert opacity > 0.8 and joint_opacity > 0.95  # what is free is learned from the start
    assert joint_error < 0.5 * error


@pytest.mark.slow
def test_a_neck_that_the_labels_leave_free_becomes_torso():
    person, _ = cut_hair()
    below = np.arange(person.size)[:, None] > person.size // 2
    neck = (person.kinds == FREE) & (person.labels != HEAD) & below
    torso, labels = person.torso.copy(), np.where(neck, TORSO, person.labels).astype(np.uint8)
    torso[neck] = (*SHIRT, 255)
    frames = np.where(neck[..., None], np.uint8(SHIRT), person.frames)
    person = dataclasses.replace(person, frames=frames, labels=labels, torso=torso)
    head, behind = learned_apart(RayDataset(person))
    found = []
    for name in (TORSO, NECK):
        labels[neck] = name
        together = copy.deepcopy((head, behind))
        learn_together(*together, 200)
        found.append(look(*together, neck))
    (opacity, error), (freed, error_freed) = found
    assert freed < 0.5 * opacity and error_freed < 1.1 * error


def test_joint_training_looks_only_where_the_head_was_trained():
    """What an untrained cell holds is chance: faint specks about the hair."""
    person, hair = cut_hair()
    dataset, generator = RayDataset(person), torch.Generator().manual_seed(0)
    head = HeadTask.make(HEAD_CONFIG, dataset, generator)
    torso = TorsoTask.make(TORSO_CONFIG, dataset, HeadRenderer(head.field), generator)
    occupancy = head.field.occupancy
    learned, cell = occupancy.allowed.clone(), BOX / occupancy.resolution
    JointTask(JointConfig(steps=1), head, torso, None)
    assert not bool((occupancy.allowed & ~learned).any())
    points = camera.from_box(occupancy.centres())
    by_labels = RayDataset(person, free=False).hull(points, reach=cell)
    assert learned.sum() > 1.2 * by_labels.sum()  # and the head was trained in the free band


def test_lips_beyond_the_picture_are_looked_for_at_its_edge():
    person = puppet()
    below = np.full_like(person.lip_rects, 0) + [8, 40, 20, 50]
    dataset = RayDataset(dataclasses.replace(person, lip_rects=below))
    generator = torch.Generator().manual_seed(0)
    head = HeadTask.make(HEAD_CONFIG, dataset, generator)
    torso = TorsoTask.make(TORSO_CONFIG, dataset, HeadRenderer(head.field), generator)
    joint = JointTask(JointConfig(steps=1), head, torso, None)
    for pixels in (dataset.draw(2, 64, (0.4, 0.3), generator), joint._drawn(generator)):
        assert int(pixels.at.max()) == dataset.size - 1 and not bool(pixels.in_lips.any())


def test_how_strong_detail_is_counts_by_its_weight():
    dataset, rows = RayDataset(puppet()), []
    for weight in (0.0, 10.0):
        generator = torch.Generator().manual_seed(0)
        head = HeadTask.make(HEAD_CONFIG, dataset, generator)
        torso = TorsoTask.make(TORSO_CONFIG, dataset, HeadRenderer(head.field), generator)
        config = JointConfig(steps=1, detail_weight=weight)
        rows.append(JointTask(config, head, torso, None).step(0, generator))
    without, counted = rows
    assert without["detail"] == 0 and counted["detail"] > 1e-4
    assert counted["loss"] - counted["detail"] == pytest.approx(without["loss"], rel=1e-4)


def test_behind_the_head_lies_the_painted_torso_over_the_background():
    dataset = RayDataset(puppet())
    at = torch.tensor([[16, 24], [16, 2]])  # painted on behind the chin; above the head
    pixels = dataset.read(torch.tensor([3]), torch.zeros(2, dtype=torch.long), at)
    found = (255 * dataset.behind(pixels)).round().int().tolist()
    assert found == [list(SHIRT), list(WALL)]


def test_without_freedom_every_label_is_sure():
    person = dataclasses.replace(puppet(), kinds=np.full_like(puppet().kinds, FREE))
    at = torch.tensor([[16, 14], [1, 1]])  # the face; the wall
    drawn = [
        RayDataset(person, free=free).read(torch.tensor([0]), torch.zeros(2, dtype=torch.long), at)
        for free in (True, False)
    ]
    assert [one.kinds.tolist() for one in drawn] == [[FREE, FREE], [SURE_HEAD, SURE_NOT]]
