"""Verdict: is a finished talk any good? A failed check names its stage. The limits are ours."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree

from geneface_kit.motion.sync_expert import WINDOW, SyncExpert
from geneface_kit.motion.sync_expert import lips as lips_of
from geneface_kit.nerf.verdict import Check, Look, picture_checks
from geneface_kit.person.artefact import Person
from geneface_kit.person.clip import FPS
from geneface_kit.person.mouth import LIPS, mouth_opening
from geneface_kit.talk.plan import Actor, Plan

Lags = Float[np.ndarray, " lags"]
LAGS = 5  # sound and lips are compared up to this many frames apart
N_OWN = 100  # frames of the person's clip that the pictures are compared with


def judge(planned: Plan, actor: Actor, seen: Look) -> tuple[Check, ...]:
    """The checks of a finished talk. seen: its frames."""
    person = actor.person
    moves = motion_ratio(actor, planned)
    longest = max(person.stretches(), key=lambda part: part.stop - part.start)
    frames, labels = (pictures[longest][:N_OWN] for pictures in (person.frames, person.labels))
    as_own = "the adaptation stage (02): its mouth should move as the person's does"
    if planned.silent.all():
        moves, as_own = None, "the recording is silent"
    strange = _strangeness(planned.landmarks, person)
    calmer = "the adaptation stage (02), or smaller talk.temperature and talk.clamp_std"
    if strange is None:  # said in the place of the remedy
        calmer = "no held-out frame shows another face than those that train"
    return (
        Check("mouth motion over the person's own", moves, 0.4, 2.5, as_own),
        _lag(planned, actor),
        Check("distance to the person's own faces", strange, 0.0, 3.0, calmer),
        _beyond(planned, person),
        *picture_checks(seen, Look(zip(frames, labels, strict=True))),
    )


def motion_ratio(actor: Actor, planned: Plan) -> float:
    """Spread of a plan's mouth opening over that of the person's own clip."""
    own = float(mouth_opening(actor.person.landmarks[actor.person.found]).std())
    return float(mouth_opening(planned.landmarks).std()) / max(own, 1e-6)


@torch.no_grad()
def sync_scores(
    expert: SyncExpert,
    speech: Float[np.ndarray, "s c"],
    motion: Float[np.ndarray, "t 68 3"],
    starts: Sequence[int],
    lags: Sequence[int] = (0,),
) -> Lags:
    """The sync expert's mean score, 0 to 1, of windows of lips and of the sound `lag` frames later.
    speech: features, two a frame. motion: displacements from the mean face, network units. starts:
    first frames of the windows, WINDOW frames each."""
    lips = lips_of(torch.tensor(motion).flatten(1).float()[None])[0]
    features = torch.as_tensor(speech).float()
    mouths = torch.stack([lips[k : k + WINDOW] for k in starts])
    scores = []
    for lag in lags:
        heard = [features[2 * (k + lag) : 2 * (k + lag + WINDOW)] for k in starts]
        scores.append(float(expert(torch.stack(heard), mouths).mean()))
    return np.array(scores, np.float32)


def sync_curve(planned: Plan, actor: Actor) -> tuple[Lags, Lags]:
    """Lags in seconds and the sync expert's mean score at each; positive: the sound is late.
    Windows that lie in silence do not count. Needs 2 * LAGS + WINDOW frames of speech."""
    motion = (planned.landmarks - actor.person.landmark_mean) / actor.motion.unit
    starts = range(LAGS, len(motion) - WINDOW + 1 - LAGS)
    spoken = [k for k in starts if not planned.silent[k : k + WINDOW].any()]
    lags, scores = range(-LAGS, LAGS + 1), np.zeros(2 * LAGS + 1, np.float32)
    if spoken:
        features, expert = planned.speech.features, actor.motion.expert
        scores = sync_scores(expert, features, motion, spoken, lags)
    return (np.array(lags) / FPS).astype(np.float32), scores


def _lag(planned: Plan, actor: Actor) -> Check:
    """Where the sync expert hears the lips, seconds; a flat curve tells nothing."""
    lag, why = None, "less than a second of speech"
    if (~planned.silent).sum() >= 2 * LAGS + WINDOW + FPS:
        lags, scores = sync_curve(planned, actor)
        why = "the sync expert prefers no lag"
        if np.ptp(scores) >= 0.02:
            lag = float(lags[scores.argmax()])
            why = "the motion stage (01), or the clip's audio-video offset in the person stage (00)"
    return Check("sound against lips, seconds", lag, -0.08, 0.08, why)


def _beyond(planned: Plan, person: Person) -> Check:
    """How far the head turns from every pose that was trained on, degrees."""
    trained = person.poses[person.trains, :3, :3].reshape(-1, 9)
    away, _ = cKDTree(trained).query(planned.poses[:, :3, :3].reshape(-1, 9))
    # of rotations an angle apart the matrices differ by 8^(1/2) times the sine of its half
    degrees = np.rad2deg(2 * np.arcsin(np.minimum(1, away / 8**0.5)))
    worst = int(degrees.argmax())
    remedy = f"frame {worst} ({worst / FPS:.1f} s), then talk.head=calm or a longer clip (stage 00)"
    return Check("degrees beyond the poses of the clip", float(degrees[worst]), 0.0, 3.0, remedy)


def _strangeness(landmarks: np.ndarray, person: Person) -> float | None:
    """How far lips and jaw are from the nearest tracked frame, over how far the person's held-out
    frames are (medians); None where these tell nothing."""
    part = [*range(17), *range(68)[LIPS]]
    own, spoken = (one[:, part].reshape(len(one), -1) for one in (person.landmarks, landmarks))
    tree, unseen = cKDTree(own[person.trains]), own[person.found & ~person.trains]
    usual = np.median(tree.query(unseen)[0]) if len(unseen) else 0.0
    return float(np.median(tree.query(spoken)[0]) / usual) if usual > 1e-6 else None
