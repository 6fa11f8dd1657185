"""Segmentation: frame + person probability + landmarks -> head, neck, torso, background per pixel.

The labels are those of the official code's data processing (from AD-NeRF), which has them from a
face-parsing network; here they follow from a person network, landmark geometry and colours. They
agree in time where the picture does not change.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import binary_closing, binary_opening, gaussian_filter, label

BACKGROUND, HEAD, NECK, TORSO = 0, 1, 2, 3
"""The labels; head: face, hair and ears."""
PERSON_THRESHOLD = 0.5
"""Probability above which a pixel is the person (ours)."""
EDGE_RADIUS = 10.0
"""Window of the edge-aware refinement, pixels of a picture of 512 (ours)."""
EDGE_SOFTNESS = 2e-3
"""Contrast below which the refinement only blurs, squared (ours)."""
SKIN_DISTANCE = 3.0
"""Mahalanobis distance in chroma that is still skin (ours)."""
NECK_DEPTH = 1.0
"""How far below the chin a neck can reach, eye distances (ours)."""
NECK_LEAST = 0.12
"""Neck that is always granted below the jaw, eye distances (ours)."""
NECK_FILL_GAP = 0.5
"""Torso between head and neck that is shaded neck, eye distances (ours)."""
LONG_HAIR = 0.2
"""Width beside the jaw that only hair can have, eye distances (ours)."""
HAIR_PROBABILITY = 0.7
"""Least colour probability of hair against clothes (ours)."""
HAIR_REACH = 1.0
"""How far below the chin hair is followed, eye distances (ours)."""
VOTE_FRAMES = 2
"""Frames before and after that vote on a label (ours)."""
VOTE_COLOUR = 8.0
"""Colour change at which a neighbour's vote fades, of 255 (ours)."""


@dataclass(frozen=True)
class Palette:
    """A person's colours: skin as a Gaussian in chroma, hair against clothes as a table.

    skin_mean (2,) and skin_precision (2, 2): Cr, Cb in [0, 255]; hair: (16, 16, 16) probability
    that an RGB colour (in steps of 16) at the side of the head is hair and not clothes;
    long_hair (2,): whether hair hangs below the mouth at the picture's left, right side.
    """

    skin_mean: Float[np.ndarray, " 2"]
    skin_precision: Float[np.ndarray, "2 2"]
    hair: Float[np.ndarray, "16 16 16"]
    long_hair: Bool[np.ndarray, " 2"]


def refine_mask(
    probability: Float[np.ndarray, "h w"], frame: UInt8[np.ndarray, "h w 3"]
) -> Float[np.ndarray, "h w"]:
    """The person probability with its edges moved onto those of the picture (guided filter).

    He, Sun, Tang 2010, gray guide: in every window the mask is a linear function of the guide.
    """
    radius = max(1, round(EDGE_RADIUS * len(frame) / 512))
    guide = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    window = (2 * radius + 1, 2 * radius + 1)
    mean_guide, mean_mask = cv2.blur(guide, window), cv2.blur(probability, window)
    variance = cv2.blur(guide * guide, window) - mean_guide**2
    together = cv2.blur(guide * probability, window) - mean_guide * mean_mask
    gain = together / (variance + EDGE_SOFTNESS)
    base = mean_mask - gain * mean_guide
    return np.clip(cv2.blur(gain, window) * guide + cv2.blur(base, window), 0, 1)


def learn_palette(
    samples: Iterable[
        tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "h w"], Float[np.ndarray, "68 2"]]
    ],
) -> Palette:
    """Colours of a person from some (frame, person probability, landmarks in pixels).

    Skin is learnt on the cheeks, hair on the head above the brows and beside the face, clothes
    well below the chin.
    """
    skin, widths = [], []
    hair, clothes = np.full((16, 16, 16), 1e-9), np.full((16, 16, 16), 1e-9)
    for frame, person, points in samples:
        body = person > PERSON_THRESHOLD
        cheeks = np.zeros(body.shape, np.uint8)
        # jaw 1, 3, 5 and 15, 13, 11 towards the lip corner, nose wing and lower lid
        for corners in ((1, 3, 5, 48, 31, 40), (15, 13, 11, 54, 35, 47)):
            cv2.fillConvexPoly(cheeks, _hull(points[list(corners)]), 1)
        skin.append(_chroma(frame)[cheeks > 0])
        face = np.zeros(body.shape, np.uint8)
        cv2.fillConvexPoly(face, _hull(points), 1)
        eyes = _eye_distance(points)
        rows = np.arange(len(frame))[:, None]
        above = rows < points[17:27, 1].min() - 0.45 * eyes
        beside = (rows < _jaw_rows(points, body.shape[1])) & (rows > points[27, 1])
        hair += _histogram(frame[body & ~(face > 0) & (above | beside)])
        clothes += _histogram(frame[body & (rows > points[8, 1] + 0.6 * eyes)])
        widths.append(_widths_beside_jaw(body, points, eyes))
    chroma = np.concatenate(skin) if skin else np.zeros((0, 2), np.float32)
    if len(chroma) < 8:
        raise ValueError("the face lies outside the pictures; crop the clip around the head")
    mean = np.median(chroma, axis=0)
    near = chroma[np.abs(chroma - mean).max(1) < 25]  # without hair, shadow edges, earrings
    spread = np.cov(near.T) + 6.0 * np.eye(2)  # a neck is lit less evenly than cheeks
    hair, clothes = (gaussian_filter(table / table.sum(), 0.7) + 1e-6 for table in (hair, clothes))
    return Palette(
        mean.astype(np.float32),
        np.linalg.inv(spread).astype(np.float32),
        (hair / (hair + clothes)).astype(np.float32),
        np.median(widths, axis=0) > LONG_HAIR,
    )


