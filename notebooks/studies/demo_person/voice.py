"""Demo voice: text -> speech with exact phoneme times.

The voice and its text-to-phoneme rules are those of `hibari-tts` (https://pypi.org/project/hibari-tts,
Apache-2.0, one American voice inside the package). Its network rounds the length of every phoneme
to units of 25 ms; that inner value is read out, so the times are exact, not aligned afterwards.
"""

import importlib.util
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float
from scipy.signal import resample_poly

from geneface_kit.person.clip import SAMPLE_RATE

__all__ = ["Speech", "speak"]

VOICE_RATE = 24000  # Hz
UNIT_S = 0.025  # of the durations inside the network
DURATIONS = "/Round_output_0"

SOUND_LATE_S = 0.1
"""How much the sound follows the phoneme times. hibari's decoder runs about 60 ms ahead of its own
durations, and lips lead the sound by about 40 ms; measured on both demos with
`speech.estimate_offset`."""


@dataclass(frozen=True)
class Speech:
    """audio: 16 kHz mono; phonemes: one symbol each (misaki alphabet), silence is "_".

    starts_s, ends_s: the time of every phoneme of the mouth; the audio follows SOUND_LATE_S later.
    """

    audio: Float[np.ndarray, " n"]
    phonemes: tuple[str, ...]
    starts_s: Float[np.ndarray, " p"]
    ends_s: Float[np.ndarray, " p"]
    text: str


def speak(
    text: str,
    *,
    seed: int = 0,
    speed: float = 1.0,
    deeper: Fraction = Fraction(1),
    quiet_s: float = 0.3,
) -> Speech:
    """Speech of a text, with `quiet_s` of silence before and after it.

    speed: 1 is the voice's own pace. deeper: the voice is spoken faster and played slower by this
    factor, so pitch and formants fall and the pace stays (6/5 sounds male).
    Raises: ModuleNotFoundError when the demo extra is not installed.
    """
    if importlib.util.find_spec("hibari") is None or importlib.util.find_spec("onnx") is None:
        raise ModuleNotFoundError(
            "making demo persons needs the voice hibari: pip install 'geneface-kit[demo]'"
        )
    from hibari import Hibari

    voice = Hibari()
    session = _session_with_durations(voice.model_path)
    rng = np.random.default_rng(seed)
    quiet = np.zeros(int(quiet_s * SAMPLE_RATE))
    pieces, symbols, lengths = [quiet], ["_"], [quiet_s]
    ratio = Fraction(SAMPLE_RATE, VOICE_RATE) * deeper
    for sentence in voice.phonemize(text):
        wave, durations = _say(voice, session, sentence, speed * float(deeper), rng)
        pieces.append(resample_poly(wave, ratio.numerator, ratio.denominator))
        symbols += ["_", *(c for c in sentence if c in voice.vocab), "_"]
        lengths += list(durations * float(deeper))
    pieces.append(quiet)
    symbols.append("_")
    lengths.append(quiet_s)
    audio, ends = np.concatenate(pieces), np.cumsum(lengths)
    late = round(SOUND_LATE_S * SAMPLE_RATE)
    audio = np.concatenate([quiet[:late], audio[: len(audio) - late]])  # the end is quiet too
    if abs(len(audio) / SAMPLE_RATE - ends[-1]) > 0.05:
        raise RuntimeError(
            f"hibari's phonemes last {ends[-1]:.2f} s but its sound "
            f"{len(audio) / SAMPLE_RATE:.2f} s; use hibari-tts 0.2.1"
        )
    audio = (0.8 * audio / np.abs(audio).max()).astype(np.float32)
    return Speech(audio, tuple(symbols), ends - np.array(lengths), ends, text)


def _say(
    voice: object, session: object, sentence: str, pace: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One sentence: its sound at 24 kHz and the length of each of its symbols in seconds."""
    from hibari import dsp

    feed = {
        "ids": np.array([voice.ids(sentence)], np.int64),
        "speed": np.array([pace], np.float32),
    }
    names = [output.name for output in session.get_outputs()]
    parts = dict(zip(names, session.run(None, feed), strict=True))
    durations = parts.pop(DURATIONS).ravel() * UNIT_S
    return dsp.synth(*(part[0] for part in parts.values()), rng), durations


def _session_with_durations(path: str):
    """The voice's network with its rounded phoneme lengths as one more output."""
    import onnx
    import onnxruntime

    model = onnx.load(path)
    value = onnx.helper.make_tensor_value_info(DURATIONS, onnx.TensorProto.FLOAT, None)
    model.graph.output.append(value)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
