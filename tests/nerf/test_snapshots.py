"""Snapshots: what is kept of a head's training, and what a live notebook is shown."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from geneface_kit.nerf.head_training import MOST, Snapshots, load_snapshots
from geneface_kit.runs import live

TRUTH = np.full((6, 6, 3), 9, np.uint8)


def grey(value: int) -> np.ndarray:
    return np.full((6, 6, 3), value, np.uint8)


@pytest.fixture
def shown(monkeypatch):
    """A live notebook: what is displayed first, and what replaces it."""
    found = []

    def display(shown, display_id, update):
        assert display_id and "updates: 20.0 dB" in shown and "data:image/png" in shown
        found.append("replaced" if update else "shown")

    shell = SimpleNamespace(display=display, HTML=str)
    monkeypatch.setattr(live, "is_live", lambda: True)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=shell))
    monkeypatch.setitem(sys.modules, "IPython.display", shell)
    return found


def test_a_live_notebook_shows_each_snapshot_in_one_place(tmp_path, shown):
    snapshots = Snapshots(tmp_path, TRUTH)
    for step in (10, 20, 30):
        snapshots(step, grey(step), 20.0)
    assert shown == ["shown", "replaced", "replaced"]


def test_nobody_watching_is_shown_nothing(tmp_path, shown, monkeypatch):
    monkeypatch.setattr(live, "is_live", lambda: False)
    Snapshots(tmp_path, TRUTH)(10, grey(1), 20.0)
    assert shown == [] and len(load_snapshots(tmp_path)) == 1


def test_a_training_that_goes_on_forgets_what_it_repeats(tmp_path):
    first, second = Snapshots(tmp_path, TRUTH), Snapshots(tmp_path, TRUTH)
    for step in (10, 20, 30):
        first(step, grey(step), float(step))
    second(20, grey(21), 21.0)
    assert [(snapshot.step, snapshot.psnr) for snapshot in load_snapshots(tmp_path)] == [
        (10, 10.0),
        (20, 21.0),
    ]
    assert load_snapshots(tmp_path)[1].image[0, 0, 0] == 21


def test_long_trainings_keep_a_few_snapshots_and_the_newest(tmp_path):
    snapshots = Snapshots(tmp_path, TRUTH)
    for step in range(1, 41):
        snapshots(step, grey(step), 20.0)
        kept = [snapshot.step for snapshot in load_snapshots(tmp_path)]
        assert len(kept) <= MOST and kept[-1] == step and kept == sorted(kept)
    assert not list(tmp_path.glob("*.part*"))


def test_without_snapshots_there_are_none(tmp_path):
    assert load_snapshots(tmp_path) == []


def test_a_damaged_file_is_told(tmp_path):
    (tmp_path / "head_snapshots.npz").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="head_snapshots.npz cannot be read"):
        load_snapshots(tmp_path)


def test_a_training_that_goes_on_is_not_stopped_by_damaged_snapshots(tmp_path):
    (tmp_path / "head_snapshots.npz").write_bytes(b"no zip")
    Snapshots(tmp_path, TRUTH)(20, grey(2), 20.0)
    assert [snapshot.step for snapshot in load_snapshots(tmp_path)] == [20]
