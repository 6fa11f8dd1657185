"""A file is read as what it is: its colours, its fields, its sounds, its name."""

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc

from geneface_kit.person import clip, framing
from geneface_kit.person import stage as person
from geneface_kit.person.clip.colour import SCREEN_GAMMA, UNSPECIFIED, to_rgb
from geneface_kit.person.framing import black_bars
from geneface_kit.person.landmarks import Mesh, find_cuts
from geneface_kit.person.occlusion import (
    frozen,
    hidden_mouth,
    mixtures,
    subtitled,
    with_mixed_share,
)
from geneface_kit.person.speech.offset import covered_span

SKIN = (128, 80, 62)


def hdr_frame(rgb, transfer: ColorTrc) -> av.VideoFrame:
    """A picture of one colour as HDR holds it: light of BT.709 on a screen of 203 cd/m2 white."""
    to_2020 = np.linalg.inv(
        [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    )
    nits = 203 * to_2020 @ (np.array(rgb) / 255) ** SCREEN_GAMMA
    if transfer == ColorTrc.SMPTE2084:
        power = (nits / 10_000) ** (2610 / 16384)
        code = ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    else:
        scene = (nits / 1000) ** (1 / 1.2)
        code = np.sqrt(3 * scene)  # the lower part of the curve, up to 1/12
    picture = np.broadcast_to(np.round(65535 * code).astype(np.uint16), (16, 16, 3))
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb48le")
    frame = frame.reformat(format="yuv444p10le", dst_colorspace=Colorspace.BT2020)
    frame.colorspace, frame.color_primaries = Colorspace.BT2020, ColorPrimaries.BT2020
    frame.color_trc = transfer
    return frame


@pytest.mark.parametrize("transfer", [ColorTrc.ARIB_STD_B67, ColorTrc.SMPTE2084])
def test_hdr_has_the_colours_of_its_sdr(transfer):
    shown = to_rgb(hdr_frame(SKIN, transfer), 16, 16)
    assert np.abs(shown.mean((0, 1)) - SKIN).max() < 3


@pytest.mark.parametrize(("height", "matrix"), [(480, Colorspace.ITU601), (720, Colorspace.ITU709)])
def test_a_picture_that_does_not_say_its_matrix_has_that_of_its_size(height, matrix):
    picture = av.VideoFrame.from_ndarray(np.full((height, 64, 3), SKIN, np.uint8), format="rgb24")
    frame = picture.reformat(format="yuv444p", dst_colorspace=matrix)
    frame.colorspace = UNSPECIFIED
    assert np.abs(to_rgb(frame, 64, height).mean((0, 1)) - SKIN).max() < 3


def test_fields_become_whole_pictures(tmp_path):
    """A bright square that moves between two fields is not a comb afterwards."""
    rows = np.arange(64)[:, None]
    with av.open(str(tmp_path / "i.mp4"), "w") as container:
        options = {"flags": "+ilme+ildct", "x264-params": "tff=1:interlaced=1", "crf": "5"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index in range(12):
            picture = np.zeros((64, 96, 3), np.uint8)
            for field in (0, 1):
                left = 8 + 6 * index + 3 * field
                picture[:, left : left + 12][(rows[:, 0] % 2) == field] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    frames = list(clip.stream_frames(tmp_path / "i.mp4"))
    combs = [np.abs(np.diff(frame[16:48].astype(int), axis=0)).mean() for frame in frames[2:-2]]
    assert len(frames) == 12 and max(combs) < 6  # 14 as it is stored


def stereo(path, left, right) -> None:
    both = np.round(np.stack([left, right]) * 32767).astype(np.int16)
    with av.open(str(path), "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="stereo")
        samples = np.ascontiguousarray(both.T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def hum(seconds: float = 1.0) -> np.ndarray:
    return (0.3 * np.sin(np.arange(round(16_000 * seconds)) / 5)).astype(np.float32)


def test_channels_that_cancel_do_not_silence_the_voice(tmp_path):
    stereo(tmp_path / "a.wav", hum(), -hum())
    assert np.abs(clip.read_audio(tmp_path / "a.wav") - hum()).max() < 1e-3
    stereo(tmp_path / "b.wav", hum(), 0.5 * hum())
    assert np.abs(clip.read_audio(tmp_path / "b.wav") - 0.75 * hum()).max() < 1e-3


def two_sounds(path, first, second) -> None:
    with av.open(str(path), "w") as container:
        film = container.add_stream("libx264", rate=25)
        film.width, film.height, film.pix_fmt = 32, 32, "yuv420p"
        sounds = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(2)]
        for _ in range(25):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(film.encode(frame))
        container.mux(film.encode(None))
        for stream, samples in zip(sounds, (first, second), strict=True):
            codes = np.round(samples[None] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(codes, format="s16", layout="mono")
            frame.sample_rate = 16_000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def test_the_sound_that_speaks_is_used_and_said(tmp_path):
    two_sounds(tmp_path / "v.mkv", np.zeros(16_000, np.float32), hum())
    found = clip.chosen_sound(tmp_path / "v.mkv")
    assert found.samples.std() > 0.1 and found.notes == ("sound stream 2 of 2 is used",)


def test_a_wav_beside_is_used_when_the_track_is_silent_or_when_asked(tmp_path):
    silent, speaking = tmp_path / "s.mkv", tmp_path / "v.mkv"
    two_sounds(silent, np.zeros(16_000, np.float32), np.zeros(16_000, np.float32))
    two_sounds(speaking, hum(), hum())
    for path in (silent, speaking):
        clip.write_audio(path.with_suffix(".wav"), 0.5 * hum(0.5))
    found = clip.chosen_sound(silent)
    assert len(found.samples) == 8_000 and "is silent: s.wav is used" in found.notes[0]
    found = clip.chosen_sound(speaking)
    assert len(found.samples) == 16_000 and "person.sound=beside" in found.notes[0]
    assert len(clip.chosen_sound(speaking, "beside").samples) == 8_000
    assert clip.chosen_sound(silent, "track").samples.std() == 0


@pytest.mark.parametrize("choice", ["auto", "beside"])
def test_a_sound_that_is_not_there_is_refused_before_a_picture_is_looked_at(
    choice, tmp_path, monkeypatch
):
    clip.write_video(tmp_path / "v.mp4", np.zeros((30, 32, 32, 3), np.uint8))
    monkeypatch.setattr(framing, "scan_all", None)
    with pytest.raises((ValueError, FileNotFoundError), match="v.mp4"):
        person.prepare(tmp_path / "v.mp4", tmp_path / "p", person.PersonConfig(sound=choice))


def test_only_what_has_sound_is_used():
    sound = clip.Sound(hum(2.0), 0.0)
    assert covered_span(sound, 0, 50) == (0, 50, [])
    start, stop, notes = covered_span(sound, 0, 100)
    assert (start, stop) == (0, 50) and "ends at 2.00 s" in notes[0]
    late = clip.Sound(hum(4.0), 1.0)
    assert covered_span(late, 0, 100)[0] == 25


def test_names_are_found_in_any_case_and_with_their_ending(tmp_path, monkeypatch):
    monkeypatch.setenv("GENEFACE_KIT_ROOT", str(tmp_path))
    monkeypatch.setenv("GENEFACE_KIT_DATA", str(tmp_path / "films"))
    with pytest.raises(FileNotFoundError, match="which is no folder"):
        person.find("img_0001")
    (tmp_path / "films").mkdir()
    path = tmp_path / "films" / "IMG_0001.MOV"
    path.write_bytes(b"film")
    for name in ("IMG_0001", "img_0001", "IMG_0001.MOV", "IMG_0001.mov", str(path)):
        assert person.find(name) == path and person.name_of(name) == "IMG_0001"


def test_bars_are_black_and_end_in_a_straight_edge():
    picture = np.full((90, 120), 200, np.uint8)
    picture[:15], picture[:, -20:] = 0, 0
    assert black_bars(picture) == (0, 17, 22, 0)
    person_in_the_dark = np.zeros((90, 120), np.uint8)
    person_in_the_dark[40:, 50:70] = 200
    assert black_bars(person_in_the_dark) == (0, 0, 0, 0)


def test_a_cut_in_one_framing_is_found_and_a_nod_is_none():
    generator = np.random.default_rng(0)
    points = np.zeros((60, 478, 3), np.float32) + generator.normal(0, 30, (1, 478, 3))
    sway = 0.3 * np.sin(np.arange(60) / 5)
    points[..., 0] += sway[:, None]
    scene = generator.integers(60, 200, (16, 16, 3))
    frames = np.clip(scene + 2 * sway[:, None, None, None], 0, 255).astype(np.uint8)
    mesh = Mesh(points.astype(np.float32), np.ones(60, bool), np.zeros(60, np.float32))
    assert find_cuts(frames, mesh) == ()
    frames[30:] = np.clip(
        frames[30:].astype(int) + generator.integers(-12, 13, (16, 16, 3)), 0, 255
    )
    points[30:, :, 1] += 8
    assert find_cuts(frames, Mesh(points.astype(np.float32), mesh.found, mesh.rival)) == (30,)


def test_a_hand_before_the_mouth_and_a_frozen_picture_are_seen():
    generator = np.random.default_rng(0)
    points = np.zeros((40, 68, 2), np.float32)
    points[:, 36:42], points[:, 42:48], points[:, 8] = (20, 20), (44, 20), (32, 60)
    frames = np.full((40, 64, 64, 3), SKIN, np.uint8)
    frames[:, 42:52, 22:42] = (150, 40, 50)
    frames[::2, 45:49, 26:38] = 10  # open, closed
    frames = np.clip(frames + generator.normal(0, 2, frames.shape), 0, 255).astype(np.uint8)
    assert not hidden_mouth(frames, points).any() and not frozen(frames).any()
    hand = frames.copy()
    hand[10:20, 36:60, 12:52] = (190, 140, 110)
    hand[10:20, 48:60, 12:52] = (120, 90, 160)
    assert np.flatnonzero(hidden_mouth(hand, points)).tolist() == list(range(10, 20))
    turned = points.copy()
    turned[10:20, 30, 0] += 10  # the nose's tip, of eyes 24 pixels apart
    assert not hidden_mouth(hand, turned).any()
    still = frames.copy()
    still[10:25] = still[10]
    assert np.flatnonzero(frozen(still)).tolist() == list(range(11, 25))


def wandering(n, seed=0, haste=1.0):
    """A scene of blocks in which three bright squares go their ways."""
    generator = np.random.default_rng(seed)
    scene = np.kron(generator.integers(60, 140, (8, 8, 3)), np.ones((8, 8, 1)))
    frames = np.repeat(scene[None], n, axis=0)
    for place, pace in zip(generator.integers(0, 50, (3, 2)), (1.7, -2.3, 1.2), strict=True):
        for t in range(n):
            top, left = (place + haste * pace * t).astype(int) % 50
            frames[t, top : top + 10, left : left + 10] = 170
    return np.clip(frames + generator.normal(0, 1.5, frames.shape), 0, 255).astype(np.uint8)


def test_writing_is_seen_where_it_lies_and_nothing_that_moves():
    filmed = np.kron(wandering(60), np.ones((1, 3, 3, 1), np.uint8))
    shown = filmed.copy()
    for frame in shown[20:40]:
        cv2.putText(frame, "and so we went", (8, 170), 0, 0.7, (255,) * 3, 2)
    assert not subtitled(filmed).any() and not subtitled(filmed[:4]).any()
    assert np.flatnonzero(subtitled(shown)).tolist() == list(range(20, 40))
    assert np.flatnonzero(subtitled(shown[30:])).tolist() == list(range(10))  # from the first on
    cut = np.concatenate([filmed[:20], shown[20:40]])
    assert not subtitled(cut, np.array([0, 20])).any()  # nothing is seen to come


def test_pictures_that_a_change_of_rate_made_up_are_found():
    filmed = wandering(25)
    assert not mixtures(filmed).any()
    assert not mixtures(np.repeat(filmed[:1], 25, axis=0)).any() and not mixtures(filmed[:2]).any()
    doubled = np.repeat(filmed, 2, axis=0)[:-1]
    doubled[1::2] = (filmed[:-1].astype(int) + filmed[1:]) // 2  # 12.5 a second shown as 25
    assert np.flatnonzero(mixtures(doubled)).tolist() == list(range(1, 49, 2))
    filmed[12] = (filmed[11].astype(int) + filmed[13]) // 2
    assert not mixtures(filmed).any()  # one alone is chance


def scan_of(frames: np.ndarray) -> framing.Scan:
    """A scan of pictures, three times as large, with a face that stands still."""
    n_frames, large = len(frames), (np.kron(one, np.ones((3, 3, 1), np.uint8)) for one in frames)
    points = np.zeros((n_frames, 478, 3), np.float32)
    points += np.arange(478, dtype=np.float32)[:, None]
    mesh = Mesh(points, np.ones(n_frames, bool), np.zeros(n_frames, np.float32))
    shares = np.array([share for _, share in with_mixed_share(large)])
    return framing.Scan(mesh, frames, shares, 64, 64, clip.Probe(64, 64, 25.0, 1, 0.0))


@pytest.mark.parametrize("what", ["another view", "another pose"])
@pytest.mark.parametrize("n_mixed", [6, 12])
def test_a_cross_fade_is_a_cut_and_left_out(what, n_mixed):
    first, later = np.split(wandering(500, haste=0.05)[[*range(60), *range(400, 460)]], 2)
    second = later if what == "another pose" else wandering(60, seed=5, haste=0.05)
    share = np.linspace(0, 1, n_mixed + 2)[1:-1, None, None, None]
    mixed = ((1 - share) * first[30 : 30 + n_mixed] + share * second[:n_mixed]).astype(np.uint8)
    scan = scan_of(np.concatenate([first[:30], mixed, second[n_mixed : n_mixed + 30]]))
    end = 30 + n_mixed
    assert any(30 < cut < end for cut in scan.cuts)
    assert set(np.flatnonzero(scan.fades)) <= set(range(28, end + 2))
    assert scan.mixed[30:end].all()
    assert not scan.mixed[:15].any() and not scan.mixed[end + 15 :].any()


@pytest.mark.parametrize("haste", [0.3, 1.0, 3.0])
def test_a_motion_from_pose_to_pose_is_no_cross_fade(haste):
    scan = scan_of(wandering(60, haste=haste))
    assert not scan.cuts and not scan.mixed.any()
