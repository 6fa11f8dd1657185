"""Demo speakers: strangers who say sentences of ours, as sound and exact landmarks, unrendered.

A small corpus of nobody: the voice of `voice` at several pitches and paces, and the lips that
`visemes` gives to its exact phoneme times. What it is good for is a row of the comparison of
encoders (`python -m geneface_kit prove FOLDER --encoders`).
"""

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from jaxtyping import Float

from geneface_kit.person.clip import FPS, SAMPLE_RATE
from notebooks.studies.demo_person import mesh
from notebooks.studies.demo_person.people import Role, stranger
from notebooks.studies.demo_person.performance import perform
from notebooks.studies.demo_person.picks import PICKS
from notebooks.studies.demo_person.visemes import sounds
from notebooks.studies.demo_person.voice import speak

__all__ = ["SPEAKERS", "Said", "say"]

PITCHES = (Fraction(9, 10), Fraction(1), Fraction(11, 10), Fraction(6, 5))
"""Factors by which the voice is played slower: pitch and formants fall by as much (ours)."""
PACES = (0.9, 1.05, 1.2)
"""Speeds of speaking (ours)."""
TEXTS = (
    "My uncle moved from the village to a big house by the river. He bought a piano for my mother, "
    "and every evening she plays before supper.",
    "What should we pack for the journey? Warm clothes, a map, three bottles of water, and please "
    "do not forget the umbrella.",
    "The weather will improve on Wednesday. Before that, expect heavy showers over the mountains, "
    "and fog in the valleys until noon.",
    "Both teams were tired, but nobody wanted to stop. Five minutes before the end, a boy of "
    "fifteen jumped up and scored.",
    "I would like to show you how bread is made. Mix flour, salt and yeast, pour in the milk, and "
    "leave the bowl in a warm room for an hour.",
    "Thank you for joining us tonight. We choose our words with care, because people judge us by "
    "what we promise, and by what we do.",
    "Above the old bridge you can see the tower of the church. Few visitors know that its bell "
    "was made of cannons, after a long war.",
    "Computers are useful when a job is boring. They never ask why, they rarely make mistakes, and "
    "they do not mind waiting for you to finish your coffee.",
)
"""What the speakers say; ours."""


def _speaker(index: int) -> Role:
    return replace(
        stranger(index),
        text=TEXTS[index],
        speed=PACES[index % len(PACES)],
        deeper=PITCHES[index % len(PITCHES)],
    )


SPEAKERS = tuple(_speaker(index) for index in range(len(TEXTS)))
"""Eight strangers, one text each, no two with the same pitch and pace."""


@dataclass(frozen=True)
class Said:
    """audio: 16 kHz mono; landmarks: (t, 68, 3) head frame, inter-ocular distances, exact."""

    audio: Float[np.ndarray, " n"]
    landmarks: Float[np.ndarray, "t 68 3"]


def say(role: Role) -> Said:
    """A role's text spoken by its head: t whole frames of 1/25 s, sound of the same length.

    Raises: ModuleNotFoundError when the demo extra is not installed.
    """
    spoken = speak(role.text, seed=role.seed, speed=role.speed, deeper=role.deeper)
    n_frames = len(spoken.audio) * FPS // SAMPLE_RATE
    act = perform(sounds(spoken.phonemes, spoken.starts_s, spoken.ends_s), n_frames, role.seed)
    bust = mesh.bust(role.identity.shape)
    picks = bust.picks[np.array(PICKS)]
    rest = role.identity.rest
    points = np.empty((n_frames, 68, 3))
    for frame in range(n_frames):
        units = {name: rest.get(name, 0.0) + value for name, value in act.moment(frame).items()}
        points[frame] = bust.posed(rest | units)[picks]
    corners = points.mean(0)[[36, 45]]
    origin, unit = corners.mean(0), np.linalg.norm(corners[1] - corners[0])
    landmarks = ((points - origin) / unit).astype(np.float32)
    return Said(spoken.audio[: n_frames * SAMPLE_RATE // FPS], landmarks)
