"""Phonemes: the rule that chooses frames, and whether lips do what it says."""

import numpy as np
import pytest
from geneface_kit_figures import phonemes

from geneface_kit.person.mouth import mouth_opening


def peaks(n=60, **at):
    """Probabilities that are 0 but at some steps: shape -> {step: value}."""
    found = {}
    for shape, places in at.items():
        found[shape] = np.zeros(n, np.float32)
        for step, value in places:
            found[shape][step] = value
    return found


def test_marks_are_the_most_certain_moments_some_frames_before_the_peak():
    heard = peaks(**{"a": [(20, 0.9), (40, 0.95)], "m b p": [(30, 0.7)], "f v": [(10, 0.4)]})
    marks = phonemes.certain_marks(heard, 30)
    # Step 30 is frame 15, whose lips close 2 earlier; step 40 is frame 20, open 1 earlier; f v is
    # never certain enough.
    assert [(mark.frame, mark.shape) for mark in marks] == [(13, "m b p"), (19, "a")]
    assert marks[1].probability == pytest.approx(0.95)


def test_two_marks_of_a_shape_are_apart_and_inside():
    heard = peaks(**{"m b p": [(20, 0.9), (22, 0.89), (30, 0.8), (1, 1.0), (59, 1.0)]})
    marks = phonemes.certain_marks(heard, 25, per_shape=2)
    assert [mark.frame for mark in marks] == [8, 13]  # the peaks at 1 and 59 lie outside
    assert phonemes.certain_marks(heard, 0) == []


def test_no_face_stands_for_two_sounds():
    """Frame 10 is a closure (step 24) and a vowel (step 22): the surer one has it."""
    heard = peaks(**{"m b p": [(24, 0.9)], "a": [(22, 0.8), (50, 0.6)]})
    marks = phonemes.certain_marks(heard, 30)
    assert [(mark.frame, mark.shape) for mark in marks] == [(10, "m b p"), (24, "a")]


def test_shapes_are_symbols_of_the_network_and_share_none():
    every = [symbol for symbols in phonemes.SHAPES.values() for symbol in symbols]
    assert len(set(every)) == len(every) and set(every) <= set(phonemes._symbols())


def test_probabilities_are_one_a_step_and_silence_has_none():
    found = phonemes.shape_probabilities(np.zeros(16_000, np.float32))
    assert list(found) == list(phonemes.SHAPES)
    assert all(values.shape == (50,) and values.max() < 0.5 for values in found.values())


def test_lips_are_closed_at_m_b_p_and_open_at_a(demo_person):
    """On the tracked demo person, whose lips close by construction: half a standard deviation."""
    opening = mouth_opening(demo_person.landmarks)
    score = (opening - opening.mean()) / opening.std()
    heard = phonemes.shape_probabilities(demo_person.audio)
    marks = phonemes.certain_marks(heard, len(opening), per_shape=5)
    mean = {
        shape: score[[mark.frame for mark in marks if mark.shape == shape]].mean()
        for shape in ("m b p", "a")
    }
    assert mean["m b p"] < -0.5 and mean["a"] > 0.3
