"""Mouth ridge: fits the regression from sound to mouth that the kit ships, from a folder of clips.

`python -m notebooks.studies.mouth_ridge FOLDER OUT.npz`; the kit's own is
geneface_kit/person/speech/mouth_ridge.npz. Which clips that was fitted to is not on record, so it
tells offsets and nothing is compared with it; the reference of Table B is `ship_motion`'s.
"""

import logging
import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float

from geneface_kit.person.clip import FPS, sound_of, stream_frames
from geneface_kit.person.landmarks import detect, fill_gaps
from geneface_kit.person.mouth import mouth_shape
from geneface_kit.person.speech.encoders import encode
from geneface_kit.person.speech.offset import best_lag, in_context, predict_ridge
from geneface_kit.person.tracking.track import track

__all__ = ["fit_mouth_ridge", "save_mouth_ridge", "solve_ridge"]

RIDGE = 3000.0
"""Penalty of the mouth regression, for standardised inputs (ours)."""

log = logging.getLogger(__name__)


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
                guess = best_lag(predict_ridge(ridge, predictors[k]), mouths[k])
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


def save_mouth_ridge(folder: Path | str, out: Path | str) -> None:
    """Fit the mouth regression on every video of a folder and write it to an npz file."""
    predictors, mouths = [], []
    for path in sorted(Path(folder).rglob("*.mp4")):
        try:
            audio = sound_of(path)
        except ValueError as error:
            log.warning("%s; left out", error)
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


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    save_mouth_ridge(sys.argv[1], sys.argv[2])
