"""Verdict: good talks pass, and each kind of bad one names its stage."""

from dataclasses import replace

import acting
import numpy as np
import pytest
import torch

from geneface_kit.motion.sync_expert import SyncExpert
from geneface_kit.nerf.verdict import Look, verdict_lines
from geneface_kit.talk import verdict
from geneface_kit.talk.plan import Actor, Plan
from geneface_kit.talk.verdict import sync_curve


class Ear(SyncExpert):
    """A sync expert that knows the truth: the opening of the lips is the first feature."""

    def __init__(self):
        torch.nn.Module.__init__(self)

    def forward(self, speech, mouth):
        points = mouth.reshape(len(mouth), 5, 20, 3)
        opening = 0.03 * (points[:, :, 14, 1] - points[:, :, 18, 1])  # inner lips, eye distances
        heard = speech[:, ::2, 0]
        return torch.exp(-20 * (opening - heard).abs().mean(1))


def curve(n):
    """A mouth opening that never repeats."""
    t = np.arange(n)
    return (0.12 + 0.05 * np.sin(t / 3) + 0.05 * np.sin(t / 4.7 + 1)).astype(np.float32)


def planned(opening, heard):
    """A plan whose mouth follows `opening` and whose only feature is `heard`."""
    n = len(opening)
    speech = acting.speech(np.zeros(640 * n, np.float32))
    face = acting.face(opening)
    return Plan(
        audio=np.zeros(640 * n, np.float32),
        speech=replace(speech, features=np.repeat(heard, 2)[:, None].astype(np.float32)),
        displacements=face,
        adapted=face,
        landmarks=face,
        poses=np.tile(np.eye(4, dtype=np.float32), (n, 1, 1)),
        loudness=np.zeros(n, np.float32),
        silent=np.zeros(n, bool),
    )


@pytest.fixture
def actor(tmp_path):
    person = acting.person(tmp_path)
    return Actor(person, acting.PretendMotion(Ear()), acting.PretendAdapter(), None)


def judge(plan, actor):
    """The checks of a talk of which no picture was looked at."""
    return verdict.judge(plan, actor, Look())


def centred(opening, actor):
    """Openings as the ear hears them: displacements from the person's mean."""
    mean = actor.person.landmark_mean
    return opening - (mean[62, 1] - mean[66, 1])


@pytest.mark.parametrize("late", [0, 3, -2])
def test_the_sync_curve_peaks_at_the_true_lag(actor, late):
    opening = curve(80)
    heard = np.roll(centred(opening, actor), late)
    lags, scores = sync_curve(planned(opening, heard), actor)
    assert lags[scores.argmax()] == pytest.approx(late / 25)


def test_late_sound_and_strange_faces_fail_with_their_stage(actor):
    opening = curve(80)
    good = judge(planned(opening, centred(opening, actor)), actor)
    by_name = {check.name: check for check in good}
    assert (
        by_name["sound against lips, seconds"].value == 0
        and by_name["mouth motion over the person's own"].fine
    )
    late = judge(planned(opening, np.roll(centred(opening, actor), 4)), actor)
    (lag,) = (check for check in late if check.name == "sound against lips, seconds")
    assert lag.value == pytest.approx(0.16) and not lag.fine and "00" in lag.remedy
    strange = planned(opening, centred(opening, actor))
    strange.landmarks[:, 48:] += 0.5
    failed = [check.name for check in judge(strange, actor) if not check.fine]
    assert failed == ["distance to the person's own faces"]


def test_frames_whose_face_is_hidden_are_no_measure_of_a_talk(actor):
    """What a detector puts there, and how the head is held, changes no check."""
    whole, noise = actor.person, np.random.default_rng(0)
    hidden = np.arange(len(whole)) % 4 == 0
    hiding = replace(whole, found=~hidden)
    strayed, turned = whole.landmarks.copy(), whole.poses.copy()
    strayed[hidden] += noise.normal(0, 0.3, strayed[hidden].shape)
    turned[hidden] = np.eye(4)
    plan = planned(curve(80), centred(curve(80), actor))
    other = replace(hiding, landmarks=strayed, poses=turned)
    values = [
        [check.value for check in judge(plan, replace(actor, person=who))]
        for who in (hiding, other, replace(other, found=whole.found))
    ]
    assert values[0] == values[1] and values[1] != values[2]


def test_silence_is_not_measured(actor):
    plan = planned(curve(80), curve(80))
    plan.silent[:] = True
    quiet = judge(plan, actor)
    assert [check.value for check in quiet[:2]] == [None, None]
    assert "not measured (the recording is silent)" in verdict_lines(quiet)[1]


@pytest.mark.parametrize("lacks", ["no frame", "no face", "no other face"])
def test_without_a_held_out_face_the_distance_is_not_measured(actor, lacks):
    person = actor.person
    found, landmarks = person.found & person.trains, person.landmarks.copy()
    landmarks[person.n_train :] = landmarks[0]
    who = {
        "no frame": replace(person, n_train=len(person)),
        "no face": replace(person, found=found),
        "no other face": replace(person, landmarks=landmarks),
    }[lacks]
    check = judge(planned(curve(80), curve(80)), replace(actor, person=who))[2]
    assert check.value is None and "not measured (no held-out frame" in str(check)


@pytest.mark.parametrize(("degrees", "is_fine"), [(0.0, True), (2.0, True), (10.0, False)])
def test_a_head_that_turns_beyond_the_clip_is_told_with_its_frame(actor, degrees, is_fine):
    plan = planned(curve(80), curve(80))
    plan.poses[:] = actor.person.poses[5]
    angle = np.deg2rad(degrees)  # about the axis of sight, where the clip never turns
    roll = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    plan.poses[40, :3, :3] = actor.person.poses[5, :3, :3] @ np.array(roll)
    (check,) = (one for one in judge(plan, actor) if "beyond the poses" in one.name)
    assert check.value == pytest.approx(degrees, abs=0.1) and check.fine == is_fine
    if not is_fine:
        assert "frame 40 (1.6 s)" in check.remedy and "head=calm" in check.remedy
