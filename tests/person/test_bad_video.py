"""Bad video: each fault ends in one sentence or in a repaired person with a warning."""

import cv2
import numpy as np
import pytest
from films import DRAWN, Film, clip_path, read_film, truth

from geneface_kit.nerf.dataset import RayDataset
from geneface_kit.person import clip, demo, framing, landmarks
from geneface_kit.person import stage as person

pytestmark = pytest.mark.usefixtures("uncalibrated")

CONFIG = person.PersonConfig(size=48)


@pytest.fixture(scope="module")
def talking() -> Film:
    """Three seconds of the demo person."""
    return read_film(demo.clip_path("demo"), size=192, max_s=3.0)


@pytest.fixture(scope="module")
def somebody_else() -> Film:
    return read_film(clip_path(DRAWN), size=192, max_s=1.4)


def prepared(tmp_path, frames, audio) -> person.Person:
    clip.write_video(tmp_path / "v.mp4", frames, audio)
    return person.prepare(tmp_path / "v.mp4", tmp_path / "person", CONFIG)


def taken(p: person.Person) -> list[list[float]]:
    return p.report["clips"][0]["taken_s"]


def refused(tmp_path, frames, audio, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        prepared(tmp_path, frames, audio)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "person" / "person.json").exists()


def test_no_face(tmp_path, talking):
    noise = np.random.default_rng(0).integers(0, 60, (30, 192, 192, 3), dtype=np.uint8)
    refused(tmp_path, noise, talking.audio, "no face was found")


def test_two_faces_of_a_size(tmp_path, talking, somebody_else):
    both = np.concatenate([talking.frames[:30], somebody_else.frames[:30]], axis=2)
    refused(tmp_path, both, talking.audio, "two faces")


@pytest.mark.slow
def test_a_subtitle_over_the_neck_is_named_and_left_out(tmp_path, talking):
    frames = talking.frames.copy()
    chin = int(truth("demo").landmarks2d[25:45, 8, 1].max() * 192 / 256)
    for frame in frames[25:45]:
        for colour, width in ((0, 6), (255, 2)):
            cv2.putText(frame, "as she had said", (6, chin + 20), 0, 0.7, (colour,) * 3, width)
    clip.write_video(tmp_path / "v.mp4", frames, talking.audio)
    p = person.prepare(tmp_path / "v.mp4", tmp_path / "p", person.PersonConfig(size=192))
    assert np.flatnonzero(~p.found).tolist() == list(range(25, 45))
    said = "writing is over the picture at 1.00 to 1.80 s: left out of what trains"
    assert said in p.report["warnings"]
    trained = set(RayDataset(p).usable.tolist())  # head and torso, see TorsoTask
    assert trained == {*range(25), *range(45, p.n_train)}


@pytest.mark.slow
def test_a_small_second_face_is_a_warning(tmp_path, talking):
    first = talking.frames[:40]
    small = np.pad(first[:, ::2, ::2], ((0, 0), (48, 48), (0, 0), (0, 0)), mode="edge")
    p = prepared(tmp_path, np.concatenate([first, small], axis=2), talking.audio)
    assert any("second, smaller face" in warning for warning in p.report["warnings"])
    true = truth("demo").landmarks2d[:40, 36:48].mean((0, 1)) * 192 / 256
    left, top, side = (288 * value for value in p.report["crop"])  # share of the width
    seen = p.landmarks2d[:, 36:48].mean((0, 1)) * side / 48 + [left, top]
    assert np.abs(seen - true).max() < 4


@pytest.mark.slow
def test_of_two_persons_the_longer_shot_is_kept(tmp_path, talking, somebody_else):
    frames = np.concatenate([somebody_else.frames[:30], talking.frames[:50]])
    p = prepared(tmp_path, frames, np.tile(talking.audio, 2)[: 80 * 640])
    assert len(p) == 50 and taken(p) == [[1.2, 3.2]]
    assert any("cut" in warning and "1.20 s" in warning for warning in p.report["warnings"])
    assert any("left out, as it shows another face" in text for text in p.report["warnings"])


@pytest.mark.slow
def test_a_short_gap_is_interpolated(tmp_path, talking):
    frames = talking.frames[:40].copy()
    frames[20:26] = 90
    p = prepared(tmp_path, frames, talking.audio)
    assert len(p) == 40
    assert any("missing in 6 frame" in warning for warning in p.report["warnings"])
    with np.load(p.folder / "tracks.npz") as tracks:
        assert tracks["found"].sum() == 34 and not tracks["found"][20:26].any()
    assert np.abs(np.diff(p.poses[18:28, :3, 3], axis=0)).max() < 0.5


@pytest.mark.slow
def test_a_long_gap_splits_the_clip(tmp_path, talking):
    frames = talking.frames.copy()
    frames[20:35] = 90
    p = prepared(tmp_path, frames, talking.audio)
    assert len(p) == 40 and taken(p) == [[1.4, 3.0]]
    assert any("usable" in warning for warning in p.report["warnings"])


@pytest.mark.slow
def test_the_other_stretch_can_be_chosen(tmp_path, talking):
    frames = talking.frames.copy()
    frames[28:40] = 90
    clip.write_video(tmp_path / "v.mp4", frames, talking.audio)
    config = person.PersonConfig(size=48, span=1)
    p = person.prepare(tmp_path / "v.mp4", tmp_path / "person", config)
    assert taken(p) == [[0.0, 1.12]]
    assert any("1.60 to 3.00 s: chosen by person.span" in w for w in p.report["warnings"])


