"""Promises of the embedded demo: small, marked, self-consistent, and seen by the detector."""

import json

import av
import cv2
import numpy as np
import pytest
from films import truth
from geneface_kit_figures import truth as truths

from geneface_kit.metrics.formulas import psnr_of_error
from geneface_kit.person import camera, demo, landmarks, speech
from geneface_kit.person.mouth import mouth_opening
from geneface_kit.person.speech.encoders import encode
from geneface_kit.talk.plan import embedded_actor
from notebooks.studies.demo_person.film import CREDIT

CLOSED, OPEN = frozenset("mbp"), frozenset("ɑæaʌɛɔAIOW")


@pytest.fixture(scope="module", params=demo.NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def known(name):
    return truth(name)


@pytest.fixture(scope="module")
def pictures(name):
    with av.open(str(demo.clip_path(name))) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def test_all_files_are_under_8_mb_together():
    files = [path for path in demo.FOLDER.rglob("*") if path.suffix not in {".py", ".pyc"}]
    assert sum(path.stat().st_size for path in files if path.is_file()) < 8_000_000


def test_demo_lasts_10_to_12_seconds_and_the_held_out_one_6_to_12():
    assert 10 <= len(truth("demo").poses) / 25 <= 12
    assert 6 <= len(truth("demo_b").poses) / 25 <= 12


def test_clip_is_25_fps_square_with_sound_as_long_as_the_picture(name, known):
    with av.open(str(demo.clip_path(name))) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height, video.average_rate) == (256, 256, 25)
        assert video.frames == len(known.poses)
        assert float(sound.duration * sound.time_base) == pytest.approx(video.frames / 25, abs=0.1)
        waves = np.concatenate([f.to_ndarray().ravel() for f in container.decode(sound)])
    assert np.abs(waves).max() > 0.1


def test_clip_names_its_source_and_says_that_it_is_synthetic(name):
    with av.open(str(demo.clip_path(name))) as container:
        assert "synthetic" in container.metadata["title"]
        assert "not said, seen or endorsed" in container.metadata["comment"]
        assert "10.5281/zenodo.3625687" in container.metadata["comment"]


def test_what_the_avatar_was_made_of_is_recorded():
    facts = json.loads((demo.AVATAR / "run.json").read_text())
    assert facts["credit"] == CREDIT and len(facts["clips"]) >= 10
    assert facts["metrics"]["nerf"]["head_psnr"] > 28


def test_truth_fits_the_pictures_frame_for_frame(known, pictures):
    t = len(pictures)
    assert known.landmarks.shape == (t, 68, 3)
    assert known.poses.shape == (t, 4, 4)
    assert known.landmarks2d.shape == (t, 68, 2)
    assert known.labels.shape == pictures.shape[:3]
    assert len(known.phonemes) == len(known.starts_s) == len(known.ends_s)
    assert known.ends_s[-1] == pytest.approx(t / 25, abs=0.06)


def test_projected_landmarks_are_the_landmarks_in_the_picture(known):
    pose = known.poses[7].astype(float)
    inverse = np.linalg.inv(pose)  # world to camera, another way than camera.project
    seen = known.landmarks[7] @ inverse[:3, :3].T + inverse[:3, 3]
    by_hand = 128 + known.focal * seen[:, :2] / -seen[:, 2:] * [1, -1]
    assert np.abs(by_hand - known.landmarks2d[7]).max() < 0.01
    again = camera.project(known.landmarks, known.poses, known.focal, 256)
    assert np.abs(again - known.landmarks2d).max() < 0.5


def test_poses_are_rigid_and_varied(known):
    rotation = known.poses[:, :3, :3]
    assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-5)
    assert np.allclose(np.linalg.det(rotation), 1, atol=1e-5)
    nose = known.landmarks2d[:, 30]
    assert (np.ptp(nose, axis=0) > 3).all()  # px of 256, both ways


def test_labels_hold_head_above_torso(known):
    rows = np.arange(256)
    for label_map in known.labels[::50]:
        assert set(np.unique(label_map)) == {0, 1, 3}
        head, torso = (np.average(rows, weights=(label_map == k).sum(1)) for k in (1, 3))
        assert head < torso and (label_map[-1, 128] == 3)


def test_landmarks_lie_on_the_labelled_head(known):
    inner = known.landmarks2d[:, 17:].round().astype(int)
    for frame in range(0, len(inner), 20):
        assert (known.labels[frame][inner[frame, :, 1], inner[frame, :, 0]] == 1).all()


def frames_of(known: truths.Truth, symbols: frozenset[str]) -> list[int]:
    """The frames whose middle lies inside one of the given phonemes."""
    middle = (np.arange(len(known.poses)) + 0.5) / 25
    inside = [
        (middle >= start) & (middle < end)
        for symbol, start, end in zip(known.phonemes, known.starts_s, known.ends_s, strict=True)
        if symbol in symbols
    ]
    return np.flatnonzero(np.any(inside, axis=0)).tolist()


def test_lips_are_closer_on_m_b_p_than_on_open_vowels(known):
    gap = mouth_opening(known.landmarks)
    closed, opened = frames_of(known, CLOSED), frames_of(known, OPEN)
    assert len(closed) >= 8 and len(opened) >= 3
    assert gap[closed].mean() < 0.75 * gap[opened].mean()


def test_mouth_and_sound_are_in_step(name, known):
    from geneface_kit.person.clip import sound_of

    spoken = encode(sound_of(demo.clip_path(name)), "hama").cut(len(known.landmarks))
    found = speech.estimate_offset(spoken, known.landmarks)
    assert abs(found.seconds) < 0.04 and found.confidence > 0.5


def test_detector_finds_the_face_in_every_frame_and_its_lips_follow(known, pictures):
    found = landmarks.detect(pictures)
    assert found.found.all()
    seen = landmarks.to_68(found)[:, :, :2]
    distance = np.linalg.norm(seen - known.landmarks2d, axis=-1)
    assert distance[:, 17:].mean() < 2.5  # px of 256; the rim of the face has no fixed point
    scale = np.linalg.norm(seen[:, 45] - seen[:, 36], axis=-1)
    measured = np.linalg.norm(seen[:, 61:64] - seen[:, [67, 66, 65]], axis=-1).mean(-1) / scale
    assert np.corrcoef(measured, mouth_opening(known.landmarks))[0, 1] > 0.9


def test_the_embedded_avatar_renders_the_clip_again(known, pictures):
    avatar = embedded_actor().avatar
    for frame in (10, 100):
        again = avatar.render_frame(known.landmarks[frame][None], known.poses[frame]).rgb
        blurred = cv2.GaussianBlur(pictures[frame].astype(np.float32) / 255, (0, 0), 1)
        found = cv2.GaussianBlur(again.numpy(), (0, 0), 1)
        assert psnr_of_error(float(np.square(found - blurred).mean())) > 32


def test_unknown_demo_person_is_one_sentence():
    with pytest.raises(ValueError, match="demo, demo_b"):
        demo.clip_path("demo_c")
