"""Acoustics: sound -> pitch and mel spectrum at 50 Hz."""

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import median_filter

from geneface_kit.person.clip import SAMPLE_RATE

STEP = 320  # samples per feature step: 50 steps a second, two per video frame
LOWEST, HIGHEST, VOICED = 80, 750, 0.6  # pitch, Hz; least autocorrelation of a voiced frame


def pitch(audio: Float[np.ndarray, " n"]) -> Float[np.ndarray, " s"]:
    """Pitch in Hz every 20 ms, 0 where unvoiced: the autocorrelation method of Boersma (1993).

    The autocorrelation of a Hann window of three periods of LOWEST is divided by that of the
    window; its highest peak between the periods of HIGHEST and LOWEST, slightly favouring short
    periods, is the pitch if it exceeds VOICED and the frame is not quiet.
    """
    width = round(3 * SAMPLE_RATE / LOWEST)
    window = np.hanning(width).astype(np.float32)
    shortest, longest = int(SAMPLE_RATE / HIGHEST), int(SAMPLE_RATE / LOWEST)
    n_fft = 2 ** int(np.ceil(np.log2(width + longest + 2)))  # the lags asked for do not wrap
    norm = np.fft.irfft(np.abs(np.fft.rfft(window, n_fft)) ** 2)
    lags = np.arange(shortest, longest + 1)
    padded = np.pad(audio, (width // 2, width))
    loudest = np.abs(audio).max() + 1e-9
    f0 = np.zeros(max(1, len(audio) // STEP), np.float32)
    for start in range(0, len(f0), 500):
        steps = np.arange(start, min(start + 500, len(f0)))
        frames = padded[steps[:, None] * STEP + np.arange(width)]
        frames = frames - frames.mean(1, keepdims=True)
        loud = np.abs(frames).max(1) / loudest
        power = np.abs(np.fft.rfft(frames * window, n_fft)) ** 2
        auto = np.fft.irfft(power)[:, : longest + 2]
        auto = auto / np.maximum(auto[:, :1], 1e-9) / (norm[: longest + 2] / norm[0])
        left, top, right = auto[:, lags - 1], auto[:, lags], auto[:, lags + 1]
        bend = np.minimum(left - 2 * top + right, -1e-9)
        is_peak = (top >= left) & (top >= right)
        height = top - (left - right) ** 2 / (8 * bend)  # of the parabola through the three
        score = np.where(is_peak, height - 0.01 * np.log2(lags * LOWEST / SAMPLE_RATE), -1)
        best = (np.arange(len(steps)), score.argmax(1))
        lag = lags[best[1]] + np.clip(0.5 * ((left - right) / bend)[best], -1, 1)
        voiced = (score[best] > -1) & (height[best] > VOICED) & (loud > 0.03)
        f0[steps] = np.where(voiced, SAMPLE_RATE / lag, 0)
    smooth = median_filter(f0, 3, mode="nearest")
    octaves = np.log2(np.maximum(f0, 1) / np.maximum(smooth, 1))
    jump = (f0 > 0) & (smooth > 0) & (np.abs(octaves) > 0.4)
    return np.where(jump, smooth, f0).astype(np.float32)


def coarse_pitch(f0: Float[np.ndarray, " s"]) -> Int[np.ndarray, " s"]:
    """Pitch as bins 1..255 on the mel scale 1127 ln(1 + f / 700), 50 to 1100 Hz; unvoiced 1."""
    low, high = (1127 * np.log1p(f / 700) for f in (50.0, 1100.0))
    bins = 1 + 254 * (1127 * np.log1p(f0 / 700) - low) / (high - low)
    return np.where(f0 > 0, np.floor(np.clip(bins, 1, 255) + 0.5), 1).astype(np.int64)


def log_mel(audio: Float[np.ndarray, " n"]) -> Float[np.ndarray, "s 80"]:
    """log10 of the mel spectrum: fft 512, hop 320, 80 Slaney-normalised triangles, 80-7600 Hz."""
    from transformers.audio_utils import mel_filter_bank

    scale = {"norm": "slaney", "mel_scale": "slaney"}
    bands = mel_filter_bank(257, 80, 80.0, 7600.0, SAMPLE_RATE, **scale).astype(np.float32)
    padded = np.pad(audio, (0, max(0, 512 - len(audio))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 512)[::STEP]
    hann = np.hanning(513)[:-1].astype(np.float32)
    parts = []
    for start in range(0, len(windows), 500):
        magnitude = np.abs(np.fft.rfft(windows[start : start + 500] * hann, axis=1))
        parts.append(np.log10(np.maximum(magnitude @ bands, 1e-6)).astype(np.float32))
    return np.concatenate(parts)
