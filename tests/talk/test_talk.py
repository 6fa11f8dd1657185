"""Talk: what happens between a recording and a file, on a pretend actor."""

import json
from dataclasses import replace
from pathlib import Path

import acting
import av
import numpy as np
import pytest
import torch
from films import read_film

from geneface_kit.nerf.verdict import verdict_lines
from geneface_kit.person.clip import read_audio, write_audio, write_video
from geneface_kit.person.mouth import mouth_opening
from geneface_kit.pipeline.settings import resolve
from geneface_kit.talk import plan as plan_module
from geneface_kit.talk import stage as talk_stage
from geneface_kit.talk.audio import loudness, silent_frames
from geneface_kit.talk.marking import provenance
from geneface_kit.talk.plan import plan
from geneface_kit.talk.postprocess import (
    BEND,
    TalkConfig,
    pose_path,
    postprocess,
    to_and_fro,
    without_jumps,
)
from geneface_kit.talk.stage import inputs, talk

CONFIG = TalkConfig(max_s=0.0, temperature=0.0)


@pytest.fixture
def actor(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "encode", acting.speech)
    return acting.actor(tmp_path)


def planned(actor, audio, **options):
    return plan(actor, audio, replace(CONFIG, **options), torch.Generator().manual_seed(0))


def spoken(actor, tmp_path, audio, name="out.mp4", seed=0, **options):
    write_audio(tmp_path / "in.wav", audio)
    generator = torch.Generator().manual_seed(seed)
    config = replace(CONFIG, **options)
    return talk(actor, tmp_path / "in.wav", tmp_path / name, config=config, generator=generator)


def test_a_walk_goes_to_and_fro_at_the_clips_speed_and_turns_softly_before_the_ends():
    assert to_and_fro(3, 8).tolist() == [0, 1, 2, 1, 0, 1, 2, 1]  # too short to turn softly
    assert to_and_fro(1, 3).tolist() == [0, 0, 0]
    places = to_and_fro(100, 400)
    # A mean of 25 frames of a triangle between 0 and 99: at a turn (2 * 78 + 0) / 25.
    assert places.min() == pytest.approx(2 * 78 / 25) and places.max() == pytest.approx(99 - 6.24)
    assert places[:75] == pytest.approx(np.arange(12, 87))
    assert np.abs(np.diff(places, 2)).max() == pytest.approx(2 / 25)


def test_mouth_opening_is_the_gap_of_the_inner_lips():
    opening = np.float32([0, 0.1, 0.25])
    assert mouth_opening(acting.face(opening)) == pytest.approx(opening)


def test_loudness_per_frame_with_an_incomplete_last_one():
    audio = np.concatenate([np.full(640, 0.5), np.zeros(640), np.full(160, 0.2)])
    audio = (audio * (-1.0) ** np.arange(len(audio))).astype(np.float32)
    assert loudness(audio) == pytest.approx([0.5, 0, 0.1])
    assert loudness(audio[:1280] + 0.25) == pytest.approx([0.5, 0], abs=1e-6)


def test_how_loud_a_recording_is_does_not_tell_its_silences():
    generator = np.random.default_rng(0)
    speech = generator.normal(0, 0.1, 64_000) * np.repeat([1, 0.001, 0.5, 1], 16_000)
    silent = [
        silent_frames(loudness((speech * gain).astype(np.float32))) for gain in (1, 0.1, 0.01)
    ]
    assert silent[0].sum() == 25 and all(np.array_equal(silent[0], other) for other in silent)


def test_faint_noise_is_silence_and_faint_speech_is_none():
    noise = np.random.default_rng(0).normal(0, 1e-3, 32_000).astype(np.float32)
    assert silent_frames(loudness(noise)).all()
    voice = noise * np.repeat([1, 0.05, 1, 0.05], 8_000).astype(np.float32)
    assert not silent_frames(loudness(voice))[:12].any()


def test_silence_must_last_longer_than_a_stop_consonant():
    loud = np.float32([1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1])
    silent = silent_frames(loud)
    assert np.flatnonzero(silent).tolist() == [9, 10, 11, 12, 13, 14]
    assert silent_frames(np.zeros(3, np.float32)).all()


