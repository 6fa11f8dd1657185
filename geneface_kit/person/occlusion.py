"""Occlusion: frames that show no mouth (a hand), nothing new (a frozen picture) or what was never
filmed (a mixture of others).
"""

from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import binary_opening

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
FADE = 6  # frames to both sides over which a cross-fade is looked for (ours)
MIXED, FADED, OFTEN = 0.15, 0.2, 0.08
"""What a mixture leaves of a frame, over the difference of the frames it mixes, below which it is
one: of its neighbours, of frames FADE away; share of a clip's frames below which mixtures are
chance, a codec's or slow motion. Of 134 clips of talking people one has more; clips made of 12.5
and 15 pictures a second by mixing have 8 to 49 %. No clip has a fade; of fades of 6 and 12 frames
to a view 1.4 times as near, made of 50 clips, half are found (ours)."""


def hidden_mouth(
    frames: Iterable[UInt8[np.ndarray, "h w 3"]], points: Float[np.ndarray, "t 68 2"]
) -> Bool[np.ndarray, " t"]:
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


def frozen(frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Bool[np.ndarray, " t"]:
    """Frames that repeat the one before for FROZEN_FRAMES and more."""
    still, before = [], None
    for frame in frames:
        small = np.asarray(frame)[::2, ::2].astype(np.int16)
        still.append(before is not None and float(np.abs(small - before).mean()) < FROZEN_CHANGE)
        before = small
    return binary_opening(np.array(still, bool), np.ones(FROZEN_FRAMES))


def mixtures(pictures: UInt8[np.ndarray, "t a b 3"], reach: int = 1) -> Bool[np.ndarray, " t"]:
    """Frames that are a weighted mean of those `reach` before and after them, in which something
    moves: 1 finds what a change of the frame rate made up, FADE the inside of a cross-fade."""
    mixed = np.zeros(len(pictures), bool)
    n, flat = len(pictures) - 2 * reach, pictures.reshape(len(pictures), -1)
    if n < 1:
        return mixed

    def products(step: int) -> Float[np.ndarray, " _"]:
        return np.einsum("tc,tc->t", flat[: len(flat) - step], flat[step:], dtype=np.float64)

    squares, near, far = products(0), products(reach), products(2 * reach)
    before, itself, after = squares[:n], squares[reach : n + reach], squares[2 * reach :]
    across = np.maximum(before + after - 2 * far, 1e-6)  # squared difference of what is mixed
    weight = (before + near[reach:] - near[:n] - far) / across
    left = before + itself - 2 * near[:n] - weight**2 * across
    limit, least = (MIXED, 0.3) if reach == 1 else (FADED, 2.5)  # 2.5: of the clip's usual one
    moves = across > np.maximum(least * np.median(across), flat.shape[1])  # and over 1 of 255
    mixed[reach:-reach] = (left < limit**2 * across) & (np.abs(weight - 0.5) < 0.35) & moves
    return mixed if reach > 1 or mixed.mean() >= OFTEN else np.zeros_like(mixed)
