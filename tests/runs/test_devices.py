"""Devices: two processes on the CPU train one network; one alone is plain torch to the bit."""

import numpy as np
import pytest
import torch
from pair import fitted, in_two
from talkers import fresh_run, made_up_corpus, sections

from geneface_kit.motion.stage import check, train
from geneface_kit.motion.weights import load
from geneface_kit.runs.training import fabric_of


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    fabric_of(2).launch(in_two, folder)
    found = []
    for rank in (0, 1):
        with np.load(folder / f"{rank}.npz") as weights:
            found.append(dict(weights))
    return folder, found


@pytest.mark.slow
def test_two_processes_train_the_network_of_one(of_two, tmp_path):
    """The mean of two halves' gradients is the whole batch's; 8 Adam steps of 0.02."""
    _, (first, second) = of_two
    assert np.array_equal(first["whole"], second["whole"])
    np.testing.assert_allclose(first["whole"], fitted(fabric_of(), tmp_path), atol=1e-4)


@pytest.mark.slow
def test_a_cut_fit_of_two_processes_goes_on_exactly(of_two):
    for weights in of_two[1]:
        assert np.array_equal(weights["whole"], weights["cut"])


@pytest.mark.slow
def test_only_the_first_process_writes(of_two):
    folder, _ = of_two
    assert sorted(path.name for path in (folder / "0").iterdir()) == [
        "m_checkpoint.safetensors",
        "m_clock.csv",
        "m_history.csv",
    ]
    assert list((folder / "1").iterdir()) == []


def test_one_process_through_fabric_is_plain_torch(tmp_path):
    found = []
    for fabric in (None, fabric_of()):
        found.append(fitted(fabric, tmp_path / str(fabric is None)))
    assert np.array_equal(*found)


@pytest.mark.slow
def test_the_stage_trains_on_two_devices(tmp_path):
    """Sync expert and generator, with masks, dropout, batch norms and the sync loss switched on."""
    hard = {"dropout": 0.3, "sync_weight": 0.5, "sync_below": 100.0, "steps": 4, "devices": 2}
    run = fresh_run(tmp_path, "motion")
    scores = train(run, made_up_corpus(), *sections(**hard))
    assert scores.pop("held_out_speakers") == ["speaker2"]
    assert np.isfinite(list(scores.values())).all() and "sync" in scores
    assert load(tmp_path).sample(made_up_corpus().utterances[0].speech).shape == (150, 68, 3)


def test_networks_compute_in_bfloat16_on_cuda_and_in_float32_on_a_cpu(monkeypatch):
    import lightning_fabric

    asked = []
    monkeypatch.setattr(lightning_fabric, "Fabric", lambda **options: asked.append(options))
    for is_there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda answer=is_there: answer)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        fabric_of()
    assert [one["precision"] for one in asked] == ["bf16-mixed", "32-true"]
    assert [one["accelerator"] for one in asked] == ["cuda", "cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ValueError, match="2 devices were asked for, this machine has 1"):
        fabric_of(2)


def test_numbers_that_cannot_go_together_are_refused():
    with pytest.raises(ValueError, match="devices=4 cannot share motion.batch=6"):
        check(*sections(devices=4)[1:])
    with pytest.raises(ValueError, match="motion.held_out=1 leaves no speaker to train on"):
        check(*sections(held_out=1)[1:])
