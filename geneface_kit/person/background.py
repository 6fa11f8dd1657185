"""Background and torso picture: what a frame shows behind the head.

A still background comes from many frames, a moving one, which would be a patchwork, from the best.
"""

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8
from scipy.ndimage import distance_transform_edt, gaussian_filter, uniform_filter

from geneface_kit.person.segmentation import BACKGROUND, HEAD, NECK, TORSO, Labels, Mask, Picture
from geneface_kit.person.spans import evenly_spaced

MOMENTS = 40  # frames that are searched for the background (official code: every 20th frame)
VOTES = 3  # frames that must see a pixel free of the person (ours)
LEAST_DISTANCE = 10.0
"""Distance from the person of a free pixel, pixels of a picture of 512 (official code: 5; ours is
larger because the person network's edges are less exact than a parsing network's)."""
MOVING_LEVEL = 0.04  # stray of a background pixel that is motion, of full scale (ours)
MOVING_SHARE = 0.1  # share of moving background above which one moment is kept (ours)
TORSO_FILL, NECK_FILL = 9, 53  # rows painted above both, px of a picture of 512 (official code)
NECK_INSIDE = 4  # how far inside the neck its colour is taken, px of a picture of 512 (official)
DARKENING = 0.98  # factor on the colour per painted row of a picture of 512 (official code)

Frames = UInt8[np.ndarray, "t h w 3"]
FrameLabels = UInt8[np.ndarray, "t h w"]


@dataclass(frozen=True)
class Background:
    """A background picture, and where it was really seen. moving: share of its pixels that change
    over time; still_frame: which of the frames that were searched was taken because the background
    moves, -1 when it was put together from all of them."""

    picture: Picture
    seen: Mask
    moving: float
    still_frame: int


def make_background(frames: Frames, labels: FrameLabels) -> Background:
    """The background `background_from` up to MOMENTS frames over the whole clip, or from their
    `medoid_frame`."""
    some = evenly_spaced(len(frames), MOMENTS)
    frames, labels = frames[some], labels[some]
    moving = background_motion(frames, labels)
    best = medoid_frame(frames, labels) if moving > MOVING_SHARE else -1
    kept = slice(best, best + 1) if best >= 0 else slice(None)
    picture, seen = background_from(frames[kept], labels[kept])
    return Background(picture, seen, moving, best)


def background_motion(frames: Frames, labels: FrameLabels) -> float:
    """Share of the background pixels whose colour moves over time, 0 to 1.

    Judged are pixels that are background, with their neighbourhood, in at least half of the frames.
    A frame's brightness is taken out first (exposure is not motion); a pixel moves when its own,
    averaged over 5 x 5, strays from its median by more than `MOVING_LEVEL` in a tenth of them.
    """
    padded = np.pad(labels == BACKGROUND, ((0, 0), (1, 1), (1, 1)), mode="edge")
    distances = np.stack([distance_transform_edt(one) for one in padded])
    free = distances[:, 1:-1, 1:-1] > _least_distance(labels.shape[1])
    judged = free.sum(0) >= max(2, len(labels) / 2)
    if not judged.any():
        return 0.0
    gray = np.stack([uniform_filter(f.mean(-1, dtype=np.float32), 5) for f in frames]) / 255
    gray[~free] = np.nan
    gray = gray[:, judged] + 1e-3
    exposure = np.nanmedian(gray / np.nanmedian(gray, axis=0), axis=1)
    gray = gray / np.where(np.isfinite(exposure), exposure, 1.0)[:, None]
    away = np.abs(gray - np.nanmedian(gray, axis=0))
    often = np.nanquantile(away, 0.9, axis=0)
    return float((often > MOVING_LEVEL).mean())


def medoid_frame(frames: Frames, labels: FrameLabels) -> int:
    """Index of the frame whose background is nearest to that of all frames (their medoid): with the
    smallest mean absolute difference over the pixels that are background in both."""
    small, free = frames[:, ::2, ::2].astype(np.int16), labels[:, ::2, ::2] == BACKGROUND
    cost = np.zeros(len(frames))
    for a, b in itertools.combinations(range(len(frames)), 2):
        both = free[a] & free[b]
        if both.any():
            cost[[a, b]] += float(np.abs(small[a][both] - small[b][both]).mean())
    return int(cost.argmin())


