"""Demo performance: speech -> motion of head, lids, eyes and brows, fixed by a seed."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

from geneface_kit.person.clip import FPS
from notebooks.studies.demo_person.visemes import Sounds, mouth_units

__all__ = ["Performance", "perform"]

TURN = np.radians([2.6, 5.5, 1.8])  # rms of nod, turn and tilt
SWAY = np.array([0.020, 0.012, 0.025])  # dm rms


@dataclass(frozen=True)
class Performance:
    """units: face unit -> weight per frame; heads: rotation vectors, rad; sways: shifts, dm."""

    units: dict
    heads: Float[np.ndarray, "t 3"]
    sways: Float[np.ndarray, "t 3"]

    def moment(self, frame: int) -> dict[str, float]:
        """The face units of one frame."""
        return {name: float(curve[frame]) for name, curve in self.units.items()}


def perform(spoken: Sounds, n_frames: int, seed: int) -> Performance:
    """Everything that moves, for n_frames of 1/25 s."""
    rng = np.random.default_rng(seed)
    units = mouth_units(spoken, n_frames)
    stress = _stress(spoken, n_frames)
    heads = _wander(rng, n_frames, slow_s=0.85) * TURN
    heads += _wander(rng, n_frames, slow_s=0.28) * TURN * 0.16
    heads[:, 0] += 0.045 * gaussian_filter1d(stress, 3.0) - 0.015  # a small nod at stressed vowels
    sways = _wander(rng, n_frames, slow_s=0.9) * SWAY
    gaze = _gaze(rng, n_frames)
    blink = _blinks(rng, n_frames)
    pairs = {
        "eyeBlink": (blink, blink),
        "eyeLookUp": (np.clip(gaze[:, 1], 0, 1),) * 2,
        "eyeLookDown": (np.clip(-gaze[:, 1], 0, 1),) * 2,
        "eyeLookOut": (np.clip(gaze[:, 0], 0, 1), np.clip(-gaze[:, 0], 0, 1)),
        "eyeLookIn": (np.clip(-gaze[:, 0], 0, 1), np.clip(gaze[:, 0], 0, 1)),
        "eyeSquint": (0.10 + 0.08 * units["mouthSmileLeft"],) * 2,
        "browOuterUp": (0.30 * gaussian_filter1d(stress, 4.0),) * 2,
    }
    for name, (left, right) in pairs.items():
        units[f"{name}Left"], units[f"{name}Right"] = np.asarray(left), np.asarray(right)
    lift = gaussian_filter1d(stress, 4.0) * 0.55 + 0.10 * _wander(rng, n_frames, slow_s=0.7)[:, 0]
    units["browInnerUp"] = np.clip(lift, 0, 0.7)
    return Performance(units, heads, sways)


def _wander(rng: np.random.Generator, n: int, *, slow_s: float) -> np.ndarray:
    """Three smooth random curves of unit rms and zero mean, (n, 3)."""
    pad = 4 * FPS
    noise = gaussian_filter1d(rng.standard_normal((n + 2 * pad, 3)), slow_s * FPS, axis=0)
    curves = noise[pad : pad + n]
    curves = curves - curves.mean(0)
    return np.clip(curves / (curves.std(0) + 1e-9), -2.2, 2.2)


def _stress(spoken: Sounds, n: int) -> np.ndarray:
    level = np.zeros(n)
    for start, end, stressed in zip(spoken.starts_s, spoken.ends_s, spoken.stressed, strict=True):
        if stressed and end - start > 0.09:
            level[min(int((start + end) / 2 * FPS), n - 1)] += 3.0
    return np.clip(gaussian_filter1d(level, 2.0), 0, 1)


def _blinks(rng: np.random.Generator, n: int) -> np.ndarray:
    """A blink every 2 to 4 s: closes in 3 frames, opens in 5."""
    shape = np.array([0.15, 0.65, 1.0, 0.95, 0.60, 0.28, 0.10])
    level = np.zeros(n + len(shape))
    at = int(rng.uniform(0.8, 2.0) * FPS)
    while at < n:
        level[at : at + len(shape)] = shape
        at += int(rng.uniform(2.0, 4.0) * FPS)
    return level[:n]


def _gaze(rng: np.random.Generator, n: int) -> np.ndarray:
    """Saccades of a few degrees about the camera: (right on the picture, up), face-unit weights."""
    gaze = np.zeros((n, 2))
    at, here = 0, np.zeros(2)
    while at < n:
        step = int(rng.uniform(0.4, 1.6) * FPS)
        gaze[at : at + step] = here
        at += step
        here = rng.normal(0, (0.07, 0.05)) if rng.random() < 0.8 else rng.normal(0, (0.22, 0.10))
    return gaussian_filter1d(gaze, 0.6, axis=0)
