"""Segmentation: frame + person probability + landmarks -> head, neck, torso, background per pixel.

The official code (as AD-NeRF) has these labels from a face-parsing network; here they follow from a
person network, landmark geometry and colours, and agree in time where the picture does not change.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from jaxtyping import UInt8
from scipy.ndimage import binary_propagation

from geneface_kit.person.palette import (
    Palette,
    Picture,
    Points,
    Share,
    eye_distance,
    hull,
    jaw_rows,
)
from geneface_kit.person.spans import windows

Labels = UInt8[np.ndarray, "h w"]
BACKGROUND, HEAD, NECK, TORSO = 0, 1, 2, 3  # the labels; head: face, hair and ears
FREE, SURE_HEAD, SURE_NOT = 0, 1, 2
"""What a pixel's label says of the head: nothing, that it is there, that it is not."""
BAND = 6 / 256
"""How far from the border of the head's label a pixel is free, of the picture's edge (ours)."""
PERSON_THRESHOLD = 0.5  # probability above which a pixel is the person (ours)
EDGE_RADIUS = 10.0  # window of the edge-aware refinement, pixels of a picture of 512 (ours)
EDGE_SOFTNESS = 2e-3  # contrast below which the refinement only blurs, squared (ours)
SKIN_DISTANCE = 3.0  # Mahalanobis distance in chroma that is still skin (ours)
NECK_DEPTH = 1.0  # how far below the chin a neck can reach, eye distances (ours)
NECK_LEAST = 0.12  # neck that is always granted below the jaw, eye distances (ours)
NECK_FILL_GAP = 0.5  # torso between head and neck that is shaded neck, eye distances (ours)
HAIR_PROBABILITY, HAIR_DOUBTFUL = 0.6, 0.35
"""Least colour probability of hair, and above the shoulders, where clothes are unlikely (ours)."""
SHOULDER = 0.25  # how far below the chin hair may rest on the shoulders, eye distances (ours)
HAIR_REACH = 1.0
"""How far below the chin hair is the head's, eye distances: its box ends there (ours)."""
HAIR_GAP = 0.2
"""Gap that may part hair from the head's lower edge beside the jaw, eye distances (ours)."""
PIECE_SHARE = 0.1  # size of what may hang from a head by itself, over the head's (ours)
VOTE_FRAMES = 2  # frames before and after that vote on a label (ours)
VOTE_COLOUR = 8.0  # colour change at which a neighbour's vote fades, of 255 (ours)


def refine_mask(probability: Share, frame: Picture) -> Share:
    """The person probability with its edges moved onto those of the picture (gray guided filter,
    He, Sun, Tang 2010; mediapipe brings the OpenCV that has it)."""
    radius = max(1, round(EDGE_RADIUS * len(frame) / 512))
    guide = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    return np.clip(cv2.ximgproc.guidedFilter(guide, probability, radius, EDGE_SOFTNESS), 0, 1)


def label_frame(frame: Picture, person: Share, points: Points, palette: Palette) -> Labels:
    """Labels of one frame. person: refined probability.

    The head is the person above the jaw line, which goes on level with the mouth beyond the jaw,
    with what hangs from there: ear lobes and hair; the neck is skin below the jaw between its
    corners; torso is the rest.
    """
    body = _largest_part(person > PERSON_THRESHOLD)
    rows, _ = _pixel_centres(frame)
    jaw = jaw_rows(points, frame.shape[1])  # (w,) row of the head's lower edge per column
    head = body & (rows <= jaw)
    below = body & ~head
    neck = _neck(frame, below, points, jaw, palette)
    head |= _hanging_hair(frame, below & ~neck, points, jaw, palette)
    head |= _hanging_pieces(below & ~neck & ~head, head)
    labels = np.zeros(frame.shape[:2], np.uint8)
    labels[below], labels[neck], labels[head] = TORSO, NECK, HEAD
    return labels


def label_kinds(frame: Picture, labels: Labels, points: Points, palette: Palette) -> Labels:
    """What a frame's labels say of the head at each pixel: FREE, SURE_HEAD or SURE_NOT. Free is
    what lies within BAND of its border, unless in the face, and hair that may rest on shoulders."""
    is_head, band = labels == HEAD, BAND * len(labels)
    face = cv2.fillConvexPoly(np.zeros_like(labels), hull(points), 1)
    face = cv2.erode(face, np.ones((5, 5), np.uint8)) > 0
    probability, depth = _of_hair(frame, points, palette)
    hair = (labels != BACKGROUND) & (probability > HAIR_DOUBTFUL)
    hair &= (depth > SHOULDER) & (depth < 1.5 * HAIR_REACH)
    resting = hair & binary_propagation(is_head, mask=is_head | hair) if hair.any() else hair
    inside = (_distance(is_head) > band) & ~resting | (face & is_head)
    outside = (_distance(~is_head) > band) & ~resting
    return np.where(inside, SURE_HEAD, np.where(outside, SURE_NOT, FREE)).astype(np.uint8)


