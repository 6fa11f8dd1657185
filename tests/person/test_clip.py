"""Clip: rates, rotation, sound formats; what is written can be read back."""

import importlib
import logging
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace
from films import read_film

from geneface_kit.person import clip


def gray_ramp(n: int, height: int = 32, width: int = 48) -> list[np.ndarray]:
    """Frame i is grey 4 i, so a frame tells its number."""
    return [np.full((height, width, 3), 4 * i, np.uint8) for i in range(n)]


def write_at(
    path, frames, times_s, *, rotation: int = 0, codec: str = "libx264", pixels: str = "yuv420p"
) -> None:
    """A video whose frames carry the given time stamps (milliseconds exact)."""
    options = {
        "libx264": {"crf": "10", "bf": "0"},
        "libvpx-vp9": {"crf": "10", "b": "0"},
    }
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options.get(codec, {"qscale": "2"}))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for frame, seconds in zip(frames, times_s, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = round(seconds * 1000), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def write_sound(path, samples, rate, codec, sample_format, layout="mono") -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples, format=sample_format, layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        codec_context = stream.codec_context
        size = codec_context.frame_size or None
        resampler = av.AudioResampler(codec_context.format, layout, rate, frame_size=size)
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


def tone(rate: int, seconds: float, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(
        np.float32
    )


def strongest_hertz(audio: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(audio)).argmax() * clip.SAMPLE_RATE / len(audio))


def numbers(frames) -> list[int]:
    return [round(float(frame.mean()) / 4) for frame in frames]


def test_25_fps_passes_every_frame_once(tmp_path):
    write_at(tmp_path / "a.mp4", gray_ramp(10), [i / 25 for i in range(10)])
    assert numbers(clip.stream_frames(tmp_path / "a.mp4")) == list(range(10))


def test_50_fps_keeps_every_second_frame(tmp_path):
    write_at(tmp_path / "a.mp4", gray_ramp(20), [i / 50 for i in range(20)])
    assert numbers(clip.stream_frames(tmp_path / "a.mp4")) == list(range(0, 20, 2))


def test_frames_that_are_not_shown_are_not_converted(tmp_path, monkeypatch):
    video = importlib.import_module("geneface_kit.person.clip.video")
    sizes, to_rgb = [], video.to_rgb
    monkeypatch.setattr(video, "to_rgb", lambda *given: sizes.append(given[1:]) or to_rgb(*given))
    write_at(tmp_path / "v.mp4", gray_ramp(60), [i / 60 for i in range(60)])
    small = list(clip.stream_frames(tmp_path / "v.mp4", long_side=24))
    assert sizes == len(small) * [(24, 16)] and len(small) == 25  # none of them at full size
    del sizes[:]
    wanted = clip.stream_frames(tmp_path / "v.mp4", long_side=24, wanted={2, 3, 20})
    assert np.array_equal(list(wanted), [small[k] for k in (2, 3, 20)]) and len(sizes) == 3


def test_a_variable_rate_follows_the_time_stamps(tmp_path):
    times = [0.0, 0.04, 0.08, 0.24, 0.28]  # frame 2 stands for four steps, frame 3 starts at 6
    write_at(tmp_path / "a.mp4", gray_ramp(5), times)
    assert numbers(clip.stream_frames(tmp_path / "a.mp4")) == [0, 1, 2, 2, 2, 2, 3, 4]


def shades_of(frames) -> list[int]:
    """Numbers of frames whose grey is 30 times their number."""
    return [round(float(frame.mean()) / 30) for frame in frames]


KINDS = [
    ("a.mp4", "libx264", "yuv420p", (32, 48)),
    ("a.mov", "prores_ks", "yuv422p10le", (32, 48)),
    ("a.mkv", "libx264", "yuv444p", (33, 47)),
    ("a.mkv", "ffv1", "yuv420p", (33, 47)),
    ("a.webm", "libvpx-vp9", "yuv420p", (33, 47)),
    ("a.webm", "libvpx", "yuv420p", (32, 48)),
    ("a.mkv", "mjpeg", "yuvj420p", (33, 47)),
]
"""Name, encoder, pixels and height x width of files as phones, cameras and the web make them."""


def needs_encoder(codec: str) -> None:
    try:
        av.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this build of PyAV has no encoder {codec}")


@pytest.mark.parametrize(("name", "codec", "pixels", "shape"), KINDS)
def test_every_common_kind_keeps_rate_size_and_time_stamps(tmp_path, name, codec, pixels, shape):
    needs_encoder(codec)
    times = [0.0, 0.04, 0.08, 0.24, 0.28, 0.30, 0.32]  # a still of four steps, then 50 fps
    shades = [np.full((*shape, 3), 30 * index, np.uint8) for index in range(7)]
    write_at(tmp_path / name, shades, times, codec=codec, pixels=pixels)
    frames = list(clip.stream_frames(tmp_path / name))
    assert shades_of(frames) == [0, 1, 2, 2, 2, 2, 3, 4, 6]
    about = clip.probe(tmp_path / name)
    assert frames[0].shape == (*shape, 3) == (about.height, about.width, 3)
    assert about.start_s == pytest.approx(0, abs=0.05) and not about.n_sounds


def test_hevc_of_a_phone_is_read():
    """Stored, because the encoder of PyAV 18.1 corrupts memory: the clip above at 48 x 64."""
    frames = list(clip.stream_frames(Path(__file__).with_name("ramp_hevc.mov")))
    assert shades_of(frames) == [0, 1, 2, 2, 2, 2, 3, 4, 6] and frames[0].shape == (64, 48, 3)


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mpeg4"), ("a.ts", "mpeg2video")])
def test_kinds_of_a_fixed_rate(tmp_path, name, codec):
    needs_encoder(codec)
    frames = [np.full((32, 48, 3), 30 * index, np.uint8) for index in range(8)]
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"qscale": "2"})
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    assert shades_of(clip.stream_frames(tmp_path / name)) == list(range(8))


