"""Motion: the losses are the paper's formulas, training learns, sampling keeps its promises."""

import dataclasses

import numpy as np
import pytest
import torch
from talkers import (
    CHANNELS,
    SMALL,
    fresh_run,
    made_up_corpus,
    made_up_speech,
    sections,
)

from geneface_kit.motion import losses, weights
from geneface_kit.motion import stage as motion
from geneface_kit.motion.sync_expert import SyncExpert
from geneface_kit.motion.vae import MotionVAE
from geneface_kit.person import corpus
from geneface_kit.pipeline.settings import resolve
from geneface_kit.runs.training import fit
from geneface_kit.runs.weights import read_metadata, save_weights


def fresh_task(**overrides) -> motion.MotionTask:
    speakers, sync, config = sections(**overrides)
    data = made_up_corpus()
    motions = corpus.displacements(data.utterances, speakers)
    torch.manual_seed(0)
    network = MotionVAE(CHANNELS, config)
    expert = SyncExpert(CHANNELS, width=8).eval().requires_grad_(False)
    return motion.MotionTask(
        network,
        expert,
        (data.utterances[:2], motions[:2]),
        (data.utterances[2:], motions[2:]),
        config,
        sync.pairs,
    )


def one_step(one: motion.MotionTask) -> tuple[dict[str, float], list[torch.Tensor]]:
    one.vae.train()
    losses = one.step(0, torch.Generator().manual_seed(0))
    return losses, [parameter.detach().clone() for parameter in one.vae.parameters()]


def test_errors_are_means_over_unmasked_frames():
    predicted, true = torch.tensor([[[3.0, 0], [5, 5]]]), torch.tensor([[[1.0, 0], [0, 0]]])
    mask, even = torch.tensor([[True, False]]), torch.ones(2)
    assert (
        losses.reconstruction_loss(predicted, true, mask, even).item() == 2.0
    )  # 2^2 / (1 frame * 2)
    both = torch.tensor([[True, True]])
    # differences of the error: (2, 0), then (5 - 2, 5 - 0): (4 + 9 + 25) / (2 frames * 2)
    assert losses.continuity_loss(predicted, true, both, even).item() == pytest.approx(38 / 4)
    assert losses.continuity_loss(predicted, true, mask, even).item() == pytest.approx(4 / 2)


def test_kl_is_that_of_two_gaussians():
    """Averaged over draws, the estimate is the closed form of KL(N(m, s) || N(0, 1))."""
    mean, log_std = torch.full((1, 2, 50_000), 0.7), torch.full((1, 2, 50_000), -0.5)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    z = mean + noise * torch.exp(log_std)
    estimate = losses.kl_divergence(z, z, mean, log_std, torch.ones(1, 1, 50_000)).item()
    closed = 0.5 * (np.exp(-1.0) + 0.7**2 - 1) + 0.5
    assert estimate == pytest.approx(closed, abs=0.01)  # standard error 0.002


def test_kl_ignores_padding():
    z = torch.zeros(1, 2, 3)
    z[..., 2] = 100.0
    mask = torch.tensor([[[1.0, 1.0, 0.0]]])
    zeros = torch.zeros(1, 2, 3)
    assert losses.kl_divergence(z, z, zeros, zeros, mask).item() == 0.0


@pytest.mark.slow
def test_training_learns_and_generalises_to_another_face(tmp_path):
    scores = motion.train(fresh_run(tmp_path, "motion"), made_up_corpus(), *sections())
    assert scores["held_out_speakers"] == ["speaker2"]
    history = (tmp_path / "motion_history.csv").read_text().splitlines()
    column = history[0].split(",").index("mse")
    errors = [float(line.split(",")[column]) for line in history[1:]]
    assert np.mean(errors[-10:]) < 0.7 * np.mean(errors[:5])
    assert scores["r_opening"] > 0.6
    assert 0.3 < scores["variance_ratio"]
    found = motion.load(tmp_path)
    assert found.vae.amplitude == pytest.approx(scores["amplitude"])
    assert not any(parameter.requires_grad for parameter in found.vae.parameters())


def test_a_killed_training_goes_on_exactly(tmp_path):
    """The same weights whether or not the run was cut; dropout draws from the global generator."""
    finals = []
    for cut in (None, 4):
        task = fresh_task(steps=8, dropout=0.3)
        folder = tmp_path / str(cut)
        folder.mkdir()
        draw = torch.Generator().manual_seed(1)
        if cut:
            fit(task, folder, name="m", steps=cut, generator=draw)
            task = fresh_task(steps=8, dropout=0.3)
            draw = torch.Generator().manual_seed(99)
        fit(task, folder, name="m", steps=8, generator=draw)
        finals.append([parameter.detach().clone() for parameter in task.vae.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*finals, strict=True))


@pytest.mark.parametrize("name", ["continuity", "kl"])
def test_weight_zero_is_the_loss_left_out(name, monkeypatch):
    """Switched off, a loss is not computed, and the update is that of a loss that returns 0."""
    losses, without = one_step(fresh_task(**{f"{name}_weight": 0.0}))
    assert name not in losses
    formula = {"continuity": "continuity_loss", "kl": "kl_divergence"}[name]
    monkeypatch.setattr(motion, formula, lambda *parts: torch.zeros(()))
    _, silenced = one_step(fresh_task())
    assert all(torch.equal(a, b) for a, b in zip(without, silenced, strict=True))


