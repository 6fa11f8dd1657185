"""Audio: what is said: a recording, or a text spoken by the offline voice; where it is silent."""

import importlib.util
import unicodedata
from pathlib import Path

import numpy as np
import scipy
from jaxtyping import Bool, Float

from geneface_kit.person import demo
from geneface_kit.person.clip import SAMPLE_RATE, SAMPLES
from geneface_kit.person.clip.audio import SILENCE_RMS

SILENCE_DB = -35.0  # below the loud parts by this much is silence, dB (ours)
FAINT, STEADY_DB = 3e-3, 6.0
"""A recording that is nowhere louder than this share of full scale, and nearly everywhere within so
many dB of its loudest, is the noise of a room (ours)."""
SHORTEST = 6  # frames of the shortest silence: longer than a stop consonant (ours)
QUIET_S = 0.3  # silence around a spoken text, so that the mouth starts and ends at rest (ours)


def driving_audio(name: Path | str) -> Path:
    """The file that a setting names; "" is the sentence of the held-out demo."""
    if not name:
        return demo.clip_path("demo_b")
    path = Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"no recording at {name}: give the path of a file with sound (wav, mp3, mp4, ...)"
        )
    return path


def say(text: str) -> Float[np.ndarray, " n"]:
    """The text in the one English voice of hibari-tts, offline, 16 kHz mono, with a little silence
    around it; the same text gives the same samples. Raises: see `check_text`."""
    check_text(text)
    from hibari import SAMPLE_RATE as voice_rate
    from hibari import Hibari

    spoken = Hibari()(text, seed=0)
    if not len(spoken):
        raise ValueError(f"the voice finds nothing to speak in talk.text, {text!r}")
    audio = scipy.signal.resample_poly(spoken, SAMPLE_RATE, voice_rate)
    quiet = np.zeros(round(QUIET_S * SAMPLE_RATE))
    return np.concatenate([quiet, audio, quiet]).astype(np.float32)


def check_text(text: str) -> None:
    """Raises ValueError for no word or one in another script, ModuleNotFoundError for no voice."""
    if not any(letter.isalnum() for letter in text):
        raise ValueError(f"talk.text must hold at least one word, got {text!r}")
    for letter in filter(str.isalpha, text):  # also an apostrophe (MODIFIER), and that of 5 µm
        if not unicodedata.name(letter, "").startswith(("LATIN ", "MODIFIER ", "MICRO ")):
            raise ValueError(
                f"talk.text holds {letter!r}, and the voice speaks English only: give a recording"
            )
    if importlib.util.find_spec("hibari") is None:
        raise ModuleNotFoundError(
            "a text needs the voice hibari: pip install 'geneface-kit[voice]', or give a recording"
        )


def loudness(audio: Float[np.ndarray, " n"]) -> Float[np.ndarray, " t"]:
    """Root mean square of the sound in each 1/25 s, a last incomplete one too, about its mean."""
    padded = np.pad(audio, (0, -len(audio) % SAMPLES))
    return padded.reshape(-1, SAMPLES).std(axis=1).astype(np.float32)


def silent_frames(loud: Float[np.ndarray, " t"]) -> Bool[np.ndarray, " t"]:
    """Frames inside a silence of at least SHORTEST frames, from their `loudness`. Silence is
    SILENCE_DB below the 95 % quantile of the loudness, and below SILENCE_RMS in any case; so is
    faint noise, told from faint speech by being steady within STEADY_DB."""
    low, high = (float(value) for value in np.quantile(loud, [0.1, 0.95]))
    is_noise = high < FAINT and low > high * 10 ** (-STEADY_DB / 20)
    limit = np.inf if is_noise else max(SILENCE_RMS, high * 10 ** (SILENCE_DB / 20))
    return scipy.ndimage.binary_opening(loud < limit, np.ones(min(SHORTEST, len(loud))))