@pytest.mark.parametrize("turn", [90, 180, 270])
@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_every_rotation_flag_turns_the_picture_upright(tmp_path, name, turn):
    frame = np.zeros((32, 48, 3), np.uint8)
    frame[:8] = 255  # the upper border as stored
    write_at(tmp_path / name, [frame] * 3, [0, 0.04, 0.08], rotation=turn)
    shown = next(clip.stream_frames(tmp_path / name))
    expected = np.rot90(frame, turn // 90)  # counter-clockwise
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).mean() < 12
    assert (clip.probe(tmp_path / name).height == 48) == (turn != 180)


def test_oblong_pixels_become_square(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        picture = av.VideoFrame.from_ndarray(gray_ramp(1)[0], format="rgb24")
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    assert next(clip.stream_frames(tmp_path / "a.mkv")).shape == (32, 64, 3)


def test_cover_art_is_no_video(tmp_path):
    """The picture of a song's cover is a video stream to the container."""
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 16, 16, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        film = container.add_stream("libx264", rate=25)
        film.height, film.width, film.pix_fmt = 32, 48, "yuv420p"
        for stream, frame in ((cover, np.zeros((16, 16, 3), np.uint8)), (film, gray_ramp(1)[0])):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
    assert clip.probe(tmp_path / "a.mp4").width == 48


def test_max_s_cuts_the_clip(tmp_path):
    write_at(tmp_path / "a.mp4", gray_ramp(20), [i / 25 for i in range(20)])
    assert len(list(clip.stream_frames(tmp_path / "a.mp4", max_s=0.2))) == 5


def test_a_rotation_flag_turns_the_picture_upright(tmp_path):
    frame = np.zeros((32, 48, 3), np.uint8)
    frame[:8] = 255  # a bright band along the upper border as stored
    write_at(tmp_path / "a.mp4", [frame] * 3, [0, 0.04, 0.08], rotation=90)
    shown = next(clip.stream_frames(tmp_path / "a.mp4"))
    assert shown.shape == (48, 32, 3)
    assert clip.probe(tmp_path / "a.mp4").height == 48
    assert shown[:, :6].mean() > 200 > 50 > shown[:, 10:].mean()  # 90 counter-clockwise: left


def test_long_side_keeps_the_aspect(tmp_path):
    write_at(tmp_path / "a.mp4", gray_ramp(3), [0, 0.04, 0.08])
    assert next(clip.stream_frames(tmp_path / "a.mp4", long_side=24)).shape == (16, 24, 3)


def test_written_video_is_read_back(tmp_path):
    frames = gray_ramp(30, 33, 47)  # odd sizes
    sound = tone(16_000, 1.2)
    clip.write_video(tmp_path / "v.mp4", frames, sound, metadata={"kit": "hello"})
    back = read_film(tmp_path / "v.mp4", size=None)
    assert back.frames.shape == (30, 34, 48, 3)
    assert np.abs(back.frames[:, :33, :47].astype(float) - np.stack(frames)).mean() < 2
    assert len(back.audio) == 30 * 640 and np.corrcoef(back.audio, sound)[0, 1] > 0.99
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert container.metadata["kit"] == "hello"


@pytest.mark.parametrize(("height", "matrix"), [(96, Colorspace.ITU601), (720, Colorspace.ITU709)])
def test_a_written_video_has_its_colours_and_says_its_matrix(tmp_path, height, matrix):
    colour = np.array([200, 120, 90], np.uint8)
    clip.write_video(tmp_path / "v.mp4", [np.broadcast_to(colour, (height, 64, 3))])
    back = next(clip.stream_frames(tmp_path / "v.mp4"))
    assert np.abs(back.astype(float) - colour).max() <= 3
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert next(container.decode(video=0)).colorspace == matrix


def test_a_failing_writer_leaves_no_file(tmp_path):
    def breaking():
        yield np.zeros((32, 32, 3), np.uint8)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        clip.write_video(tmp_path / "v.mp4", breaking(), None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "rate", "codec", "sample_format", "layout"),
    [
        ("a.wav", 8_000, "pcm_s16le", "flt", "mono"),
        ("a.wav", 44_100, "pcm_s24le", "flt", "stereo"),
        ("a.mp3", 22_050, "libmp3lame", "flt", "mono"),
    ],
)
def test_sound_of_any_kind_becomes_16_khz_mono(tmp_path, name, rate, codec, sample_format, layout):
    samples = tone(rate, 1.0)
    both = samples if layout == "mono" else np.repeat(samples, 2)
    write_sound(tmp_path / name, both[None], rate, codec, sample_format, layout)
    audio = clip.read_audio(tmp_path / name)
    assert audio.dtype == np.float32 and abs(len(audio) - 16_000) < 1_500
    assert abs(strongest_hertz(audio) - 440) < 2
    assert 0.3 < np.abs(audio).max() < 0.75


