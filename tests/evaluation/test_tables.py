"""Tables: protocols on a pretend actor; every number has runs, every gap a reason."""

from dataclasses import replace

import acting
import numpy as np
import pandas as pd
import pytest
import torch
from acting import TALK, a_row, a_run
from geneface_kit_figures.pages import published
from geneface_kit_figures.tables import read_table

from geneface_kit.evaluation import scores, tables
from geneface_kit.evaluation import stage as evaluation
from geneface_kit.evaluation.stage import EvaluationConfig, held_out, landmark_driven, self_driven
from geneface_kit.evaluation.tables import METRICS
from geneface_kit.metrics import formulas
from geneface_kit.metrics.networks import NotMeasured
from geneface_kit.motion.sync_expert import SyncExpert
from geneface_kit.person.clip import write_audio
from geneface_kit.person.landmarks import Mesh
from geneface_kit.person.mouth import mouth_opening
from geneface_kit.person.segmentation import HEAD
from geneface_kit.runs.weights import save_tensors
from geneface_kit.talk import plan as plan_module
from geneface_kit.talk.plan import plan as planned


@pytest.fixture
def actor(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "encode", acting.speech)
    monkeypatch.setattr(scores.landmarks, "detect", detected)
    monkeypatch.setattr(evaluation.speech, "mouth_from_speech", heard)
    monkeypatch.setenv("GENEFACE_KIT_NETWORKS", str(tmp_path / "none"))
    return acting.actor(tmp_path)


def detected(frames):
    """A detector that finds the face in all frames but the first, at a place set by brightness."""
    found = np.arange(len(frames)) > 0
    place = frames.mean(axis=(1, 2, 3), dtype=np.float32)[:, None, None]
    points = np.random.default_rng(0).normal(size=(len(frames), 68, 3)).astype(np.float32)
    return Mesh(points + place, found, np.zeros(len(frames), np.float32))


def heard(spoken, spans, ridge):
    assert ridge == evaluation.RIDGE, "the one that has heard what the generator has"
    heard.spans = spans  # it must not hear over a joint
    return np.repeat(spoken.features[::2], 2, axis=1)


def test_held_out_is_the_last_eleventh(tmp_path):
    person = replace(acting.person(tmp_path, 110), name="p")
    assert held_out(person, 0).tolist() == list(range(100, 110))
    assert held_out(person, 3).tolist() == [100, 104, 109]
    assert held_out(person, 99).tolist() == list(range(100, 110))
    with pytest.raises(ValueError, match="p has no held-out frames"):
        held_out(replace(person, n_train=110), 3)


def test_landmark_driven_renders_the_tracked_landmarks(actor):
    frames = landmark_driven(actor, np.array([40, 43]))
    opening = mouth_opening(actor.person.landmarks[[40, 43]])
    assert frames[:, 0, 0, 0].tolist() == [int(255 * value) for value in opening]


def test_held_out_clips_are_heard_and_rendered_one_by_one(actor, monkeypatch):
    """Frames 36 to 43 of two clips that meet at 40: no track and no sound goes over it."""
    person = replace(actor.person, n_train=36, spans=np.array([0, 20, 40]))
    actor = replace(actor, person=person)
    sounds, tracks = [], []
    whole, render = plan_module.encode, actor.avatar.render
    monkeypatch.setattr(
        plan_module, "encode", lambda sound, name: sounds.append(len(sound)) or whole(sound, name)
    )
    monkeypatch.setattr(
        actor.avatar,
        "render",
        lambda track, poses, **k: tracks.append(len(track)) or render(track, poses, **k),
    )
    chosen = held_out(person, 0)
    plan, frames = self_driven(actor, chosen, TALK, torch.Generator())
    assert sounds == [4 * 640, 4 * 640] and tracks == [4, 4]
    assert len(plan.landmarks) == len(plan.silent) == len(frames) == 8
    assert len(plan.speech) == 16 and plan.torso_shifts is None
    landmark_driven(actor, np.array([19, 20, 43]))
    assert tracks[2:] == [20, 20, 4]