def test_clamp_holds_the_mouth_at_its_limit_and_brows_at_half(actor):
    person = replace(actor.person, landmark_std=np.full((68, 3), 0.01, np.float32))
    far = person.landmark_mean + np.ones((5, 68, 3), np.float32)
    config = replace(CONFIG, blinks="none", rest_in_silence=False)
    moved = postprocess(far, np.zeros(5, bool), person, config) - person.landmark_mean
    assert moved[:, 48:] == pytest.approx(0.025, abs=1e-5)
    assert moved[:, 17:27, :2] == pytest.approx(0.0125, abs=1e-5)
    assert moved[:, 17:27, 2] == pytest.approx(0.025, abs=1e-5)


def test_smoothing_keeps_a_closed_mouth_closed(actor):
    opening = np.full(21, 0.2, np.float32)
    opening[10] = 0.0
    config = replace(CONFIG, smooth_frames=1.0, clamp_std=100.0, rest_in_silence=False)
    smooth = mouth_opening(
        postprocess(acting.face(opening), np.zeros(21, bool), actor.person, config)
    )
    assert smooth[10] == pytest.approx(0, abs=1e-6)
    assert 0.02 < smooth[9] < 0.19  # its neighbours are smoothed


def test_silence_is_a_closed_mouth_at_rest(actor):
    audio = np.concatenate([acting.sound(0.8), np.zeros(16_000, np.float32), acting.sound(0.4)])
    made = planned(actor, audio)
    opening = mouth_opening(made.landmarks)
    assert made.silent[20:45].all() and not made.silent[:20].any()
    assert opening[23:39].max() < 0.05 < opening[5:15].min()
    assert planned(actor, audio * 0).silent.all()
    assert mouth_opening(planned(actor, audio * 0).landmarks).max() < 0.05


def test_lips_part_before_the_sound(actor):
    silent = np.zeros(60, bool)
    silent[20:45] = True
    open_mouth = acting.face(np.full(60, 0.2, np.float32))
    opening = mouth_opening(
        postprocess(open_mouth, silent, actor.person, replace(CONFIG, clamp_std=100.0))
    )
    rest = opening[30]
    assert rest < 0.05
    # Rest from 20 to 42, each edge softened over 5 frames.
    assert opening[[39, 41, 44]] == pytest.approx([rest, rest + (0.2 - rest) * 0.4, 0.2], abs=1e-4)
    assert opening[[17, 20, 22]] == pytest.approx([0.2, rest + (0.2 - rest) * 0.4, rest], abs=1e-4)


def test_eyes_blink_as_in_the_part_of_the_clip_that_trained(actor):
    made = planned(actor, acting.sound(2.0))
    own, places = actor.person.landmarks[:40, 36:48], to_and_fro(40, 50)
    assert made.landmarks[:20, 36:48] == pytest.approx(own[10:30])  # turning within 10 of 40
    first, share = places.astype(int), (places % 1)[:, None, None]
    walked = (1 - share) * own[first] + share * own[np.minimum(first + 1, 39)]
    assert made.landmarks[:, 36:48] == pytest.approx(walked, abs=1e-6)
    assert np.abs(made.landmarks[:, 37, 1]).min() == 0.0
    still = planned(actor, acting.sound(2.0), blinks="none")
    assert not np.array_equal(still.landmarks[:, 36:48], made.landmarks[:, 36:48])


def test_pose_path_stays_a_rotation_and_turns_smoothly(actor):
    path = pose_path(actor.person, 200, "clip")
    rotations = path[:, :3, :3].astype(np.float64)
    assert rotations @ rotations.transpose(0, 2, 1) == pytest.approx(
        np.broadcast_to(np.eye(3), rotations.shape), abs=1e-5
    )
    assert np.linalg.det(rotations) == pytest.approx(1, abs=1e-5)
    # On a straight path of 0.01 a frame the mean of 7 changes nothing; at the turn it slows.
    step = np.diff(path[:, 0, 3])
    assert step[4:14] == pytest.approx(0.01, abs=1e-6)
    assert np.abs(np.diff(step)).max() < 0.0015
    assert np.array_equal(path[10, :3, 3], path[10 + 78, :3, 3])


@pytest.mark.parametrize("head", ["clip", "calm", "still"])
def test_no_head_goes_where_the_clip_that_trained_has_not_been(actor, head):
    """The pretend person moves right by 0.01 a frame; 40 of its 44 frames train."""
    held_out = actor.person.poses.copy()
    held_out[40:, :3, 3] = 100.0
    path = pose_path(replace(actor.person, poses=held_out), 200, head)
    assert 0 < path[:, 0, 3].min() and path[:, 0, 3].max() < 0.39