def label_frame(
    frame: UInt8[np.ndarray, "h w 3"],
    person: Float[np.ndarray, "h w"],
    points: Float[np.ndarray, "68 2"],
    palette: Palette,
) -> UInt8[np.ndarray, "h w"]:
    """Labels of one frame.

    person: refined probability; points: landmarks in pixels. The head is the person above the
    jaw line, which goes on level with the mouth beyond the jaw, with what hangs from there:
    ear lobes and hair; the neck is skin below the jaw between its corners; torso is the rest.
    """
    body = _largest_part(person > PERSON_THRESHOLD)
    rows = np.arange(len(frame))[:, None] + 0.5
    jaw = _jaw_rows(points, frame.shape[1])  # (w,) row of the head's lower edge per column
    head = body & (rows <= jaw)
    below = body & ~head
    neck = _neck(frame, below, points, jaw, palette)
    head |= _hanging_hair(frame, below & ~neck, points, jaw, palette)
    head |= _hanging_pieces(below & ~neck & ~head, head)
    labels = np.zeros(frame.shape[:2], np.uint8)
    labels[below], labels[neck], labels[head] = TORSO, NECK, HEAD
    return labels


def smooth_labels(
    pictures: Iterable[tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]],
    *,
    reach: int = VOTE_FRAMES,
) -> Iterator[UInt8[np.ndarray, "h w"]]:
    """Labels of each frame by a vote of the frames within `reach` of it.

    pictures: (frame, labels) in order of time, streamed. At each pixel a neighbour's vote
    weighs exp(-(d / VOTE_COLOUR)^2), d its colour's distance (mean over 3 x 3 pixels, levels of
    255), so that nothing is voted onto what has moved. The frame itself weighs 1.
    """
    held: deque = deque(maxlen=2 * reach + 1)  # (soft frame, labels) around the one voted on
    n_seen = 0
    for frame, labels in pictures:
        held.append((cv2.blur(frame, (3, 3)).astype(np.int16), labels))
        n_seen += 1
        if n_seen > reach:
            yield _vote(held, len(held) - 1 - reach)
    for left in range(min(reach, n_seen) - 1, -1, -1):
        if left + reach + 1 < len(held):
            held.popleft()
        yield _vote(held, len(held) - 1 - left)


def _jaw_rows(points: np.ndarray, width: int) -> np.ndarray:
    """Row of the head's lower edge for each column: the jaw, level with its ends beyond it."""
    jaw = points[3:14]  # from mouth level over the chin to mouth level
    order = np.argsort(jaw[:, 0])
    columns = np.arange(width) + 0.5
    return np.interp(columns, jaw[order, 0], jaw[order, 1])


def _neck(
    frame: np.ndarray, below: np.ndarray, points: np.ndarray, jaw: np.ndarray, palette: Palette
) -> np.ndarray:
    """Skin that joins the jaw between its corners, with the shadows that lie inside it."""
    rows, columns = _pixel_centres(frame)
    eye_distance = _eye_distance(points)
    between = (columns > points[3:6, 0].mean()) & (columns < points[11:14, 0].mean())
    near = below & between & (rows < points[8, 1] + NECK_DEPTH * eye_distance)
    away = _chroma(frame) - palette.skin_mean
    skin_distance = np.sqrt(np.einsum("hwi,ij,hwj->hw", away, palette.skin_precision, away))
    like_skin = near & (skin_distance < SKIN_DISTANCE)
    like_skin = binary_opening(like_skin, iterations=max(1, round(len(frame) / 256)))
    touching = near & (rows < jaw[None] + NECK_LEAST * eye_distance)
    neck = _joined_to(touching, like_skin | touching)
    return _with_shadows(neck, below, NECK_FILL_GAP * eye_distance)


