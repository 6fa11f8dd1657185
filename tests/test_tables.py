"""Tables: protocols on a pretend actor; every number has runs, every gap a reason."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import acting
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file

from geneface_kit import metrics, runs, tables, talk
from geneface_kit.clip import write_audio
from geneface_kit.metrics import NotMeasured

TALK = talk.TalkConfig(max_s=0.0, temperature=0.0)


@pytest.fixture
def actor(tmp_path, monkeypatch):
    monkeypatch.setattr(talk, "encode", acting.speech)
    monkeypatch.setattr(tables.metrics, "detected_landmarks", detected)
    monkeypatch.setattr(tables.speech, "mouth_from_speech", heard)
    monkeypatch.setenv("GENEFACE_KIT_NETWORKS", str(tmp_path / "none"))
    return acting.actor(tmp_path)


def detected(frames):
    """A detector that finds the face in all frames but the first, at a place set by brightness."""
    found = np.arange(len(frames)) > 0
    place = frames.mean(axis=(1, 2, 3), dtype=np.float32)[:, None, None]
    return np.zeros((len(frames), 68, 2), np.float32) + place, found


def heard(spoken):
    return np.repeat(spoken.features[::2], 2, axis=1)


def a_run(folder: Path, stage="evaluation", parents=None) -> runs.Run:
    facts = {"id": f"{stage}-pretend", "stage": stage, "subject": "pretend", "profile": "smoke"}
    facts |= {"seed": 0, "status": "ok", "data_kind": "synthetic", "config": {}, "metrics": {}}
    folder.mkdir(exist_ok=True)
    return runs.Run(
        folder, facts | {"inputs": {}, "wall_s": 90.0, "machine": {"device": "cpu"}}, parents or {}
    )


def a_row(**changes) -> tables.Row:
    row = tables.Row(
        table="a",
        person="demo",
        protocol="self-driven",
        method="full",
        metric="PSNR",
        value=30.25,
        unit="dB",
        n_frames=4,
        runs=("person-1", "nerf-2"),
        seed=0,
        profile="smoke",
        data_kind="synthetic",
    )
    return replace(row, **changes)


def test_held_out_is_the_last_eleventh():
    person = SimpleNamespace(name="p", n_train=100, landmarks=np.zeros((110, 68, 3)))
    assert tables.held_out(person, 0).tolist() == list(range(100, 110))
    assert tables.held_out(person, 3).tolist() == [100, 104, 109]
    assert tables.held_out(person, 99).tolist() == list(range(100, 110))
    person.n_train = 110
    with pytest.raises(ValueError, match="p has no held-out frames"):
        tables.held_out(person, 3)


def test_landmark_driven_renders_the_tracked_landmarks(actor):
    frames = tables.landmark_driven(actor, np.array([40, 43]))
    opening = talk.mouth_opening(actor.person.landmarks[[40, 43]])
    assert frames[:, 0, 0, 0].tolist() == [int(255 * value) for value in opening]


def test_self_driven_hears_only_held_out_sound(actor):
    chosen = tables.held_out(actor.person, 0)
    generator = torch.Generator()
    plan, frames = tables.self_driven(actor, chosen, TALK, generator)
    assert len(plan.landmarks) == len(chosen) == 4 and frames.shape == (4, 32, 32, 3)
    assert np.array_equal(plan.audio, actor.person.audio[40 * 640 : 44 * 640])
    actor.person.audio[: 40 * 640] = 0  # the sound of training changes nothing ...
    again, _ = tables.self_driven(actor, chosen, replace(TALK, rest_in_silence=False), generator)
    first, _ = tables.self_driven(actor, chosen, replace(TALK, rest_in_silence=False), generator)
    assert np.array_equal(again.adapted, plan.adapted)
    actor.person.audio[40 * 640 :] *= 0.5  # ... the held-out sound does
    third, _ = tables.self_driven(actor, chosen, replace(TALK, rest_in_silence=False), generator)
    assert np.array_equal(first.landmarks, again.landmarks)
    assert not np.array_equal(third.adapted, plan.adapted)


def test_perfect_frames_score_perfectly(actor):
    chosen = np.array([40, 41, 42])
    scores = tables.score_pictures(actor.person, chosen, actor.person.frames[chosen])
    assert scores["PSNR"] == (np.inf, "dB")
    assert scores["SSIM"][0] == pytest.approx(1)
    assert scores["LMD"] == (0, "px") and scores["LMD lips"] == (0, "px")
    assert scores["faces found"][0] == pytest.approx(2 / 3)
    for metric in ("FID", "LPIPS", "LSE-C"):
        assert str(scores[metric][0]) == "not measured"


def test_psnr_head_counts_head_pixels_only(actor):
    chosen = np.array([40, 41])
    actor.person.frames[chosen] = 0
    actor.person.labels[:] = 0
    actor.person.labels[:, 8:24, 8:24] = tables.HEAD
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    frames[:, 8:24, 8:24] = 51
    scores = tables.score_pictures(actor.person, chosen, frames)
    assert scores["PSNR head"][0] == pytest.approx(13.979, abs=1e-3)
    assert scores["PSNR"][0] == pytest.approx(13.979 + 10 * np.log10(4), abs=1e-3)


def test_no_face_leaves_lmd_unmeasured(actor):
    scores = tables.score_pictures(actor.person, np.array([40]), actor.person.frames[[40]])
    assert scores["LMD"][0] == NotMeasured("no face was found in the rendered frames")


def test_expert_score_is_the_mean_over_all_windows(actor):
    class Counting(torch.nn.Module):
        """Cosine stand-in: the first lip coordinate plus the first feature of each window."""

        def forward(self, heard, mouth):
            assert heard.shape[1:] == (10, 1) and mouth.shape[1:] == (5, 60)
            return mouth[:, 0, 0] + heard[:, 0, 0]

    plan = talk.plan(actor, acting.sound(0.4), TALK, torch.Generator())
    plan.landmarks[:, 48, 0] = np.arange(10)
    plan.speech.features[:, 0] = np.arange(20)
    mean = np.zeros((68, 3), np.float32)
    # Windows start at frames 0..5: lips k / 0.5, speech step 2k. Mean of 4k over 0..5 = 10.
    assert tables.expert_score(Counting(), 0.5, plan, mean) == pytest.approx(10)


def test_a_table_survives_the_file(tmp_path):
    rows = [a_row(), a_row(metric="FID", value=NotMeasured("no network"), unit="")]
    tables.write_table(tmp_path / "table_a.csv", rows)
    table = tables.read_table(tmp_path / "table_a.csv")
    assert table["value"].tolist() == ["30.25", "not measured"]
    assert table["reason"].tolist() == ["", "no network"]
    assert table["runs"].tolist() == ["person-1 nerf-2"] * 2
    assert table["data_kind"].tolist() == ["synthetic"] * 2


def test_published_numbers_all_have_a_source():
    table = tables.published()
    assert len(table) == 121
    assert (table["source"].str.len() > 5).all()
    pd.to_numeric(table["value"])


def test_ours_and_published_never_share_a_row(tmp_path):
    tables.write_table(tmp_path / "t.csv", [a_row(), a_row(metric="SSIM", value=0.9)])
    wide = tables.beside_published(tables.read_table(tmp_path / "t.csv"), "a")
    ours, quoted = wide[wide["origin"] == "ours"], wide[wide["origin"] == "published"]
    assert len(ours) == 1 and ours["PSNR"].tolist() == ["30.25"]
    assert ours["source"].tolist() == ["runs person-1 nerf-2"]
    assert ours["data"].tolist() == ["synthetic, smoke"]
    geneface = quoted[quoted["method"] == "GeneFace"]
    assert geneface[["PSNR", "FID", "SSIM"]].values.tolist() == [["24.82", "21.708", "—"]]
    assert (quoted["data"] == "real").all()
    assert "FPS" not in wide and len(wide) == len(ours) + len(quoted)


def test_html_names_the_data_and_the_reasons(tmp_path):
    rows = [a_row(), a_row(metric="FID", value=NotMeasured("no network"))]
    tables.write_table(tmp_path / "t.csv", rows)
    html = tables.to_html(tables.read_table(tmp_path / "t.csv"), "a")
    assert "Table A: reconstruction of held-out frames (synthetic data)" in html
    assert "<li>FID: no network</li>" in html and "not measured" in html


def test_make_writes_three_tables_with_runs_and_kinds(actor, tmp_path, monkeypatch):
    write_audio(tmp_path / "voice.wav", acting.sound(0.6))
    monkeypatch.setattr(tables.talk, "load_actor", lambda parents: actor)
    save_file(
        {"w": np.zeros((3, 4), np.float32)}, a_run(tmp_path / "nerf").folder / "head.safetensors"
    )
    parents = {
        stage: a_run(tmp_path / stage, stage)
        for stage in ("person", "motion", "adaptation", "nerf")
    }
    run = a_run(tmp_path / "evaluation", parents=parents)
    settings = SimpleNamespace(
        talk=TALK,
        evaluation=tables.EvaluationConfig(n_frames=3, recordings=str(tmp_path / "voice.wav")),
    )
    assert tables.inputs("pretend", settings) == [tmp_path / "voice.wav"]
    tables.make(run, settings)
    table = {name: tables.read_table(run.folder / f"table_{name}.csv") for name in "abd"}
    assert set(table["a"]["protocol"]) == {"landmark-driven", "self-driven"}
    assert set(table["b"]["protocol"]) == {"cross-driven: voice"}
    cost = table["d"].set_index(["protocol", "metric"])["value"]
    assert cost["nerf", "parameters"] == "12" and cost["nerf", "training minutes"] == "1.5"
    everything = pd.concat(table.values())
    assert (everything["data_kind"] == "synthetic").all()
    assert everything["runs"].str.contains("nerf-pretend").all()
    assert ((everything["value"] == "not measured") == (everything["reason"] != "")).all()
    assert np.load(run.folder / "self_driven.npy").shape == (3, 32, 32, 3)
    assert run.metrics["landmark-driven PSNR"] == pytest.approx(
        metrics.psnr(
            np.load(run.folder / "landmark_driven.npy"), actor.person.frames[[40, 42, 43]]
        ),
        abs=1e-3,
    )
