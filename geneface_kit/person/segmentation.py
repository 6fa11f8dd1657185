"""Segmentation: frame + person probability + landmarks -> head, neck, torso, background per pixel.

The official code (as AD-NeRF) has these labels from a face-parsing network; here they follow from a
person network, landmark geometry and colours, and agree in time where the picture does not change.
For want of a parsing network hair is what is seen above and beside the face, not below (ours).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import binary_erosion, binary_fill_holes, binary_propagation, gaussian_filter

from geneface_kit.person.spans import windows

Picture = UInt8[np.ndarray, "h w 3"]
Share = Float[np.ndarray, "h w"]
Mask = Bool[np.ndarray, "h w"]
Points = Float[np.ndarray, "68 2"]  # landmarks, pixels
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
LONG_HAIR = 0.2  # width beside the jaw that only hair can have, eye distances (ours)
CLOTHES_INSIDE, CLOTHES_OUTSIDE = 0.5, 1.6
"""Clothes are learnt nearer to the chin's column than the one, in front of the chest, and farther
than the other, on the shoulders, eye distances: long hair hangs between them (ours)."""
CLOTHES_DEPTH = 0.6  # how far below the chin clothes begin, eye distances (ours)
WEIGHTS = (1.0, 1.0, 0.5)  # what colours of hair, clothes and cheeks count (ours)


@dataclass(frozen=True)
class Palette:
    """A person's colours: skin as a Gaussian in chroma, hair against all else as a table.

    skin_mean, skin_precision: Cr, Cb in [0, 255]; hair: probability that a colour (see _bins) is
    hair and neither clothes nor skin; long_hair: whether hair hangs below the mouth at the
    picture's left, right side.
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


def learn_palette(samples: Iterable[tuple[Picture, Share, Points]]) -> Palette:
    """Colours of a person from some (frame, person probability, landmarks in pixels): skin on the
    cheeks, hair above the brows and beside the face, clothes below the chin."""
    skin, widths = [np.zeros((0, 2), np.float32)], []
    tables = np.full((3, 16, 32, 32), 1e-9)
    for frame, person, points in samples:
        body = person > PERSON_THRESHOLD
        # jaw 1, 3, 5 and 15, 13, 11 towards the lip corner, nose wing and lower lid
        corners = points[[[1, 3, 5, 48, 31, 40], [15, 13, 11, 54, 35, 47]]]
        cheeks = np.any([_filled_hull(one, body.shape) for one in corners], axis=0)
        skin.append(_ycrcb(frame)[cheeks, 1:].astype(np.float32))
        eyes = eye_distance(points)
        rows, columns = np.mgrid[: len(frame), : frame.shape[1]]
        above = rows < points[17:27, 1].min() - 0.45 * eyes
        beside = (rows < jaw_rows(points, body.shape[1])) & (rows > points[27, 1])
        away = np.abs(columns - points[8, 0]) / eyes
        bare = (away < CLOTHES_INSIDE) | (away > CLOTHES_OUTSIDE)
        low = rows > points[8, 1] + CLOTHES_DEPTH * eyes
        head = body & ~_filled_hull(points, body.shape) & (above | beside)
        bins = _bins(frame)
        for table, mask in zip(tables, (head, body & bare & low, cheeks), strict=True):
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
    face = binary_erosion(_filled_hull(points, labels.shape), np.ones((5, 5)), border_value=1)
    probability, depth = _of_hair(frame, points, palette)
    hair = (labels != BACKGROUND) & (probability > HAIR_DOUBTFUL)
    hair &= (depth > SHOULDER) & (depth < 1.5 * HAIR_REACH)
    resting = hair & binary_propagation(is_head, mask=is_head | hair) if hair.any() else hair
    inside = (_distance(is_head) > band) & ~resting | (face & is_head)
    outside = (_distance(~is_head) > band) & ~resting
    return np.where(inside, SURE_HEAD, np.where(outside, SURE_NOT, FREE)).astype(np.uint8)


def smooth_labels(pictures: Iterable[tuple[Picture, Labels]]) -> Iterator[Labels]:
    """Labels of each frame by a vote of the frames within VOTE_FRAMES of it.

    pictures: (frame, labels) in order of time, streamed. At each pixel a neighbour's vote
    weighs exp(-(d / VOTE_COLOUR)^2), d its colour's distance (mean over 3 x 3 pixels, levels of
    255), so that nothing is voted onto what has moved. The frame itself weighs 1.
    """
    softened = ((cv2.blur(one, (3, 3)).astype(np.int16), labels) for one, labels in pictures)
    for window in windows(softened, VOTE_FRAMES):
        yield _vote(window[VOTE_FRAMES], [one for one in window if one is not None])


def jaw_rows(points: Points, width: int) -> Float[np.ndarray, " w"]:
    """Row of the head's lower edge for each column: the jaw, level with its ends beyond it."""
    jaw = points[3:14]  # from mouth level over the chin to mouth level
    order = np.argsort(jaw[:, 0])
    columns = np.arange(width) + 0.5
    return np.interp(columns, jaw[order, 0], jaw[order, 1])


def eye_distance(points: Points) -> float:
    """Distance of the outer eye corners, pixels."""
    return float(np.linalg.norm(points[36] - points[45]))


def _filled_hull(points: Float[np.ndarray, "k 2"], shape: tuple[int, int]) -> Mask:
    """The pixels of a picture inside the convex hull of points."""
    hull = cv2.convexHull(points.round().astype(np.int32))
    return cv2.fillConvexPoly(np.zeros(shape, np.uint8), hull, 1) > 0


def _neck(frame: Picture, below: Mask, points: Points, jaw: np.ndarray, palette: Palette) -> Mask:
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
    frame: Picture, below: Mask, points: Points, jaw: np.ndarray, palette: Palette
) -> Mask:
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


def _of_hair(frame: Picture, points: Points, palette: Palette) -> tuple[Share, np.ndarray]:
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
    """The largest connected region, its small holes filled."""
    parts = _parts(mask)
    if not parts.any():
        return mask
    body = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    holes = _parts(binary_fill_holes(body) & ~body)
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


def _pixel_centres(frame: Picture) -> Sequence[np.ndarray]:
    """Rows (h, 1) and columns (1, w) of the centres of a picture's pixels."""
    return np.ogrid[0.5 : frame.shape[0], 0.5 : frame.shape[1]]


def _distance(mask: np.ndarray) -> Share:
    """How far each pixel of a mask lies inside it, pixels."""
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)


def _bins(frame: np.ndarray) -> np.ndarray:
    """Each pixel's place in a table of colours: Y in steps of 16, Cr and Cb in steps of 4."""
    y, *chroma = cv2.split(_ycrcb(frame))
    cr, cb = ((one.clip(64, 191) - 64) // 4 for one in chroma)
    return np.ravel_multi_index((y // 16, cr, cb), (16, 32, 32))


def _ycrcb(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2YCrCb)
