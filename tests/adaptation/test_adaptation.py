"""Adaptation: a person's motion is learned, each loss has its switch, a still mouth is noticed."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talkers
import torch
from talkers import FAST, made_up_generator, made_up_person, made_up_speech

from geneface_kit.adaptation import domains
from geneface_kit.adaptation import stage as adaptation
from geneface_kit.adaptation.losses import MouthAxes, adversarial_loss, discriminator_loss
from geneface_kit.adaptation.postnet import (
    Adapter,
    Discriminator,
    PostNet,
    project_onto_neighbours,
)
from geneface_kit.adaptation.training import AdaptationTask, amplitude_of, opening_of
from geneface_kit.motion import stage as motion
from geneface_kit.person import corpus
from geneface_kit.person import stage as person
from geneface_kit.runs import Run
from geneface_kit.runs.training import fit


def fresh_task(**overrides) -> AdaptationTask:
    config = adaptation.AdaptationConfig(**{**FAST, **overrides})
    foreign = [made_up_speech(40, seed=8)[0], made_up_speech(60, seed=9)[0]]
    torch.manual_seed(0)
    return AdaptationTask(made_up_generator(), made_up_person(), foreign, config)


def train(task: AdaptationTask, steps: int) -> list[dict[str, float]]:
    draw = torch.Generator().manual_seed(0)
    for module in task.modules.values():
        module.train()
    rows = [task.step(index, draw) for index in range(steps)]
    for module in task.modules.values():
        module.eval()
    return rows


def test_a_persons_stretches_are_heard_and_judged_one_by_one():
    """88 frames in stretches of 30, 54 and 4; of 80 that are not held out, a tenth validates. The
    post-net sees 7 frames beside one."""
    who = dataclasses.replace(made_up_person(), spans=np.array([0, 30, 84]))
    config = adaptation.AdaptationConfig(**FAST)
    generator, foreign = made_up_generator(), [made_up_speech(60, seed=9)[0]]
    task = AdaptationTask(generator, who, foreign, config)
    assert [len(one) // 2 for one, _ in task.own_heard["fit"]] == [30, 72 - 30]
    alone = generator.vae.generate(who.speech.part(slice(0, 30)))
    assert np.array_equal(task.own_heard["fit"][0][1][0].numpy(), alone)
    outside = np.flatnonzero(~task.own_inside.numpy())
    assert outside.tolist() == list(range(23, 37)) and len(task.own_inside) == 72
    assert [len(one) // 2 for one, _ in task.own_heard["validation"]] == [8]
    assert [len(one) // 2 for one, _ in task.own_heard["test"]] == [4, 4]
    held_out = [who.speech.part(part) for part in who.stretches(who.n_train)]
    expected = np.concatenate([generator.vae.generate(one) for one in held_out])
    assert np.array_equal(task.own_motion("test", None).numpy(), expected)
    assert np.isfinite([row["total"] for row in train(task, 2)]).all()


def test_frames_whose_mouth_is_hidden_teach_nothing():
    who, whole = made_up_person(), np.ones(88, bool)
    whole[20:30], whole[74:76] = False, False
    elsewhere = who.landmarks.copy()
    elsewhere[20:30] += 0.5
    elsewhere[74:76] += 0.5
    config = adaptation.AdaptationConfig(**FAST)
    seen = []
    for points in (who.landmarks, elsewhere):
        one = dataclasses.replace(who, landmarks=points, found=whole)
        torch.manual_seed(0)
        foreign = [made_up_speech(60, seed=9)[0]]
        task = AdaptationTask(made_up_generator(), one, foreign, config)
        found = task.step(0, torch.Generator().manual_seed(1))
        seen.append(
            [task.before["distance"], task.before["own_mse"], found["mse"], found["score_real"]]
        )
        assert len(task.own_seen) == 62 and whole.sum() == 76
    assert seen[0] == seen[1]


def test_foreign_speech_is_parted_once_and_a_short_piece_is_not_drawn():
    """10 and 200 frames in a row: 126 train, 42 validate, 42 test; pieces have 24 frames."""
    foreign = [made_up_speech(n, seed=n)[0] for n in (10, 200)]
    config = adaptation.AdaptationConfig(**FAST)
    torch.manual_seed(0)
    task = AdaptationTask(made_up_generator(), made_up_person(), foreign, config)
    lengths = {part: [len(one) // 2 for one in heard] for part, heard in task.foreign.items()}
    assert lengths == {"fit": [10, 116], "validation": [42], "test": [42]}
    last = task.foreign["test"][0].features
    np.testing.assert_array_equal(last, foreign[1].features[-84:])
    speech, _ = task._foreign_batch(torch.Generator().manual_seed(0))
    assert speech.shape[1] == 2 * config.frames


def test_fresh_postnet_changes_nothing_and_padding_stays_zero():
    postnet = PostNet().eval()
    x = torch.randn(1, 9, 204, generator=torch.Generator().manual_seed(0))
    x[:, 6:] = 0
    assert torch.equal(postnet(x), x)
    torch.nn.init.normal_(postnet.third[1].weight)
    torch.nn.init.normal_(postnet.third[1].bias)
    y = postnet(x)
    assert not torch.allclose(y[:, :6], x[:, :6]) and torch.equal(y[:, 6:], x[:, 6:])


def test_official_sizes():
    """Of the official code: plain, with 64 pitch channels, and the discriminator."""
    count = lambda network: sum(p.numel() for p in network.parameters())  # noqa: E731
    assert count(PostNet()) == 796_620
    assert count(PostNet(extra=64)) == 821_196
    assert count(Discriminator()) == 158_080


@pytest.mark.slow
def test_supervised_part_learns_the_persons_amplitude():
    only_mse = {"adversarial_weight": 0.0, "sync_weight": 0.0, "mse_weight": 1.0}
    task = fresh_task(**only_mse, amplitude=False, lr=2e-3, steps=40)
    errors = [row["mse"] for row in train(task, 40)]
    assert np.mean(errors[-5:]) < 0.6 * np.mean(errors[:3])
    assert task.validate(40)["variance_ratio"] > 0.3


@pytest.mark.parametrize("name", ["adversarial", "sync", "mse"])
def test_each_loss_has_its_own_switch(name):
    rows = train(fresh_task(**{f"{name}_weight": 0.0}), 1)
    left = {"adversarial", "sync", "mse"} - {name}
    assert left <= rows[0].keys() and name not in rows[0]
    assert ("discriminator" in rows[0]) == (name != "adversarial")
    config = adaptation.AdaptationConfig()
    total = sum(getattr(config, f"{other}_weight") * rows[0][other] for other in left)
    assert rows[0]["total"] == pytest.approx(total, rel=1e-5)


def test_frozen_networks_stay_frozen():
    """The official code lets the generator's batch norms drift here; ours must not."""
    task = fresh_task()
    before = {name: value.clone() for name, value in task.generator.vae.state_dict().items()}
    train(task, 3)
    after = task.generator.vae.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_lsgan_losses_by_hand():
    """A discriminator that says 0.25 everywhere: (1 - 0.25)^2, and 0.25^2 + 0.75^2."""
    quarter = torch.full((3, 1), 0.25)
    assert adversarial_loss(quarter) == pytest.approx(0.5625)
    assert discriminator_loss(quarter, quarter) == pytest.approx(0.0625 + 0.5625)
    assert discriminator_loss(torch.zeros(2, 1), torch.ones(5, 1)) == 0


