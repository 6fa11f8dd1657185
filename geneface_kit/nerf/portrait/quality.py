"""Quality: a portrait against frames it was not trained on: its pictures, and its mouth."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from geneface_kit.metrics.formulas import pearson, psnr_of_error
from geneface_kit.nerf.views import HEAD, Views
from geneface_kit.person import camera, landmarks
from geneface_kit.person.mouth import INNER_LIPS, seen_opening

__all__ = ["LAYERS", "Following", "layer_quality", "mouth_follows"]

log = logging.getLogger(__name__)

LAYERS = {"background": 0, "head": HEAD, "neck": 2, "torso": 3}
"""Names of a person's labels."""
LEAST_FACES = 8
"""Fewer found faces give no correlation worth a number."""


@dataclass(frozen=True)
class Following:
    """How well a rendered mouth does what its landmarks say. Openings are of the inner lips, as
    they are seen in the picture, in units of the seen distance of the outer eye corners.

    asked, found: (t,) opening of the given landmarks and of the face found again in the rendered
    frames, NaN where none was; r: their correlation; gain: change of the found opening per change
    of the asked one (least squares); error: root mean square of the difference of both about
    their means. NaN where too few faces were found or nothing was asked to move.
    """

    asked: Float[np.ndarray, " t"]
    found: Float[np.ndarray, " t"]
    r: float
    gain: float
    error: float

    @staticmethod
    def of(asked: Float[np.ndarray, " t"], found: Float[np.ndarray, " t"]) -> "Following":
        """The measures of two curves; frames without a face (NaN) do not count."""
        valid = np.isfinite(asked) & np.isfinite(found)
        a, b = asked[valid].astype(np.float64), found[valid].astype(np.float64)
        if len(a) < LEAST_FACES or a.std() < 1e-9 or b.std() < 1e-9:
            return Following(asked, found, np.nan, np.nan, np.nan)
        a, b = a - a.mean(), b - b.mean()
        gain = float((a * b).sum() / (a * a).sum())
        error = float(np.sqrt(((a - b) ** 2).mean()))
        return Following(asked, found, pearson(a, b), gain, error)


def mouth_follows(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]],
    asked: Float[np.ndarray, "t 68 3"],
    poses: Float[np.ndarray, "t 4 4"],
    focal: float,
) -> Following:
    """Finds the mouth again in frames that were rendered from landmarks and poses.

    frames: rendered, (t, h, w, 3) uint8; asked: the landmarks they were rendered from; focal:
    pixels. True frames with their tracked landmarks give the ceiling: what finding alone loses.
    """
    if not len(frames) == len(asked) == len(poses):
        raise ValueError(
            f"frames, landmarks and poses must be equally many, got {len(frames)}, {len(asked)} "
            f"and {len(poses)}"
        )
    mesh = landmarks.detect(frames)
    found = np.full(len(asked), np.nan)
    found[mesh.found] = _opening(landmarks.to_68(mesh)[mesh.found, :, :2])
    if not mesh.found.all():
        log.warning("no face found in %d of %d rendered frames", (~mesh.found).sum(), len(asked))
    given = camera.project(asked, poses, focal, frames[0].shape[0])
    return Following.of(_opening(given), found)


def layer_quality(
    rendered: Sequence[UInt8[np.ndarray, "h w 3"]], views: Views, frames: Sequence[int]
) -> dict[str, float]:
    """PSNR in dB of rendered frames, each of the mean squared error over all of them.

    frame_psnr: the whole picture; head_, neck_, torso_, background_psnr: the pixels of the true
    label; lip_psnr: the lip rectangle. A layer that is in no frame has no entry.
    """
    sums: dict[str, list[float]] = {}
    for picture, frame in zip(rendered, frames, strict=True):
        error = picture.astype(np.float64) - views.person.frames[frame]
        squared = (error**2).mean(-1) / 255**2
        labels = np.asarray(views.person.labels[frame])
        x0, y0, x1, y1 = views.lip_rects[frame].tolist()
        parts = {name: squared[labels == number] for name, number in LAYERS.items()}
        parts |= {"frame": squared, "lip": squared[y0:y1, x0:x1]}
        for name, values in parts.items():
            total = sums.setdefault(f"{name}_psnr", [0.0, 0])
            total[0], total[1] = total[0] + float(values.sum()), total[1] + values.size
    return {name: round(psnr_of_error(total / n), 3) for name, (total, n) in sums.items() if n}


def _opening(points: np.ndarray) -> np.ndarray:
    """Opening (t,) in the picture between the middle points of the inner lips."""
    return seen_opening(points, pairs=INNER_LIPS[1:2])