def test_self_driven_hears_only_held_out_sound(actor):
    chosen = held_out(actor.person, 0)
    generator = torch.Generator()
    plan, frames = self_driven(actor, chosen, TALK, generator)
    assert len(plan.landmarks) == len(chosen) == 4 and frames.shape == (4, 32, 32, 3)
    assert np.array_equal(plan.audio, actor.person.audio[40 * 640 : 44 * 640])
    actor.person.audio[: 40 * 640] = 0  # the sound of training changes nothing ...
    again, _ = self_driven(actor, chosen, replace(TALK, rest_in_silence=False), generator)
    first, _ = self_driven(actor, chosen, replace(TALK, rest_in_silence=False), generator)
    assert np.array_equal(again.adapted, plan.adapted)
    actor.person.audio[40 * 640 :] *= 0.5  # ... the held-out sound does
    third, _ = self_driven(actor, chosen, replace(TALK, rest_in_silence=False), generator)
    assert np.array_equal(first.landmarks, again.landmarks)
    assert not np.array_equal(third.adapted, plan.adapted)


def test_perfect_frames_score_perfectly(actor):
    chosen = np.array([40, 41, 42])
    found = scores.score_pictures(actor.person, chosen, actor.person.frames[chosen])
    assert found["PSNR"] == found["PSNR head"] == np.inf
    assert found["SSIM"] == pytest.approx(1) and found["SSIM head"] == pytest.approx(1)
    for metric in ("LMD", "LMD lips", "LMD lips centred"):
        assert found[metric] == 0
    assert found["faces found"] == pytest.approx(2 / 3)
    for metric in ("FID", "FD-MobileNetV2", "LPIPS", "VGG-HED distance", "SFace identity"):
        assert str(found[metric]) == "not measured"
    for metric in ("LSE-C", "LSE-D", "AUE"):
        assert str(found[metric]) == "not measured"


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        (np.zeros((3, 32, 32, 3), np.uint8), r"same frames.*got \(3, 32, 32, 3\) and \(2, 32"),
        (np.zeros((2, 16, 16, 3), np.uint8), r"of one size, got \(2, 16, 16, 3\) and"),
    ],
    ids=["length", "size"],
)
def test_frames_that_are_not_the_persons_are_refused(actor, frames, complaint):
    with pytest.raises(ValueError, match=complaint):
        scores.score_pictures(actor.person, np.array([40, 41]), frames)


class Lse:
    """A SyncNet that always gives the same scores and remembers what it was shown."""

    def __init__(self, monkeypatch, tmp_path):
        self.seen = []
        monkeypatch.setattr(scores, "network", lambda name: tmp_path)
        measured = {
            "lpips": scores.perceptual,
            "vgg_hed": scores.perceptual,
            "fid": scores.perceptual,
            "fd_mobilenet": scores.perceptual,
            "identity": scores.perceptual,
        }
        for name, module in measured.items():
            monkeypatch.setattr(module, name, lambda *_: 0.0)
        monkeypatch.setattr(scores.syncnet, "lse", self)

    def __call__(self, frames, audio, boxes):
        self.seen.append((len(frames), len(audio), len(boxes)))
        return 5.0, 7.0


def test_lse_hears_the_sound_of_frames_in_a_row(actor, tmp_path, monkeypatch):
    listener = Lse(monkeypatch, tmp_path)
    monkeypatch.setattr(scores.landmarks, "detect", everywhere)
    frames = actor.person.frames[40:43]
    found = scores.score_pictures(actor.person, np.array([40, 41, 42]), frames)
    assert (found["LSE-C"], found["LSE-D"]) == (5, 7)
    assert listener.seen == [(3, 3 * 640, 3)]
    gaps = scores.score_pictures(actor.person, np.array([40, 42, 43]), frames)
    assert "frames in a row" in gaps["LSE-C"].reason and len(listener.seen) == 1


