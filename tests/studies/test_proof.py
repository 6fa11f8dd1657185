"""Proof: the measures by hand, speakers stay apart, a cut proof goes on, the baselines learn."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from talkers import CHANNELS, SMALL, made_up_corpus, made_up_speech

from geneface_kit.metrics.formulas import closures, closures_met
from geneface_kit.motion import stage as motion
from geneface_kit.motion.sync_expert import SyncConfig
from geneface_kit.person import corpus
from geneface_kit.person.mouth import mouth_opening
from geneface_kit.person.speech.offset import in_context, predict_ridge
from geneface_kit.pipeline.settings import Settings, resolve
from notebooks.studies.ship_motion import ship_ridge
from notebooks.studies.unheard_speakers import left_out, listening, measures, proof, scores
from notebooks.studies.unheard_speakers.__main__ import main
from notebooks.studies.unheard_speakers.baselines import Regressor, RegressorTask, Ridge
from notebooks.studies.unheard_speakers.measures import Lips, amplitude_for, measure


def settings(**overrides) -> Settings:
    return dataclasses.replace(
        resolve(),
        corpus=corpus.CorpusConfig(),
        sync=SyncConfig(width=8, steps=2, pairs=16),
        motion=motion.MotionConfig(**{**SMALL, "steps": 40, **overrides}),
    )


def small_proof(place, rows, data=None, **overrides) -> proof.Proof:
    data = data or made_up_corpus(n_speakers=4)
    return proof.prepare(data, settings(**overrides), rows, n_folds=2, seeds=(0,), out=place)


def lips_of(opening: np.ndarray) -> np.ndarray:
    """Lips (t, 20, 3) whose inner points lie `opening` apart."""
    lips = np.zeros((len(opening), 20, 3), np.float32)
    lips[:, 62 - 48, 1], lips[:, 54 - 48, 0] = opening, 1 + opening
    return lips


def test_half_the_motion_is_a_quarter_of_the_variance():
    seen = lips_of(np.sin(np.arange(80)))
    rest = seen.mean(0)
    found = measure(Lips(seen, rest + 0.5 * (seen - rest), rest, 0.2), 1.0)
    assert found["r_opening"] == pytest.approx(1) and found["r_width"] == pytest.approx(1)
    assert found["variance_ratio"] == pytest.approx(0.25, rel=1e-4)
    apart = np.abs(0.5 * (seen - rest)).sum(-1)  # each point moves along one axis only
    assert found["lip_error"] == pytest.approx(apart.mean(), rel=1e-4)
    whole = measure(Lips(seen, rest + 0.5 * (seen - rest), rest, 0.2), 2.0)
    assert whole["lip_error"] == pytest.approx(0, abs=1e-5)
    assert whole["diversity"] == pytest.approx(0.4)
    assert (whole["variance_ratio"], whole["raw_variance_ratio"]) == pytest.approx((1, 0.25))
    assert amplitude_for([0.25, 0.25, 9.0]) == pytest.approx(2.0)
    assert amplitude_for([]) == 1.0 and amplitude_for([0.0]) == measures.LARGEST_AMPLITUDE


def test_a_closure_is_short_and_inside_the_clip():
    shut = np.zeros(60, bool)
    for start, stop in ((0, 3), (10, 12), (20, 31), (40, 50), (58, 60)):
        shut[start:stop] = True
    assert closures(shut) == [slice(10, 12), slice(40, 50)]
    assert closures(np.zeros(4, bool)) == [] == closures(np.ones(4, bool))


def test_a_closure_is_met_two_frames_away_and_not_three():
    wanted = [slice(10, 12)]
    for frame, met in ((7, 0.0), (8, 1.0), (13, 1.0), (14, 0.0)):
        shut = np.zeros(30, bool)
        shut[frame] = True
        assert closures_met(wanted, shut) == met
    assert np.isnan(closures_met([], np.ones(3, bool)))


def test_closures_of_a_clip_are_counted_both_ways():
    """Tracked lips close three times; the drawn ones once there and once elsewhere."""
    opening = np.ones(100, np.float32)
    drawn = opening.copy()
    for frame in (20, 40, 60):
        opening[frame : frame + 4] = 0
    for frame in (21, 80):
        drawn[frame : frame + 2] = 0
    found = measure(Lips(lips_of(opening), lips_of(drawn), np.zeros((20, 3)), 0.0), 1.0)
    assert found["closure_recall"] == pytest.approx(1 / 3)
    assert found["closure_precision"] == pytest.approx(1 / 2)


def test_the_mean_face_has_no_correlation_and_no_variance():
    seen = lips_of(np.sin(np.arange(50)))
    found = measure(Lips(seen, np.repeat(seen.mean(0)[None], 50, 0), seen.mean(0), 0.0), 1.0)
    zeros = [found[name] for name in ("r_opening", "r_width", "variance_ratio")]
    assert zeros == pytest.approx([0, 0, 0], abs=1e-6)


def test_ridge_finds_a_linear_mouth_of_another_speaker():
    data = made_up_corpus(n_speakers=4, n_frames=400)
    motions = [moved[:] for moved in corpus.displacements(data.utterances, corpus.CorpusConfig())]
    features = [one.speech.features for one in data.utterances]
    drawn = Ridge(features[:3], motions[:3]).predict(features[3])
    assert drawn.shape == motions[3].shape
    assert np.corrcoef(drawn[:, 3 * 66 + 1], motions[3][:, 3 * 66 + 1])[0, 1] > 0.8


def test_the_ridge_that_ships_is_fitted_to_the_clips_as_they_were_recorded(tmp_path):
    """A copy at another speed, with a mouth of its own, changes nothing."""
    clips = made_up_corpus(n_speakers=4, n_frames=400).utterances
    copy = dataclasses.replace(clips[0], name="copy", landmarks=clips[0].landmarks[::-1])
    for path, heard in ((tmp_path / "a.npz", clips[:3]), (tmp_path / "b.npz", (*clips[:3], copy))):
        ship_ridge(heard, path)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    ridge = dict(np.load(tmp_path / "a.npz"))
    opening = predict_ridge(ridge, in_context(clips[3].speech.features))[:, 0]
    assert np.corrcoef(opening, mouth_opening(clips[3].landmarks))[0, 1] > 0.8


def test_regressor_hears_the_speech_only():
    """Noise changes nothing, other speech does."""
    torch.manual_seed(0)
    network = Regressor(CHANNELS, settings().motion).eval()
    speech, _ = made_up_speech(21, seed=1)
    drawn = network.generate(speech)
    noisy = network.generate(speech, temperature=1.0, generator=torch.Generator())
    assert drawn.shape == (21, 204) and np.array_equal(drawn, noisy)
    other, _ = made_up_speech(21, seed=2)
    assert not np.allclose(drawn, network.generate(other))


def test_regressor_is_not_moved_by_padding():
    data = made_up_corpus()
    task = RegressorTask(
        Regressor(CHANNELS, settings(sync_weight=0.0).motion),
        None,
        (data.utterances, corpus.displacements(data.utterances, corpus.CorpusConfig())),
        ([], []),
        settings(sync_weight=0.0).motion,
        n_windows=16,
    )
    draw = torch.Generator().manual_seed(0)
    batch = corpus.draw_batch(*task.part, size=2, frames=40, generator=draw)
    mask = batch.mask.clone()
    mask[:, 20:] = False
    hidden = dataclasses.replace(batch, mask=mask)
    spoilt = dataclasses.replace(hidden, motion=torch.where(mask[..., None], batch.motion, 9e3))
    task.vae.eval()
    clean, dirty = (task.losses(each, draw) for each in (hidden, spoilt))
    assert set(clean) == {"mse", "continuity"}
    assert clean["mse"].item() == pytest.approx(dirty["mse"].item(), rel=1e-5)


@pytest.fixture(scope="module")
def proved(tmp_path_factory):
    """A finished proof of three rows on four made-up speakers in two folds."""
    rows = (proof.METHODS[1], proof.METHODS[2], proof.METHODS[7])
    ready = small_proof(tmp_path_factory.mktemp("proof"), rows)
    proof.prove(ready)
    return ready


@pytest.mark.slow
def test_every_clip_is_judged_once_and_every_network_learns(proved):
    found = scores.clip_scores(proved)
    for _, own in found.groupby("row"):
        assert sorted(own["clip"]) == ["speaker0", "speaker1", "speaker2", "speaker3"]
    means = found.groupby("row").r_opening.mean()
    assert (means > 0.3).all()
    spread = found.groupby("row").diversity.mean()
    assert max(spread["ridge"], spread["regressor"]) < 1e-6 < spread["VAE, flow prior, sync"]


def test_held_out_speakers_never_train(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(proof, "fit", lambda task, *rest, **named: seen.append(task))
    monkeypatch.setattr(proof.Path, "unlink", lambda path, missing_ok=False: None)
    ready = small_proof(tmp_path, (proof.METHODS[2],))
    proof.prove(ready)
    for task, out in zip(seen, ready.folds, strict=True):
        assert {one.speaker for one in task.part[0]}.isdisjoint(out)
        assert {one.speaker for one in task.part[0]} | set(out) == set(ready.data.speakers)
        assert task.held_out == ([], [])


@pytest.mark.slow
def test_a_cut_proof_goes_on_with_what_is_missing(proved, monkeypatch):
    done = []
    monkeypatch.setattr(proof, "_work", lambda ready, row, fold, seed: done.append((row, fold)))
    proof.prove(proved)
    assert done == []
    missing = proved.file(proved.rows[2], 1, 0)
    kept = missing.read_bytes()
    missing.unlink()
    try:
        assert set(scores.clip_scores(proved).row) == {row.name for row in proved.rows} - {
            proved.rows[2].name
        }
        proof.prove(proved)
    finally:
        missing.write_bytes(kept)
    assert done == [(proved.rows[2], 1)]


@pytest.mark.slow
def test_nothing_half_written_is_left(proved):
    left = [path.name for path in proved.folder.rglob("*") if path.is_file()]
    assert not [name for name in left if "part" in name or "checkpoint" in name]
    assert (proved.folder / "fold0" / "sync.safetensors").exists()


@pytest.mark.slow
def test_a_factor_comes_from_the_other_folds(proved):
    """The factor of fold 0 brings the median ratio of fold 1 to 1, and the reverse."""
    own = scores.clip_scores(proved).query("row == 'ridge'")
    for fold, other in ((0, 1), (1, 0)):
        factor = own[own.fold == fold].amplitude.iloc[0]
        assert factor**2 * own[own.fold == other].raw_variance_ratio.median() == pytest.approx(1)


@pytest.mark.slow
def test_the_table_is_mean_and_spread_over_seeds(proved, tmp_path):
    measured = dict.fromkeys(measures.MEASURES, 0.5)
    lines = [
        {"row": "ridge", "seed": seed, "fold": 0, "clip": clip, "amplitude": 1.0, "cpu_s": 2.0}
        | measured
        | {"r_opening": value}
        for seed, values in ((0, (0.2, 0.4)), (1, (0.4, 0.6)))
        for clip, value in zip("ab", values, strict=True)
    ]
    found = scores.table(proved, pd.DataFrame(lines), "the command").iloc[0]
    assert found.r_opening == pytest.approx(0.4)  # of 0.3 and 0.5
    assert found.r_opening_sd == pytest.approx(0.2 / np.sqrt(2))
    assert found.n_seeds == 2 and found.command == "the command"
    text = scores.report(proved, "again", tmp_path / "table.csv")
    assert "4 clips of 4 speakers in 2 folds" in text
    written = pd.read_csv(tmp_path / "table.csv")
    assert list(written["row"]) == [row.name for row in proved.rows]
    assert set(written.command) == {"again"} and written.r_opening_sd.isna().all()


def test_bad_input_is_refused_in_one_sentence(tmp_path):
    one = made_up_corpus(n_speakers=1)
    with pytest.raises(ValueError, match="two speakers at least, got \\['speaker0'\\]"):
        small_proof(tmp_path, proof.METHODS, one)
    data = made_up_corpus(n_speakers=3)
    for folds, seeds, words in (
        (4, (0,), "folds must be 0 or 2 to 3"),
        (0, (), "at least one seed"),
    ):
        with pytest.raises(ValueError, match=words):
            proof.prepare(data, settings(), (), n_folds=folds, seeds=seeds)
    data.utterances[1].landmarks[3, 60] = np.nan
    with pytest.raises(ValueError, match="speaker1 holds NaN"):
        small_proof(tmp_path, proof.METHODS, data)
    with pytest.raises(ValueError, match="no such speaker in the corpus: nobody"):
        proof.prepare(data, settings(), (), n_folds=0, seeds=(0,), heard=("nobody", "speaker0"))
    with pytest.raises(ValueError, match="no row of .* has all its folds"):
        scores.report(small_proof(tmp_path, proof.METHODS), "", tmp_path / "t.csv")


def test_the_command_refuses_an_unknown_folder_and_setting(capsys):
    assert main(["nowhere-at-all"]) == 2
    assert "no corpus folder 'nowhere-at-all'" in capsys.readouterr().err
    assert main(["nowhere-at-all", "--set", "motion.stepz=1"]) == 2
    assert "unknown setting 'motion.stepz'" in capsys.readouterr().err


def test_few_speakers_are_warned_of(tmp_path, caplog):
    small_proof(tmp_path, proof.METHODS)
    assert "only 4 speakers" in caplog.text


def test_zero_folds_leave_each_speaker_out_alone(tmp_path):
    ready = proof.prepare(made_up_corpus(3), settings(), (), n_folds=0, seeds=(0,), out=tmp_path)
    assert ready.folds == [["speaker0"], ["speaker1"], ["speaker2"]]


def test_heard_speakers_always_train_and_are_never_judged(tmp_path):
    data = made_up_corpus(4)
    given = {"n_folds": 0, "seeds": (0,), "out": tmp_path}
    ready = proof.prepare(data, settings(), (), heard=("speaker1",), **given)
    assert ready.folds == [["speaker0"], ["speaker2"], ["speaker3"]]
    assert "speaker1" in ready.data.speakers
    assert ready.folder != proof.prepare(data, settings(), (), **given).folder


def test_speakers_left_out_count_alike_however_many_clips_they_have():
    """Two clips of one speaker weigh as much as one clip of the other; intervals hold the means."""
    measured = dict.fromkeys(left_out.MEASURES, 1.0)
    lines = [
        {"speaker": speaker, "clip": clip, "method": method, "amplitude": 1.5}
        | measured
        | {"r_opening": value + bonus, "std_ratio": ratio}
        for method, bonus in (("generator", 0.1), ("ridge", 0.0))
        for speaker, clip, value, ratio in (
            ("a", 1, 0.2, 1.0),
            ("a", 2, 0.4, 2.0),
            ("b", 3, 0.7, 1),
        )
    ]
    found = left_out.summary(pd.DataFrame(lines))
    assert (found["n_speakers"], found["n_clips"], found["amplitude"]) == (2, 3, 1.5)
    assert found["ridge r_opening"] == [0.5, 0.3, 0.7]
    assert found["difference r_opening"] == [0.1, 0.1, 0.1]
    assert found["ridge share of clips with a std ratio of 0.6 to 1.6"] == 0.667
    assert found["ridge share of clips with a raw std ratio of 0.6 to 1.6"] == 1.0


@pytest.mark.slow
def test_the_shipped_kind_is_judged_beside_a_ridge_of_the_same_speakers(tmp_path):
    ready = small_proof(tmp_path, tuple(left_out.METHODS.values()))
    proof.prove(ready)
    clips = left_out.by_clip(ready)
    assert sorted(clips["clip"]) == sorted(2 * ready.data.speakers)  # a clip each, two methods
    assert (clips.speaker == clips["clip"]).all()
    assert clips[list(left_out.MEASURES[:4])].notna().all().all()
    raw = clips.std_ratio / clips.raw_std_ratio
    np.testing.assert_allclose(raw, clips.amplitude, rtol=1e-4)


def test_other_settings_are_another_proof(tmp_path):
    folders = {small_proof(tmp_path, (), steps=steps).folder for steps in (1, 2, 1)}
    assert len(folders) == 2


def test_mel_with_deltas_is_standardised_clip_by_clip(tmp_path):
    data = made_up_corpus(2)
    draw = np.random.default_rng(0)
    for one in data.utterances:
        one.speech.mel[:] = 5 + 3 * draw.standard_normal(one.speech.mel.shape)
    config = corpus.CorpusConfig()
    heard = listening.hear(data, config, tmp_path, features="log-mel, deltas")
    for one, before in zip(heard, data.utterances, strict=True):
        assert one.speech.features.shape == (len(before.speech), 240)
        np.testing.assert_allclose(one.speech.features.mean(0), 0, atol=1e-4)
        np.testing.assert_allclose(one.speech.features.std(0), 1, atol=2e-3)
        assert np.corrcoef(one.speech.features[:, 7], before.speech.mel[:, 7])[0, 1] > 0.999
    plain = listening.hear(data, config, tmp_path, features="log-mel")
    assert plain[0].speech.features is data.utterances[0].speech.mel


def test_listening_refuses_what_it_does_not_know(tmp_path):
    data, config = made_up_corpus(2), corpus.CorpusConfig()
    for asked, words in (
        ({"features": "wav2vec"}, "features must be one of corpus, log-mel"),
        ({"spoilt": "~echo"}, "spoilt must be one of ~noise, ~channel"),
        ({"features": "hama block 4"}, "in memory has no sound"),
    ):
        with pytest.raises(ValueError, match=words):
            listening.hear(data, config, tmp_path, **asked)


def _as_block3(kept):
    for one in kept:
        yield {"block 3": np.zeros((2 * len(one), 144), np.float32)}


def test_noise_has_the_asked_level():
    sound = np.sin(np.arange(16_000) / 10).astype(np.float32)
    noise = listening.with_noise(sound, 20.0) - sound
    ratio_db = 10 * np.log10(np.mean(sound**2) / np.mean(noise**2))
    assert ratio_db == pytest.approx(20, abs=0.3)  # 16,000 draws: 0.05 dB of standard error


def test_folds_deal_speakers_out():
    assert proof.deal(["a", "b", "c", "d", "e"], 2) == [["a", "c", "e"], ["b", "d"]]
    assert proof.deal(["a"], 4) == [["a"]]
