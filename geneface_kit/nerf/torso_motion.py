"""Torso motion: where the shoulders are, measured in the clip, predicted from a head pose.

Shoulders follow the head, but by less and not about the same pivot. One shift of the whole torso,
linear in the pose, is what a short clip lets us learn of it and what holds outside it.
"""

import logging

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from geneface_kit.person.artefact import Person
from geneface_kit.person.segmentation import NECK, TORSO
from geneface_kit.person.spans import each, evenly_spaced

log = logging.getLogger(__name__)

N_FRAMES = 2000  # at most so many frames of a clip are compared
WIDTH = 256
"""Pictures are compared at this width, pixels. On two real clips the mean second difference of
the vertical shift is 0.1 and 0.3 pixels of 256; at half the width it was 0.5 and 0.9."""
EDGE = 5 / 256
"""Side of the square by which the torso's mask is worn down, of the picture's: the mask's edge
moves with the chin and the collar, not with the shoulders."""
SMOOTH = 5  # width of the blur before two pictures are compared, pixels
PASSES = 50  # at most so many steps of the comparison, which stops at a gain below TOLERANCE
TOLERANCE = 1e-5
SLOW = 2.0  # standard deviation, frames, of a Gaussian: shoulders are not believed to be faster
FEWEST = 0.5  # share of training frames in which the torso must be followed to learn how it moves
RIDGE = 2e-3  # penalty on standardised coefficients, as a share of the number of frames


def learn(
    person: Person, n_train: int
) -> tuple[Float[Tensor, "t 2"], Float[Tensor, "7 2"]] | tuple[None, None]:
    """Shifts of the torso in each frame of the clip, right and down, about the mean of the training
    frames, as predicted where it could not be followed; and the map from [pose features, 1] to
    shifts. In pixel coordinates of [-1, 1].

    Measures up to N_FRAMES frames of the clip and fits the prediction to those that train;
    frames between are interpolated. Where hair hides the torso, the neck is followed too. None,
    with a warning, when even so fewer than FEWEST of the training frames are followed. From
    held-out frames, tracked as poses are, nothing is learned."""
    n_frames = len(person.frames)
    frames = np.union1d(evenly_spaced(n_frames, N_FRAMES), person.spans)
    for labels in ((TORSO,), (NECK, TORSO)):
        shifts = torch.from_numpy(measure(person, frames, labels)) * (2 / max(1, person.size - 1))
        found = shifts.isfinite().all(-1)
        trains = found & torch.from_numpy(frames < n_train)
        is_enough = int(trains.sum()) >= FEWEST * int((frames < n_train).sum())
        if is_enough:
            break
    n_lost = int((~found).sum())
    if n_lost:
        log.warning("%s: the torso could not be followed in %d frames", person.name, n_lost)
    if not is_enough:
        return None, None
    shifts = shifts - shifts[trains].mean(0)
    features = pose_features(torch.from_numpy(person.poses[frames]).float())
    weights = predictor(features[trains], shifts[trains])
    predicted = features @ weights[:6] + weights[6]
    shifts = torch.where(found[:, None], shifts, predicted).numpy()
    between = np.empty((n_frames, 2), np.float32)
    for part in person.stretches():
        own = (frames >= part.start) & (frames < part.stop)
        numbers = np.arange(part.start, part.stop)
        for axis in (0, 1):
            between[part, axis] = np.interp(numbers, frames[own], shifts[own, axis])
    return torch.from_numpy(between), weights


def track(
    shifts: Float[np.ndarray, "t 2"],
    predicted: Float[np.ndarray, "t 2"],
    n_train: int,
    spans: Int[np.ndarray, " k"],
) -> Float[np.ndarray, "t 2"]:
    """Where the shoulders are in each frame of the clip: as predicted, and what drifts beside it.

    shifts: as measured, see `learn`; predicted: what the head's pose explains. A measured shift is
    exact to a fraction of a pixel; of what it says beside the prediction only the slow part counts,
    and of this, along each axis, the share by which its variance in the training frames exceeds
    that of the rest.
    """
    beside = shifts - predicted
    slow = each(lambda part: gaussian_filter1d(part, SLOW, axis=0, mode="nearest"), beside, spans)
    noise, drift = (beside - slow)[:n_train].var(axis=0), slow[:n_train].var(axis=0)
    share = np.clip(1 - noise / np.maximum(drift, 1e-12), 0, 1)
    return (predicted + share * slow).astype(np.float32)


