"""Mouth: what the sound says the lips do, and how late it is against them.

`python -m geneface_kit.person.speech.mouth FOLDER` refits mouth_ridge.npz from a folder of
talking clips.
"""

import functools
import logging
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from jaxtyping import Float

from geneface_kit.person.clip import FPS, sound_of, stream_frames
from geneface_kit.person.landmarks import detect, fill_gaps
from geneface_kit.person.speech.features import Speech, encode
from geneface_kit.person.tracking import track

__all__ = [
    "Offset",
    "fit_mouth_ridge",
    "in_context",
    "mouth_from_speech",
    "mouth_shape",
    "offset",
    "predict_ridge",
    "save_mouth_ridge",
    "solve_ridge",
]

CONTEXT = 3
"""Frames on both sides that the mouth prediction sees (ours)."""
RIDGE = 3000.0
"""Penalty of the mouth regression, for standardised inputs (ours)."""
MAX_OFFSET_S = 0.4
"""Longest offset between sound and lips that is looked for, seconds (ours)."""

log = logging.getLogger(__name__)


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
    return predict_ridge(_mouth_ridge(), in_context(speech.features))


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
            ridge = _solve_in_step(
                [predictors[k] for k in others], [mouths[k] for k in others], offsets[others]
            )
            for k in fold:
                guess = _offset(predict_ridge(ridge, predictors[k]), mouths[k])
                found[k] = guess.seconds if guess.confidence > 0.3 else np.nan
        offsets = (
            np.nan_to_num(found - np.nanmedian(found)) if np.isfinite(found).any() else offsets
        )
        log.info("offsets of the clips: %s s", np.round(offsets, 3).tolist())
    return _solve_in_step(predictors, mouths, offsets)


def solve_ridge(
    predictors: list[Float[np.ndarray, "_ c"]], wanted: list[Float[np.ndarray, "_ m"]]
) -> dict[str, Float[np.ndarray, "..."]]:
    """Ridge regression of standardised inputs on several clips, in closed form.

    Gives mean and std of the inputs (c,) and weights (c, m): w = (X'X + RIDGE I)^-1 X'Y. There is
    no constant: what is wanted has mean 0.
    """
    x = np.concatenate(predictors).astype(np.float64)
    y = np.concatenate(wanted).astype(np.float64)
    mean, std = x.mean(0), x.std(0) + 1e-3
    x = (x - mean) / std
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
    return {"mean": mean, "std": std, "weights": weights}


def predict_ridge(
    ridge: dict[str, Float[np.ndarray, "..."]], inputs: Float[np.ndarray, "t c"]
) -> Float[np.ndarray, "t m"]:
    """What a regression of `solve_ridge` says to some inputs."""
    return ((inputs - ridge["mean"]) / ridge["std"] @ ridge["weights"]).astype(np.float32)


def in_context(features: Float[np.ndarray, "s c"]) -> Float[np.ndarray, "t d"]:
    """Features of frames t - 3 .. t + 3 side by side: d = 7 * 2 * c, t = s // 2."""
    frames = features[: len(features) // 2 * 2].reshape(len(features) // 2, -1)
    padded = np.pad(frames, ((CONTEXT, CONTEXT), (0, 0)), mode="edge")
    return np.concatenate([padded[k : k + len(frames)] for k in range(2 * CONTEXT + 1)], axis=1)


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
        inputs = in_context(encode(audio).features)
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


def _solve_in_step(
    predictors: list[np.ndarray], mouths: list[np.ndarray], offsets: np.ndarray
) -> dict[str, np.ndarray]:
    """The mouth regression, each clip's sound being late by its offset in seconds."""
    wanted = [
        _delayed(mouth - mouth.mean(0), offset_s)
        for mouth, offset_s in zip(mouths, offsets, strict=True)
    ]
    return solve_ridge(predictors, wanted)


def _delayed(mouth: np.ndarray, seconds: float) -> np.ndarray:
    """The mouth later by some seconds, ends repeated: in step with a sound late by as much."""
    at = np.arange(len(mouth)) - seconds * FPS
    return np.stack([np.interp(at, np.arange(len(mouth)), column) for column in mouth.T], axis=1)


@functools.cache
def _mouth_ridge() -> dict[str, np.ndarray]:
    path = resources.files("geneface_kit.person.speech") / "mouth_ridge.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return dict(stored)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    save_mouth_ridge(sys.argv[1], Path(__file__).with_name("mouth_ridge.npz"))