@pytest.mark.slow
def test_a_head_on_its_side_is_not_usable(tmp_path, talking):
    p = prepared(tmp_path, np.rot90(talking.frames[:30], axes=(1, 2)), talking.audio)
    assert p.report["verdict"] == "not usable"
    assert "lies on its side" in p.report["obstacles"][0] and "chin" not in str(p.report["reasons"])


@pytest.mark.slow
def test_a_chin_below_the_picture_is_not_usable(tmp_path, talking):
    lips, chin = truth("demo").landmarks2d[:30, [57, 8], 1].T * 192 / 256
    border = round((lips.max() + chin.min()) / 2)
    p = prepared(tmp_path, talking.frames[:30, :border], talking.audio)
    assert p.report["verdict"] == "not usable"
    assert "chin is below the picture" in p.report["obstacles"][0]


@pytest.mark.slow
def test_bars_are_left_out_and_carry_no_label(tmp_path, talking):
    barred = np.pad(talking.frames[:30, 8:-8, 30:-30], ((0, 0), (38, 38), (0, 0), (0, 0)))
    p = prepared(tmp_path, barred, talking.audio)
    assert any("black bars" in warning for warning in p.report["warnings"])
    _, top, side = (132 * value for value in p.report["crop"])
    assert top >= 38 and top + side <= 38 + 176
    assert p.frames[:, [0, -1]].max(-1).min() > 2 * framing.BLACK


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (3840, 2160)])
def test_a_small_face_is_found_in_every_frame_of_a_large_picture(tmp_path, talking, width, height):
    points = truth("demo").landmarks2d[:8] / 256
    side = round(64 / np.ptp(points[..., 1], axis=1).mean())  # a face 64 pixels high
    frames = np.full((8, height, width, 3), 120, np.uint8)
    for frame, filmed in zip(frames, talking.frames, strict=False):
        small = cv2.resize(filmed, (side, side), interpolation=cv2.INTER_AREA)
        frame[height // 2 :, width // 5 :][:side, :side] = small
    clip.write_video(tmp_path / "v.mp4", frames)
    mesh = framing.scan(tmp_path / "v.mp4").mesh
    assert mesh.found.all()
    true = points[:, 36:48].mean((0, 1)) * side + (width // 5, height // 2)
    seen = landmarks.to_68(mesh)[:, 36:48, :2].mean(1) * width / framing.DETECT_SIDE
    assert np.abs(seen - true).max() < 4


def test_shorter_than_a_second(tmp_path, talking):
    refused(tmp_path, talking.frames[:20], talking.audio[: 20 * 640], "at least 1 s")


def test_only_flashes_of_a_face(tmp_path, talking):
    frames = np.full_like(talking.frames[:60], 90)
    frames[10:20], frames[40:50] = talking.frames[10:20], talking.frames[40:50]
    refused(tmp_path, frames, talking.audio, "longest stretch with a face")


def test_no_sound(tmp_path, talking):
    refused(tmp_path, talking.frames[:30], None, "no sound")


@pytest.mark.slow
def test_a_silent_sound_is_not_usable(tmp_path, talking):
    p = prepared(tmp_path, talking.frames[:30], np.zeros(30 * 640, np.float32))
    assert p.report["verdict"] == "not usable" and "silent" in p.report["obstacles"][0]
    assert p.report["offset_confidence"] == 0


@pytest.mark.slow
def test_odd_rate_and_odd_size(tmp_path, talking):
    from test_clip import write_at

    frames = [frame[:187, :191] for frame in talking.frames[:45]]
    frames = [np.pad(frame, ((0, 1), (0, 1), (0, 0)), mode="edge") for frame in frames]
    write_at(tmp_path / "v.mp4", frames, [i / 23.976 for i in range(45)])
    clip.write_audio(tmp_path / "v.wav", talking.audio)
    p = person.prepare(tmp_path / "v.mp4", tmp_path / "person", CONFIG)
    assert abs(len(p) - 47) <= 1 and p.frames.shape[1:] == (48, 48, 3)
    assert any("resampled to 25" in warning for warning in p.report["warnings"])


@pytest.mark.slow
def test_sound_that_is_late_is_put_right(tmp_path):
    whole = read_film(demo.clip_path("demo"), size=96, max_s=7.0)
    late = np.pad(whole.audio, (round(0.24 * 16_000), 0))[: len(whole.audio)]
    p = prepared(tmp_path, whole.frames, late)
    assert p.report["offset_s"] == pytest.approx(0.24, abs=0.06)
    assert any("late against the lips; corrected" in text for text in p.report["warnings"])
    both = np.fft.rfft(late) * np.conj(np.fft.rfft(p.audio))
    moved_s = np.fft.irfft(both).argmax() / 16_000  # where the kept sound lies in the late one
    assert moved_s == pytest.approx(p.report["offset_s"], abs=0.002)
    recorded_s = len(clip.sound_of(tmp_path / "v.mp4")) / 16_000  # a codec fills its last frame up
    last = int(
        np.ceil(25 * (recorded_s - moved_s))
    )  # what would be heard after it was not recorded
    assert p.found[:last].all() and not p.found[last:].any() and last < len(p)
    assert f"no sound was recorded at {last / 25:.2f} to 7.00 s" in " ".join(p.report["warnings"])


def test_no_video_at_all(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"\0" * 3000)
    with pytest.raises(ValueError, match="not a readable media file"):
        person.prepare(tmp_path / "v.mp4", tmp_path / "person", CONFIG)
