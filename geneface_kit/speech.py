"""Speech: sound -> phonetic features, pitch and mel at 50 Hz, and the mouth they predict.

Encoders: "hama" (144 channels, everywhere) and "hubert-large" (1024, when its weights are here).
`python -m geneface_kit.speech FOLDER` refits data/mouth_ridge.npz from a folder of talking clips.
"""

import functools
import logging
import sys
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.ndimage import median_filter

from geneface_kit.clip import FPS, SAMPLE_RATE, sound_of, stream_frames
from geneface_kit.conformer import load_conformer
from geneface_kit.landmarks import detect, fill_gaps
from geneface_kit.tracking import track

__all__ = [
    "ENCODERS",
    "Offset",
    "Speech",
    "coarse_pitch",
    "encode",
    "fit_mouth_ridge",
    "log_mel",
    "mouth_from_speech",
    "mouth_shape",
    "offset",
    "pitch",
    "save_mouth_ridge",
]

ENCODERS = {"hama": 144, "hubert-large": 1024}
"""Name of each speech encoder -> its channels."""
HUBERT = "facebook/hubert-large-ls960-ft"
STEP = 320
"""Samples per feature step: 50 steps a second, two per video frame."""
PIECE_S, OVERLAP_S = 20, 2
"""Long sound is encoded in pieces of this length, with this much heard on both sides (ours)."""
CONTEXT = 3
"""Frames on both sides that the mouth prediction sees (ours)."""
RIDGE = 3000.0
"""Penalty of the mouth regression, for standardised inputs (ours)."""
MAX_OFFSET_S = 0.4

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Speech:
    """Speech at 50 Hz, step i about sample 320 i.

    features: (s, c); encoder: which network made them; f0: (s,) Hz, 0 where unvoiced;
    mel: (s, 80) log10 magnitude.
    """

    features: Float[np.ndarray, "s c"]
    encoder: str
    f0: Float[np.ndarray, " s"]
    mel: Float[np.ndarray, "s 80"]

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


@dataclass(frozen=True)
class Offset:
    """How late the sound is against the lips.

    seconds: positive when a sound is heard after the lips made it (play the sound earlier by as
    much to repair it); confidence: 0 to 1; lags: (n,) seconds; curve: (n,) correlation of the
    predicted with the tracked mouth at each lag.
    """

    seconds: float
    confidence: float
    lags: Float[np.ndarray, " n"]
    curve: Float[np.ndarray, " n"]


