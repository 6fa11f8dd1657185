"""Voice: a text -> speech, without the network. One English voice, from the package hibari-tts."""

import importlib.util

import numpy as np
from jaxtyping import Float
from scipy.signal import resample_poly

from geneface_kit.person.clip import SAMPLE_RATE

__all__ = ["say"]

QUIET_S = 0.3
"""Silence before and after the text, so that the mouth starts and ends at rest."""


def say(text: str) -> Float[np.ndarray, " n"]:
    """The text spoken, 16 kHz mono, with a little silence around it; the same text gives the same
    samples.

    Raises: ModuleNotFoundError without the `voice` extra, ValueError for a text without a word.
    """
    if not any(letter.isalnum() for letter in text):
        raise ValueError(f"talk.text must hold at least one word, got {text!r}")
    if importlib.util.find_spec("hibari") is None:
        raise ModuleNotFoundError(
            "speaking a text needs the voice hibari: pip install 'geneface-kit[voice]', or give "
            "a recording"
        )
    from hibari import SAMPLE_RATE as voice_rate
    from hibari import Hibari

    spoken = Hibari()(text, seed=0)
    common = int(np.gcd(voice_rate, SAMPLE_RATE))
    audio = resample_poly(spoken, SAMPLE_RATE // common, voice_rate // common)
    quiet = np.zeros(round(QUIET_S * SAMPLE_RATE))
    return np.concatenate([quiet, audio, quiet]).astype(np.float32)