def test_sync_loss_waits_for_its_switch():
    task = fresh_task(sync_weight=0.5, sync_below=100.0)
    before = task.weights()["sync"]
    assert before == 0.0 and "sync" not in one_step(task)[0]
    task.vae.eval()
    task.validate(0)
    assert task.weights()["sync"] == 0.5 and "sync" in one_step(task)[0]
    other = fresh_task(sync_weight=0.5)
    vars(other).update({name: getattr(task, name) for name in task.kept})  # as a restart does
    assert other.sync_on
    never = fresh_task(sync_weight=0.5, sync_below=0.0)
    never.vae.eval()
    never.validate(0)
    assert not never.sync_on


def test_sync_weight_zero_never_asks_the_expert():
    task = fresh_task(sync_weight=0.0)
    task.expert = None
    task.vae.eval()
    assert "held_out_sync" not in task.validate(0)
    assert not task.sync_on and "sync" not in one_step(task)[0]


def trained(folder) -> motion.Motion:
    torch.manual_seed(0)
    network = MotionVAE(CHANNELS, motion.MotionConfig(**SMALL)).eval()
    for coupling in network.flow.couplings:
        torch.nn.init.normal_(coupling.leave.weight)
    expert = SyncExpert(CHANNELS, width=8).eval()
    made = motion.Motion(network, expert, "hama", 0.03)
    weights.save(folder, made, "test")
    return motion.load(folder)


def test_temperature_zero_is_deterministic_and_draws_nothing(tmp_path):
    speech, _ = made_up_speech(30, seed=5)
    ready = trained(tmp_path)
    draw = torch.Generator().manual_seed(0)
    before = draw.get_state()
    first = ready.sample(speech, temperature=0.0, generator=draw)
    assert torch.equal(draw.get_state(), before)
    assert np.array_equal(first, ready.sample(speech))
    hot = ready.sample(speech, temperature=1.0, generator=draw)
    assert not np.allclose(first, hot)
    again = ready.sample(speech, temperature=1.0, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(hot, again)
    with pytest.raises(ValueError, match="needs a generator"):
        ready.sample(speech, temperature=0.5)


@pytest.mark.parametrize("n_frames", [4, 5, 30, 31])
def test_any_length_gives_one_frame_for_two_steps(tmp_path, n_frames):
    speech, _ = made_up_speech(n_frames, seed=5)
    assert trained(tmp_path).sample(speech).shape == (n_frames, 68, 3)


def test_speech_that_cannot_be_used_gets_one_sentence(tmp_path):
    ready = trained(tmp_path)
    short, _ = made_up_speech(3, seed=5)
    with pytest.raises(ValueError, match=r"lasts 0\.12 s and the generator makes 0\.16 s"):
        ready.sample(short)
    speech, _ = made_up_speech(12, seed=5)
    with pytest.raises(ValueError, match=f"have {CHANNELS} channels, got {CHANNELS - 1}"):
        ready.sample(dataclasses.replace(speech, features=speech.features[:, 1:]))


def test_amplitude_scales_the_motion(tmp_path):
    speech, _ = made_up_speech(12, seed=5)
    ready = trained(tmp_path)
    still = ready.sample(speech)
    ready.vae.amplitude.fill_(1.5)
    np.testing.assert_allclose(ready.sample(speech), 1.5 * still, rtol=1e-5)


def test_features_of_another_encoder_are_refused(tmp_path):
    speech, _ = made_up_speech(8, seed=5)
    with pytest.raises(ValueError, match="reads 'hama' features, got 'hubert-large'"):
        trained(tmp_path).sample(dataclasses.replace(speech, encoder="hubert-large"))


def test_foreign_or_damaged_weights_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no .*: run its stage first"):
        motion.load(tmp_path)
    path = tmp_path / "motion.safetensors"
    path.write_bytes(b"no weights")
    with pytest.raises(ValueError, match="cannot be read .*: run its stage again"):
        motion.load(tmp_path)
    save_weights(path, torch.nn.Linear(2, 2), kind="something else")
    with pytest.raises(ValueError, match="for kind 'something else', but kind 'motion' is needed"):
        motion.load(tmp_path)


def test_official_size():
    """11,127,500 parameters in the official code."""
    sizes = {"hidden": 256, "encoder_layers": 8, "flow_hidden": 64, "both_steps": False}
    network = MotionVAE(1024, motion.MotionConfig(**sizes))
    assert sum(p.numel() for p in network.parameters()) == 11_127_500
    assert resolve("paper").motion.hidden == 256
    assert len(dataclasses.fields(motion.MotionConfig)) <= 25


def test_stage_takes_the_shipped_weights(tmp_path):
    run = fresh_run(tmp_path, "motion")
    motion.make(run, *sections(weights="shipped"))
    ready = motion.load(tmp_path)
    assert ready.encoder == "hama" and run.metrics["origin"] == "shipped"
    assert len(ready.vae.standardise.mean) == 144
    assert "research use" in ready.terms  # they travel with the weights
    assert read_metadata(tmp_path / "sync.safetensors", kind="sync")["terms"] == ready.terms


def test_stage_trains(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "prepare", lambda config: made_up_corpus())
    run = fresh_run(tmp_path, "motion")
    motion.make(run, *sections(steps=6))
    assert motion.load(tmp_path).encoder == "hama"
    assert run.metrics["held_out_speakers"] == ["speaker2"]
    assert {"r_opening", "variance_ratio", "amplitude"} <= run.metrics.keys()