def _joined_to(seed: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The connected parts of the mask that hold some of the seed."""
    parts, _ = label(mask)
    return np.isin(parts, np.setdiff1d(np.unique(parts[seed]), [0]))


def _with_shadows(neck: np.ndarray, below: np.ndarray, longest: float) -> np.ndarray:
    """The neck with what lies above some of it in the same column: no clothes hang from a chin.

    Gaps of more than `longest` pixels in a column stay.
    """
    rows = np.arange(len(neck))[:, None]
    next_neck = np.where(neck, rows, len(neck) * 4)
    next_neck = np.minimum.accumulate(next_neck[::-1])[::-1]  # at or below each pixel
    edge = np.where(neck | ~below, rows, -len(neck) * 4)  # neck, head or background above it
    last = np.maximum.accumulate(edge)
    return neck | (below & (next_neck - last <= longest))


def _hanging_hair(
    frame: np.ndarray, below: np.ndarray, points: np.ndarray, jaw: np.ndarray, palette: Palette
) -> np.ndarray:
    """Hair that goes on below the level of the mouth, beside the jaw."""
    rows, columns = _pixel_centres(frame)
    eye_distance = _eye_distance(points)
    left, right = palette.long_hair
    beside = ((columns < points[3, 0]) & left) | ((columns > points[13, 0]) & right)
    reach = rows < points[8, 1] + HAIR_REACH * eye_distance
    r, g, b = np.moveaxis(frame // 16, -1, 0)
    like_hair = below & reach & (palette.hair[r, g, b] > HAIR_PROBABILITY)
    like_hair = binary_closing(like_hair, iterations=2) & below
    like_hair = binary_opening(like_hair, iterations=max(1, round(len(frame) / 256)))
    start = like_hair & beside & (rows < jaw[None] + 0.06 * eye_distance)
    return _joined_to(start, like_hair)


def _widths_beside_jaw(body: np.ndarray, points: np.ndarray, eyes: float) -> list[float]:
    """How far the person goes on beyond the jaw, just below the mouth, left and right."""
    columns = np.arange(body.shape[1])
    rows = np.clip(points[[3, 13], 1] + 0.15 * eyes, 0, len(body) - 1).astype(int)
    left = body[rows[0]] & (columns < points[4, 0] - 0.03 * eyes)
    right = body[rows[1]] & (columns > points[12, 0] + 0.03 * eyes)
    return [left.sum() / eyes, right.sum() / eyes]


def _hanging_pieces(torso: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Pieces cut off by the jaw line that are not joined to the torso: ear lobes, curls.

    A piece that reaches the lower border is torso: in a close picture the neck parts shoulders.
    """
    parts, n_parts = label(torso)
    if n_parts < 2:
        return np.zeros_like(torso)
    largest = np.bincount(parts.ravel())[1:].argmax() + 1
    under_head = np.zeros_like(head)
    under_head[1:] = head[:-1]
    touching = np.unique(parts[under_head & torso])
    return np.isin(parts, np.setdiff1d(touching, [0, largest, *np.unique(parts[-1])]))


def _largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest connected region, holes filled from the outside in."""
    parts, n_parts = label(mask)
    if not n_parts:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    body = parts == sizes.argmax()
    outside, _ = label(np.pad(~body, 1, constant_values=True))
    holes = (outside != outside[0, 0])[1:-1, 1:-1] & ~body
    hole_parts, n_holes = label(holes)
    sizes = np.bincount(hole_parts.ravel(), minlength=n_holes + 1)
    small = sizes < mask.size / 1000  # a gap between hair and shoulder stays open
    small[0] = False
    return body | small[hole_parts]


def _vote(held: deque, at: int) -> np.ndarray:
    soft, own = held[at]
    disputed = np.zeros(own.shape, bool)
    for _, labels in held:
        disputed |= labels != own
    rows, columns = np.nonzero(disputed)
    if not len(rows):
        return own.copy()
    votes = np.zeros((len(rows), 1 + TORSO), np.float32)
    for other, labels in held:
        away = np.abs(other[rows, columns] - soft[rows, columns]).max(-1)
        weight = np.exp(-((away / VOTE_COLOUR) ** 2))
        votes[np.arange(len(rows)), labels[rows, columns]] += weight
    steady = own.copy()
    steady[rows, columns] = votes.argmax(1)
    return steady


def _eye_distance(points: np.ndarray) -> float:
    """Distance of the outer eye corners, pixels."""
    return float(np.linalg.norm(points[36] - points[45]))


def _pixel_centres(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (h, 1) and columns (1, w) of the centres of a picture's pixels."""
    height, width = frame.shape[:2]
    return np.arange(height)[:, None] + 0.5, np.arange(width)[None] + 0.5


def _histogram(colours: np.ndarray) -> np.ndarray:
    """Counts of (n, 3) uint8 colours in steps of 16."""
    return np.histogramdd(colours, bins=16, range=((0, 256),) * 3)[0]


def _chroma(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2YCrCb)[..., 1:].astype(
        np.float32
    )


def _hull(points: np.ndarray) -> np.ndarray:
    return cv2.convexHull(points.round().astype(np.int32))
