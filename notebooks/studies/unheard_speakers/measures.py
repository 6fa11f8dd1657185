"""Measures: how well predicted lips follow tracked ones, clip by clip."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from geneface_kit.metrics.formulas import closed_below, closures, closures_met, pearson
from geneface_kit.person.mouth import LIPS, mouth_shape

MEASURES = (
    "r_opening",
    "r_width",
    "r_velocity",
    "lip_error",
    "closure_recall",
    "closure_precision",
    "variance_ratio",
    "raw_variance_ratio",
    "diversity",
)
"""Names of what `measure` gives, in the order of the tables."""
LARGEST_AMPLITUDE = 4.0
"""No factor on the motion beyond this (ours)."""


@dataclass(frozen=True)
class Lips:
    """The 20 lip points of one clip, inter-ocular distances.

    seen: tracked; drawn: predicted, without any factor on the motion; rest: the speaker's mean
    lips; diversity: standard deviation between samples of the same sound, mean over the points.
    """

    seen: Float[np.ndarray, "t 20 3"]
    drawn: Float[np.ndarray, "t 20 3"]
    rest: Float[np.ndarray, "20 3"]
    diversity: float


def measure(lips: Lips, amplitude: float) -> dict[str, float]:
    """The MEASURES of one clip, the predicted motion multiplied by `amplitude`.

    r: Pearson's, which no factor changes, velocity: of the opening's steps; lip_error: mean
    distance; closure_recall: share of the tracked closures that the prediction meets,
    closure_precision: the reverse (NaN without any); variance_ratio: predicted over
    tracked variance of the opening, raw: without the factor.
    """
    drawn = lips.rest + amplitude * (lips.drawn - lips.rest)
    ours, theirs = _shape(drawn), _shape(lips.seen)
    limit = closed_below(theirs[:, 0])
    shut, seen_shut = ours[:, 0] < limit, theirs[:, 0] < limit
    return {
        "r_opening": pearson(ours[:, 0], theirs[:, 0], still=0.0),
        "r_width": pearson(ours[:, 1], theirs[:, 1], still=0.0),
        "r_velocity": pearson(np.diff(ours[:, 0]), np.diff(theirs[:, 0]), still=0.0),
        "lip_error": float(np.linalg.norm(drawn - lips.seen, axis=-1).mean()),
        "closure_recall": closures_met(closures(seen_shut), shut),
        "closure_precision": closures_met(closures(shut), seen_shut),
        "variance_ratio": amplitude**2 * opening_ratio(lips),
        "raw_variance_ratio": opening_ratio(lips),
        "diversity": amplitude * lips.diversity,
    }


def opening_ratio(lips: Lips) -> float:
    """Predicted over tracked variance of the mouth opening; 0 is the mean face."""
    return float(_shape(lips.drawn)[:, 0].var() / max(_shape(lips.seen)[:, 0].var(), 1e-12))


def amplitude_for(ratios: list[float]) -> float:
    """The factor that brings the median variance ratio of some clips to 1; 1 without clips."""
    if not ratios:
        return 1.0
    return float(min(LARGEST_AMPLITUDE, max(1e-6, float(np.median(ratios))) ** -0.5))


def _shape(lips: np.ndarray) -> np.ndarray:
    """Opening and width (t, 2) of lips alone."""
    face = np.zeros((len(lips), 68, 3), np.float32)
    face[:, LIPS] = lips
    return mouth_shape(face)