def smooth_labels(
    pictures: Iterable[tuple[Picture, Labels]], *, reach: int = VOTE_FRAMES
) -> Iterator[Labels]:
    """Labels of each frame by a vote of the frames within `reach` of it.

    pictures: (frame, labels) in order of time, streamed. At each pixel a neighbour's vote
    weighs exp(-(d / VOTE_COLOUR)^2), d its colour's distance (mean over 3 x 3 pixels, levels of
    255), so that nothing is voted onto what has moved. The frame itself weighs 1.
    """
    softened = ((cv2.blur(one, (3, 3)).astype(np.int16), labels) for one, labels in pictures)
    for window in windows(softened, reach):
        yield _vote(window[reach], [one for one in window if one is not None])


def _neck(
    frame: np.ndarray, below: np.ndarray, points: np.ndarray, jaw: np.ndarray, palette: Palette
) -> np.ndarray:
    """Skin that joins the jaw between its corners, with the shadows that lie inside it."""
    rows, columns = _pixel_centres(frame)
    eyes = eye_distance(points)
    between = (columns > points[3:6, 0].mean()) & (columns < points[11:14, 0].mean())
    near = below & between & (rows < points[8, 1] + NECK_DEPTH * eyes)
    like_skin = near & (palette.skin_distance(frame) < SKIN_DISTANCE)
    like_skin = _morphed(like_skin, cv2.MORPH_OPEN, 1)
    touching = near & (rows < jaw[None] + NECK_LEAST * eyes)
    neck = binary_propagation(touching, mask=like_skin | touching)
    return _with_shadows(neck, below, NECK_FILL_GAP * eyes)


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
    """Hair that goes on below the level of the mouth, beside the jaw.

    Above the shoulders little else can hang there, so that doubtful colours do, above the chin any.
    """
    rows, columns = _pixel_centres(frame)
    probability, depth = _of_hair(frame, points, palette)
    outside = (columns < points[4, 0]) | (columns > points[12, 0])
    doubtful = HAIR_DOUBTFUL * np.clip(depth / SHOULDER, 0, 1)
    least = np.where(outside & (depth < SHOULDER), doubtful, HAIR_PROBABILITY)
    like_hair = below & (probability > least) & (depth < HAIR_REACH)
    like_hair = _morphed(like_hair, cv2.MORPH_CLOSE, 2) & below
    like_hair = _morphed(like_hair, cv2.MORPH_OPEN, 3)  # an edge in shadow is thinner
    beside = (columns < points[3, 0]) | (columns > points[13, 0])
    start = like_hair & beside & (rows < jaw[None] + HAIR_GAP * eye_distance(points))
    return binary_propagation(start, mask=like_hair)


def _of_hair(
    frame: np.ndarray, points: np.ndarray, palette: Palette
) -> tuple[np.ndarray, np.ndarray]:
    """Probability of hair, 0 on sides without long hair; how far below the chin, eye distances."""
    rows, columns = _pixel_centres(frame)
    is_long = palette.long_hair[(columns > points[8, 0]).astype(int)]
    return palette.hair_probability(frame) * is_long, (rows - points[8, 1]) / eye_distance(points)


def _hanging_pieces(torso: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Pieces cut off by the jaw line, not joined to the torso: ear lobes, curls, jewels. What is
    large or reaches the lower border is torso: in a close picture the neck parts shoulders."""
    parts = _parts(torso)
    small = np.bincount(parts.ravel()) < PIECE_SHARE * head.sum()
    under_head = parts[1:][head[:-1]]
    return small[parts] & np.isin(parts, under_head) & ~np.isin(parts, parts[-1]) & torso


def _largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest connected region, holes filled from the outside in."""
    parts = _parts(mask)
    if not parts.any():
        return mask
    body = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    outside = _parts(np.pad(~body, 1, constant_values=True))
    holes = _parts((outside != outside[0, 0])[1:-1, 1:-1] & ~body)
    small = np.bincount(holes.ravel()) < mask.size / 1000  # a gap by hair and shoulder stays open
    return body | (small[holes] & (holes > 0))


def _vote(
    voted_on: tuple[np.ndarray, np.ndarray], held: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    soft, own = voted_on
    rows, columns = np.nonzero(np.any([labels != own for _, labels in held], axis=0))
    votes = np.zeros((len(rows), 1 + TORSO), np.float32)
    for other, labels in held:
        away = np.abs(other[rows, columns] - soft[rows, columns]).max(-1)
        weight = np.exp(-((away / VOTE_COLOUR) ** 2))
        votes[np.arange(len(rows)), labels[rows, columns]] += weight
    steady = own.copy()
    steady[rows, columns] = votes.argmax(1)
    return steady


def _parts(mask: np.ndarray) -> np.ndarray:
    """The number of each pixel's connected part, from 1; 0 outside the mask."""
    return cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[1]


def _morphed(mask: np.ndarray, operation: int, reach: int) -> np.ndarray:
    """A mask opened or closed with a cross, `reach` pixels of a picture of 256."""
    times = max(1, round(reach * len(mask) / 256))
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return cv2.morphologyEx(mask.astype(np.uint8), operation, cross, iterations=times) > 0


def _pixel_centres(frame: Picture) -> list[np.ndarray]:
    """Rows (h, 1) and columns (1, w) of the centres of a picture's pixels."""
    return np.ogrid[0.5 : frame.shape[0], 0.5 : frame.shape[1]]


def _distance(mask: np.ndarray) -> Share:
    """How far each pixel of a mask lies inside it, pixels."""
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
