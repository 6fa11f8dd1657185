"""Recordings as people have them: every common kind is read, every unusable one is a sentence."""

import logging
import wave
from pathlib import Path

import acting
import av
import numpy as np
import pytest
import torch

from geneface_kit.person.clip import read_audio, write_video
from geneface_kit.person.mouth import mouth_opening
from geneface_kit.talk import plan as plan_module
from geneface_kit.talk.postprocess import TalkConfig
from geneface_kit.talk.stage import talk

TONE = 200.0


def tone(rate: int, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(rate * seconds)) / rate
    return 0.5 * np.sin(2 * np.pi * TONE * time)


def write_wav(path: Path, samples: np.ndarray, rate: int, *, width: int = 2) -> Path:
    """(n,) or (n, channels) samples in [-1, 1] as a wav of `width` bytes per sample."""
    samples = samples if samples.ndim == 2 else samples[:, None]
    whole = np.round(samples * (2 ** (8 * width - 1) - 1)).astype("<i4")
    data = whole.view(np.uint8).reshape(*whole.shape, 4)[..., :width]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data.tobytes())
    return path


def write_mp3(path: Path, samples: np.ndarray, rate: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mp3", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), "fltp", "mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def pitch(audio: np.ndarray) -> float:
    """The strongest frequency, Hz."""
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return float(spectrum.argmax() * 16_000 / len(audio))


def recordings(folder: Path) -> dict[str, Path]:
    left_right = np.stack([tone(44_100), tone(44_100)], axis=1)
    return {
        "8 kHz": write_wav(folder / "a.wav", tone(8_000), 8_000),
        "stereo 44.1 kHz": write_wav(folder / "b.wav", left_right, 44_100),
        "24 bit": write_wav(folder / "c.wav", tone(48_000), 48_000, width=3),
        "mp3": write_mp3(folder / "d.mp3", tone(44_100), 44_100),
    }


@pytest.mark.parametrize("kind", ["8 kHz", "stereo 44.1 kHz", "24 bit", "mp3"])
def test_every_common_recording_is_read_alike(kind, tmp_path):
    audio = read_audio(recordings(tmp_path)[kind])
    assert audio.dtype == np.float32 and audio.ndim == 1
    # mp3 adds up to two frames of 1152 samples at either end.
    assert len(audio) == pytest.approx(16_000, abs=1_700 if kind == "mp3" else 40)
    middle = audio[4_000:12_000]
    assert pitch(middle) == pytest.approx(TONE, abs=2)
    assert np.sqrt((middle**2).mean()) == pytest.approx(
        0.5 / np.sqrt(2), rel=0.1 if kind == "mp3" else 0.01
    )


@pytest.fixture
def speaking(tmp_path, monkeypatch):
    """Lets the pretend actor say a file; gives the Talk."""
    monkeypatch.setattr(plan_module, "encode", acting.speech)
    actor = acting.actor(tmp_path)
    config = TalkConfig(max_s=0.0, temperature=0.0)

    def say(path):
        out, generator = tmp_path / "out.mp4", torch.Generator()
        return talk(actor, path, out, config=config, generator=generator)

    return say


def test_an_empty_wav_is_one_sentence(speaking, tmp_path):
    empty = write_wav(tmp_path / "empty.wav", np.zeros(0), 16_000)
    with pytest.raises(ValueError, match=r"empty\.wav holds no sound"):
        speaking(empty)
    assert not (tmp_path / "out.mp4").exists()


def test_an_empty_file_and_a_text_file_are_one_sentence(speaking, tmp_path):
    for name, content in (("zero.wav", ""), ("notes.wav", "these are not samples")):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=rf"{name}"):
            speaking(tmp_path / name)


def test_a_video_without_sound_is_one_sentence(speaking, tmp_path):
    write_video(tmp_path / "silent.mp4", [np.zeros((32, 32, 3), np.uint8)] * 5, None)
    with pytest.raises(ValueError, match=r"silent\.mp4 holds no sound"):
        speaking(tmp_path / "silent.mp4")


def test_a_missing_file_is_one_sentence(speaking, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no recording at .*nowhere\.wav: give the path"):
        speaking(tmp_path / "nowhere.wav")


def test_a_silent_wav_is_a_mouth_at_rest_with_a_warning(speaking, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        done = speaking(write_wav(tmp_path / "hush.wav", np.zeros(16_000), 16_000))
    assert "silent" in caplog.text
    assert done.plan.silent.all() and len(done.plan.landmarks) == 25
    opening = mouth_opening(done.plan.landmarks)
    assert opening.max() < 0.05 and np.ptp(opening) < 1e-6


def test_a_very_short_recording_is_one_frame(speaking, tmp_path):
    done = speaking(write_wav(tmp_path / "click.wav", tone(16_000, 0.02), 16_000))
    assert len(done.plan.landmarks) == 1 and len(done.stills) == 1