def test_a_calm_head_goes_half_the_way_and_slower(actor):
    whole, calm = (pose_path(actor.person, 200, head)[:, 0, 3] for head in ("clip", "calm"))
    assert 0.2 * np.ptp(whole) < np.ptp(calm) < 0.5 * np.ptp(whole)
    assert np.abs(np.diff(calm)).max() < 0.5 * np.abs(np.diff(whole)).max() + 1e-6
    assert calm.mean() == pytest.approx(whole.mean(), abs=0.01)


def test_a_replayed_path_has_no_jump_where_clips_meet():
    """Two clips at 0 and at 1: half way each, within BEND frames; elsewhere as it was."""
    path = np.repeat([0.0, 1.0], 40)[:, None].astype(np.float32)
    bent = without_jumps(path, np.array([0, 40]))[:, 0]
    assert bent[39] == bent[40] == pytest.approx(0.5)
    assert np.abs(np.diff(bent)).max() < 1.6 / (2 * BEND)
    assert (bent[: 40 - BEND] == 0).all() and (bent[40 + BEND :] == 1).all()
    assert (without_jumps(path, np.array([0])) == path).all()
    short = without_jumps(path[37:43], np.array([0, 3]))[:, 0]
    assert short.tolist() == pytest.approx([0, 0, 0.5, 0.5, 1, 1])


def test_a_head_that_sat_elsewhere_in_another_clip_moves_there_softly(actor):
    poses = actor.person.poses.copy()
    poses[22:, 0, 3] += 2.0
    person = replace(actor.person, poses=poses, spans=np.array([0, 22]))
    path = pose_path(person, 120, "clip")
    assert np.linalg.det(path[:, :3, :3].astype(float)) == pytest.approx(1, abs=1e-5)
    assert np.abs(np.diff(path[:, 0, 3])).max() < 0.2
    whole = replace(person, spans=np.array([0]))
    assert np.abs(np.diff(pose_path(whole, 120, "clip")[:, 0, 3])).max() > 0.28
    made = planned(replace(actor, person=person), acting.sound(2.0))
    assert np.array_equal(made.poses[:45], path[:45])


def test_a_still_head_holds_a_pose_of_the_clip(actor):
    path = pose_path(actor.person, 5, "still")
    assert np.array_equal(path, np.repeat(path[:1], 5, axis=0))
    assert any(np.array_equal(path[0], pose) for pose in actor.person.poses)


def test_plan_covers_the_recording_frame_by_frame(actor):
    made = planned(actor, acting.sound(1.01))
    assert len(made.audio) == 26 * 640
    assert made.landmarks.shape == (26, 68, 3) and made.poses.shape == (26, 4, 4)
    assert len(made.speech.features) == 52
    assert resolve("cpu").talk.max_s == resolve("paper").talk.max_s == 0


def test_a_film_of_a_part_says_so_and_a_plan_that_is_scored_does_not(actor, tmp_path, caplog):
    assert len(planned(actor, acting.sound(2.0), max_s=0.5).landmarks) == 13
    assert not caplog.text
    assert len(spoken(actor, tmp_path, acting.sound(2.0), max_s=0.5).plan.landmarks) == 13
    assert "only the first 0.5 s of the recording are spoken (talk.max_s)" in caplog.text


