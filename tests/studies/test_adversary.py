"""Adversary: the table of a study from made-up runs."""

from types import SimpleNamespace

import pytest

from geneface_kit.runs.files import read_json
from notebooks.studies import adversary


def run_of(person, seed, before, after, step=100):
    metrics = {"best_step": step, "told_apart_floor": 0.6, "mouth_r_before": 0.7}
    metrics |= {"told_apart_before": before, "told_apart_after": after, "loss": 1.0}
    metrics |= {"mouth_r_after": 0.7 + 0.1 * (seed == 0)}
    return SimpleNamespace(subject=person, seed=seed, id=f"adaptation-{seed}", metrics=metrics)


def test_a_line_a_run_and_means_over_all(tmp_path, monkeypatch):
    asked = []

    def require(stage, person, seed, **how):
        asked.append((stage, person, seed))
        after = (0.7 if seed else 0.95) - (0.1 if person == "bob" else 0)
        return run_of(person, seed, 0.9, after, step=0 if person == "bob" else 50)

    monkeypatch.setattr(adversary, "require", require)
    adversary.main(["ada", "bob", "--seeds", "0,1", "--to", str(tmp_path)])
    assert asked == [("adaptation", who, seed) for seed in (0, 1) for who in ("ada", "bob")]
    lines = (tmp_path / "adversary.csv").read_text().splitlines()
    assert lines[0].startswith("person,seed,run,step,told_apart_floor,told_apart_before")
    assert len(lines) == 5 and lines[1].startswith("ada,0,adaptation-0,50,0.6,0.9,0.95")
    found = read_json(tmp_path / "adversary.json")
    assert found["n"] == 4 and found["n_persons"] == 2 and found["n_seeds"] == 2
    assert found["kept"] == 2 and found["harder_to_tell_apart"] == 3
    # ada 0.95 and 0.7, bob 0.85 and 0.6: means 0.825 and 0.725, deviation 0.1 / sqrt(2)
    assert found["told_apart_after"] == pytest.approx([0.775, 0.0707])
    assert found["mouth_r_change"] == pytest.approx([0.05, 0.0])
    assert found["command"].endswith("ada bob --seeds 0,1 --profile cpu")
