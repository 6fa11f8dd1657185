"""The torso: it learns, its pose numbers are angles, it is deterministic behind a given head."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from puppet import SHIRT, puppet

from geneface_kit import fitting
from geneface_kit.head import HeadConfig, HeadField, HeadImage
from geneface_kit.torso import TorsoConfig, TorsoField, TorsoTask, euler, unit_pixels, waves
from geneface_kit.views import Views

SMALL = TorsoConfig(
    steps=120, n_pixels=1024, n_head_frames=4, n_levels=5, finest=32, log2_rows=10, hidden=16,
    precision="float32", lr_grid=3e-2, lr_network=1e-2,
)  # fmt: skip


def untrained_head(n_train: int) -> HeadField:
    torch.manual_seed(0)
    config = HeadConfig(
        hidden=16, condition=8, attention_frames=1, n_levels=4, finest=32, log2_rows=10,
        occupancy=8, step_length=0.3, precision="float32",
    )  # fmt: skip
    return HeadField(config, n_train).train(False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    views, generator = Views(puppet()), torch.Generator().manual_seed(0)
    task = TorsoTask.make(SMALL, views, untrained_head(views.n_train), generator)
    folder = tmp_path_factory.mktemp("torso")
    history = fitting.fit(task, folder, name="torso", steps=SMALL.steps, generator=generator)
    return task, history


def nothing(size: int) -> HeadImage:
    return HeadImage(
        torch.zeros(size, size, 3), torch.zeros(size, size), torch.zeros(size, size), 0
    )


def test_training_lowers_the_loss(trained):
    _, history = trained
    image = history.column("image")
    assert np.mean(image[-10:]) < 0.2 * np.mean(image[:5])


def test_the_shirt_is_where_the_shirt_is(trained):
    task, _ = trained
    colour, alpha = task.field.image(task.views.poses[0], nothing(32))
    assert float(alpha[28].mean()) > 0.8 and float(alpha[:16].max()) < 0.15
    np.testing.assert_allclose(colour[28].mean(0).numpy(), np.array(SHIRT) / 255, atol=0.1)


def test_inference_is_deterministic(trained):
    task, _ = trained
    first = task.field.image(task.views.poses[1], nothing(32))
    second = task.field.image(task.views.poses[1], nothing(32))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_torso_knows_the_head_only_when_asked_to():
    head = nothing(32)
    lit = dataclasses.replace(head, alpha=torch.ones(32, 32))
    for aware in (True, False):
        torch.manual_seed(0)
        field = TorsoField(dataclasses.replace(SMALL, head_aware=aware), 20, 32).train(False)
        changed = not torch.equal(
            field.image(torch.eye(4), head)[0], field.image(torch.eye(4), lit)[0]
        )
        assert changed == aware


def test_angles_of_a_known_rotation():
    # a turn by 0.3 about x then, seen from there, 0.2 about y: R = Rx Ry
    cx, sx, cy, sy = math.cos(0.3), math.sin(0.3), math.cos(0.2), math.sin(0.2)
    rx = torch.tensor([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = torch.tensor([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = rx @ ry, torch.tensor([1.0, 2.0, 3.0])
    found = euler(pose[None])[0].tolist()
    assert found == pytest.approx([0.3, 0.2, 0.0, 1.0, 2.0, 3.0], abs=1e-6)


def test_waves_and_pixels_by_hand():
    found = waves(torch.tensor([[0.5]]), 2)[0].tolist()
    expected = [0.5, math.sin(0.5), math.cos(0.5), math.sin(1.0), math.cos(1.0)]
    assert found == pytest.approx(expected)
    assert unit_pixels(torch.tensor([[0, 255]]), 256)[0].tolist() == pytest.approx([-1.0, 1.0])


def test_a_person_without_torso_gets_one_sentence():
    person = puppet()
    views = Views(dataclasses.replace(person, torso=np.zeros_like(person.torso)))
    with pytest.raises(ValueError, match="no torso pixel"):
        TorsoTask.make(SMALL, views, untrained_head(views.n_train), torch.Generator())