def test_lse_needs_a_face_in_every_frame(actor, tmp_path, monkeypatch):
    listener = Lse(monkeypatch, tmp_path)
    found = scores.score_pictures(
        actor.person, np.array([40, 41, 42]), actor.person.frames[40:43]
    )  # `detected` finds none in the first
    assert "a face in every frame" in found["LSE-D"].reason and listener.seen == []


def test_a_recording_is_rendered_only_for_syncnet(actor, tmp_path, monkeypatch):
    plan = planned(actor, acting.sound(0.4), TALK, torch.Generator())
    without = scores.score_recording(actor, plan)
    assert "syncnet" in without["LSE-C"].reason
    listener = Lse(monkeypatch, tmp_path)
    monkeypatch.setattr(scores.landmarks, "detect", everywhere)
    frames = np.stack(list(actor.avatar.render(plan.landmarks, plan.poses)))
    assert scores.score_recording(actor, plan, frames)["LSE-D"] == 7
    assert listener.seen == [(10, 10 * 640, 10)]


def everywhere(frames):
    found = detected(frames)
    return replace(found, found=np.ones(len(frames), bool))


def test_every_metric_of_a_table_is_defined(actor):
    chosen = np.array([40, 41, 42])
    plan = planned(actor, acting.sound(0.4), TALK, torch.Generator())
    found = scores.score_pictures(actor.person, chosen, actor.person.frames[chosen])
    found |= scores.score_recording(actor, plan)
    assert {"FPS", "peak memory", *found} <= set(METRICS)


def test_psnr_head_counts_head_pixels_only(actor):
    chosen = np.array([40, 41])
    actor.person.frames[chosen] = 0
    actor.person.labels[:] = 0
    actor.person.labels[:, 8:24, 8:24] = HEAD
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    frames[:, 8:24, 8:24] = 51
    found = scores.score_pictures(actor.person, chosen, frames)
    assert found["PSNR head"] == pytest.approx(13.979, abs=1e-3)
    assert found["PSNR"] == pytest.approx(13.979 + 10 * np.log10(4), abs=1e-3)
    assert found["SSIM head"] < found["SSIM"] < 1


def test_no_face_leaves_lmd_unmeasured(actor):
    found = scores.score_pictures(actor.person, np.array([40]), actor.person.frames[[40]])
    assert found["LMD"] == NotMeasured("no face was found in the rendered frames")
    assert found["faces found"] == 0


def test_expert_score_is_the_mean_over_all_windows(actor):
    class Counting(SyncExpert):
        """Cosine stand-in: the first lip coordinate plus the first feature of each window."""

        def __init__(self):
            torch.nn.Module.__init__(self)

        def forward(self, heard, mouth):
            assert heard.shape[1:] == (10, 1) and mouth.shape[1:] == (5, 60)
            return mouth[:, 0, 0] + heard[:, 0, 0]

    plan = planned(actor, acting.sound(0.4), TALK, torch.Generator())
    plan.landmarks[:, 48, 0] = np.arange(10)
    plan.speech.features[:, 0] = np.arange(20)
    mean = np.zeros((68, 3), np.float32)
    # Windows start at frames 0..5: lips k / 0.5, speech step 2k. Mean of 4k over 0..5 = 10.
    assert scores.expert_score(Counting(), 0.5, plan, mean) == pytest.approx(10)


def test_the_references_say_what_a_mouth_is_compared_with(actor):
    """The true mouth is perfect; late by 25 frames of 44 it is the same curve, rolled."""
    generator = torch.Generator().manual_seed(0)
    found = evaluation.references(actor, TALK, generator)
    assert list(found) == ["generated", "true", "true, 1 s late", "still face", "ridge"]
    said = {name: scores.score_landmarks(plan, actor.person) for name, plan in found.items()}
    true = said["true"]
    assert true["mouth correlation"] == true["velocity correlation"] == pytest.approx(1)
    assert true["peak alignment"] == 0
    opening = mouth_opening(actor.person.landmarks)
    late = np.corrcoef(np.roll(opening, 25), opening)[0, 1]
    assert said["true, 1 s late"]["mouth correlation"] == pytest.approx(late, abs=1e-4)
    assert str(said["still face"]["mouth correlation"]) == "not measured"
    assert (found["still face"].landmarks == actor.person.landmark_mean).all()
    with_speech = found["ridge"].landmarks - actor.person.landmark_mean
    assert np.isfinite(with_speech).all() and with_speech.shape == (44, 68, 3)