def measure(
    person: Person, frames: Int[np.ndarray, " k"], labels: tuple[int, ...] = (TORSO,)
) -> Float[np.ndarray, "k 2"]:
    """Shift of what is labelled so in each frame against the middle one, pixels right and down.

    Each stretch is followed from its middle frame to its ends, each search beginning where the one
    before ended; its middle is laid onto that of the middle stretch, beginning there or as far away
    as the face has moved, whichever agrees better. NaN where that fails.
    """
    scale = WIDTH / person.size if person.size > WIDTH else 1.0
    faces = scale * np.asarray(person.landmarks2d)[frames].mean(1)
    of_parts = np.split(np.arange(len(frames)), np.searchsorted(frames, person.spans))
    of_parts = [slots for slots in of_parts if len(slots)]
    middles = [int(slots[len(slots) // 2]) for slots in of_parts]
    whole = middles[len(middles) // 2]
    reference, _ = _gray(person, int(frames[whole]), scale, labels)
    shifts = np.full((len(frames), 2), np.nan, np.float32)
    for slots, middle in zip(of_parts, middles, strict=True):
        picture, torso = _gray(person, int(frames[middle]), scale, labels)
        shifts[middle] = 0
        for side in (slots[slots > middle], slots[slots < middle][::-1]):
            start = np.zeros(2)
            for slot in side:
                found, shift = _laid(
                    picture, *_gray(person, int(frames[slot]), scale, labels), start
                )
                if found > 0:
                    start = shifts[slot] = shift
        if middle != whole:
            starts = (np.zeros(2), faces[middle] - faces[whole])
            laid = [_laid(reference, picture, torso, start) for start in starts]
            shifts[slots] += max(laid, key=lambda one: one[0])[1]
    return shifts / scale


def _laid(
    reference: np.ndarray, picture: np.ndarray, torso: np.ndarray, start: np.ndarray
) -> tuple[float, np.ndarray]:
    """The shift of highest correlation (Evangelidis and Psarakis 2008) from a start on: how high
    it is, 0 for none, and the shift, NaN for none."""
    warp = np.eye(2, 3, dtype=np.float32)
    warp[:, 2] = start
    rule = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, PASSES, TOLERANCE)
    try:
        found, warp = cv2.findTransformECC(
            reference, picture, warp, cv2.MOTION_TRANSLATION, rule, torso, SMOOTH
        )
    except cv2.error:  # no overlap or nothing to see: raised, not returned
        found = 0.0
    is_found = found > 0 and np.abs(warp[:, 2]).max() < WIDTH / 4
    return (found, warp[:, 2]) if is_found else (0.0, np.full(2, np.nan, np.float32))


def pose_features(poses: Float[Tensor, "k 4 4"]) -> Float[Tensor, "k 6"]:
    """The head's turn (rotation vector) and place in the camera's frame.

    There, unlike in the head's frame, what moves a torso in the picture is nearly linear in them.
    """
    turn = poses[:, :3, :3].transpose(1, 2)  # head to camera
    place = -(turn @ poses[:, :3, 3:])[..., 0]
    axes = ((2, 1), (0, 2), (1, 0))
    twist = torch.stack([turn[:, i, j] - turn[:, j, i] for i, j in axes], dim=-1)
    angle = torch.acos(((turn.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2).clamp(-1 + 1e-7, 1 - 1e-7))
    return torch.cat([twist * (0.5 / torch.sinc(angle / torch.pi))[:, None], place], dim=-1)


def predictor(features: Float[Tensor, "k 6"], shifts: Float[Tensor, "k 2"]) -> Float[Tensor, "7 2"]:
    """The map from [features, 1] to shifts: least squares with a small ridge."""
    mean, spread = features.mean(0), features.std(0, correction=0).clamp(min=1e-4)
    rows = torch.cat([(features - mean) / spread, torch.ones(len(features), 1)], -1).double()
    ridge = RIDGE * len(rows) * torch.eye(7, dtype=torch.float64)
    ridge[6, 6] = 0
    weights = torch.linalg.solve(rows.T @ rows + ridge, rows.T @ shifts.double()).float()
    slope = weights[:6] / spread[:, None]
    return torch.cat([slope, weights[6:] - mean @ slope])


def _gray(
    person: Person, frame: int, scale: float, labels: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Grey picture of a frame and the worn-down mask of some labels, shrunk."""
    picture = cv2.cvtColor(np.asarray(person.frames[frame]), cv2.COLOR_RGB2GRAY)
    torso = np.isin(person.labels[frame], labels).astype(np.uint8)
    if scale != 1.0:
        size = (round(person.size * scale),) * 2
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        torso = cv2.resize(torso, size, interpolation=cv2.INTER_NEAREST)
    square = np.ones((1 + 2 * int(EDGE * len(torso) / 2),) * 2, np.uint8)
    torso = cv2.erode(torso, square, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    return picture, torso * 255
