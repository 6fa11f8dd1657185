"""Cepstra: sound -> 13 mel-frequency cepstral coefficients, 100 a second, as SyncNet hears them.

The recipe of python_speech_features with its defaults, which the published evaluation calls.
"""

import numpy as np
from jaxtyping import Float
from scipy.fft import dct

__all__ = ["SAMPLE_RATE", "cepstra"]

SAMPLE_RATE = 16_000
FRAME = 400
"""Samples of one window: 25 ms, not tapered."""
STEP = 160
N_FFT = 512
N_FILTERS = 26
N_CEPSTRA = 13
LIFTER = 22
EMPHASIS = 0.97
FULL_SCALE = 32_768
"""Sound is read as 16-bit numbers."""


def cepstra(audio: Float[np.ndarray, " n"]) -> Float[np.ndarray, "s 13"]:
    """Liftered cepstra of sound in [-1, 1]; the first is replaced by the log energy.

    The last window is filled up with zeros, so that n samples give 1 + ceil((n - 400) / 160).
    """
    whole = np.clip(np.round(audio.astype(np.float64) * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
    sharp = np.append(whole[:1], whole[1:] - EMPHASIS * whole[:-1])
    n_frames = 1 + max(0, -(-(len(sharp) - FRAME) // STEP))
    sharp = np.pad(sharp, (0, (n_frames - 1) * STEP + FRAME - len(sharp)))
    framed = np.lib.stride_tricks.sliding_window_view(sharp, FRAME)[::STEP]
    power = np.abs(np.fft.rfft(framed, N_FFT)) ** 2 / N_FFT
    smallest = np.finfo(np.float64).eps
    energy = np.log(np.maximum(power.sum(axis=1), smallest))
    bands = np.log(np.maximum(power @ _filters().T, smallest))
    order = np.arange(N_CEPSTRA)
    lifted = dct(bands, type=2, axis=1, norm="ortho")[:, :N_CEPSTRA]
    lifted *= 1 + LIFTER / 2 * np.sin(np.pi * order / LIFTER)
    lifted[:, 0] = energy
    return lifted


def _filters() -> Float[np.ndarray, "26 257"]:
    """Triangles between bins that stand equally far apart on the mel scale, 0 to 8 kHz."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, N_FILTERS + 2) / 2595) - 1)
    edges = np.floor((N_FFT + 1) * hertz / SAMPLE_RATE).astype(int)
    filters = np.zeros((N_FILTERS, N_FFT // 2 + 1))
    for row, (left, peak, right) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        filters[row, left:peak] = (np.arange(left, peak) - left) / (peak - left)
        filters[row, peak:right] = (right - np.arange(peak, right)) / (right - peak)
    return filters