def test_steps_peaks_and_closures_of_a_mouth_are_counted_by_hand(actor):
    """Tracked peaks at 10 and 30, predicted at 13 and 30: 60 ms in the median of 120 and 0. The
    closure at 20 and 21 is met, a frame early; the one at 36 is not."""
    tracked, drawn = np.full(44, 0.1, np.float32), np.full(44, 0.1, np.float32)
    tracked[[10, 30]] = drawn[[13, 30]] = 0.2
    tracked[[20, 21, 36]] = drawn[19] = 0.0
    plan = replace(planned(actor, acting.sound(1.76), TALK, torch.Generator()))
    person = replace(actor.person, landmarks=acting.face(tracked))
    found = scores.score_landmarks(replace(plan, landmarks=acting.face(drawn)), person)
    assert found["peak alignment"] == pytest.approx(60)
    assert found["closures met"] == 0.5
    steps = np.corrcoef(np.diff(drawn), np.diff(tracked))[0, 1]
    assert found["velocity correlation"] == pytest.approx(steps, abs=1e-5)


def test_a_step_over_a_joint_does_not_count(actor):
    """Two takes of 22 frames, each mouth the true one; between them they jump apart."""
    true = np.r_[0.1 + 0.01 * np.sin(np.arange(22)), 0.9 + 0.01 * np.sin(np.arange(22))]
    drawn = np.r_[true[:22] + 0.8, true[22:] - 0.8]
    plan = planned(actor, acting.sound(1.76), TALK, torch.Generator())
    plan = replace(plan, landmarks=acting.face(drawn.astype(np.float32)))
    person = replace(actor.person, landmarks=acting.face(true.astype(np.float32)))
    takes = replace(person, spans=np.array([0, 22]))
    assert scores.score_landmarks(plan, person)["velocity correlation"] < 0
    assert scores.score_landmarks(plan, takes)["velocity correlation"] > 0.999


def test_a_late_mouth_stays_in_its_take(actor):
    person = replace(actor.person, spans=np.array([0, 30]))
    found = evaluation.references(replace(actor, person=person), TALK, torch.Generator())
    assert heard.spans is person.spans
    late = found["true, 1 s late"].landmarks
    assert (late[25:30] == person.landmarks[:5]).all()
    assert set(late[30:, 62, 1]) == set(person.landmarks[30:, 62, 1])


def test_every_trained_number_is_counted_once(tmp_path):
    """Head and torso stand in joint.safetensors again; an occupancy grid is not trained."""
    run = a_run(tmp_path / "nerf", "nerf")
    head = {"table": torch.zeros(12), "occupancy.density": torch.zeros(50)}
    counts = {"norm.running_mean": torch.zeros(7), "norm.num_batches_tracked": torch.tensor(1)}
    torso = {"grid": torch.zeros(5), "occupied": torch.ones(9, dtype=torch.bool)} | counts
    save_tensors(run.folder / "head.safetensors", head, {})
    save_tensors(run.folder / "torso.safetensors", torso, {})
    assert scores.cost(run)["parameters"] == 17
    both = {f"head.{name}": one for name, one in head.items()}
    save_tensors(run.folder / "joint.safetensors", both | {"torso.grid": torso["grid"]}, {})
    assert scores.cost(run)["parameters"] == 17


def test_a_table_survives_the_file(tmp_path):
    rows = [a_row(), a_row(metric="FID", value=NotMeasured("no network"), unit="")]
    tables.write_table(tmp_path / "table_a.csv", rows)
    table = read_table(tmp_path / "table_a.csv")
    assert table["value"].tolist() == ["30.25", "not measured"]
    assert table["reason"].tolist() == ["", "no network"]
    assert table["runs"].tolist() == ["person-1 nerf-2"] * 2
    assert table["data_kind"].tolist() == ["synthetic"] * 2


