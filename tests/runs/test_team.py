"""Team: two processes on the CPU give the losses of one; one alone needs no package."""

import dataclasses
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from talkers import CHANNELS, made_up_corpus
from test_fitting import Line
from test_motion import settings

from geneface_kit.motion import stage as motion
from geneface_kit.motion import sync
from geneface_kit.motion.vae import MotionVAE
from geneface_kit.person import corpus
from geneface_kit.runs.fitting import Team, fit, launch, precision_on

LOSSES = ("loss", "mse", "continuity", "kl", "sync", "total")
HARD = {"dropout": 0.3, "sync_weight": 0.5, "sync_below": 100.0, "steps": 10, "frames": 152}
"""Everything on that could differ between processes; pieces of three lengths, so masks matter."""


def task_of(**overrides) -> motion.MotionTask:
    chosen = settings(**HARD | overrides)
    data = made_up_corpus()
    motions = corpus.displacements(data.utterances, chosen.corpus)
    torch.manual_seed(0)
    network = MotionVAE(CHANNELS, chosen.motion)
    expert = sync.SyncExpert(CHANNELS, width=8).eval().requires_grad_(False)
    return motion.MotionTask(network, expert, (data.utterances, motions), ([], []), chosen)


def fitted(folder, cut: int = 0, fabric=None) -> np.ndarray:
    """All weights after 8 updates, whether or not the fit was cut in the middle."""
    folder.mkdir(parents=True, exist_ok=True)
    for steps in filter(None, (cut, 8)):
        task, draw = task_of(), torch.Generator().manual_seed(1)
        options = {"validate_every": 2, "generator": draw, "fabric": fabric}
        fit(task, folder, name="m", steps=steps, **options)
    return torch.cat([value.detach().flatten() for value in task.vae.parameters()]).numpy()


def work(fabric, folder):
    """In two processes: an uncut fit, a cut one, and one whose processes have folders of their
    own, of which that of the second stays empty."""
    whole, resumed = fitted(folder / "a", 0, fabric), fitted(folder / "b", 4, fabric)
    fabric.barrier()
    alone = folder / str(fabric.global_rank)
    fit(task_of(), alone_made(alone), name="m", steps=1, generator=torch.Generator(), fabric=fabric)
    fabric.barrier()
    rows = torch.arange(6.0).view(6, 1)
    rows = Team(fabric).whole(Team(fabric).part(rows)).flatten().tolist()
    if fabric.global_rank == 0:
        np.savez(folder / "weights.npz", whole=whole, resumed=resumed)
    return rows


def alone_made(folder):
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    pytest.importorskip("lightning_fabric", reason="the extra `multi` is not installed")
    folder = tmp_path_factory.mktemp("two")
    rows = launch(2, work, folder)
    with np.load(folder / "weights.npz") as weights:
        return folder, rows, dict(weights)


@pytest.mark.slow
def test_two_processes_train_to_the_weights_of_one(of_two, tmp_path):
    _, rows, weights = of_two
    alone = fitted(tmp_path / "one")
    np.testing.assert_allclose(weights["whole"], alone, atol=2e-4, rtol=0)  # 8 Adam steps of 4e-3
    assert rows == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
def test_a_cut_fit_of_two_processes_goes_on_exactly(of_two):
    _, _, weights = of_two
    assert np.array_equal(weights["whole"], weights["resumed"])


@pytest.mark.slow
def test_only_the_first_process_writes(of_two):
    folder, _, _ = of_two
    assert sorted(path.name for path in (folder / "0").iterdir()) == [
        "m_checkpoint.safetensors",
        "m_clock.csv",
        "m_history.csv",
    ]
    assert list((folder / "1").iterdir()) == []


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(tmp_path):
    """The whole stage: sync expert, then generator, with dropout, masks and batch norms."""
    pytest.importorskip("lightning_fabric", reason="the extra `multi` is not installed")
    histories = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        folder.mkdir()
        options = (made_up_corpus(), ["speaker2"], settings(**HARD), folder)
        motion.train_on(devices, *options, torch.Generator().manual_seed(0))
        names = ("sync", "motion")
        histories.append([pd.read_csv(folder / f"{name}_history.csv") for name in names])
    for one, two in zip(*histories, strict=True):
        assert list(one) == list(two) and one.iloc[:, 1].nunique() == len(one)
        losses = [name for name in LOSSES if name in one]
        np.testing.assert_allclose(two[losses], one[losses], rtol=2e-3, atol=1e-5)
        np.testing.assert_allclose(two, one, rtol=1e-2, atol=1e-4)  # measures of motion drift more
    assert "sync" in histories[0][1]


def test_dropout_goes_on_exactly_after_a_cut(tmp_path):
    """The global generator, from which dropout draws, travels with the checkpoint."""
    assert np.array_equal(fitted(tmp_path / "a"), fitted(tmp_path / "b", cut=4))


def test_precision_is_bfloat16_on_cuda_and_float32_on_a_cpu(monkeypatch):
    assert precision_on("cuda") == "bf16-mixed" and precision_on("cpu") == "32-true"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Team().device.type == "cpu" and Team().precision == "32-true"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Team().device.type == "cuda" and Team().precision == "bf16-mixed"


def test_mixed_precision_computes_in_bfloat16_and_keeps_weights_and_losses_float32():
    """On the CPU, whose autocast stands for CUDA's: the same losses within bfloat16's 3 digits."""
    seen = []
    found = {}
    for precision in ("32-true", "bf16-mixed"):
        task = task_of(dropout=0.0, sync_weight=0.0)
        task.team = Team(precision=precision)
        task.vae.train()
        task.vae.decoder.leave.register_forward_hook(lambda *call: seen.append(call[2].dtype))
        found[precision] = task.step(0, torch.Generator().manual_seed(0))
        assert all(value.dtype == torch.float32 for value in task.vae.parameters())
    assert seen == [torch.float32, torch.bfloat16]
    for name, loss in found["32-true"].items():
        assert found["bf16-mixed"][name] == pytest.approx(loss, rel=0.02)


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    draw = torch.Generator()
    with pytest.raises(ValueError, match="devices=4 cannot share motion.batch=6"):
        motion.train_on(4, made_up_corpus(), [], settings(), tmp_path, draw)
    three = Team(SimpleNamespace(world_size=3, global_rank=0))
    with pytest.raises(ValueError, match="a batch of 8 cannot be shared by 3"):
        three.part(torch.zeros(8, 2))


def test_a_task_of_one_process_is_refused_by_several(tmp_path):
    fabric = SimpleNamespace(world_size=2, global_rank=0)
    options = {"name": "line", "steps": 1, "generator": torch.Generator(), "fabric": fabric}
    with pytest.raises(ValueError, match="Line trains in one process, not in 2"):
        fit(Line(), tmp_path, **options)


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'geneface-kit\[multi\]'"):
        launch(2, work)


def test_more_devices_than_there_are_is_refused(monkeypatch):
    pytest.importorskip("lightning_fabric", reason="the extra `multi` is not installed")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="2 devices were asked for, this machine has 1"):
        launch(2, work)


def test_a_batch_keeps_its_fields_when_cut():
    task = task_of()
    batch = corpus.draw_batch(*task.part, size=4, frames=8, generator=torch.Generator())
    cut = batch.each(lambda values: values[:1])
    for field in dataclasses.fields(batch):
        assert torch.equal(getattr(cut, field.name), getattr(batch, field.name)[:1])
