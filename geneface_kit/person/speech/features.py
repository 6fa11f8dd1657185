"""Features: sound -> phonetic features, pitch and mel at 50 Hz.

Encoders: "hama" (144 channels, everywhere) and "hubert-large" (1024, when its weights are here).
"""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.ndimage import median_filter

from geneface_kit.person.clip import SAMPLE_RATE
from geneface_kit.person.speech.conformer import CHANNELS, conformer_version, load_conformer

__all__ = ["ENCODERS", "Speech", "coarse_pitch", "encode", "hama_layers", "log_mel", "pitch"]

ENCODERS = {"hama": 144, "hubert-large": 1024}
"""Name of each speech encoder -> its channels."""
HUBERT = "facebook/hubert-large-ls960-ft"
STEP = 320
"""Samples per feature step: 50 steps a second, two per video frame."""
PIECE_S, OVERLAP_S = 20, 2
"""Long sound is encoded in pieces of this length, with this much heard on both sides (ours)."""


@dataclass(frozen=True)
class Speech:
    """Speech at 50 Hz, step i about sample 320 i.

    features: (s, c); encoder: which network made them; f0: (s,) Hz, 0 where unvoiced;
    mel: (s, 80) log10 magnitude; version: package and digest of the network's weights.
    """

    features: Float[np.ndarray, "s c"]
    encoder: str
    f0: Float[np.ndarray, " s"]
    mel: Float[np.ndarray, "s 80"]
    version: str = ""

    def __len__(self) -> int:
        return len(self.features)

    def cut(self, n_frames: int) -> "Speech":
        """Exactly 2 * n_frames steps: cut, or the last step repeated."""
        n_steps = 2 * n_frames
        return replace(
            self,
            features=_fit_length(self.features, n_steps),
            f0=_fit_length(self.f0, n_steps),
            mel=_fit_length(self.mel, n_steps),
        )


