"""Person: the artefact's shapes, its report, where videos are found, no half artefacts."""

import dataclasses
import json

import numpy as np
import pytest
from geneface_kit_figures.faces import gt_image, head_image
from geneface_kit_figures.report import pose_leak

from geneface_kit.person import camera, clip, demo, files, framing, landmarks, quality, spans
from geneface_kit.person import stage as person
from geneface_kit.person.tracking import track


def test_shapes_and_split(demo_person):
    p = demo_person
    t, size = len(p), p.size
    assert p.frames.shape == (t, size, size, 3) and p.labels.shape == (t, size, size)
    assert p.torso.shape == (t, size, size, 4) and p.background.shape == (size, size, 3)
    assert p.landmarks.shape == (t, 68, 3) and p.poses.shape == (t, 4, 4)
    assert len(p.speech) == 2 * t and len(p.audio) == 640 * t
    assert p.n_train == 10 * t // 11 and 0 < p.n_train < t
    assert isinstance(p.frames, np.memmap)


def test_the_demo_says_that_it_is_synthetic(demo_person):
    assert demo_person.data_kind == "synthetic" and demo_person.name == "demo"


def test_statistics_are_those_of_the_landmarks_that_train(demo_person):
    p = demo_person
    assert np.allclose(p.landmark_mean, p.landmarks[: p.n_train].mean(0), atol=1e-6)
    assert np.allclose(p.landmark_std, p.landmarks[: p.n_train].std(0), atol=1e-6)


@pytest.mark.parametrize("seen", [range(2, 22), ()])
def test_hidden_faces_are_in_no_statistic_unless_nothing_is_seen(tmp_path, seen):
    points = np.random.default_rng(0).normal(size=(33, 68, 3)).astype(np.float32)
    poses, error = np.tile(np.eye(4), (33, 1, 1)), np.zeros(33)
    tracked = track.Track(poses, 30.0, points, 10 * points[..., :2], error)
    found = np.isin(np.arange(33), [*seen, 31] if seen else [])  # 31 is held out
    files.write_tracks(tmp_path, tracked, found, spans.ONE, 16)
    written, own = np.load(tmp_path / "tracks.npz"), points[list(seen) or slice(None)]
    assert np.allclose(written["landmark_mean"], own.mean(0), atol=1e-6)
    assert np.allclose(written["landmark_std"], own.std(0), atol=1e-6)


def test_rectangles_hold_their_points(demo_person):
    p = demo_person
    for rects, points in ((p.face_rects, p.landmarks2d), (p.lip_rects, p.landmarks2d[:, 48:60])):
        assert (rects[:, None, :2] <= points).all() and (points <= rects[:, None, 2:]).all()
    sides = p.lip_rects[:, 2:] - p.lip_rects[:, :2]
    assert np.abs(sides[:, 0] - sides[:, 1]).max() <= 1


def test_the_head_lies_in_the_box_of_the_renderer(demo_person):
    low = np.array(camera.BOX_CENTRE) - camera.BOX_HALF
    high = np.array(camera.BOX_CENTRE) + camera.BOX_HALF
    assert (demo_person.landmarks > low).all() and (demo_person.landmarks < high).all()
    corners = np.array([[x, y, -0.5] for x in (low[0], high[0]) for y in (low[1], high[1])])
    seen = camera.project(
        np.tile(corners, (len(demo_person), 1, 1)),
        demo_person.poses,
        demo_person.focal,
        demo_person.size,
    )
    rows, columns = np.nonzero(np.asarray(demo_person.labels[0]) == 1)
    assert columns.min() > seen[0, :, 0].min() and columns.max() < seen[0, :, 0].max()
    assert rows.min() > seen[0, :, 1].min() and rows.max() < seen[0, :, 1].max()


def test_gt_differs_from_the_frame_in_the_background_only(demo_person):
    frame, labels = np.asarray(demo_person.frames[5]), np.asarray(demo_person.labels[5])
    changed = (gt_image(demo_person, 5) != frame).any(-1)
    assert not changed[labels > 0].any()
    assert (head_image(demo_person, 5)[labels != 1] == demo_person.background[labels != 1]).all()


