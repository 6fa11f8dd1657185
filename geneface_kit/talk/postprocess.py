"""Postprocess: predicted landmarks -> what the renderer gets: clamped, closed in silence, blinking.

All functions are plain numpy on landmarks (t, 68, 3) of the head frame, 25 per second.
"""

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from geneface_kit.person.artefact import Person
from geneface_kit.person.mouth import LIPS, mouth_opening
from geneface_kit.person.spans import stretches
from geneface_kit.runs.ranges import Folder, NotNegative, Positive, Share
from geneface_kit.talk.audio import loudness, silent_frames

Landmarks = Float[np.ndarray, "t 68 3"]
Track, Spans = Float[np.ndarray, "c ..."], Int[np.ndarray, " k"]  # and where its stretches begin
JAW, BROWS, EYES = slice(0, 17), slice(17, 27), slice(36, 48)
LEAD = 3  # frames by which lips part before a sound after silence (ours; about 0.1 s measured)
CLOSED_SHARE = 0.25  # share of the person's frames whose mouth counts as closed (ours)
POSE_WINDOW = 7  # frames averaged along the head's path (official code)
BEND = 12
"""Frames on both sides of a joint, and of a turn, in which a replayed path bends (ours)."""
CALM = 0.5  # how far a calm head goes, of the clip's own way from its middle pose (ours)
Head = Literal["clip", "calm", "still"]


@dataclass(frozen=True)
class TalkConfig:
    """How a recording becomes a video. The defaults are the smoke profile."""

    audio: str = ""  # file with sound; "" means the sentence of the held-out demo (ours)
    text: str = ""  # words to say instead of a recording, by the offline voice (ours)
    max_s: NotNegative = 0.0  # seconds of the recording that are spoken; 0 means all of it (ours)
    temperature: NotNegative = 0.2  # spread of the draw from the flow prior; official code 1 (ours)
    lle_share: Share = 0.0  # share of each face taken from its nearest own faces; GeneFace++ 0.2
    clamp_std: Positive = 2.5  # per-coordinate limit in the person's std (official code)
    smooth_frames: NotNegative = 0.7  # sigma of the Gaussian over time, frames; 0 = off (ours)
    rest_in_silence: bool = True  # silent stretches close the mouth (official code)
    blinks: Literal["clip", "none"] = "clip"  # the person's own eyes, or predicted ones
    head: Head = "clip"  # the person's own path to and fro, half of it, or none (ours)
    label: str = ""  # visible text in the picture; "" for none (ours)
    c2pa_keys: Folder = ""  # folder of chain.pem and key.pem; "" signs without an identity (ours)


def postprocess(
    landmarks: Landmarks, silent: Bool[np.ndarray, " t"], person: Person, config: TalkConfig
) -> Landmarks:
    """Landmarks made fit for rendering.

    1. Clamp: each coordinate of (landmarks - mean) / std stays within clamp_std; x and y of
       brows and eyes within half of it (official code).
    2. Smooth over time; where the lips are about to close, the unsmoothed lips stay.
    3. Silent stretches fade to the person's closed mouth at rest, until just before sound.
    4. The person's own eyes are replayed, with the same frames as the head's path.
    """
    limit = np.full((68, 3), config.clamp_std)
    limit[BROWS, :2] = limit[EYES, :2] = config.clamp_std / 2
    reach, mean = limit * person.landmark_std, person.landmark_mean
    landmarks = mean + np.clip(landmarks - mean, -reach, reach)
    own_opening = mouth_opening(person.landmarks[person.trains])
    if config.smooth_frames:
        landmarks = _smooth(landmarks, own_opening, config.smooth_frames)
    if config.rest_in_silence:
        rest = _rest(person)
        ahead = np.concatenate([silent, np.ones(LEAD, bool)])
        resting = np.lib.stride_tricks.sliding_window_view(ahead, LEAD + 1).all(axis=1)
        # 5 frames of fade, centred on the edge.
        weight = uniform_filter1d(resting.astype(np.float32), 5, mode="nearest")[:, None, None]
        for part in (JAW, LIPS):
            landmarks[:, part] += weight * (rest[part] - landmarks[:, part])
    if config.blinks == "clip":
        landmarks[:, EYES] = replayed(person.landmarks[:, EYES], person, len(landmarks))
    return landmarks.astype(np.float32)


