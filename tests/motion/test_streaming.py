"""Streaming: what comes out is what the generator makes of each window, in time and complete."""

import dataclasses

import numpy as np
import pytest
import torch
from talkers import CHANNELS, SMALL, made_up_speech

from geneface_kit.motion import stage as motion
from geneface_kit.motion import sync
from geneface_kit.motion.streaming import FRAME, SoundStream, SpeechStream, StreamConfig, _steps
from geneface_kit.motion.vae import MotionVAE
from geneface_kit.motion.weights import load_files, shipped
from geneface_kit.person import demo, speech
from geneface_kit.person.clip import SAMPLE_RATE, read_audio
from geneface_kit.person.mouth import mouth_shape


@pytest.fixture(scope="module")
def small():
    """A generator of made-up features, whose flow is not the identity."""
    torch.manual_seed(0)
    network = MotionVAE(CHANNELS, motion.MotionConfig(**SMALL)).eval()
    for coupling in network.flow.couplings:
        torch.nn.init.normal_(coupling.leave.weight)
    return motion.Motion(network, sync.SyncExpert(CHANNELS, width=8).eval(), "hama", 0.03)


def streamed(stream, whole, steps: int) -> np.ndarray:
    """All frames, the speech read a few steps at a time."""
    pieces = [
        stream.read(_steps(whole, k, min(k + steps, len(whole))))
        for k in range(0, len(whole), steps)
    ]
    return np.concatenate([*pieces, stream.end()])


def test_the_default_waits_less_than_two_fifths_of_a_second():
    assert StreamConfig().look_ahead_s < 0.4


@pytest.mark.parametrize("steps", [1, 3, 8, 50])
def test_pieces_of_any_size_give_the_same_frames_one_for_two_steps(small, steps):
    whole, _ = made_up_speech(37, seed=5)
    config = StreamConfig(hop=3, ahead=4, past=8)
    found = streamed(SpeechStream(small, config), whole, steps)
    assert found.shape == (37, 68, 3)
    np.testing.assert_array_equal(found, streamed(SpeechStream(small, config), whole, 7))


def test_every_frame_is_the_offline_one_of_its_window(small):
    whole, _ = made_up_speech(40, seed=5)
    config = StreamConfig(hop=4, ahead=4, past=8)
    found = streamed(SpeechStream(small, config), whole, 5)
    for made in range(0, 32, 4):
        first = max(0, made - 8)
        window = small.sample(_steps(whole, 2 * first, 2 * (made + 8)))
        np.testing.assert_array_equal(found[made : made + 4], window[made - first :][:4])


def test_a_window_over_everything_is_offline(small):
    whole, _ = made_up_speech(40, seed=5)
    config = StreamConfig(hop=40, ahead=0, past=40)
    np.testing.assert_array_equal(
        streamed(SpeechStream(small, config), whole, 80), small.sample(whole)
    )


def test_a_frame_comes_as_soon_as_its_look_ahead_is_heard(small):
    whole, _ = made_up_speech(40, seed=5)
    stream = SpeechStream(small, StreamConfig(hop=2, ahead=3, past=8))
    assert len(stream.read(_steps(whole, 0, 9))) == 0  # 4 whole frames
    assert len(stream.read(_steps(whole, 9, 10))) == 2
    assert len(stream.read(_steps(whole, 10, 14))) == 2


def test_live_sound_moves_the_mouth_as_the_recording_does():
    ready = load_files(shipped("motion"), shipped("sync"))
    sound = read_audio(demo.clip_path("demo_b"))[: 4 * SAMPLE_RATE]
    stream, made = SoundStream(ready), []
    for start in range(0, len(sound), FRAME):
        made.append(stream.hear(sound[start : start + FRAME]))
    live = np.concatenate([*made, stream.end()])
    offline = ready.sample(speech.encode(sound))
    assert live.shape == offline.shape
    openings = [mouth_shape(frames)[:, 0] for frames in (live, offline)]
    assert np.corrcoef(*openings)[0, 1] > 0.8


def test_a_stream_keeps_no_more_than_its_window(small):
    whole, _ = made_up_speech(400, seed=5)
    stream = SpeechStream(small, StreamConfig(hop=4, ahead=4, past=8))
    for start in range(0, len(whole), 8):
        stream.read(_steps(whole, start, start + 8))
    assert len(stream._speech) <= 2 * (8 + 4 + 4 + 8)


def test_windows_that_make_no_sense_are_refused(small):
    for wrong in ({"hop": 0}, {"ahead": -1}, {"past": 6}):
        with pytest.raises(ValueError, match="a stream needs"):
            StreamConfig(**wrong)
    whole, _ = made_up_speech(8, seed=5)
    stream = SpeechStream(small)
    stream.read(whole)
    with pytest.raises(ValueError, match="'hama' features cannot go on with 'hubert'"):
        stream.read(dataclasses.replace(whole, encoder="hubert"))
