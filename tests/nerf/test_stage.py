"""The stage nerf: a few steps on a puppet, its files, its frames, its refusals."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from puppet import faces, puppet
from test_head import SMALL as HEAD
from test_torso import SMALL as TORSO

from geneface_kit.nerf import stage as nerf_stage
from geneface_kit.nerf.config import AvatarConfig, JointConfig
from geneface_kit.nerf.head_training import load_snapshots
from geneface_kit.person import stage as person_stage
from geneface_kit.runs import Run, write_json
from geneface_kit.runs.files import read_json


def fresh_run(folder) -> Run:
    facts = {
        "id": "nerf-test",
        "stage": "nerf",
        "subject": "puppet",
        "profile": "smoke",
        "seed": 0,
        "config": {},
        "data_kind": "synthetic",
        "metrics": {},
    }
    return Run(folder, facts, {"person": Run(folder, facts, {})})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished nerf run of the puppet."""
    run = fresh_run(tmp_path_factory.mktemp("nerf"))
    head = dataclasses.replace(HEAD, attention_frames=3, steps=300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(person_stage, "load", lambda folder: puppet())
        nerf_stage.make(run, head, TORSO, JointConfig(4), AvatarConfig())
    return run.folder, run.metrics


@pytest.mark.slow
def test_the_run_measures_held_out_frames(made):
    _, recorded = made
    assert recorded["head_psnr"] > 17 and recorded["frame_psnr"] > 17
    assert recorded["precision"] == "float32"


@pytest.mark.slow
def test_the_run_leaves_its_files(made):
    folder, _ = made
    names = {path.name for path in folder.iterdir()}
    assert {
        "head.safetensors", "torso.safetensors", "joint.safetensors", "avatar.json",
        "head_history.csv", "torso_history.csv", "joint_history.csv", "head_clock.csv",
        "head_snapshots.npz", "preview_held_out.png",
    } <= names  # fmt: skip
    assert not [name for name in names if ".part" in name]


@pytest.mark.slow
def test_snapshots_of_one_held_out_frame_improve(made):
    folder, _ = made
    snapshots = load_snapshots(folder)
    assert [snapshot.step for snapshot in snapshots] == [75, 150, 225, 300]
    assert snapshots[-1].psnr > snapshots[0].psnr > 5
    assert (
        snapshots[-1].image.dtype == np.uint8
        and snapshots[-1].image.shape == snapshots[0].image.shape
    )


@pytest.mark.slow
def test_frames_are_bytes_and_repeat(made):
    folder, _ = made
    person = puppet()
    found = nerf_stage.load(folder, person)
    frames = list(found.render(person.landmarks[:3], person.poses[:3]))
    assert [frame.shape for frame in frames] == 3 * [(32, 32, 3)]
    assert frames[0].dtype == np.uint8
    again = list(found.render(torch.from_numpy(person.landmarks[:3]), person.poses[:3]))
    assert all(np.array_equal(a, b) for a, b in zip(frames, again, strict=True))


@pytest.mark.slow
def test_one_frame_of_a_track_is_that_frame_of_the_whole(made):
    folder, _ = made
    person = puppet()
    found = nerf_stage.load(folder, person)
    whole = list(found.render(person.landmarks[:6], person.poses[:6]))
    alone = list(found.render(person.landmarks[:6], person.poses[:6], only=[4]))
    assert len(alone) == 1 and np.array_equal(alone[0], whole[4])


@pytest.mark.slow
def test_opening_the_lips_opens_the_mouth(made):
    folder, _ = made
    person = puppet()
    found = nerf_stage.load(folder, person)
    x0, y0, x1, y1 = person.lip_rects[0]
    wide, shut = (
        found.render_frame(faces(np.array([opening], np.float32)), person.poses[0]).rgb[
            y0:y1, x0:x1
        ]
        for opening in (0.6, 0.05)
    )
    assert float(shut.mean() - wide.mean()) > 0.15  # 0.22 in the true pictures


@pytest.mark.slow
def test_a_picture_is_head_over_torso_over_plate(made):
    folder, _ = made
    person = puppet()
    found = nerf_stage.load(folder, person)
    frame = found.render_frame(person.landmarks[:1], person.poses[0])
    assert (
        frame.rgb.shape == (32, 32, 3)
        and 0 <= float(frame.rgb.min()) <= float(frame.rgb.max()) <= 1
    )
    clear = (frame.head.alpha == 0) & (frame.torso_alpha == 0)
    assert bool(clear.any())
    assert torch.equal(frame.rgb[clear], (found.background[clear]))


@pytest.mark.slow
def test_bad_input_gets_one_sentence(made, tmp_path):
    folder, _ = made
    person = puppet()
    found = nerf_stage.load(folder, person)
    broken = person.poses[0].copy()
    broken[0, 0] = np.nan
    with pytest.raises(ValueError, match="pose hold NaN"):
        found.render_frame(person.landmarks[:1], broken)
    with pytest.raises(ValueError, match="3 frames need as many poses, got 2"):
        next(found.render(person.landmarks[:3], person.poses[:2]))
    with pytest.raises(FileNotFoundError, match="there is no .*avatar.json: run its stage first"):
        nerf_stage.load(tmp_path, person)
    with pytest.raises(ValueError, match="is of puppet at 32 px, not of obama"):
        nerf_stage.load(folder, dataclasses.replace(person, name="obama"))


@pytest.mark.slow
def test_another_versions_portrait_is_refused(made, tmp_path):
    folder, _ = made
    facts = json.loads((folder / "avatar.json").read_text())
    (tmp_path / "avatar.json").write_text(json.dumps(facts | {"schema": 0}))
    with pytest.raises(ValueError, match="avatar.json cannot be read .*schema is 0, not 6"):
        nerf_stage.load(tmp_path, puppet())


@pytest.mark.slow
def test_settings_that_only_older_avatars_had_are_forgotten(made, tmp_path):
    folder, _ = made
    copy = shutil.copytree(folder, tmp_path / "older")
    facts = read_json(copy / "avatar.json")
    facts["avatar"]["backend"], facts["head"]["adam_epsilon"] = "auto", 1e-15
    write_json(copy / "avatar.json", facts)
    older, today = (nerf_stage.load(one, puppet()).head.config for one in (copy, folder))
    assert older == today


@pytest.mark.slow
def test_damaged_weights_are_refused(made, tmp_path):
    folder, _ = made
    (tmp_path / "avatar.json").write_bytes((folder / "avatar.json").read_bytes())
    (tmp_path / "joint.safetensors").write_bytes((folder / "joint.safetensors").read_bytes()[:999])
    with pytest.raises(ValueError, match="joint.safetensors"):
        nerf_stage.load(tmp_path, puppet())


@pytest.mark.slow
def test_a_head_that_was_not_learned_fails_and_keeps_its_weights(made, tmp_path, monkeypatch):
    folder, _ = made
    names = [f"{name}.safetensors" for name in ("head", "torso", "joint")]
    for name in names:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    head = dataclasses.replace(HEAD, attention_frames=3, steps=300)
    monkeypatch.setattr(person_stage, "load", lambda folder: puppet())
    monkeypatch.setattr(nerf_stage, "held_out_quality", lambda *_: ({"head_psnr": 6.0}, ()))
    with pytest.raises(ValueError, match="the head of puppet was not learned"):
        nerf_stage.make(fresh_run(tmp_path), head, TORSO, JointConfig(4), AvatarConfig())
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in names)
    assert not (tmp_path / "avatar.json").exists()


@pytest.mark.slow
def test_a_run_cut_off_after_the_head_keeps_it_and_repairs_a_torso(made, tmp_path):
    folder, _ = made
    (tmp_path / "head.safetensors").write_bytes((folder / "head.safetensors").read_bytes())
    (tmp_path / "torso.safetensors").write_bytes((folder / "torso.safetensors").read_bytes()[:-9])
    head = dataclasses.replace(HEAD, attention_frames=3, steps=300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(person_stage, "load", lambda folder: puppet())
        nerf_stage.make(fresh_run(tmp_path), head, TORSO, JointConfig(4), AvatarConfig())
    assert (tmp_path / "head.safetensors").read_bytes() == (
        folder / "head.safetensors"
    ).read_bytes()
    assert not (tmp_path / "head_history.csv").exists()
    assert (tmp_path / "torso.safetensors").stat().st_size == (
        folder / "torso.safetensors"
    ).stat().st_size
    first, second = (
        np.array(next(nerf_stage.load(where, puppet()).render(puppet().landmarks, puppet().poses)))
        for where in (folder, tmp_path)
    )
    assert np.array_equal(first, second)