def write_pieces(path, pieces) -> None:
    """A Matroska of sound pieces: (start in s, samples at 16 kHz), and a picture from 0.5 s on."""
    with av.open(str(path), "w") as container:
        film = container.add_stream("libx264", rate=25)
        film.height, film.width, film.pix_fmt = 32, 48, "yuv420p"
        film.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for index, frame in enumerate(gray_ramp(10)):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = 500 + 40 * index, Fraction(1, 1000)
            container.mux(film.encode(picture))
        container.mux(film.encode(None))
        for start_s, samples in pieces:
            frame = av.AudioFrame.from_ndarray(
                np.round(samples[None] * 32767).astype(np.int16), format="s16", layout="mono"
            )
            frame.sample_rate, frame.time_base = 16_000, Fraction(1, 16_000)
            frame.pts = round(start_s * 16_000)
            container.mux(sound.encode(frame))


def test_sound_starts_with_the_first_picture_and_holes_stay_holes(tmp_path, caplog):
    """Recorders in browsers drop sound: what follows a hole must not move forward."""
    ramp = np.linspace(0.1, 0.5, 8_000).astype(np.float32)
    write_pieces(tmp_path / "a.mkv", [(0.25, ramp), (1.25, ramp[::-1])])
    audio = clip.sound_of(tmp_path / "a.mkv")
    # sound from 0.25 to 0.75 s and from 1.25 to 1.75 s; time 0 is the picture at 0.5 s
    assert len(audio) == pytest.approx(1.25 * 16_000, abs=40)
    assert audio[0] == pytest.approx(0.3, abs=0.01) and audio[3_990] == pytest.approx(0.5, abs=0.01)
    assert np.abs(audio[4_100:11_900]).max() < 0.01
    assert audio[12_100] == pytest.approx(0.5, abs=0.02) and "hole" in caplog.text


def test_written_wav_is_read_back_exactly(tmp_path):
    sound = np.round(tone(16_000, 0.5) * 32767).astype(np.float32) / 32768
    clip.write_audio(tmp_path / "a.wav", sound)
    assert np.abs(clip.read_audio(tmp_path / "a.wav") - sound).max() < 1e-4


def test_an_empty_wav_is_an_error(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
    with pytest.raises(ValueError, match="no sound"):
        clip.read_audio(tmp_path / "a.wav")


def test_a_silent_wav_is_a_warning(tmp_path, caplog):
    clip.write_audio(tmp_path / "a.wav", np.zeros(16_000, np.float32))
    with caplog.at_level(logging.WARNING):
        assert len(clip.read_audio(tmp_path / "a.wav")) == 16_000
    assert "silent" in caplog.text


def test_a_wav_beside_a_silent_video_is_its_sound(tmp_path):
    clip.write_video(tmp_path / "v.mp4", gray_ramp(25), None)
    with pytest.raises(ValueError, match="v.mp4 has no sound and no v.wav beside it"):
        clip.sound_of(tmp_path / "v.mp4")
    clip.write_audio(tmp_path / "v.wav", tone(16_000, 1.0))
    assert abs(strongest_hertz(clip.sound_of(tmp_path / "v.mp4")) - 440) < 2


def test_no_video_and_no_file_are_one_sentence(tmp_path):
    (tmp_path / "notes.mp4").write_text("this is no video")
    with pytest.raises(ValueError, match="not a readable media file"):
        clip.probe(tmp_path / "notes.mp4")
    with pytest.raises(FileNotFoundError, match="no file"):
        clip.probe(tmp_path / "none.mp4")


def test_a_truncated_video_gives_what_it_holds_or_an_error(tmp_path, caplog):
    noise = np.random.default_rng(0).integers(0, 255, (50, 64, 64, 3), dtype=np.uint8)
    clip.write_video(tmp_path / "v.mp4", noise, None)
    content = (tmp_path / "v.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(content[: len(content) * 2 // 3])
    with caplog.at_level(logging.WARNING):
        frames = list(clip.stream_frames(tmp_path / "half.mp4"))
    assert 10 < len(frames) < 50 and "cut short" in caplog.text
    (tmp_path / "stub.mp4").write_bytes(content[:200])
    with pytest.raises(ValueError):
        list(clip.stream_frames(tmp_path / "stub.mp4"))
