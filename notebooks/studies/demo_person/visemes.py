"""Demo visemes: phoneme times -> face-unit curves, coarticulated, one row per video frame.

Every phoneme pulls some mouth features (jaw, width, rounding ...) towards its own targets. Its pull
is a dominance that is 1 inside the phoneme and falls off exponentially on both sides (Cohen and
Massaro, 1993); a feature is the dominance-weighted mean of the targets. Lip closure (m, b, p) and
lip-teeth contact (f, v) are events, not means: they always happen.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from geneface_kit.person.clip import FPS

__all__ = ["CLOSED", "OPEN_VOWELS", "ROUNDED", "Sounds", "mouth_units", "sounds"]

FEATURES = ("jaw", "wide", "round", "funnel", "lower", "upper", "tongue")
# Targets per phoneme: jaw, wide, round, funnel, lower, upper, tongue; all about 0..1.
VOWELS = {
    "ɑ": (0.62, 0.10, 0.00, 0.10, 0.35, 0.15, 0.0),
    "æ": (0.55, 0.45, 0.00, 0.00, 0.45, 0.30, 0.1),
    "a": (0.62, 0.15, 0.00, 0.00, 0.40, 0.20, 0.0),
    "ʌ": (0.42, 0.10, 0.00, 0.05, 0.25, 0.10, 0.0),
    "ɐ": (0.34, 0.08, 0.00, 0.05, 0.20, 0.08, 0.0),
    "ə": (0.26, 0.05, 0.05, 0.05, 0.15, 0.08, 0.1),
    "ᵊ": (0.22, 0.05, 0.10, 0.05, 0.10, 0.05, 0.1),
    "ɛ": (0.42, 0.40, 0.00, 0.00, 0.38, 0.22, 0.1),
    "ɪ": (0.24, 0.45, 0.00, 0.00, 0.28, 0.15, 0.2),
    "ᵻ": (0.22, 0.40, 0.00, 0.00, 0.22, 0.12, 0.2),
    "i": (0.18, 0.75, 0.00, 0.00, 0.32, 0.20, 0.2),
    "ɜ": (0.26, 0.00, 0.45, 0.35, 0.25, 0.12, 0.2),
    "ɚ": (0.24, 0.00, 0.40, 0.30, 0.22, 0.10, 0.2),
    "ɔ": (0.50, 0.00, 0.50, 0.60, 0.25, 0.05, 0.0),
    "o": (0.38, 0.00, 0.75, 0.55, 0.15, 0.00, 0.0),
    "ʊ": (0.22, 0.00, 0.65, 0.45, 0.12, 0.02, 0.0),
    "u": (0.15, 0.00, 1.00, 0.50, 0.05, 0.00, 0.0),
}
DIPHTHONGS = {"A": "ɛi", "I": "aɪ", "O": "oʊ", "W": "aʊ", "Y": "ɔɪ", "Q": "əʊ"}
CONSONANTS = {
    "m": (0.10, 0.10, 0.10, 0.0, 0.0, 0.0, 0.0),
    "b": (0.12, 0.10, 0.10, 0.0, 0.0, 0.0, 0.0),
    "p": (0.12, 0.10, 0.10, 0.0, 0.0, 0.0, 0.0),
    "f": (0.14, 0.15, 0.05, 0.0, 0.0, 0.45, 0.0),
    "v": (0.14, 0.15, 0.05, 0.0, 0.0, 0.40, 0.0),
    "θ": (0.20, 0.20, 0.00, 0.0, 0.30, 0.20, 1.0),
    "ð": (0.20, 0.20, 0.00, 0.0, 0.28, 0.18, 0.9),
    "s": (0.08, 0.40, 0.05, 0.1, 0.50, 0.30, 0.2),
    "z": (0.08, 0.40, 0.05, 0.1, 0.48, 0.28, 0.2),
    "ʃ": (0.12, 0.00, 0.35, 0.9, 0.45, 0.30, 0.1),
    "ʒ": (0.12, 0.00, 0.35, 0.9, 0.42, 0.28, 0.1),
    "ʧ": (0.12, 0.00, 0.35, 0.8, 0.42, 0.28, 0.2),
    "ʤ": (0.12, 0.00, 0.35, 0.8, 0.42, 0.28, 0.2),
    "t": (0.14, 0.25, 0.00, 0.0, 0.32, 0.18, 0.4),
    "d": (0.15, 0.25, 0.00, 0.0, 0.32, 0.18, 0.4),
    "T": (0.20, 0.25, 0.00, 0.0, 0.30, 0.15, 0.4),
    "ɾ": (0.20, 0.25, 0.00, 0.0, 0.30, 0.15, 0.4),
    "n": (0.17, 0.25, 0.00, 0.0, 0.28, 0.15, 0.5),
    "l": (0.26, 0.15, 0.05, 0.0, 0.28, 0.15, 0.8),
    "ɹ": (0.18, 0.00, 0.55, 0.5, 0.22, 0.10, 0.2),
    "w": (0.10, 0.00, 1.00, 0.6, 0.00, 0.00, 0.0),
    "j": (0.14, 0.60, 0.00, 0.0, 0.25, 0.15, 0.2),
    "k": (0.22, 0.15, 0.00, 0.0, 0.22, 0.12, 0.0),
    "ɡ": (0.22, 0.15, 0.00, 0.0, 0.22, 0.12, 0.0),
    "ŋ": (0.22, 0.20, 0.00, 0.0, 0.22, 0.12, 0.0),
    "h": (0.28, 0.05, 0.00, 0.0, 0.18, 0.10, 0.0),
}
SILENCE = (0.02, 0.05, 0.02, 0.0, 0.02, 0.0, 0.0)
CLOSED = frozenset("mbp")
OPEN_VOWELS = frozenset("ɑæaIW")
ROUNDED = frozenset("uwoOʊ")
TUCKED = frozenset("fv")
STRESS, PAUSES = frozenset("ˈˌː"), frozenset("_.,;:!?—…")
# How firmly a phoneme holds each feature: vowels rule jaw and width, w/u/sh rule rounding.
STRONG_ROUND = frozenset("wuʃʒʧʤɹ")


@dataclass(frozen=True)
class Sounds:
    """Phonemes after stress marks, spaces and diphthongs are resolved; silence is "_"."""

    symbols: tuple[str, ...]
    starts_s: Float[np.ndarray, " p"]
    ends_s: Float[np.ndarray, " p"]
    stressed: tuple[bool, ...]


def sounds(
    phonemes: tuple[str, ...], starts_s: Float[np.ndarray, " n"], ends_s: Float[np.ndarray, " n"]
) -> Sounds:
    """The sounds of a phoneme string: the time of a stress mark or space goes to its neighbours."""
    rows: list[list] = []  # symbol, start, end, stressed
    stress = False
    for symbol, start, end in zip(phonemes, starts_s, ends_s, strict=True):
        if symbol in STRESS or symbol == " ":
            stress = stress or symbol == "ˈ"
            middle = (start + end) / 2
            if rows and rows[-1][0] != "_":
                rows[-1][2] = middle
            carried = middle if rows and rows[-1][0] != "_" else start
            rows.append(["", carried, end, False])
            continue
        if rows and rows[-1][0] == "":
            start = rows.pop()[1]
            while rows and rows[-1][0] == "":
                start = rows.pop()[1]
        symbol = "_" if symbol in PAUSES else symbol
        if symbol == "_" and rows and rows[-1][0] == "_":
            rows[-1][2] = end
        else:
            rows.append([symbol, start, end, stress and symbol in VOWELS | DIPHTHONGS.keys()])
        stress = stress and not rows[-1][3]
    rows = [row for row in rows if row[0]]
    symbols, starts, ends, stressed = zip(*rows, strict=True)
    return Sounds(symbols, np.array(starts, float), np.array(ends, float), stressed)


def mouth_units(spoken: Sounds, n_frames: int) -> dict[str, Float[np.ndarray, " t"]]:
    """Weight of every mouth face unit per frame; frame i shows the time (i + 0.5) / 25 s."""
    fine = 8  # steps per frame, so that a 25 ms closure is never missed
    time = (np.arange(n_frames * fine) + 0.5) / (FPS * fine)
    feature = dict(zip(FEATURES, _blend(spoken, time).T, strict=True))
    closure = _events(spoken, time, CLOSED, rise_s=0.055, hold_s=0.075)
    tuck = _events(spoken, time, TUCKED, rise_s=0.06, hold_s=0.07)
    pause = _events(spoken, time, frozenset("_"), rise_s=0.12, hold_s=0.0)
    free = 1 - closure
    jaw = np.clip(feature["jaw"], 0, 1) * (1 - 0.45 * closure) * (1 - 0.4 * tuck)
    both = {
        "mouthStretch": 0.38 * feature["wide"] * (1 - 0.5 * closure),
        "mouthSmile": 0.15 * feature["wide"],
        "mouthLowerDown": 0.75 * feature["lower"] * free * (1 - tuck),
        "mouthUpperUp": 0.55 * feature["upper"] * free,
        "mouthPress": 0.22 * closure + 0.10 * pause,
    }
    curves = {
        "jawOpen": jaw,
        "mouthClose": jaw * closure,
        "mouthPucker": 1.05 * feature["round"] * (1 - 0.3 * closure),
        "mouthFunnel": 0.62 * feature["funnel"] * free,
        "mouthRollLower": 0.14 * closure + 0.75 * tuck,
        "mouthRollUpper": 0.10 * closure,
        "tongueOut": 0.22 * np.clip(feature["tongue"] - 0.6, 0, 1) * free,
    }
    for name, curve in both.items():
        curves[f"{name}Left"], curves[f"{name}Right"] = curve, 0.94 * curve
    return {name: curve.reshape(n_frames, fine).mean(1) for name, curve in curves.items()}


def _pieces(spoken: Sounds) -> list[tuple[str, float, float, float]]:
    """(symbol, start, end, strength): diphthongs become their two halves."""
    rows = []
    for symbol, start, end, stressed in zip(
        spoken.symbols, spoken.starts_s, spoken.ends_s, spoken.stressed, strict=True
    ):
        strength = 1.12 if stressed else 1.0
        if symbol in DIPHTHONGS:
            first, second = DIPHTHONGS[symbol]
            middle = start + 0.58 * (end - start)
            rows += [(first, start, middle, strength), (second, middle, end, 1.0)]
        else:
            rows.append((symbol, start, end, strength))
    return rows


def _blend(spoken: Sounds, time: np.ndarray) -> np.ndarray:
    """Dominance-weighted targets, (n, features)."""
    total = np.zeros((len(time), len(FEATURES)))
    weights = np.full((len(time), len(FEATURES)), 1e-6)
    for symbol, start, end, strength in _pieces(spoken):
        target = np.array(VOWELS.get(symbol, CONSONANTS.get(symbol, SILENCE)))
        hold = np.full(len(FEATURES), 0.7)
        if symbol in VOWELS:
            target = target * np.where(np.array(FEATURES) == "jaw", strength, 1.0)
            hold[:2] = 1.3
            hold[2:4] = 1.0 if symbol in ROUNDED else 0.55
        elif symbol in CONSONANTS:
            hold[0] = 0.9 if symbol in "szʃʒʧʤ" else 0.55
            hold[2:4] = 1.6 if symbol in STRONG_ROUND else 0.3
            hold[6] = 1.5
        before, after = np.clip(start - time, 0, None), np.clip(time - end, 0, None)
        reach = np.where(np.array(FEATURES) == "round", 0.085, 0.055)  # s; lips round early
        falloff = np.exp(-before[:, None] / reach - after[:, None] / (0.8 * reach))
        length = np.clip((end - start) / 0.08, 0.5, 1.5)
        dominance = hold * length * falloff
        total += dominance * target
        weights += dominance
    return total / weights


def _events(
    spoken: Sounds, time: np.ndarray, symbols: frozenset, *, rise_s: float, hold_s: float
) -> np.ndarray:
    """1 while one of the symbols sounds (at least hold_s long), with smooth flanks of rise_s."""
    value = np.zeros(len(time))
    for symbol, start, end in zip(spoken.symbols, spoken.starts_s, spoken.ends_s, strict=True):
        if symbol in symbols:
            short = max(hold_s - (end - start), 0) / 2
            outside = np.maximum(start - short - time, time - end - short)
            level = np.clip(1 - outside / rise_s, 0, 1)
            value = np.maximum(value, level**2 * (3 - 2 * level))
    return value