def to_and_fro(n_clip: int, n_frames: int) -> Float[np.ndarray, " t"]:
    """Places in a clip, in frames, that run through it and back again at its own speed, but slow
    down within BEND frames of an end and turn before it."""
    reach = min(BEND, n_clip // 4)
    time = np.arange(n_frames)[:, None] + np.arange(-reach, reach + 1) + reach
    last = max(1, n_clip - 1)
    places = (last - np.abs(time % (2 * last) - last)).mean(axis=1)
    return np.minimum(places, n_clip - 1)


def replayed(track: Track, person: Person, n_frames: int) -> Float[np.ndarray, "t ..."]:
    """A track of the clip for t frames, `to_and_fro` through the part that head and torso were
    trained on, without jumps where stretches meet."""
    whole = without_jumps(track[: person.n_train], person.spans[person.spans < person.n_train])
    places = to_and_fro(len(whole), n_frames)
    before, share = np.floor(places).astype(int), places % 1
    after = np.minimum(before + 1, len(whole) - 1)
    share = share.reshape(-1, *[1] * (track.ndim - 1))
    return whole[before] + share * (whole[after] - whole[before])


def without_jumps(path: Track, spans: Spans) -> Track:
    """A path whose stretches meet: before and after a joint it bends, softly, to the middle."""
    joined = path.astype(np.float64)
    for before, after in itertools.pairwise(stretches(spans, len(path))):
        jump = joined[after.start] - joined[before.stop - 1]
        for part, share in ((joined[before][::-1], 0.5), (joined[after], -0.5)):
            n = min(BEND, len(part) // 2)
            fade = 0.5 + 0.5 * np.cos(np.pi * np.arange(n) / max(n, 1))
            part[:n] += share * np.multiply.outer(fade, jump)
    return joined


def pose_path(person: Person, n_frames: int, head: Head) -> Float[np.ndarray, "t 4 4"]:
    """Camera poses for t frames, none where the clip that was trained on has not been.

    "clip" walks its path to and fro, averaged over POSE_WINDOW frames; "calm" goes only CALM of
    the way from its middle pose, averaged over BEND frames on both sides; "still" holds that pose,
    the one nearest to the mean position.
    """
    poses = person.poses[: person.n_train]
    places = poses[:, :3, 3]
    middle = poses[np.linalg.norm(places - places.mean(axis=0), axis=1).argmin()]
    if head == "still":
        return np.repeat(middle[None], n_frames, axis=0).astype(np.float32)
    path, window = replayed(person.poses, person, n_frames), POSE_WINDOW
    if head == "calm":
        path, window = middle + CALM * (path - middle), 2 * BEND + 1
    path = uniform_filter1d(path, window, axis=0, mode="nearest")
    # The rotation nearest to a mean of rotations: U V^T of its singular value decomposition.
    left, _, right = np.linalg.svd(path[:, :3, :3])
    path[:, :3, :3] = left @ right
    return path.astype(np.float32)


def torso_shift_path(
    torso_shifts: Float[np.ndarray, "t 2"] | None, person: Person, n_frames: int, head: Head
) -> Float[np.ndarray, "f 2"] | None:
    """The shoulders' shifts for f frames, along with the head's `pose_path`; None, to be predicted
    from the pose, without tracked shoulders or for a head that leaves the clip's own path."""
    if torso_shifts is None or head != "clip":
        return None
    path = replayed(torso_shifts, person, n_frames)
    return uniform_filter1d(path, POSE_WINDOW, axis=0, mode="nearest").astype(np.float32)


def _smooth(landmarks: np.ndarray, own_opening: np.ndarray, sigma: float) -> np.ndarray:
    smooth = gaussian_filter1d(landmarks, sigma, axis=0, mode="nearest")
    closed, open_ = np.quantile(own_opening, [CLOSED_SHARE, 2 * CLOSED_SHARE])
    # 1 where the mouth is as closed as the person's most closed share, 0 from twice that share on.
    keep = (open_ - mouth_opening(landmarks)) / max(open_ - closed, 1e-6)
    keep = np.clip(keep, 0, 1)[:, None, None]
    smooth[:, LIPS] += keep * (landmarks[:, LIPS] - smooth[:, LIPS])
    return smooth


def _rest(person: Person) -> np.ndarray:
    """(68, 3): mean of the most closed fifth of the silent frames that train, or of all of them."""
    silent = person.trains & silent_frames(loudness(person.audio))[: len(person)]
    faces = person.landmarks[silent if silent.sum() >= 5 else person.trains]
    closest = np.argsort(mouth_opening(faces))[: max(1, len(faces) // 5)]
    return faces[closest].mean(axis=0)