def test_apply_adds_the_persons_mean():
    mean = np.full((68, 3), 2.0, np.float32)
    ready = Adapter(PostNet(), unit=0.03).eval()
    ready.mean.copy_(torch.from_numpy(mean))
    moved = ready.adapted(np.full((5, 68, 3), 0.1, np.float32), made_up_speech(5, seed=1)[0])
    np.testing.assert_allclose(moved, 2.1, rtol=1e-6)


def fresh_run(folder: Path) -> Run:
    above = talkers.fresh_run(folder, "motion")
    return talkers.fresh_run(folder, "adaptation", {"person": above, "motion": above})


@pytest.fixture
def stage(monkeypatch):
    """make() on made-up upstream stages; returns the settings it takes."""
    monkeypatch.setattr(person, "load", lambda folder: made_up_person())
    monkeypatch.setattr(motion, "load", lambda folder: made_up_generator())
    foreign = [made_up_speech(160, seed=8)[0]]
    monkeypatch.setattr(adaptation, "foreign_speech", lambda config, own: foreign)
    return lambda **overrides: (
        corpus.CorpusConfig(),
        adaptation.AdaptationConfig(**{**FAST, **overrides}),
    )


def test_stage_writes_what_load_reads(tmp_path, stage):
    run = fresh_run(tmp_path)
    adaptation.make(run, *stage())
    ready = adaptation.load(tmp_path)
    who = made_up_person()
    own_mean = who.landmarks[: who.n_train].mean(0)
    np.testing.assert_allclose(ready.mean.numpy(), own_mean, rtol=1e-6)
    curves = {"own_mse", "foreign_sync", "distance", "variance_ratio"}
    names, when = ("distance", "told_apart", "mouth_r"), ("before", "after")
    sides = {f"{name}_{side}" for name in names for side in when}
    sides |= {"distance_floor", "told_apart_floor"}
    assert {"best_step", "score", "collapsed", "amplitude"} | curves | sides <= run.metrics.keys()
    seen = pd.read_csv(tmp_path / "adaptation_history.csv").score.dropna()
    lowest = min(run.metrics["score_start"], seen.min())
    assert run.metrics["score"] == pytest.approx(lowest, abs=1e-5), "the best weights are kept"
    assert run.data_kind == "synthetic"


