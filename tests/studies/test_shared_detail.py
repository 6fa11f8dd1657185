"""Shared detail: frames of one texture, moved and made noisy by hand."""

from dataclasses import replace

import acting
import cv2
import numpy as np
import pytest

from notebooks.studies.shared_detail import MARGIN, rows_of, shared_detail

INSIDE = np.zeros((96, 96), bool)
INSIDE[16:-16, 16:-16] = True


def texture(noise=0.0, shift=0, seed=0):
    """A grainy picture, moved to the right, with noise of its own."""
    grain = np.random.default_rng(7).normal(size=(96, 96 + 8))
    picture = cv2.GaussianBlur(grain, (0, 0), 0.8)[:, 8 - shift : 96 + 8 - shift]
    own = np.random.default_rng(seed).normal(size=(96, 96))
    return np.clip(128 + 60 * picture + 60 * noise * own, 0, 255).astype(np.uint8)


def test_a_frame_that_only_moved_shares_all_its_detail():
    found, flow = shared_detail(texture(), texture(shift=3), INSIDE)
    assert found > 0.97 and np.abs(flow[INSIDE] - (3, 0)).mean() < 0.2


def test_noise_is_not_shared():
    shared = [shared_detail(texture(n, seed=1), texture(n, 1, seed=2), INSIDE)[0] for n in (0.1, 1)]
    assert shared[0] > shared[1] + 0.2 and shared[1] < 0.6


def test_pairs_lie_in_one_stretch_and_train(tmp_path):
    person = acting.person(tmp_path)
    size = acting.SIZE
    assert size > 2 * MARGIN
    frames = np.random.default_rng(0).integers(0, 255, person.frames.shape, dtype=np.uint8)
    labels = np.ones(frames.shape[:3], np.uint8)
    person = replace(person, frames=frames, labels=labels)
    rows = rows_of("ada", person)
    assert [row["lag_s"] for row in rows] == [1.0]  # the clip is shorter than 3 s
    assert rows[0]["n_pairs"] == min(16, (person.trains[:-25] & person.trains[25:]).sum())
    assert rows[0]["shared"] == pytest.approx(0, abs=0.35)  # chance, which flow makes a little more