def encode(audio: Float[np.ndarray, " n"], encoder: str = "hama", *, weights: str = "") -> Speech:
    """Features, pitch and mel of mono 16 kHz sound; floor(n / 320) steps, at least one.

    weights: for "hubert-large", a local folder of its weights; "" asks the hub and its cache.
    The sound is brought to the same peak first, so loudness does not matter.
    """
    if encoder not in ENCODERS:
        raise ValueError(f"encoder must be one of {tuple(ENCODERS)}, got {encoder!r}")
    if not len(audio):
        raise ValueError("the sound is empty; use a recording of speech")
    if not np.isfinite(audio).all():
        raise ValueError("the sound holds NaN or infinite samples; use another recording")
    n_steps = max(1, len(audio) // STEP)
    peak = float(np.abs(audio).max())
    level = (audio / peak if peak > 1e-4 else audio).astype(np.float32)
    if len(level) < 3 * STEP:
        level = np.pad(level, (0, 3 * STEP - len(level)))
    features = _hama_features(level) if encoder == "hama" else _hubert_features(level, weights)
    return Speech(
        features=_fit_length(features, n_steps),
        encoder=encoder,
        f0=_fit_length(pitch(level), n_steps),
        mel=_fit_length(log_mel(level), n_steps),
    )


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
    n_fft = 2 ** int(np.ceil(np.log2(2 * width)))
    norm = np.fft.irfft(np.abs(np.fft.rfft(window, n_fft)) ** 2)
    shortest, longest = int(SAMPLE_RATE / high), int(SAMPLE_RATE / low)
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
    magnitude = np.abs(np.fft.rfft(windows * hann, axis=1))
    return np.log10(np.maximum(magnitude @ _mel_bands().T, 1e-6)).astype(np.float32)


def mouth_shape(landmarks: Float[np.ndarray, "t 68 3"]) -> Float[np.ndarray, "t 2"]:
    """Opening (inner lips, vertical) and width (outer corners) of the mouth, eye distances."""
    opening = landmarks[:, 62, 1] - landmarks[:, 66, 1]
    width = landmarks[:, 54, 0] - landmarks[:, 48, 0]
    return np.stack([opening, width], axis=1).astype(np.float32)


def mouth_from_speech(speech: Speech) -> Float[np.ndarray, "t 2"]:
    """Opening and width, minus their mean, that a regression predicts from the sound alone.

    Trained on the "hama" features of other speakers; one row per video frame.
    """
    if speech.encoder != "hama":
        raise ValueError(f'the mouth regression reads "hama" features, got {speech.encoder!r}')
    return _predict(_mouth_ridge(), _in_context(speech))


def offset(speech: Speech, landmarks: Float[np.ndarray, "t 68 3"]) -> Offset:
    """How late the sound is, from the lag at which it predicts the tracked mouth best.

    speech: the clip's sound from its first frame on; landmarks: pose-free. Lags of up to
    0.4 s are tried. A video in which the lips never move has confidence 0.
    """
    n_frames = min(len(landmarks), len(speech) // 2)
    predicted = mouth_from_speech(speech)[:n_frames]
    return _offset(predicted, mouth_shape(landmarks[:n_frames]))


def fit_mouth_ridge(
    predictors: list[Float[np.ndarray, "_ c"]],
    mouths: list[Float[np.ndarray, "_ 2"]],
    *,
    n_folds: int = 8,
) -> dict[str, Float[np.ndarray, "..."]]:
    """Ridge regression from features in context to each clip's mouth minus its mean.

    Clips out of step would blur it: their offsets are estimated by regressions on the other
    clips (folds of neighbours in the list), their median is taken as being in step, and the
    mouths are shifted accordingly before the final fit.
    """
    offsets = np.zeros(len(mouths))
    folds = np.array_split(np.arange(len(mouths)), min(n_folds, len(mouths)))
    for _ in range(2 if len(folds) > 1 else 0):
        found = np.full(len(mouths), np.nan)
        for fold in folds:
            others = np.setdiff1d(np.arange(len(mouths)), fold)
            ridge = _solve_ridge(
                [predictors[k] for k in others], [mouths[k] for k in others], offsets[others]
            )
            for k in fold:
                guess = _offset(_predict(ridge, predictors[k]), mouths[k])
                found[k] = guess.seconds if guess.confidence > 0.3 else np.nan
        offsets = (
            np.nan_to_num(found - np.nanmedian(found)) if np.isfinite(found).any() else offsets
        )
        log.info("offsets of the clips: %s s", np.round(offsets, 3).tolist())
    return _solve_ridge(predictors, mouths, offsets)


def save_mouth_ridge(folder: Path | str, out: Path | str) -> None:
    """Fit the mouth regression on every video of a folder and write it to an npz file."""
    predictors, mouths = [], []
    for path in sorted(Path(folder).rglob("*.mp4")):
        audio = sound_of(path)
        if audio is None:
            log.warning("%s has no sound and is left out", path)
            continue
        mesh = fill_gaps(detect(stream_frames(path, long_side=480)))
        mouth = mouth_shape(track(mesh, 480).landmarks)
        inputs = _in_context(encode(audio))
        n_frames = min(len(mouth), len(inputs))
        predictors.append(inputs[:n_frames])
        mouths.append(mouth[:n_frames])
        log.info("%s: %d frames", path.name, n_frames)
    if not mouths:
        raise ValueError(f"{folder} holds no talking video; put .mp4 files with sound there")
    ridge = fit_mouth_ridge(predictors, mouths)
    np.savez_compressed(out, **{name: values.astype(np.float32) for name, values in ridge.items()})


def _offset(predicted: np.ndarray, seen: np.ndarray) -> Offset:
    reach = round(MAX_OFFSET_S * FPS)
    lags = np.arange(-reach, reach + 1)
    curve = np.zeros(len(lags), np.float32)
    if len(seen) > 2 * reach + 10:
        for index, lag in enumerate(lags):
            # the sound of frame t + lag belongs to the picture of frame t
            sound, picture = _shifted(predicted, seen, int(lag))
            curve[index] = np.mean([_correlation(sound[:, k], picture[:, k]) for k in (0, 1)])
    best = int(curve.argmax())
    exact = float(lags[best])
    if 0 < best < len(lags) - 1:
        left, top, right = curve[best - 1 : best + 2]
        exact += float(0.5 * (left - right) / min(left - 2 * top + right, -1e-9))
    far = np.abs(lags - lags[best]) > 3
    rival = float(curve[far].max()) if far.any() else 0.0
    clear = (curve[best] - max(rival, 0.0)) / 0.4
    confidence = float(np.clip(clear, 0, 1) * np.clip(curve[best] / 0.4, 0, 1))
    if best in (0, len(lags) - 1):
        confidence = 0.0
    return Offset(exact / FPS, confidence, (lags / FPS).astype(np.float32), curve)


def _shifted(sound: np.ndarray, picture: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    n = min(len(sound), len(picture))
    start, stop = max(0, -lag), min(n, n - lag)
    return sound[start + lag : stop + lag], picture[start:stop]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / size) if size > 1e-9 else 0.0


def _solve_ridge(
    predictors: list[np.ndarray], mouths: list[np.ndarray], offsets: np.ndarray
) -> dict[str, np.ndarray]:
    """The regression, each clip's sound being late by its offset in seconds."""
    wanted = [
        _delayed(mouth - mouth.mean(0), offset_s)
        for mouth, offset_s in zip(mouths, offsets, strict=True)
    ]
    x = np.concatenate(predictors).astype(np.float64)
    y = np.concatenate(wanted).astype(np.float64)
    mean, std = x.mean(0), x.std(0) + 1e-3
    x = (x - mean) / std
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
    return {"mean": mean, "std": std, "weights": weights}


def _predict(ridge: dict[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    return ((inputs - ridge["mean"]) / ridge["std"] @ ridge["weights"]).astype(np.float32)


def _delayed(mouth: np.ndarray, seconds: float) -> np.ndarray:
    """The mouth later by some seconds, ends repeated: in step with a sound late by as much."""
    at = np.arange(len(mouth)) - seconds * FPS
    return np.stack([np.interp(at, np.arange(len(mouth)), column) for column in mouth.T], axis=1)


def _in_context(speech: Speech) -> np.ndarray:
    """Features of frames t - 3 .. t + 3 side by side: (t, 7 * 2 * c)."""
    frames = speech.features[: len(speech) // 2 * 2].reshape(len(speech) // 2, -1)
    padded = np.pad(frames, ((CONTEXT, CONTEXT), (0, 0)), mode="edge")
    return np.concatenate([padded[k : k + len(frames)] for k in range(2 * CONTEXT + 1)], axis=1)


@functools.cache
def _mouth_ridge() -> dict[str, np.ndarray]:
    path = resources.files("geneface_kit") / "data" / "mouth_ridge.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return dict(stored)


def _hama_features(audio: np.ndarray) -> np.ndarray:
    model = load_conformer()
    n_steps, piece, overlap = len(audio) // STEP, PIECE_S * 50, OVERLAP_S * 50
    parts = []
    for start in range(0, n_steps, piece):
        first, last = max(0, start - overlap), min(n_steps, start + piece + overlap)
        sound = torch.from_numpy(audio[first * STEP : last * STEP + 200])
        with torch.no_grad():
            hidden, _ = model(sound)
        parts.append(hidden[start - first : min(start + piece, n_steps) - first].numpy())
    return np.concatenate(parts)


def _hubert_features(audio: np.ndarray, weights: str) -> np.ndarray:
    """Last hidden state; pieces of 20 s extended by 80 samples join without a seam."""
    from transformers import HubertModel

    try:
        model = HubertModel.from_pretrained(weights or HUBERT).eval()
    except (OSError, ValueError):
        raise FileNotFoundError(
            f"the weights of {HUBERT} are neither in {weights or 'the hub cache'} nor reachable; "
            'name their folder, connect once, or use the encoder "hama"'
        ) from None
    level = (audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)
    parts = []
    for start in range(0, len(level), PIECE_S * SAMPLE_RATE):
        piece = level[start : start + PIECE_S * SAMPLE_RATE + 80]
        if len(piece) >= 400:
            with torch.no_grad():
                parts.append(model(torch.from_numpy(piece)[None]).last_hidden_state[0].numpy())
    return np.concatenate(parts)


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


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    save_mouth_ridge(sys.argv[1], Path(__file__).parent / "data" / "mouth_ridge.npz")
