"""Occlusion: frames that show no mouth (a hand), nothing new (a frozen picture) or what was never
filmed (writing, a mixture of others)."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import binary_opening

from geneface_kit.person.segmentation import Picture
from geneface_kit.person.spans import ONE, Spans, each, windows

Pictures = Iterable[Picture]
Flags = Bool[np.ndarray, " t"]  # of every frame
Detail = Float[np.ndarray, "a b"]
SIDE = 32  # edge of the aligned pictures of the mouth, pixels
PLACES = np.array([[4, -14], [28, -14], [16, 30]], np.float32)
"""Where both eyes and the chin lie in them: from under the nose to the chin is seen."""
LEAST_LIKENESS = 0.1
"""Correlation with the clip's median mouth below which there is no mouth. Of 30 clips of talking
people, mouths wide open included, no frame goes below 0.17; a hand gives -0.3 (ours)."""
TURNED = 0.3
"""How far the nose's tip may be from its usual place between the eyes, in their distances: a head
that is turned farther, about 25 degrees, has another mouth and is not judged (ours)."""
HIDDEN_FRAMES = 4  # frames of the shortest occlusion: shorter ones are blur (ours)
FROZEN_CHANGE, FROZEN_FRAMES = 0.05, 10
"""Mean change between frames, of 255, that is none, and the shortest standstill (ours)."""
LETTERS, TEXT, STEADY = 12, 90.0, 3
"""Writing is what so many parts of STROKE x STROKE pixels show whose edges (mean absolute Laplacian
of 255, at FINE pixels) come or go by TEXT from one frame to the next, after and before so many
frames that do not. Of 133 clips of talking people five show such, all of them subtitles (ours)."""
STROKE = 4
MIXED, OFTEN = 0.15, 0.08
"""What a mixture of its neighbours leaves of a frame, over their difference, below which it is one;
share of a clip's frames below which mixtures are chance, a codec's or slow motion. Of 134 clips of
talking people one has more; clips made of 12.5 and 15 pictures a second by mixing have 8 to 49 %
(ours)."""
FADE = 5  # frames to both sides over which a cross-fade is looked for (ours)
FINE, BLOCK, TEXTURE = 160, 8, 2.0
"""Longer side of the pictures it is looked for in and of their parts that are judged, pixels; least
mean square of their detail, levels of 255 (ours)."""
UNLIKE, LEFT = 0.1, 0.03
"""Correlation of two frames' detail below which a part of the picture shows something else; what a
mixture of both leaves of the frame between, over their difference, both squared (ours)."""


def hidden_mouth(frames: Pictures, points: Float[np.ndarray, "t 68 2"]) -> Flags:
    """Frames whose mouth does not look like the clip's: something is before it. points: landmarks,
    pixels, which a detector also puts where it sees no mouth."""
    left, right = points[:, 36:42].mean(1), points[:, 42:48].mean(1)
    across, nose = right - left, points[:, 30] - (left + right) / 2
    turn = (nose * across).sum(1) / np.maximum((across**2).sum(1), 1e-6)
    places = np.stack([left, right, points[:, 8]], axis=1).astype(np.float32)
    seen = []
    for frame, place in zip(frames, places, strict=True):
        warp = cv2.getAffineTransform(place, PLACES)
        soft = cv2.GaussianBlur(np.asarray(frame), (0, 0), max(0.6, len(frame) / 256))
        seen.append(cv2.warpAffine(soft, warp, (SIDE, SIDE)))
    mouths = np.stack(seen).astype(np.float32)
    usual = np.median(mouths, axis=0)
    likeness = [cv2.matchTemplate(one, usual, cv2.TM_CCOEFF_NORMED)[0, 0] for one in mouths]
    facing = np.abs(turn - np.median(turn)) < TURNED
    hidden = (np.array(likeness) < LEAST_LIKENESS) & facing
    return binary_opening(hidden, np.ones(HIDDEN_FRAMES))


def frozen(frames: Pictures) -> Flags:
    """Frames that repeat the one before for FROZEN_FRAMES and more."""
    still, before = [], None
    for frame in frames:
        small = np.asarray(frame)[::2, ::2].astype(np.int16)
        still.append(before is not None and float(np.abs(small - before).mean()) < FROZEN_CHANGE)
        before = small
    return binary_opening(np.array(still, bool), np.ones(FROZEN_FRAMES))


def subtitled(frames: Pictures, spans: Spans = ONE) -> Flags:
    """Frames that writing is laid over: edges that come at once, stay as they are and go at once,
    as nothing does that moves. Writing that a stretch begins with is there until it goes."""
    edges = []
    for frame in frames:
        lines = np.abs(cv2.Laplacian(_small_gray(frame), cv2.CV_32F))
        size = (lines.shape[1] // STROKE, lines.shape[0] // STROKE)
        edges.append(cv2.resize(lines, size, interpolation=cv2.INTER_AREA).ravel())
    return each(_written, np.stack(edges), spans)


def with_mixed_share(frames: Pictures) -> Iterator[tuple[Picture, float]]:
    """Each frame of a stream, and how much of it, 0 to 1, is a mixture of those FADE before and
    after it. What has moved so far that these two are unlike lies elsewhere in between: a motion
    makes no mixture, a cross-fade does."""
    for window in windows(((frame, _fine_detail(frame)) for frame in frames), FADE):
        before, (frame, itself), after = window[0], window[FADE], window[-1]
        yield frame, _mixed_share(before[1], itself, after[1]) if before and after else 0.0


def mixtures(pictures: UInt8[np.ndarray, "t a b 3"]) -> Flags:
    """Frames that are a weighted mean of those before and after them, in which something moves, as
    a change of the frame rate makes them up."""
    mixed = np.zeros(len(pictures), bool)
    n, flat = len(pictures) - 2, pictures.reshape(len(pictures), -1)
    if n < 1:
        return mixed

    def products(step: int) -> Float[np.ndarray, " _"]:
        return np.einsum("tc,tc->t", flat[: len(flat) - step], flat[step:], dtype=np.float64)

    squares, near, far = products(0), products(1), products(2)
    before, itself, after = squares[:n], squares[1:-1], squares[2:]
    across = np.maximum(before + after - 2 * far, 1e-6)  # squared difference of what is mixed
    weight = (before + near[1:] - near[:n] - far) / across
    left = before + itself - 2 * near[:n] - weight**2 * across
    moves = across > np.maximum(0.3 * np.median(across), flat.shape[1])  # and over 1 of 255
    mixed[1:-1] = (left < MIXED**2 * across) & (np.abs(weight - 0.5) < 0.35) & moves
    return mixed if mixed.mean() >= OFTEN else np.zeros_like(mixed)


def _small_gray(frame: Picture) -> Detail:
    """A frame in gray, its longer side FINE pixels, or as it is where it is smaller."""
    gray = cv2.cvtColor(np.asarray(frame), cv2.COLOR_RGB2GRAY)
    scale = min(1.0, FINE / max(gray.shape))
    small = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


def _written(edges: Float[np.ndarray, "t k"]) -> Flags:
    """Frames of a stretch in which LETTERS parts show writing, from how strong their edges are."""
    event = np.zeros(edges.shape, np.int8)  # 1 where writing comes, -1 where it goes
    if len(edges) >= 2 * STEADY:
        near = np.lib.stride_tricks.sliding_window_view(edges, STEADY, axis=0)
        least, most = near.min(-1), near.max(-1)
        comes = least[STEADY:] - most[:-STEADY] > TEXT
        goes = least[:-STEADY] - most[STEADY:] > TEXT
        for sign, parts in ((1, comes), (-1, goes)):
            parts &= parts.sum(1, keepdims=True) >= LETTERS
            event[STEADY : STEADY + len(parts)] += sign * parts.astype(np.int8)
    numbers = np.arange(len(event))[:, None]
    latest = np.maximum.accumulate(np.where(event != 0, numbers, -1), axis=0)
    first = np.take_along_axis(event, (event != 0).argmax(0)[None], 0)
    after = np.take_along_axis(event, np.maximum(latest, 0), 0) > 0
    return np.where(latest < 0, first < 0, after).sum(1) >= LETTERS


def _fine_detail(frame: Picture) -> Detail:
    """The fine detail of a frame, FINE pixels on its longer side."""
    small = _small_gray(frame)
    return cv2.GaussianBlur(small, (0, 0), 0.8) - cv2.GaussianBlur(small, (0, 0), 2.5)


def _mixed_share(before: Detail, itself: Detail, after: Detail) -> float:
    """Of three `_fine_detail`: the share of the parts in which the middle one is a mixture, times
    their share of those in which the two others are unlike."""
    size = (before.shape[1] // BLOCK, before.shape[0] // BLOCK)

    def mean(product: np.ndarray) -> np.ndarray:
        return cv2.resize(product, size, interpolation=cv2.INTER_AREA)

    change, moved = after - before, itself - before
    first, last = mean(before**2), mean(after**2)
    textured = (first + last) / 2 > TEXTURE
    unlike = textured & (mean(before * after) < UNLIKE * np.sqrt(first * last))
    across = np.maximum(mean(change**2), 1e-6)
    weight = mean(moved * change) / across
    left = mean(moved**2) / across - weight**2
    n_mixed = int((unlike & (left < LEFT) & (np.abs(weight - 0.5) < 0.35)).sum())
    return n_mixed**2 / (max(1, textured.sum()) * max(5, unlike.sum()))
