"""Verdict: is a finished talk any good? Checks that run by themselves, each with the stage to
look at when it fails. The limits are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.spatial import cKDTree

from geneface_kit.motion.sync_expert import WINDOW, SyncExpert
from geneface_kit.motion.sync_expert import lips as lips_of
from geneface_kit.person.artefact import Person
from geneface_kit.person.clip import FPS
from geneface_kit.person.mouth import LIPS, mouth_opening
from geneface_kit.talk.plan import Actor, Plan

LAGS = 5  # sound and lips are compared up to this many frames apart
SIDE = 64  # flicker is measured on pictures of about this size, pixels
N_OWN = 100  # frames of the person's clip that tell how much it flickers by itself


@dataclass(frozen=True)
class Check:
    """One measured quality. low, high: the limits inside which it is fine; value None: not
    measured, for the reason in `remedy`. remedy: what to look at when it is not fine.
    """

    name: str
    value: float | None
    low: float
    high: float
    remedy: str

    @property
    def fine(self) -> bool:
        """Inside the limits, or not measured."""
        return self.value is None or self.low <= self.value <= self.high


class Flicker:
    """Watches pictures go by: how much they tremble, against how much they move.

    value: mean |second difference in time| over mean |first difference|: about 0 for a steady
    movement, 2 for a picture that jumps to and fro in every frame.
    """

    def __init__(self) -> None:
        self.last: list[np.ndarray] = []
        self.moved = self.trembled = 0.0

    def add(self, frame: UInt8[np.ndarray, "h w 3"]) -> None:
        """Takes the next frame into account."""
        small = _small(frame)
        if self.last:
            self.moved += float(np.abs(small - self.last[-1]).mean())
        if len(self.last) == 2:
            bend = small - 2 * self.last[1] + self.last[0]
            self.trembled += float(np.abs(bend).mean())
        self.last = [*self.last[-1:], small]

    @property
    def value(self) -> float:
        """The measure so far; 0 for pictures that do not move."""
        return self.trembled / self.moved if self.moved > 1e-6 else 0.0


def judge(planned: Plan, actor: Actor, flicker: float) -> tuple[Check, ...]:
    """The checks of a finished talk. flicker: `Flicker.value` of its frames."""
    person = actor.person
    own = mouth_opening(person.landmarks).std()
    moves = float(mouth_opening(planned.landmarks).std() / max(own, 1e-6))
    steady = Flicker()
    longest = max(person.stretches(), key=lambda part: part.stop - part.start)
    for frame in person.frames[longest][:N_OWN]:
        steady.add(frame)
    trembles = flicker / steady.value if steady.value else None
    remedies = [
        "the adaptation stage (02): its mouth should move as the person's does",
        "the adaptation stage (02), or smaller talk.temperature and talk.clamp_std",
        "the nerf stage (03): train longer, or smooth talk.smooth_frames more",
    ]
    if planned.silent.all():
        moves, remedies[0] = None, "the recording is silent"
    if trembles is None:
        remedies[2] = "there are no moving pictures of the clip"
    strange = _strangeness(planned.landmarks, person)
    return (
        Check("mouth motion over the person's own", moves, 0.4, 2.5, remedies[0]),
        _lag(planned, actor),
        Check("distance to the person's own faces", strange, 0.0, 3.0, remedies[1]),
        Check("flicker over the clip's own", trembles, 0.0, 1.5, remedies[2]),
    )


def verdict_lines(checks: Sequence[Check]) -> list[str]:
    """The verdict in words: one line for the whole, one for every check."""
    failed = sum(not check.fine for check in checks)
    head = f"{failed} of {len(checks)} checks failed" if failed else "good"
    return [f"verdict: {head}", *(_line(check) for check in checks)]


@torch.no_grad()
def sync_scores(
    expert: SyncExpert,
    speech: Float[np.ndarray, "s c"],
    motion: Float[np.ndarray, "t 68 3"],
    starts: Sequence[int],
    lags: Sequence[int] = (0,),
) -> Float[np.ndarray, " lags"]:
    """The sync expert's mean score, 0 to 1, of windows of lips and of the sound `lag` frames later.

    speech: features, two a frame. motion: displacements from the mean face, network units.
    starts: first frames of the windows, WINDOW frames each.
    """
    lips = lips_of(torch.from_numpy(motion).flatten(1).float()[None])[0]
    features = torch.as_tensor(speech).float()
    mouths = torch.stack([lips[k : k + WINDOW] for k in starts])
    scores = []
    for lag in lags:
        heard = [features[2 * (k + lag) : 2 * (k + lag + WINDOW)] for k in starts]
        scores.append(float(expert(torch.stack(heard), mouths).mean()))
    return np.array(scores, np.float32)


def sync_curve(
    planned: Plan, actor: Actor
) -> tuple[Float[np.ndarray, " lags"], Float[np.ndarray, " lags"]]:
    """Lags in seconds and the sync expert's mean score at each; positive: the sound is late.

    Windows that lie in silence do not count. Needs 2 * LAGS + WINDOW frames of speech.
    """
    person = actor.person
    mean = person.landmarks[: person.n_train].mean(axis=0)
    motion = (planned.landmarks - mean) / actor.motion.unit
    starts = range(LAGS, len(motion) - WINDOW + 1 - LAGS)
    spoken = [k for k in starts if not planned.silent[k : k + WINDOW].any()]
    lags = np.arange(-LAGS, LAGS + 1)
    seconds = (lags / FPS).astype(np.float32)
    if not spoken:
        return seconds, np.zeros(len(lags), np.float32)
    features = planned.speech.features
    return seconds, sync_scores(actor.motion.expert, features, motion, spoken, lags.tolist())


def _lag(planned: Plan, actor: Actor) -> Check:
    """Where the sync expert hears the lips, seconds; a flat curve tells nothing."""
    name = "sound against lips, seconds"
    remedy = "the motion stage (01), or the clip's audio-video offset in the person stage (00)"
    spoken = int((~planned.silent).sum())
    if spoken < 2 * LAGS + WINDOW + FPS:
        return Check(name, None, -0.08, 0.08, "less than a second of speech")
    lags, scores = sync_curve(planned, actor)
    if np.ptp(scores) < 0.02:
        return Check(name, None, -0.08, 0.08, "the sync expert prefers no lag")
    return Check(name, float(lags[scores.argmax()]), -0.08, 0.08, remedy)


def _strangeness(landmarks: np.ndarray, person: Person) -> float:
    """How far lips and jaw are from the nearest tracked frame, over how far the person's held-out
    frames are (medians)."""
    part = [*range(17), *range(68)[LIPS]]
    known = person.landmarks[: person.n_train, part].reshape(person.n_train, -1)
    tree = cKDTree(known)
    unseen = person.landmarks[person.n_train :, part].reshape(-1, known.shape[1])
    usual = np.median(tree.query(unseen)[0]) if len(unseen) else 0.0
    spoken = landmarks[:, part].reshape(len(landmarks), -1)
    return float(np.median(tree.query(spoken)[0]) / max(usual, 1e-6))


def _line(check: Check) -> str:
    if check.value is None:
        return f"  {check.name}: not measured ({check.remedy})"
    limits = f"{check.low:g} to {check.high:g}"
    if check.fine:
        return f"  {check.name}: {check.value:.2f} (fine: {limits})"
    return f"  {check.name}: {check.value:.2f}, outside {limits}: look at {check.remedy}"


def _small(frame: np.ndarray) -> np.ndarray:
    step = max(1, len(frame) // SIDE)
    side = len(frame) // step * step
    tiles = frame[:side, :side].reshape(side // step, step, side // step, step, 3)
    return tiles.mean((1, 3), dtype=np.float32)
