"""Demo voice: text -> speech with exact phoneme times.

The voice and its text-to-phoneme rules are those of `hibari-tts` (https://pypi.org/project/hibari-tts,
Apache-2.0, one American voice inside the package). Its network rounds the length of every phoneme
to units of 25 ms; that inner value is read out, so the times are exact, not aligned afterwards.
"""

import importlib.util
import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.signal import resample_poly

from geneface_kit.clip import SAMPLE_RATE

__all__ = ["Speech", "speak"]

VOICE_RATE = 24000  # Hz
UNIT_S = 0.025  # of the durations inside the network
DURATIONS = "/Round_output_0"


@dataclass(frozen=True)
class Speech:
    """audio: 16 kHz mono; phonemes: one symbol each (misaki alphabet), silence is "_".

    starts_s, ends_s: the time of every phoneme in the audio.
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
    lead_s: float = 0.3,
) -> Speech:
    """Speech of a text, with silence of `lead_s` before and after it.

    speed: 1 is the voice's own pace. deeper: the voice is played slower by this factor after being
    spoken faster by it, so pitch and formants fall and the pace stays (6/5 sounds male).
    Raises: ModuleNotFoundError when the demo extra is not installed.
    """
    if importlib.util.find_spec("hibari") is None or importlib.util.find_spec("onnx") is None:
        raise ModuleNotFoundError(
            "making demo persons needs the voice hibari: pip install 'geneface-kit[demo]'"
        )
    import onnx
    import onnxruntime
    from hibari import Hibari, dsp

    voice = Hibari()
    model = onnx.load(voice.model_path)
    value = onnx.helper.make_tensor_value_info(DURATIONS, onnx.TensorProto.FLOAT, None)
    model.graph.output.append(value)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(seed)
    pieces, symbols, lengths = [np.zeros(int(lead_s * SAMPLE_RATE))], ["_"], [lead_s]
    for sentence in voice.phonemize(text):
        spoken = [c for c in sentence if c in voice.vocab]
        feed = {
            "ids": np.array([voice.ids(sentence)], np.int64),
            "speed": np.array([speed * float(deeper)], np.float32),
        }
        values = session.run(None, feed)
        names = [output.name for output in session.get_outputs()]
        parts = dict(zip(names, values, strict=True))
        durations = parts.pop(DURATIONS).ravel() * UNIT_S * float(deeper)
        wave = dsp.synth(*(v[0] for v in parts.values()), rng)
        up = SAMPLE_RATE * deeper.numerator
        ratio = Fraction(up, VOICE_RATE * deeper.denominator)
        wave = resample_poly(wave, ratio.numerator, ratio.denominator)
        if abs(len(wave) / SAMPLE_RATE - durations.sum()) > 0.05:
            raise RuntimeError(
                f"hibari's phoneme lengths sum to {durations.sum():.2f} s but its sound lasts "
                f"{len(wave) / SAMPLE_RATE:.2f} s; use hibari-tts 0.2.1"
            )
        pieces.append(wave)
        symbols += ["_", *spoken, "_"]
        lengths += list(durations)
    pieces.append(np.zeros(int(lead_s * SAMPLE_RATE)))
    symbols.append("_")
    lengths.append(lead_s)
    ends = np.cumsum(lengths)
    audio = np.concatenate(pieces)
    audio = (0.8 * audio / np.abs(audio).max()).astype(np.float32)
    return Speech(audio, tuple(symbols), ends - np.array(lengths), ends, text)


def assets() -> Path:
    """The folder of the voice's files."""
    spec = importlib.util.find_spec("hibari")
    return Path(next(iter(spec.submodule_search_locations))) / "assets"


def vocabulary() -> dict[str, int]:
    """The voice's phoneme symbols."""
    return json.loads((assets() / "vocab.json").read_text(encoding="utf-8"))