def test_the_report_measures_the_clip(demo_person):
    report = demo_person.report
    assert report["detection_rate"] == 1.0 and report["seconds"] == len(demo_person) / 25
    assert report["source"] == {"width": 256, "height": 256, "fps": 25.0}
    assert report["verdict"] in ("good", "usable") and report["reasons"]
    assert report["tracking_error_px"] < 0.01 * report["face_px"]
    assert len(report["offset_curve"]) == len(report["offset_lags_s"]) == 51
    json.dumps(report)


def test_load_gives_what_was_prepared(demo_person):
    again = person.load(demo_person.folder)
    assert (again.landmarks == demo_person.landmarks).all() and again.report == demo_person.report


def test_an_unfinished_folder_is_no_person(demo_person, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no .*person.json"):
        person.load(tmp_path)
    (tmp_path / "person.json").write_text('{"schema": 99}')
    with pytest.raises(ValueError, match="schema is 99, not 5"):
        person.load(tmp_path)


@pytest.mark.slow
def test_a_failure_half_way_leaves_no_person(tmp_path, monkeypatch):
    (tmp_path / "person.json").write_text("{}")  # of an earlier run

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_torso", full_disk)
    with pytest.raises(OSError, match="No space"):
        person.prepare(demo.clip_path("demo"), tmp_path, person.PersonConfig(size=48, max_s=1.2))
    assert not (tmp_path / "person.json").exists()
    with pytest.raises(FileNotFoundError):
        person.load(tmp_path)


def test_videos_are_found_in_order(tmp_path, monkeypatch):
    data, root = tmp_path / "data", tmp_path / "root"
    (data / "persons").mkdir(parents=True)
    (root / "data" / "persons").mkdir(parents=True)
    monkeypatch.setenv("GENEFACE_KIT_ROOT", str(root))
    monkeypatch.setenv("GENEFACE_KIT_DATA", str(data))
    for place in (data / "persons", data, root / "data" / "persons"):
        (place / "ada.mp4").write_bytes(b"")
        assert person.find("ada") == place / "ada.mp4"  # each earlier in the order than the last
    (data / "ada.mov").write_bytes(b"")
    assert person.find(str(data / "ada.mov")) == data / "ada.mov"
    assert person.find("demo") == demo.clip_path("demo")


def test_a_folder_of_videos_is_one_person_in_the_natural_order_of_their_names(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("GENEFACE_KIT_ROOT", str(tmp_path))
    monkeypatch.delenv("GENEFACE_KIT_DATA", raising=False)
    folder = tmp_path / "data" / "persons" / "ada"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("")
    with pytest.raises(ValueError, match="holds no video"):
        person.find(f"{folder}/")
    with pytest.raises(FileNotFoundError, match="no video of person 'ada'"):
        person.find("ada")
    for name in ("clip10.mp4", "clip2.MOV", "Clip1.webm"):
        (folder / name).write_bytes(b"")
    for name in ("ada", "Ada", f"{folder}", f"{folder}/"):
        assert person.find(name) == folder and person.name_of(name) == "ada"
    names = [path.name for path in person.clips_of(folder)]
    assert names == ["Clip1.webm", "clip2.MOV", "clip10.mp4"]
    (folder / "clip2.wav").write_bytes(b"")
    read = list(person.inputs("ada", person.PersonConfig()))
    assert read == [*names, "clip2.wav"]
    (folder.parent / "ada.mp4").write_bytes(b"")
    assert person.find("ada") == folder.parent / "ada.mp4"


def test_a_name_with_a_dot_is_taken_whole(tmp_path, monkeypatch):
    """Of another person's consent, and of where to put a clip, nothing is cut off."""
    monkeypatch.setenv("GENEFACE_KIT_ROOT", str(tmp_path))
    monkeypatch.delenv("GENEFACE_KIT_DATA", raising=False)
    folder = tmp_path / "data" / "persons" / "anna.v2"
    folder.mkdir(parents=True)
    (folder.parent / "anna.consent.txt").write_text("I agree. Anna")
    assert person.consent_beside(folder) == {}
    mine = folder.parent / "anna.v2.consent.txt"
    mine.write_text("I agree. Another")
    assert person.consent_beside(folder) == {mine: "I agree. Another"}
    assert len(person.consent_beside(folder.parent / "anna.mp4")) == 1
    with pytest.raises(FileNotFoundError, match=r"data/persons/j\.doe\.mp4"):
        person.find("j.doe")
    with pytest.raises(FileNotFoundError, match=r"data/persons/j\.doe\.mp4"):
        person.find("j.doe.mp4")


@pytest.mark.parametrize("name", ["nobody", "obama"])
def test_an_unknown_person_is_one_sentence_that_says_where(tmp_path, monkeypatch, name):
    monkeypatch.setenv("GENEFACE_KIT_ROOT", str(tmp_path))
    monkeypatch.delenv("GENEFACE_KIT_DATA", raising=False)
    with pytest.raises(FileNotFoundError) as caught:
        person.find(name)
    assert f"data/persons/{name}.mp4" in str(caught.value)
    assert "GENEFACE_KIT_DATA" in str(caught.value) and "\n" not in str(caught.value)
    assert ("github.com" in str(caught.value)) == (name == "obama")


def frontal_points(centre: tuple[float, float], height: float) -> np.ndarray:
    """68 points with brows at the top and the chin at the bottom of a face, pixels."""
    points = np.zeros((1, 68, 3), np.float32)
    points[..., 0], points[..., 1] = centre
    points[:, 17:27, 1] -= height / 3
    points[:, 8, 1] += height / 3
    points[:, 0, 0], points[:, 16, 0] = centre[0] - height / 3, centre[0] + height / 3
    return points


def test_a_wide_picture_is_cropped_around_head_and_shoulders():
    points = frontal_points((400, 150), 120)
    mesh = landmarks.Mesh(points, np.ones(1, bool), np.zeros(1, np.float32))
    crop = framing.square_crop(mesh, 640, 360)
    assert crop.side == pytest.approx(120 / 0.5, rel=0.01)
    assert crop.left + crop.side / 2 == pytest.approx(400, abs=1)
    assert 0 <= crop.top < 150 - 1.25 * 60 and crop.top + crop.side <= 360


def test_a_square_picture_is_taken_whole():
    mesh = landmarks.Mesh(frontal_points((60, 60), 50), np.ones(1, bool), np.zeros(1, np.float32))
    assert framing.square_crop(mesh, 200, 200) == framing.Crop(0.0, 0.0, 200.0)


def test_verdicts_have_reasons(demo_person):
    good = demo_person.report | {"seconds": 200.0, "source_face_px": 300.0}
    good |= {"offset_confidence": 0.9, "mouth_shapes_common": 1.0}
    assert quality.verdict(good, [])["verdict"] == "good"
    assert quality.verdict(good | {"head_in_picture": 0.5}, [])["verdict"] == "usable"
    bad = quality.verdict(good | {"source_face_px": 30.0}, [])
    assert bad["verdict"] == "not usable" and "film closer" in bad["reasons"][0]


@pytest.mark.slow
def test_a_real_clip_is_prepared(shared_data, tmp_path):
    config = person.PersonConfig(size=128, max_s=4.0)
    p = person.prepare(shared_data / "persons" / "obama.mp4", tmp_path, config)
    assert p.data_kind == "real" and p.name == "obama" and len(p) == 100
    assert p.report["tracking_error_px"] < 0.01 * p.report["face_px"]
    assert abs(pose_leak(p)["opening_pitch"]) < 0.6
    assert clip.read_audio(tmp_path / "audio.wav").shape == (64_000,)


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        person.PersonConfig().size = 3


def test_pictures_are_read_in_order_across_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PIECE", 2)
    np.save(tmp_path / "labels.npy", np.arange(5, dtype=np.uint8)[:, None, None].repeat(4, 1))
    assert [int(p[0, 0]) for p in files.pictures_of(tmp_path / "labels.npy")] == [0, 1, 2, 3, 4]