def test_the_mouths_correlation_is_of_the_held_out_frames():
    """r is 1 where the generator moves as the person does, -1 where it does the opposite."""
    task = fresh_task()
    raw = task.own_motion("test", None)
    for sign in (1.0, -1.0):
        task.own["test"] = sign * raw
        assert adaptation._domains(task)["mouth_r_before"] == pytest.approx(sign, abs=1e-3)
    task.own["test"] = torch.zeros_like(raw)
    assert not any("mouth_r" in name for name in adaptation._domains(task))


def test_a_still_mouth_is_noticed(tmp_path, stage, monkeypatch, caplog):
    """A generator that hardly moves, and a post-net that may not learn: collapse is reported."""
    still = made_up_generator()
    still.vae.amplitude.fill_(1e-4)
    monkeypatch.setattr(motion, "load", lambda folder: still)
    with caplog.at_level(logging.WARNING):
        adaptation.make(fresh_run(tmp_path), *stage(lr=1e-12))
    assert "has collapsed" in caplog.text


def test_a_deliberate_collapse_is_caught_and_ends_the_run(tmp_path):
    """A person with one face, and nothing but it to learn: every sound is pulled towards it. That
    their amplitude is the least there is, a quarter, is no collapse."""
    who = made_up_person()
    who = dataclasses.replace(who, landmarks=np.repeat(who.landmarks[:1], len(who.landmarks), 0))
    alone = {"adversarial_weight": 0.0, "sync_weight": 0.0, "postnet_class": f"{__name__}:Scaling"}
    config = adaptation.AdaptationConfig(**FAST | alone | {"steps": 100, "lr": 0.1})
    torch.manual_seed(0)
    task = AdaptationTask(made_up_generator(), who, [made_up_speech(60, seed=8)[0]], config)
    history = fit(
        task,
        tmp_path,
        name="adaptation",
        steps=100,
        generator=torch.Generator().manual_seed(0),
        validate_every=5,
    )
    assert task.ended.startswith("collapsed")
    seen = [row["spread_over_raw"] for row in history.rows if "spread_over_raw" in row]
    assert task.adapter.amplitude == 0.25 and len(seen) == 3
    assert seen[0] > 0.3 * 0.25**2 > max(seen[1:])


def test_a_run_that_moves_is_not_called_collapsed(tmp_path):
    task = fresh_task()
    assert task.validate(0)["spread_over_raw"] > 0.3 and task.validate(1) and not task.ended