def background_from(frames: Frames, labels: FrameLabels) -> tuple[Picture, Mask]:
    """The background without the person, and where it was really seen.

    Every pixel is the median of the `VOTES` frames (fewer of less than 10 frames a vote) in which
    it is farthest from the person, if all are farther than `LEAST_DISTANCE`: one wrong mask puts
    nobody's hair there; the official code takes the farthest alone. The other pixels copy the
    nearest seen one and are blurred, the more the farther it is.
    """
    votes = min(VOTES, 1 + len(frames) // 10)
    far = np.stack([distance_transform_edt(one == BACKGROUND) for one in labels], dtype=np.float32)
    chosen = np.argpartition(far, len(frames) - votes, axis=0)[-votes:]
    seen_by = np.take_along_axis(frames, chosen[..., None], axis=0)
    background = np.median(seen_by, axis=0).astype(np.uint8)
    farthest = np.take_along_axis(far, chosen, axis=0).min(0)
    seen = farthest > _least_distance(len(background))
    if not seen.any():
        return np.full_like(background, 128), seen
    away, nearest = distance_transform_edt(~seen, return_indices=True)
    filled = background[nearest[0], nearest[1]].astype(np.float32)
    soft = filled
    for sigma in (len(filled) / 128, len(filled) / 32):  # copied colours leave streaks
        share = np.clip(away / (3 * sigma), 0, 1)[..., None]
        soft = (1 - share) * soft + share * gaussian_filter(filled, (sigma, sigma, 0))
    return soft.round().astype(np.uint8), seen


def torso_image(frame: Picture, labels: Labels) -> UInt8[np.ndarray, "h w 4"]:
    """Neck and torso as RGBA, painted on upwards behind the chin (official code, as AD-NeRF): in
    each column the top torso pixel under the head is copied upwards, then the neck's (its colour
    taken a little inside), darkened per row. Colour is 0 where alpha is 0."""
    scale = len(frame) / 512
    body = (labels == NECK) | (labels == TORSO)
    colour = np.where(body[..., None], frame, 0).astype(np.float32)
    sizes = (TORSO_FILL, NECK_FILL, NECK_INSIDE)
    torso_rows, neck_rows, inside = (max(1, round(n * scale)) for n in sizes)
    covered = body | _paint_up(colour, labels, TORSO, torso_rows, 0)
    painted = _paint_up(colour, labels, NECK, neck_rows, inside)
    covered |= painted
    width = 2 * max(1, round(2 * scale)) + 1
    weight = cv2.blur(covered.astype(np.float32), (width, width))[..., None]
    soft = cv2.blur(colour, (width, width)) / np.maximum(weight, 1e-6)
    colour[painted] = soft[painted]
    alpha = np.where(covered, 255, 0).astype(np.uint8)
    colour = np.where(covered[..., None], colour, 0).round().clip(0, 255).astype(np.uint8)
    return np.concatenate([colour, alpha[..., None]], axis=-1)


def _least_distance(side: int) -> float:
    return max(2.0, LEAST_DISTANCE * side / 512)


def _paint_up(colour: np.ndarray, labels: Labels, part: int, n_rows: int, inside: int) -> Mask:
    """Paint each column's top `part` pixel under the head upwards, in place; what was painted."""
    darkening = DARKENING ** (512 / len(labels))
    painted = np.zeros(labels.shape, bool)
    is_part = labels == part
    top = is_part.argmax(0)
    columns = np.flatnonzero(is_part.any(0) & (top > 0))
    columns = columns[labels[top[columns] - 1, columns] == HEAD]
    depth = np.minimum(inside, is_part[:, columns].sum(0) - 1)
    source = colour[np.minimum(top[columns] + depth, len(labels) - 1), columns].copy()
    for k in range(1, n_rows + 1):
        rows = top[columns] - k
        free = rows >= 0
        free[free] &= labels[rows[free], columns[free]] == HEAD
        colour[rows[free], columns[free]] = source[free] * darkening**k
        painted[rows[free], columns[free]] = True
    return painted
