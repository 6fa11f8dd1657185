"""An own head field: named by its import path it is trained, rendered and loaded as ours are."""

import dataclasses

import pytest
import torch
from puppet import puppet
from test_head import SMALL
from test_stage import fresh_run
from test_torso import SMALL as TORSO

from geneface_kit.nerf import stage as nerf_stage
from geneface_kit.nerf.config import AvatarConfig, JointConfig
from geneface_kit.nerf.dataset import RayDataset
from geneface_kit.nerf.head import make_field
from geneface_kit.nerf.head_training import HeadTask
from geneface_kit.person import stage as person_stage

OWN = dataclasses.replace(SMALL, field="toys:ToyField", steps=20, validate_every=10)


def test_an_own_field_learns():
    config = dataclasses.replace(OWN, steps=60)
    task = HeadTask.make(config, RayDataset(puppet()), torch.Generator().manual_seed(0))
    assert type(task.field).__name__ == "ToyField"
    generator, before = torch.Generator().manual_seed(0), task.validate(0)["head_psnr"]
    for index in range(config.steps):
        task.step(index, generator)
    assert task.validate(config.steps)["head_psnr"] > before + 1


def test_an_own_field_becomes_an_avatar(tmp_path, monkeypatch):
    monkeypatch.setattr(person_stage, "load", lambda folder: puppet())
    few = dataclasses.replace(TORSO, steps=5)
    nerf_stage.make(fresh_run(tmp_path), OWN, few, JointConfig(4), AvatarConfig())
    avatar, person = nerf_stage.load(tmp_path, puppet()), puppet()
    assert type(avatar.head).__name__ == "ToyField"
    frame = next(avatar.render(person.landmarks, person.poses, only=[0]))
    assert frame.shape == (32, 32, 3)


@pytest.mark.parametrize(
    "path, says",
    [
        ("toys:Nothing", "head.field=toys:Nothing cannot be imported"),
        ("no_such_module:Field", "cannot be imported: No module named 'no_such_module'"),
        ("toys:HalfField", "head.field=toys:HalfField must define at, parameter_groups"),
        ("toys:ToyVgg", "head.field=toys:ToyVgg must be a subclass of .*HeadField"),
    ],
)
def test_what_is_no_field_is_refused(path, says):
    with pytest.raises(ValueError, match=says):
        make_field(dataclasses.replace(SMALL, field=path), 3)