def encode(
    audio: Float[np.ndarray, " n"],
    encoder: str = "hama",
    *,
    weights: str = "",
    peak: float | None = None,
) -> Speech:
    """Features, pitch and mel of mono 16 kHz sound; floor(n / 320) steps, at least one.

    weights: for "hubert-large", a local folder of its weights; "" asks the hub and its cache.
    The sound is brought to the same peak first, so loudness does not matter; peak: that of the
    recording this is a piece of, None takes the sound's own.
    """
    if encoder not in ENCODERS:
        raise ValueError(f"encoder must be one of {tuple(ENCODERS)}, got {encoder!r}")
    if not len(audio):
        raise ValueError("the sound is empty; use a recording of speech")
    if not np.isfinite(audio).all():
        raise ValueError("the sound holds NaN or infinite samples; use another recording")
    n_steps, level = max(1, len(audio) // STEP), _levelled(audio, peak)
    if encoder == "hama":
        features, version = _hama_features(level), conformer_version()
    else:
        features, version = _hubert_features(level, weights)
    return Speech(
        features=_fit_length(features, n_steps),
        encoder=encoder,
        f0=_fit_length(pitch(level), n_steps),
        mel=_fit_length(log_mel(level), n_steps),
        version=version,
    )


def hama_layers(audio: Float[np.ndarray, " n"]) -> dict[str, Float[np.ndarray, "s _"]]:
    """What the phoneme Conformer says inside: "block 1" to "block 4", and "log-probs".

    `encode` gives block 3 of the same sound; the others are there to be compared with it.
    """
    n_steps = max(1, len(audio) // STEP)
    steps = _fit_length(_in_pieces(_levelled(audio), _all_layers), n_steps)
    cuts = [CHANNELS * index for index in range(1, 5)]
    names = ["block 1", "block 2", "block 3", "block 4", "log-probs"]
    return dict(zip(names, np.split(steps, cuts, axis=1), strict=True))


def pitch(
    audio: Float[np.ndarray, " n"], *, low: float = 80, high: float = 750, threshold: float = 0.6
) -> Float[np.ndarray, " s"]:
    """Pitch in Hz every 20 ms, 0 where unvoiced: the autocorrelation method of Boersma (1993).

    The autocorrelation of a Hann window of three periods of `low` is divided by that of the
    window; its highest peak between the periods of `high` and `low`, slightly favouring short
    periods, is the pitch if it exceeds `threshold` and the frame is not quiet.
    """
    width = round(3 * SAMPLE_RATE / low)
    window = np.hanning(width).astype(np.float32)
    shortest, longest = int(SAMPLE_RATE / high), int(SAMPLE_RATE / low)
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
        score = np.where(is_peak, height - 0.01 * np.log2(lags * low / SAMPLE_RATE), -1)
        best = (np.arange(len(steps)), score.argmax(1))
        lag = lags[best[1]] + np.clip(0.5 * ((left - right) / bend)[best], -1, 1)
        voiced = (score[best] > -1) & (height[best] > threshold) & (loud > 0.03)
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
    """log10 of the mel spectrum: fft 512, hop 320, 80 Slaney bands of 80-7600 Hz (method 1.9)."""
    padded = np.pad(audio, (0, max(0, 512 - len(audio))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 512)[::STEP]
    hann = np.hanning(513)[:-1].astype(np.float32)
    parts = []
    for start in range(0, len(windows), 500):
        magnitude = np.abs(np.fft.rfft(windows[start : start + 500] * hann, axis=1))
        parts.append(np.log10(np.maximum(magnitude @ _mel_bands().T, 1e-6)).astype(np.float32))
    return np.concatenate(parts)


def _levelled(audio: np.ndarray, peak: float | None = None) -> np.ndarray:
    """Sound at full peak, its own if none is given, and long enough for every encoder."""
    peak = float(np.abs(audio).max()) if peak is None else peak
    level = (audio / peak if peak > 1e-4 else audio).astype(np.float32)
    return np.pad(level, (0, max(0, 3 * STEP - len(level))))


def _hama_features(audio: np.ndarray) -> np.ndarray:
    return _in_pieces(audio, load_conformer().hidden)


def _all_layers(sound: torch.Tensor) -> torch.Tensor:
    """All four blocks and the log-probabilities side by side: (s, 4 * 144 + 191)."""
    blocks, log_probabilities = load_conformer().layers(sound)
    return torch.cat([*blocks, log_probabilities], dim=1)


def _in_pieces(audio: np.ndarray, network: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """A network's steps over long sound, piece by piece with overlap."""
    n_steps, piece, overlap = len(audio) // STEP, PIECE_S * 50, OVERLAP_S * 50
    parts = []
    for start in range(0, n_steps, piece):
        first, last = max(0, start - overlap), min(n_steps, start + piece + overlap)
        sound = torch.from_numpy(audio[first * STEP : last * STEP + 200])
        with torch.no_grad():
            steps = network(sound)
        parts.append(steps[start - first : min(start + piece, n_steps) - first].numpy())
    return np.concatenate(parts)


def _hubert_features(audio: np.ndarray, weights: str) -> tuple[np.ndarray, str]:
    """Last hidden state, and the network's version (method 1.9).

    A step sees 400 samples and the next one starts 320 later, so a piece of 20 s extended by the
    80 samples in which they overlap ends where the following piece starts.
    """
    model, version = _load_hubert(weights)
    level = (audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)
    parts = []
    for start in range(0, len(level), PIECE_S * SAMPLE_RATE):
        piece = level[start : start + PIECE_S * SAMPLE_RATE + 80]
        if len(piece) >= 400:
            with torch.no_grad():
                parts.append(model(torch.from_numpy(piece)[None]).last_hidden_state[0].numpy())
    return np.concatenate(parts), version


@functools.lru_cache(maxsize=1)
def _load_hubert(weights: str) -> tuple[torch.nn.Module, str]:
    import transformers

    try:
        model = transformers.HubertModel.from_pretrained(weights or HUBERT).eval()
    except (OSError, ValueError):
        raise FileNotFoundError(
            f"the weights of {HUBERT} are neither in {weights or 'the hub cache'} nor reachable; "
            'name their folder, connect once, or use the encoder "hama"'
        ) from None
    digest = hashlib.sha256()
    for name, values in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(values.numpy().data)
    return model, f"transformers {transformers.__version__}, weights {digest.hexdigest()[:12]}"


@functools.cache
def _mel_bands() -> np.ndarray:
    """Slaney-normalised triangles (80, 257)."""

    def to_mel(f: np.ndarray) -> np.ndarray:  # linear to 1 kHz, logarithmic above
        return np.where(
            f < 1000, 3 * f / 200, 15 + 27 * np.log(np.maximum(f, 1) / 1000) / np.log(6.4)
        )

    def to_hz(m: np.ndarray) -> np.ndarray:
        return np.where(m < 15, 200 * m / 3, 1000 * np.exp((m - 15) * np.log(6.4) / 27))

    edges = to_hz(np.linspace(to_mel(np.array(80.0)), to_mel(np.array(7600.0)), 82))
    bins = np.linspace(0, SAMPLE_RATE / 2, 257)
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    bands = np.maximum(0, np.minimum(rise, fall)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return bands.astype(np.float32)


def _fit_length(values: np.ndarray, n: int) -> np.ndarray:
    if len(values) >= n:
        return values[:n]
    return np.concatenate([values, np.repeat(values[-1:], n - len(values), axis=0)])