def test_the_amplitude_is_the_persons_own():
    """A mouth that opens three times as far as the generator's, for the same sound."""
    draw = torch.Generator().manual_seed(0)
    raw = torch.randn(50, 204, generator=draw)
    assert amplitude_of(3 * raw + 1, raw) == pytest.approx(3, rel=1e-5)
    assert amplitude_of(3 * raw, 100 * raw) == 0.25 and amplitude_of(raw, 0 * raw) == 1
    assert fresh_task(amplitude=False).adapter.amplitude == 1
    lively = made_up_generator()
    lively.vae.amplitude.fill_(200.0)
    config = adaptation.AdaptationConfig(**FAST)
    task = AdaptationTask(lively, made_up_person(), [made_up_speech(60, seed=8)[0]], config)
    raw = task.own_motion("fit", None)
    expected = float(opening_of(task.own["fit"]).std() / opening_of(raw).std())
    assert task.adapter.amplitude.item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(task.own_motion("fit", task.adapter.eval()), expected * raw)
    assert task.validate(0)["variance_ratio"] == pytest.approx(1, abs=1e-3)


def test_the_mouth_is_seen_in_the_persons_own_directions():
    """Own motion has mean 0 and covariance 1 there; eyes and brows are not seen."""
    draw = torch.Generator().manual_seed(0)
    own = torch.randn(500, 204, generator=draw) @ torch.randn(204, 204, generator=draw) + 3
    axes = MouthAxes(own)
    seen = axes(own)
    assert seen.shape == (500, 12)
    torch.testing.assert_close(seen.mean(0), torch.zeros(12), atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.cov(seen.T), torch.eye(12), atol=1e-3, rtol=0)
    winking = own.clone().unflatten(1, (68, 3))
    winking[:, 17:48] += 100.0
    assert torch.equal(axes(winking.flatten(1)), seen)


def test_the_distance_is_that_of_the_moved_mean():
    """Moved along its main direction by two deviations: the distance is their square."""
    own = torch.randn(900, 204, generator=torch.Generator().manual_seed(0))
    axes = MouthAxes(own)
    moved = own.unflatten(1, (68, 3)).clone()
    shift = (2 * axes.sizes[-1] * axes.axes[:, -1]).reshape(37, 3)
    moved[:, [*range(17), *range(48, 68)]] += shift
    expected = float(4 * axes.sizes[-1] ** 2)
    assert axes.distance(moved.flatten(1), own) == pytest.approx(expected, rel=1e-3)
    assert axes.distance(own, own) == pytest.approx(0, abs=1e-4)


def test_a_classifier_tells_apart_what_differs_and_guesses_what_does_not():
    draw = torch.Generator().manual_seed(0)
    one, same, other, ring = (torch.randn(500, 3, generator=draw) for _ in range(4))
    assert domains.told_apart([one], [same]) == pytest.approx(0.5, abs=0.05)
    assert domains.told_apart([one], [other + 20]) == 1.0
    far = 3 * ring / ring.norm(dim=1, keepdim=True)  # around the other: mean 0 as well
    assert domains.told_apart([0.5 * one], [far]) > 0.95
    before = torch.get_rng_state()
    domains.told_apart([one[:30], one[30:60]], [same])
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(ValueError, match="more than 10 frames"):
        domains.told_apart([one], [same[:10]])


def test_a_discriminator_with_a_head_start_separates_the_domains():
    """After the head start own frames score higher by far, at a post-net that cannot follow."""
    task = fresh_task(lr=1e-9, sync_weight=0.0, mse_weight=0.0)
    rows = train(task, 6)
    assert rows[0]["score_real"] - rows[0]["score_fake"] > 0.3
    assert rows[-1]["score_real"] - rows[-1]["score_fake"] > 0.3


def test_a_training_that_makes_it_worse_is_not_kept(tmp_path, stage):
    """A learning rate that only destroys: what is kept changes nothing, and the run says so."""
    run = fresh_run(tmp_path)
    adaptation.make(run, *stage(lr=10.0, sync_weight=0.0))
    assert run.metrics["best_step"] == 0
    assert run.metrics["score"] == pytest.approx(run.metrics["score_start"], abs=1e-4)
    x = torch.randn(1, 8, 204)
    postnet = adaptation.load(tmp_path).postnet
    assert torch.equal(postnet(x), x)