def test_published_numbers_all_have_a_source():
    table = published()
    assert (
        len(table) == 517 and not table.duplicated(["table", "setting", "method", "metric"]).any()
    )
    assert (table["source"].str.len() > 5).all()
    pd.to_numeric(table["value"])


def test_numbers_read_in_the_notes_of_others_say_so():
    """GeneFace's PSNR is 24.82 in one paper and, in notes on another one, 33.22."""
    table = published()
    psnr = table[(table["method"] == "GeneFace") & (table["metric"] == "PSNR")]
    assert dict(zip(psnr["value"], psnr["origin"], strict=True)) == {
        "24.82": "published",
        "33.22": "published, second-hand",
    }
    of_the_paper = table[table["table"] == "geneface_table_1"]
    assert len(of_the_paper) == 33 and set(of_the_paper["origin"]) == {"published"}


def test_synthetic_and_smoke_rows_never_stand_with_real_ones(tmp_path):
    real = a_row(data_kind="real", profile="cpu")
    for intruder in (a_row(profile="cpu"), a_row(data_kind="real")):
        with pytest.raises(ValueError, match="would mix (real and synthetic|cpu and smoke) rows"):
            tables.write_table(tmp_path / "t.csv", [real, intruder])
    assert list(tmp_path.iterdir()) == []


def test_make_writes_three_tables_with_runs_and_kinds(actor, tmp_path, monkeypatch):
    write_audio(tmp_path / "voice.wav", acting.sound(0.6))
    monkeypatch.setattr(evaluation, "load_actor", lambda parents: actor)
    nerf = a_run(tmp_path / "nerf").folder
    save_tensors(nerf / "head.safetensors", {"w": torch.zeros(3, 4)}, {})
    parents = {
        stage: a_run(tmp_path / stage, stage)
        for stage in ("person", "motion", "adaptation", "nerf")
    }
    run = a_run(tmp_path / "evaluation", parents=parents)
    config = EvaluationConfig(n_frames=3, recordings=str(tmp_path / "voice.wav"))
    assert evaluation.inputs("pretend", TALK, config) == {"voice.wav": tmp_path / "voice.wav"}
    evaluation.make(run, TALK, config)
    table = {name: read_table(run.folder / f"table_{name}.csv") for name in "abd"}
    assert set(table["a"]["protocol"]) == {"landmark-driven", "self-driven"}
    own = ("generated", "true", "true, 1 s late", "still face", "ridge")
    assert set(table["b"]["protocol"]) == {
        "cross-driven: voice",
        "digital silence",
        "white noise",
        *(f"own clip: {name}" for name in own),
    }
    cost = table["d"].set_index(["protocol", "metric"])["value"]
    assert cost["nerf", "parameters"] == "12" and cost["nerf", "training minutes"] == "1.5"
    assert cost["nerf", "peak memory"] == "512"
    everything = pd.concat(table.values())
    assert (everything["data_kind"] == "synthetic").all()
    assert everything["runs"].str.contains("nerf-pretend").all()
    assert ((everything["value"] == "not measured") == (everything["reason"] != "")).all()
    assert np.load(run.folder / "self_driven.npy").shape == (3, 32, 32, 3)
    assert run.metrics["landmark-driven PSNR"] == pytest.approx(
        formulas.psnr(
            np.load(run.folder / "landmark_driven.npy"), actor.person.frames[[40, 42, 43]]
        ),
        abs=1e-3,
    )


def test_shipped_weights_took_no_training(tmp_path):
    assert scores.cost(a_run(tmp_path / "nerf", "nerf"))["training minutes"] == 1.5
    shipped = a_run(tmp_path / "motion", "motion", metrics={"origin": "shipped"})
    assert "shipped" in scores.cost(shipped)["training minutes"].reason
