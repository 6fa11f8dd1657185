"""Worst frames: of frames made wrong by hand, the ones shown."""

from dataclasses import replace
from types import SimpleNamespace

import acting
import numpy as np
import pytest

from geneface_kit.nerf.dataset import RayDataset
from geneface_kit.person.segmentation import HEAD
from notebooks.studies.worst_frames import SIZE, worst


def test_the_worst_frames_are_shown_the_worst_first(tmp_path, monkeypatch):
    person = acting.person(tmp_path)
    labels = np.full((len(person.frames), acting.SIZE, acting.SIZE), HEAD, np.uint8)
    person = replace(person, labels=labels)
    wrong = {40: 10, 41: 60, 42: 0, 43: 30}

    def render(track, poses, only, torso_shifts):
        for frame in only:
            true = person.frames[frame].astype(int)
            yield np.where(true < 128, true + wrong[frame], true - wrong[frame]).astype(np.uint8)

    avatar = SimpleNamespace(driven_by="landmarks", torso_shifts=None, render=render)
    dataset = RayDataset(person)
    monkeypatch.setattr(dataset, "held_out", lambda n: list(wrong))
    pictures, frames, psnr = worst(dataset, avatar, n=3)
    assert frames.tolist() == [41, 43, 40] and pictures.shape == (3, SIZE, SIZE, 3)
    assert psnr == pytest.approx([-20 * np.log10(by / 255) for by in (60, 30, 10)], abs=1e-3)