@pytest.mark.slow
def test_the_pitch_variant_hears_pitch(tmp_path, stage, monkeypatch):
    with pytest.raises(ValueError, match="motion.pitch=true"):
        fresh_task(pitch=True)
    hears = made_up_generator(pitch=True)
    monkeypatch.setattr(motion, "load", lambda folder: hears)
    adaptation.make(fresh_run(tmp_path), *stage(pitch=True, steps=20))
    ready = adaptation.load(tmp_path)
    speech = made_up_speech(40, seed=1)[0]
    low = ready.adapted(np.zeros((40, 68, 3), np.float32), speech)
    high = ready.adapted(
        np.zeros((40, 68, 3), np.float32), dataclasses.replace(speech, f0=3 * speech.f0)
    )
    assert low.shape == (40, 68, 3) and np.abs(low - high).max() > 1e-6


class Scaling(torch.nn.Module):
    """A post-net from outside the package: one factor on each coordinate."""

    def __init__(self, *, motion: int, extra: int) -> None:
        super().__init__()
        self.factors = torch.nn.Parameter(torch.ones(motion))

    def forward(self, motion, extra=None):
        return motion * self.factors


def test_an_own_postnet_is_plugged_in_by_its_import_path(tmp_path, stage):
    """It is trained, kept and loaded as the built-in one is."""
    run, path = fresh_run(tmp_path), f"{__name__}:Scaling"
    adaptation.make(run, *stage(postnet_class=path, lr=1e-2, mse_weight=1.0))
    ready = adaptation.load(tmp_path)
    assert type(ready.postnet).__name__ == "Scaling"
    changed = not torch.equal(ready.postnet.factors, torch.ones(204))
    assert changed == (run.metrics["best_step"] > 0)
    speech = made_up_speech(5, seed=1)[0]
    assert ready.adapted(np.zeros((5, 68, 3), np.float32), speech).shape == (5, 68, 3)


@pytest.mark.parametrize("path", ["", "nowhere:Net", f"{__name__}:Nothing", f"{__name__}:SIZE"])
def test_a_postnet_that_is_none_is_refused(path):
    with pytest.raises(ValueError, match="adaptation.postnet_class="):
        fresh_task(postnet_class=path)


SIZE = 204


def test_person_of_another_encoder_is_refused(tmp_path, stage, monkeypatch):
    other = motion.Motion(*list(vars(made_up_generator()).values())[:2], "hubert-large", 0.03)
    monkeypatch.setattr(motion, "load", lambda folder: other)
    with pytest.raises(ValueError, match="prepare the person again"):
        adaptation.make(fresh_run(tmp_path), *stage())


def test_projection_keeps_what_lies_in_the_neighbours_plane():
    draw = torch.Generator().manual_seed(0)
    plane = torch.randn(2, 6, generator=draw).double()
    database = torch.randn(30, 2, generator=draw).double() @ plane
    inside = torch.tensor([[0.2, -0.1]]).double() @ plane
    out = project_onto_neighbours(inside, database, neighbours=4)
    torch.testing.assert_close(out, inside)
    normal = torch.linalg.svd(plane)[2][-1]
    out = project_onto_neighbours(inside + normal, database, neighbours=4)
    torch.testing.assert_close(out, inside)
    half = project_onto_neighbours(inside + normal, database, neighbours=4, share=0.5)
    torch.testing.assert_close(half, inside + 0.5 * normal)


def test_projection_of_float64_is_the_same_wherever_its_arrays_lie():
    """In float32 forty calls from addresses that differ by single numbers gave eleven results."""
    draw = torch.Generator().manual_seed(0)
    frames, database = (torch.randn(n, 204, generator=draw).double() for n in (30, 300))
    found = set()
    for offset in range(8):
        moved = torch.empty(frames.numel() + offset, dtype=torch.float64)[offset:].view_as(frames)
        out = project_onto_neighbours(moved.copy_(frames), database, ridge=1e-3)
        found.add(out.float().numpy().tobytes())
    assert len(found) == 1


def test_projection_survives_equal_neighbours():
    database = torch.ones(20, 6)
    out = project_onto_neighbours(torch.zeros(2, 6), database, ridge=1e-3)
    torch.testing.assert_close(out, torch.ones(2, 6))
