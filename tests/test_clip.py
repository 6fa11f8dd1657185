"""Clip: rates, rotation, sound formats; what is written can be read back."""

import logging
import wave
from fractions import Fraction

import av
import numpy as np
import pytest

from geneface_kit import clip


def gray_ramp(n: int, height: int = 32, width: int = 48) -> list[np.ndarray]:
    """Frame i is gray 4 i, so a frame tells its number."""
    return [np.full((height, width, 3), 4 * i, np.uint8) for i in range(n)]


def write_at(path, frames, times_s, *, rotation: int = 0) -> None:
    """An mp4 whose frames carry the given time stamps (milliseconds exact)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10", "bf": "0"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
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


def test_a_variable_rate_follows_the_time_stamps(tmp_path):
    times = [0.0, 0.04, 0.08, 0.24, 0.28]  # frame 2 stands for four steps, frame 3 starts at 6
    write_at(tmp_path / "a.mp4", gray_ramp(5), times)
    assert numbers(clip.stream_frames(tmp_path / "a.mp4")) == [0, 1, 2, 2, 2, 2, 3, 4]


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
    n_frames = clip.write_video(tmp_path / "v.mp4", frames, sound, metadata={"kit": "hello"})
    back = clip.read_clip(tmp_path / "v.mp4", size=None)
    assert n_frames == 30 and back.frames.shape == (30, 34, 48, 3)
    assert np.abs(back.frames[:, :33, :47].astype(float) - np.stack(frames)).mean() < 2
    assert len(back.audio) == 30 * 640 and np.corrcoef(back.audio, sound)[0, 1] > 0.99
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert container.metadata["kit"] == "hello"


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
    assert clip.sound_of(tmp_path / "v.mp4") is None
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
