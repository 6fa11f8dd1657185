"""The profile paper: a few updates of it end on a CPU, at the paper's size, in bounded memory."""

import dataclasses
import resource

import numpy as np
import pytest
from puppet import puppet
from test_stage import fresh_run

from geneface_kit.nerf import stage as nerf_stage
from geneface_kit.person import stage as person_stage
from geneface_kit.person.artefact import Person
from geneface_kit.pipeline.settings import resolve

FEW = "head.steps=4,torso.steps=2,avatar.n_held_out=1"
QUICK = ",head.step_length=0.1,head.occupancy=64,torso.n_head_frames=1"
"""Without it the same takes two and a half minutes of a core."""


def large_puppet(times: int) -> Person:
    """The puppet in a larger picture, each of its pixels a square."""
    person = puppet()
    pictures = {
        name: getattr(person, name).repeat(times, axis=1).repeat(times, axis=2)
        for name in ("frames", "labels", "kinds", "torso")
    }
    places = {
        name: times * getattr(person, name) for name in ("landmarks2d", "face_rects", "lip_rects")
    }
    background = person.background.repeat(times, axis=0).repeat(times, axis=1)
    size, focal = times * person.size, times * person.focal
    return dataclasses.replace(
        person, size=size, focal=focal, background=background, **pictures, **places
    )


@pytest.mark.slow
def test_a_few_updates_of_the_profile_paper_end_on_a_cpu(tmp_path, monkeypatch):
    person = large_puppet(16)
    monkeypatch.setattr(person_stage, "load", lambda folder: person)
    settings = resolve("paper", FEW + QUICK)
    assert not settings.avatar.exact and not settings.avatar.prune
    assert settings.avatar.tolerance == 0 and settings.avatar.stop == 1e-4  # official code
    run = fresh_run(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    nerf_stage.make(run, settings.head, settings.torso, settings.joint, settings.avatar)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 4 * 2**20  # kilobytes
    avatar = nerf_stage.load(tmp_path, person)
    frame = next(avatar.render(person.landmarks, person.poses, only=[21]))
    assert frame.shape == (512, 512, 3) and np.isfinite(run.metrics["frame_psnr"])
