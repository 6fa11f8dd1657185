"""Palette: a person's own colours of skin, hair and clothes, learnt from some frames of the clip.

For want of a parsing network hair is what is seen above and beside the face, not below. All ours.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import gaussian_filter

Picture = UInt8[np.ndarray, "h w 3"]
Share = Float[np.ndarray, "h w"]
Points = Float[np.ndarray, "68 2"]  # landmarks, pixels
LONG_HAIR = 0.2  # width beside the jaw that only hair can have, eye distances
CLOTHES_INSIDE, CLOTHES_OUTSIDE = 0.5, 1.6
"""Clothes are learnt nearer to the chin's column than the one, in front of the chest, and farther
than the other, on the shoulders, eye distances: long hair hangs between them."""
CLOTHES_DEPTH = 0.6  # how far below the chin clothes begin, eye distances
WEIGHTS = (1.0, 1.0, 0.5)  # what colours of hair, clothes and cheeks count


@dataclass(frozen=True)
class Palette:
    """A person's colours: skin as a Gaussian in chroma, hair against all else as a table.

    skin_mean (2,) and skin_precision (2, 2): Cr, Cb in [0, 255]; hair: (16, 32, 32) probability
    that a colour (see _bins) is hair and neither clothes nor skin; long_hair (2,):
    whether hair hangs below the mouth at the picture's left, right side.
    """

    skin_mean: Float[np.ndarray, " 2"]
    skin_precision: Float[np.ndarray, "2 2"]
    hair: Float[np.ndarray, "16 32 32"]
    long_hair: Bool[np.ndarray, " 2"]

    def skin_distance(self, frame: Picture) -> Share:
        """Mahalanobis distance of each pixel's chroma from that of skin."""
        away = _ycrcb(frame)[..., 1:].astype(np.float32) - self.skin_mean
        return np.sqrt(np.einsum("hwi,ij,hwj->hw", away, self.skin_precision, away))

    def hair_probability(self, frame: Picture) -> Share:
        """Probability of hair at each pixel by the colours about it."""
        width = 2 * max(1, round(len(frame) / 256)) + 1
        return cv2.blur(self.hair.take(_bins(frame)), (width, width))


def learn_palette(samples: Iterable[tuple[Picture, Bool[np.ndarray, "h w"], Points]]) -> Palette:
    """Colours of a person from some (frame, where the person is, landmarks in pixels): skin on the
    cheeks, hair above the brows and beside the face, clothes below the chin."""
    skin, widths = [np.zeros((0, 2), np.float32)], []
    tables = np.full((3, 16, 32, 32), 1e-9)
    for frame, body, points in samples:
        cheeks, face = np.zeros((2, *body.shape), np.uint8)
        # jaw 1, 3, 5 and 15, 13, 11 towards the lip corner, nose wing and lower lid
        for corners in ((1, 3, 5, 48, 31, 40), (15, 13, 11, 54, 35, 47)):
            cv2.fillConvexPoly(cheeks, hull(points[list(corners)]), 1)
        cv2.fillConvexPoly(face, hull(points), 1)
        skin.append(_ycrcb(frame)[cheeks > 0, 1:].astype(np.float32))
        eyes = eye_distance(points)
        rows, columns = np.mgrid[: len(frame), : frame.shape[1]]
        above = rows < points[17:27, 1].min() - 0.45 * eyes
        beside = (rows < jaw_rows(points, body.shape[1])) & (rows > points[27, 1])
        away = np.abs(columns - points[8, 0]) / eyes
        bare = (away < CLOTHES_INSIDE) | (away > CLOTHES_OUTSIDE)
        low = rows > points[8, 1] + CLOTHES_DEPTH * eyes
        head = body & ~(face > 0) & (above | beside)
        bins = _bins(frame)
        for table, mask in zip(tables, (head, body & bare & low, cheeks > 0), strict=True):
            table += np.bincount(bins[mask], minlength=table.size).reshape(table.shape)
        # how far the person goes on beyond the jaw, just below the mouth, left and right
        left, right = np.clip(points[[3, 13], 1] + 0.15 * eyes, 0, len(body) - 1).astype(int)
        left = body[left] & (columns[0] < points[4, 0] - 0.03 * eyes)
        right = body[right] & (columns[0] > points[12, 0] + 0.03 * eyes)
        widths.append([left.sum() / eyes, right.sum() / eyes])
    chroma = np.concatenate(skin)
    if len(chroma) < 8:
        raise ValueError("the face lies outside the pictures; crop the clip around the head")
    mean = np.median(chroma, axis=0)
    near = chroma[np.abs(chroma - mean).max(1) < 25]  # without hair, shadow edges, earrings
    spread = np.cov(near.T) + 6.0 * np.eye(2)  # a neck is lit less evenly than cheeks
    soft = (gaussian_filter(table / table.sum(), (0.7, 1, 1)) + 1e-6 for table in tables)
    weighed = [table * weight for table, weight in zip(soft, WEIGHTS, strict=True)]
    return Palette(
        mean.astype(np.float32),
        np.linalg.inv(spread).astype(np.float32),
        (weighed[0] / sum(weighed)).astype(np.float32),
        np.median(widths, axis=0) > LONG_HAIR,
    )


def jaw_rows(points: Points, width: int) -> Float[np.ndarray, " w"]:
    """Row of the head's lower edge for each column: the jaw, level with its ends beyond it."""
    jaw = points[3:14]  # from mouth level over the chin to mouth level
    order = np.argsort(jaw[:, 0])
    columns = np.arange(width) + 0.5
    return np.interp(columns, jaw[order, 0], jaw[order, 1])


def eye_distance(points: Points) -> float:
    """Distance of the outer eye corners, pixels."""
    return float(np.linalg.norm(points[36] - points[45]))


def hull(points: Float[np.ndarray, "k 2"]) -> np.ndarray:
    """The convex hull of points as cv2 fills it."""
    return cv2.convexHull(points.round().astype(np.int32))


def _bins(frame: np.ndarray) -> np.ndarray:
    """Each pixel's place in a table of colours: Y in steps of 16, Cr and Cb in steps of 4."""
    y, *chroma = cv2.split(_ycrcb(frame))
    cr, cb = ((one.clip(64, 191) - 64) // 4 for one in chroma)
    return np.ravel_multi_index((y // 16, cr, cb), (16, 32, 32))


def _ycrcb(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2YCrCb)