def test_sound_and_picture_agree_in_the_file(actor, tmp_path):
    done = spoken(actor, tmp_path, acting.sound(3.3))
    with av.open(str(done.path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert video.average_rate == 25 and video.codec_context.name == "h264"
        assert audio.codec_context.name == "aac"
        seconds = [frame.time for frame in container.decode(video)]
        assert float(video.duration * video.time_base) == pytest.approx(3.32)
        # One aac frame holds 1024 samples, 64 ms at 16 kHz; the last one may be padded.
        assert float(audio.duration * audio.time_base) == pytest.approx(3.32, abs=0.084)
    assert np.array(seconds) - seconds[0] == pytest.approx(np.arange(83) / 25, abs=1e-3)


def test_a_click_is_heard_when_it_is_seen(actor, tmp_path):
    audio = np.zeros(32_000, np.float32)
    audio[16_000:17_600] = acting.sound(0.1, loud=0.9)
    done = spoken(actor, tmp_path, audio, smooth_frames=0.0, clamp_std=100.0)
    clip = read_film(done.path, size=None)
    bright = clip.frames.mean(axis=(1, 2, 3))
    seen_s = np.flatnonzero(bright > bright.max() / 2)[0] / 25
    heard_s = np.flatnonzero(np.abs(read_audio(done.path)) > 0.3)[0] / 16_000
    assert seen_s == pytest.approx(1.0)
    assert heard_s == pytest.approx(1.0, abs=0.02)


def test_every_video_says_that_it_is_synthetic(actor, tmp_path):
    done = spoken(actor, tmp_path, acting.sound(0.4))
    with av.open(str(done.path)) as container:
        notes = json.loads(container.metadata["comment"])
    assert notes["synthetic"] is True and notes["tool"] == "geneface_kit"
    assert notes == provenance(actor.person, done.plan.audio)
    (tmp_path / "tracks.npz").write_bytes(b"another person")
    changed = provenance(actor.person, done.plan.audio)
    assert notes["person_sha256"] != changed["person_sha256"]


def test_label_is_drawn_into_the_lower_edge_only(actor, tmp_path):
    plain = spoken(actor, tmp_path, acting.sound(0.2), blinks="none")
    marked = spoken(actor, tmp_path, acting.sound(0.2), blinks="none", label="synthetic")
    changed = np.any(plain.stills != marked.stills, axis=(0, 2, 3))
    assert changed.any() and np.flatnonzero(changed).min() >= acting.SIZE // 2


def test_same_seed_same_frames_other_seed_others(actor, tmp_path):
    audio = acting.sound(0.8, loud=0.2)
    a, b, c = (
        spoken(actor, tmp_path, audio, f"{k}.mp4", seed, temperature=1.0)
        for k, seed in enumerate((1, 1, 2))
    )
    assert np.array_equal(read_film(a.path, size=None).frames, read_film(b.path, size=None).frames)
    assert np.array_equal(a.plan.landmarks, b.plan.landmarks)
    assert not np.array_equal(a.plan.landmarks, c.plan.landmarks)


def test_stills_are_the_frames_before_compression(actor, tmp_path):
    done = spoken(actor, tmp_path, acting.sound(2.0))
    assert done.still_frames.tolist() == [0, 7, 14, 21, 28, 35, 42, 49]
    brightness = 255 * mouth_opening(done.plan.landmarks[done.still_frames])
    assert np.abs(done.stills[:, 0, 0, 0] - brightness).max() <= 1


def test_an_interrupted_talk_leaves_no_file(actor, tmp_path):
    broken = replace(actor, avatar=acting.PretendAvatar(stop_at=3))
    before = {path.name for path in tmp_path.iterdir()} | {"in.wav"}
    with pytest.raises(KeyboardInterrupt):
        spoken(broken, tmp_path, acting.sound(1.0))
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_still_mouth_is_reported(actor, tmp_path, caplog):
    moving = spoken(actor, tmp_path, acting.sound(1.0) * np.linspace(0, 1, 16_000, dtype="f"))
    still = spoken(actor, tmp_path, acting.sound(1.0), blinks="none", clamp_std=0.01)
    a, b = (done.checks[0] for done in (moving, still))
    assert a.name == "mouth motion over the person's own" and a.fine and 0.4 < a.value
    assert b.value < 0.1 and not b.fine
    assert "look at the adaptation stage" in caplog.text
    assert "look at the adaptation stage" in "".join(verdict_lines(still.checks))


def test_a_missing_recording_is_one_sentence(actor, tmp_path):
    with pytest.raises(FileNotFoundError, match="no recording at .*nowhere.wav: give the path"):
        talk(
            actor,
            Path("nowhere.wav"),
            tmp_path / "o.mp4",
            config=CONFIG,
            generator=torch.Generator(),
        )


def test_a_consent_that_came_after_the_training_is_in_the_next_video(actor, tmp_path, monkeypatch):
    monkeypatch.setattr(talk_stage, "load_actor", lambda parents: actor)
    write_audio(tmp_path / "in.wav", acting.sound(0.4))
    run = acting.a_run(tmp_path / "run", "talk", subject=str(tmp_path / "ada.mp4"))
    config = replace(CONFIG, audio=str(tmp_path / "in.wav"))
    talk_stage.make(run, config)
    assert run.metrics["consent"] == "a synthetic person"
    (tmp_path / "ada.mp4").write_bytes(b"")
    (tmp_path / "ada.consent.txt").write_text("I agree, É.\n", encoding="utf-8-sig")
    talk_stage.make(run, config)
    assert run.metrics["consent"] == "I agree, É."
    with av.open(str(run.folder / "talk.mp4")) as video:
        assert json.loads(video.metadata["comment"])["consent"] == "I agree, É."


def test_a_recording_and_a_text_exclude_each_other():
    config = resolve("smoke", {"talk.text": "hello", "talk.audio": "a.wav"}).talk
    with pytest.raises(ValueError, match="exclude each other"):
        inputs("demo", config)
    assert [*inputs("demo", resolve("smoke", {"talk.text": "hello"}).talk)] == ["demo.consent.txt"]


def test_neighbours_take_away_what_the_person_never_does(actor):
    class Wry(acting.PretendAdapter):
        def adapted(self, displacements, speech=None):
            faces = np.array(displacements)
            faces[:, 27:36, 0] += 0.2  # a nose that the person never turns aside
            return faces

    audio = acting.sound(2.0) * np.linspace(0, 1, 32_000, dtype=np.float32)
    wry = replace(actor, adaptation=Wry())
    shares = {share: planned(wry, audio, lle_share=share).adapted for share in (0.0, 0.5, 1.0)}
    nose = {share: faces[:, 27:36, 0] for share, faces in shares.items()}
    assert nose[0.0] == pytest.approx(0.2) and nose[0.5] == pytest.approx(0.1, abs=1e-3)
    assert nose[1.0] == pytest.approx(0.0, abs=1e-3)
    # the mouth, which the person does move like that, stays
    opened = [mouth_opening(shares[share]) for share in (0.0, 1.0)]
    assert np.abs(opened[0] - opened[1]).max() < 0.02


def test_faces_that_are_hidden_or_held_out_are_no_example(actor):
    """Neither of a face, nor of a mouth at rest, nor of how closed it is."""
    audio = np.concatenate([acting.sound(1.0), np.zeros(16_000, np.float32)])
    whole = actor.person
    hidden = (np.arange(len(whole)) % 3 == 0) | (np.arange(len(whole)) >= whole.n_train)
    strayed = whole.landmarks.copy()
    strayed[hidden, 60:] = strayed[hidden, 60:].mean(1, keepdims=True)  # wide lips that meet
    hiding = replace(whole, found=~hidden, landmarks=strayed)
    faces = [
        planned(replace(actor, person=who), audio, lle_share=0.5, blinks="none").landmarks
        for who in (
            replace(hiding, landmarks=whole.landmarks),
            hiding,
            replace(whole, landmarks=strayed),
        )
    ]
    assert np.abs(faces[0] - faces[1]).max() < 1e-6 < 0.01 < np.abs(faces[1] - faces[2]).max()


@pytest.mark.slow
def test_sound_and_picture_stay_in_step_for_ten_minutes(tmp_path):
    """Clicks at 1 s, 5 min and 9 min 59 s are heard within 20 ms of the flash that shows them."""
    times, seconds = (1, 300, 599), 600
    audio = np.zeros(seconds * 16_000, np.float32)
    for time in times:
        audio[time * 16_000 : time * 16_000 + 1600] = acting.sound(0.1, loud=0.9)
    dark, bright = (np.full((16, 16, 3), value, np.uint8) for value in (20, 230))
    flashes = {25 * time + k for time in times for k in range(3)}
    frames = (bright if k in flashes else dark for k in range(25 * seconds))
    path = tmp_path / "long.mp4"
    write_video(path, frames, audio)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 25 * seconds
        seen = [frame.time for frame in container.decode(video=0) if frame.to_ndarray().mean() > 99]
    with av.open(str(path)) as container:
        heard = [
            frame.time + np.flatnonzero(loud)[0] / frame.sample_rate
            for frame in container.decode(audio=0)
            if (loud := np.abs(frame.to_ndarray()[0]) > 0.3).any()
        ]
    for time in times:
        first_seen = min(t for t in seen if t > time - 0.5)
        first_heard = min(t for t in heard if t > time - 0.5)
        assert first_seen == pytest.approx(time, abs=1e-3)
        assert first_heard == pytest.approx(first_seen, abs=0.02)
