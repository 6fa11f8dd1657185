"""Streaming: what comes out is what the generator makes of each window, in time and complete."""

import numpy as np
import pytest

from geneface_kit.motion import stage as motion
from geneface_kit.person import demo, speech
from geneface_kit.person.clip import SAMPLE_RATE, read_audio
from geneface_kit.person.mouth import mouth_shape
from notebooks.studies.speed.streaming import FRAME, SoundStream, StreamConfig


@pytest.fixture(scope="module")
def ready():
    return motion.load()


@pytest.fixture(scope="module")
def sound():
    """37 frames, the loudest sample first, so that every window has the recording's level."""
    audio = read_audio(demo.clip_path("demo_b"))[SAMPLE_RATE : SAMPLE_RATE + 37 * FRAME].copy()
    audio[0] = 1.01 * np.abs(audio).max()
    return audio


def streamed(stream: SoundStream, sound: np.ndarray, samples: int) -> np.ndarray:
    """All frames, the sound heard a few samples at a time."""
    pieces = [stream.hear(sound[k : k + samples]) for k in range(0, len(sound), samples)]
    return np.concatenate([*pieces, stream.end()])


def test_the_default_waits_less_than_two_fifths_of_a_second():
    assert StreamConfig().look_ahead_s < 0.4


def test_pieces_of_any_size_give_the_same_frames_one_for_640_samples(ready, sound):
    config = StreamConfig(hop=3, ahead=4, past=8)
    found = streamed(SoundStream(ready, config), sound, 1000)
    assert found.shape == (37, 68, 3)
    np.testing.assert_array_equal(found, streamed(SoundStream(ready, config), sound, 5 * FRAME))


def test_every_frame_is_the_offline_one_of_its_window(ready, sound):
    config = StreamConfig(hop=4, ahead=4, past=8)
    found = streamed(SoundStream(ready, config), sound, FRAME)
    peak = float(np.abs(sound).max())
    for made in range(0, 28, 8):
        first = max(0, made - 8)
        window = sound[first * FRAME : (made + 8) * FRAME]
        offline = ready.sample(speech.encode(window, ready.encoder, peak=peak))
        np.testing.assert_array_equal(found[made : made + 4], offline[made - first :][:4])


def test_a_window_over_everything_is_offline(ready, sound):
    found = streamed(SoundStream(ready, StreamConfig(hop=37, ahead=0, past=40)), sound, 5000)
    offline = ready.sample(speech.encode(sound, ready.encoder))
    # what is streamed is padded, so the mean that is taken off differs by rounding
    np.testing.assert_allclose(found, offline, atol=2e-6)


def test_a_frame_comes_as_soon_as_its_look_ahead_is_heard(ready, sound):
    stream = SoundStream(ready, StreamConfig(hop=2, ahead=3, past=8))
    assert len(stream.hear(sound[: 5 * FRAME - 1])) == 0
    assert len(stream.hear(sound[5 * FRAME - 1 : 5 * FRAME])) == 2
    assert len(stream.hear(sound[5 * FRAME : 7 * FRAME])) == 2


def test_live_sound_moves_the_mouth_as_the_recording_does(ready):
    sound = read_audio(demo.clip_path("demo_b"))[: 4 * SAMPLE_RATE]
    live, offline = streamed(SoundStream(ready), sound, FRAME), ready.sample(speech.encode(sound))
    assert live.shape == offline.shape
    openings = [mouth_shape(frames)[:, 0] for frames in (live, offline)]
    assert np.corrcoef(*openings)[0, 1] > 0.8


def test_a_stream_keeps_no_more_than_its_window(ready, sound):
    stream = SoundStream(ready, StreamConfig(hop=4, ahead=4, past=8))
    streamed(stream, np.tile(sound, 3), 4 * FRAME)
    assert len(stream._sound) <= (8 + 4 + 4 + 8) * FRAME


def test_windows_that_make_no_sense_are_refused():
    for wrong in ({"hop": 0}, {"ahead": -1}, {"past": 6}):
        with pytest.raises(ValueError, match="a stream needs"):
            StreamConfig(**wrong)
