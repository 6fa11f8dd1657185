"""Corpus: pieces stay on one clock, identity goes, copies keep step, pieces come from views."""

import dataclasses

import numpy as np
import pytest
import torch
from talkers import made_up_corpus, made_up_speech

from geneface_kit.person import clip, corpus
from geneface_kit.person.corpus import CorpusConfig, Utterance, build


def numbered(name: str, n_frames: int, speaker: str = "") -> Utterance:
    """Speech step s holds s, frame t of the landmarks holds t."""
    speech, _ = made_up_speech(n_frames, seed=0)
    steps = np.arange(2 * n_frames, dtype=np.float32)
    speech = dataclasses.replace(speech, features=steps[:, None].copy(), f0=steps)
    landmarks = np.arange(n_frames, dtype=np.float32)[:, None, None] * np.ones((1, 68, 3))
    return Utterance(name, speaker or name, name, speech, landmarks.astype(np.float32))


def test_pieces_of_a_batch_are_aligned_and_masked():
    utterances = [numbered("long", 90), numbered("short", 22)]
    motions = [utterance.landmarks.reshape(-1, 204) for utterance in utterances]
    batch = corpus.draw_batch(
        utterances, motions, size=12, frames=40, generator=torch.Generator().manual_seed(0)
    )
    assert batch.motion.shape == (12, 40, 204) and batch.speech.shape == (12, 80, 1)
    assert set(batch.mask.sum(1).tolist()) == {40, 20}  # 22 frames are cut to a multiple of 4
    inside = batch.mask
    assert torch.equal(batch.speech[:, ::2, 0][inside], 2 * batch.motion[..., 0][inside])
    assert torch.equal(batch.f0, batch.speech[..., 0])
    assert (batch.motion[~inside] == 0).all() and (batch.clips[inside.sum(1) == 20] == 1).all()


def test_four_times_as_long_is_drawn_twice_as_often():
    """Clips of 400 and 100 frames: pieces of the short one are a third, 200 of 600."""
    utterances = [numbered("long", 400), numbered("short", 100)]
    motions = [utterance.landmarks.reshape(-1, 204) for utterance in utterances]
    draw = torch.Generator().manual_seed(0)
    batch = corpus.draw_batch(utterances, motions, size=600, frames=8, generator=draw)
    assert 165 < int((batch.clips == 1).sum()) < 235  # three standard deviations: 35


def test_identity_is_removed_by_speaker():
    data = made_up_corpus(n_speakers=2)
    flat = corpus.displacements(data.utterances, CorpusConfig(unit=0.5))
    for utterance, motion in zip(data.utterances, flat, strict=True):
        np.testing.assert_allclose(motion[:].mean(0), 0, atol=1e-4)
        moved = np.ptp(utterance.landmarks[:, 66, 1])
        assert np.ptp(motion[:][:, 3 * 66 + 1]) == pytest.approx(2 * moved, rel=1e-4)
    same = [dataclasses.replace(utterance, speaker="one") for utterance in data.utterances]
    kept = corpus.displacements(same, CorpusConfig())
    faithful = corpus.displacements(data.utterances, CorpusConfig(remove_identity=False))
    for a, b in zip(kept, faithful, strict=True):
        np.testing.assert_array_equal(a[:], b[:])


def test_a_displacement_computes_only_the_frames_asked_for():
    """(landmarks - mean) / unit, for a slice and for all; what is not asked for may be NaN."""
    landmarks = np.full((5, 68, 3), np.nan, np.float32)
    landmarks[2:4] = 3.0
    moved = corpus.Displacement(landmarks, np.ones((68, 3), np.float32), 0.5)
    np.testing.assert_array_equal(moved[2:4], np.full((2, 204), 4.0))
    assert len(moved[:]) == 5 and np.isnan(moved[:][4]).all()


def test_statistics_of_pieces_are_those_of_the_whole():
    data = made_up_corpus(n_speakers=3)
    together = np.concatenate([utterance.speech.features for utterance in data.utterances])
    mean, std = corpus.feature_statistics(data.utterances)
    np.testing.assert_allclose(mean, together.mean(0), atol=1e-6)
    np.testing.assert_allclose(std, together.std(0, ddof=1), rtol=1e-5)


def test_speed_copies_stay_in_step():
    """A click at 2 s and a jump of the mouth at 2 s are both at 1.6 s when played 1.25 times."""
    sound = np.zeros(16_000 * 4, np.float32)
    sound[32_000] = 1.0
    points = np.zeros((100, 68, 3), np.float32)
    points[50:] = 1.0
    fast_sound, fast_points = build.at_speed(sound, points, 1.25)
    assert len(fast_points) == 80 and abs(len(fast_sound) - 51_200) <= 1
    assert abs(int(np.abs(fast_sound).argmax()) - 25_600) <= 1
    assert fast_points[39, 0, 0] < 1 and fast_points[40, 0, 0] == 1.0  # frame 40 is 1.6 s


@pytest.mark.parametrize("rate", [0.84, 0.99, 1.01, 1.09, 1.19, 2 / 3])
def test_long_speed_copies_stay_in_step(rate):
    sound = np.zeros(16_000 * 60, np.float32)
    sound[16_000 * 58] = 1.0
    points = np.broadcast_to(np.arange(1500, dtype=np.float32)[:, None, None], (1500, 68, 3))
    copy, moved = build.at_speed(sound, points, rate)
    click_s = np.abs(copy).argmax() / 16_000
    mouth_s = np.interp(58 * 25, moved[:, 0, 0], np.arange(len(moved))) / 25
    assert abs(click_s - mouth_s) < 1e-3 and abs(click_s - 58 / rate) < 0.06


def test_late_sound_is_moved_back():
    sound = np.arange(32_000, dtype=np.float32)
    assert clip.in_step(sound, 0.5)[0] == 8000
    assert clip.in_step(sound, -0.5)[8000] == 0 and len(clip.in_step(sound, -0.5)) == 40_000
