"""Plate: the background without the person, from many frames when it stands still.

When it moves, every pixel from its own moment would make a patchwork: the best single moment.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import distance_transform_edt, gaussian_filter, uniform_filter

from geneface_kit.person.layers.parts import BACKGROUND, LayersConfig

__all__ = ["Plate", "background_motion", "best_still", "make_plate", "plate_from", "some_frames"]


@dataclass(frozen=True)
class Plate:
    """A background picture, where it was really seen, the share of it that moves and its kind.

    moving: share of the background pixels that change over time; still_frame: the index among
    the given frames of the one that was taken because the background moves, -1 when the plate
    was put together from all of them.
    """

    picture: UInt8[np.ndarray, "h w 3"]
    seen: Bool[np.ndarray, "h w"]
    moving: float
    still_frame: int


def make_plate(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]],
    labels: Sequence[UInt8[np.ndarray, "h w"]],
    config: LayersConfig,
) -> Plate:
    """The plate of some frames of a clip: `plate_from` them, or from the `best_still` one."""
    moving = background_motion(frames, labels, config)
    if moving <= config.moving_share:
        picture, seen = plate_from(zip(frames, labels, strict=True), config)
        return Plate(picture, seen, moving, -1)
    best = best_still(frames, labels)
    picture, seen = plate_from([(frames[best], labels[best])], config)
    return Plate(picture, seen, moving, best)


def background_motion(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]],
    labels: Sequence[UInt8[np.ndarray, "h w"]],
    config: LayersConfig,
) -> float:
    """Share of the background pixels whose colour moves over time, 0 to 1.

    Only pixels that are background, with their neighbourhood, in at least half of the frames
    are judged. A frame's overall brightness is taken out first (exposure is not motion), then
    a pixel moves when its brightness, averaged over 5 x 5 pixels, strays from its median over
    time by more than `moving_level` in a tenth of the frames.
    """
    free = np.stack([_well_behind(one, config) for one in labels])
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
    return float((often > config.moving_level).mean())


def best_still(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]], labels: Sequence[UInt8[np.ndarray, "h w"]]
) -> int:
    """Index of the frame whose background is nearest to that of all frames (their medoid).

    Nearest: the smallest mean absolute difference to the other frames over the pixels that are
    background in both; so the pictures whose background it replaces change the least.
    """
    small = [frame[::2, ::2].astype(np.int16) for frame in frames]
    free = [one[::2, ::2] == BACKGROUND for one in labels]
    cost = np.zeros(len(frames))
    for a in range(len(frames)):
        for b in range(a):
            both = free[a] & free[b]
            if both.any():
                away = float(np.abs(small[a][both] - small[b][both]).mean())
                cost[a] += away
                cost[b] += away
    return int(cost.argmin())


def plate_from(
    pictures: Iterable[tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]],
    config: LayersConfig,
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """The background without the person, and where it was really seen.

    pictures: (frame, labels) pairs. Every pixel is the median of the `plate_votes` frames in
    which it is farthest from the person, if all of these are more than `plate_distance`: one
    wrong mask puts nobody's hair there. Of fewer than 10 frames a vote, fewer vote. The other
    pixels (always covered) copy the nearest seen one and are then blurred, the more the farther
    they are from it.
    Differs from the official code, which takes the farthest frame alone.
    """
    frames, distances = [], []
    for frame, labels in pictures:
        frames.append(frame)
        distances.append(distance_transform_edt(labels == BACKGROUND).astype(np.float32))
    if not frames:
        raise ValueError("a plate needs at least one frame")
    votes = min(config.plate_votes, 1 + len(frames) // 10)
    far = np.stack(distances)
    chosen = np.argpartition(far, len(frames) - votes, axis=0)[-votes:]
    seen_by = np.take_along_axis(np.stack(frames), chosen[..., None], axis=0)
    plate = np.median(seen_by, axis=0).astype(np.uint8)
    farthest = np.take_along_axis(far, chosen, axis=0).min(0)
    seen = farthest > _least_distance(len(plate), config)
    if not seen.any():
        return np.full_like(plate, 128), seen
    if not seen.all():
        away, nearest = distance_transform_edt(~seen, return_indices=True)
        filled = plate[nearest[0], nearest[1]]
        soft = _blurred_where_unseen(filled.astype(np.float32), away, len(plate) / 512)
        plate = soft.round().astype(np.uint8)
    return plate, seen


def some_frames(n_frames: int, n: int) -> np.ndarray:
    """Up to n frame numbers, evenly over the clip."""
    return np.unique(np.linspace(0, n_frames - 1, min(n_frames, n)).astype(int))


def _least_distance(side: int, config: LayersConfig) -> float:
    return max(2.0, config.plate_distance * side / 512)


def _well_behind(labels: np.ndarray, config: LayersConfig) -> np.ndarray:
    distance = distance_transform_edt(np.pad(labels == BACKGROUND, 1, mode="edge"))[1:-1, 1:-1]
    return distance > _least_distance(len(labels), config)


def _blurred_where_unseen(
    filled: Float[np.ndarray, "h w 3"], away: Float[np.ndarray, "h w"], scale: float
) -> Float[np.ndarray, "h w 3"]:
    """Copied colours leave streaks: blend in wider blurs the farther from seen pixels."""
    result = filled
    for sigma in (4 * scale, 16 * scale):
        soft = np.stack([gaussian_filter(filled[..., c], sigma) for c in range(3)], -1)
        share = np.clip(away / (3 * sigma), 0, 1)[..., None]
        result = (1 - share) * result + share * soft
    return result
