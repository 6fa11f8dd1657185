"""Plan: an actor and a recording -> what the face does, before a picture is drawn."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float

from geneface_kit.adaptation import stage as adaptation_stage
from geneface_kit.adaptation.postnet import Adapter, project_onto_neighbours
from geneface_kit.motion import stage as motion_stage
from geneface_kit.motion.weights import Motion
from geneface_kit.nerf import stage as nerf_stage
from geneface_kit.nerf.avatar import Avatar
from geneface_kit.person import demo
from geneface_kit.person import stage as person_stage
from geneface_kit.person.artefact import Person
from geneface_kit.person.clip import SAMPLE_RATE, SAMPLES
from geneface_kit.person.speech import Speech, encode
from geneface_kit.runs.record import Run
from geneface_kit.talk.audio import loudness, silent_frames
from geneface_kit.talk.postprocess import TalkConfig, pose_path, postprocess, torso_shift_path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Actor:
    """All that was learned to let one person speak; without an avatar only plans are made."""

    person: Person
    motion: Motion
    adaptation: Adapter
    avatar: Avatar | None


@dataclass(frozen=True)
class Plan:
    """What the face does, t frames at 25 per second.

    audio: n samples at 16 kHz, exactly t/25 s. displacements: the generator's, from the mean
    face. adapted: after the post-net. landmarks: after `postprocess`, what the renderer gets.
    torso_shifts: of the shoulders, pixel coordinates of [-1, 1]; None follows the head's poses.
    """

    audio: Float[np.ndarray, " n"]
    speech: Speech
    displacements: Float[np.ndarray, "t 68 3"]
    adapted: Float[np.ndarray, "t 68 3"]
    landmarks: Float[np.ndarray, "t 68 3"]
    poses: Float[np.ndarray, "t 4 4"]
    loudness: Float[np.ndarray, " t"]
    silent: Bool[np.ndarray, " t"]
    torso_shifts: Float[np.ndarray, "t 2"] | None = None


def load_actor(parents: Mapping[str, Run]) -> Actor:
    """The actor from the finished runs of the four stages upstream."""
    place = {name: run.folder for name, run in parents.items()}
    person, motion = person_stage.load(place["person"]), motion_stage.load(place["motion"])
    adapter = adaptation_stage.load(place["adaptation"])
    return Actor(person, motion, adapter, nerf_stage.load(place["nerf"], person))


def embedded_actor() -> Actor:
    """The demo person as it comes with the kit, trained and ready to talk, see `person.demo`."""
    person = person_stage.load(demo.AVATAR)
    return Actor(
        person,
        motion_stage.load(),
        adaptation_stage.load(demo.AVATAR),
        nerf_stage.load(demo.AVATAR, person),
    )


def plan(
    actor: Actor, audio: Float[np.ndarray, " n"], config: TalkConfig, generator: torch.Generator
) -> Plan:
    """What the face does for a recording of 16 kHz; the same generator state gives the same."""
    person = actor.person
    if 0 < config.max_s < len(audio) / SAMPLE_RATE:
        log.warning("only the first %g s of the recording are spoken (talk.max_s)", config.max_s)
        audio = audio[: max(1, round(config.max_s * SAMPLE_RATE))]
    n_frames = -(-len(audio) // SAMPLES)
    audio = np.pad(audio, (0, n_frames * SAMPLES - len(audio)))
    speech = encode(audio, person.speech.encoder).cut(n_frames)
    displacements = actor.motion.sample(speech, temperature=config.temperature, generator=generator)
    adapted = np.asarray(actor.adaptation.apply(displacements, speech), np.float32)
    if config.lle_share:
        adapted = _near_own(adapted, person, config.lle_share)
    silent = silent_frames(loud := loudness(audio))
    torso_shifts = None if actor.avatar is None else actor.avatar.torso_shifts
    return Plan(
        audio=audio,
        speech=speech,
        displacements=np.asarray(displacements, np.float32),
        adapted=adapted,
        landmarks=postprocess(adapted, silent, person, config),
        poses=pose_path(person, n_frames, config.head),
        loudness=loud,
        silent=silent,
        torso_shifts=torso_shift_path(torso_shifts, person, n_frames, config.head),
    )


def in_a_row(plans: Sequence[Plan]) -> Plan:
    """Plans one after the other as one."""
    columns: dict[str, np.ndarray | None] = {}
    for name in (one.name for one in fields(Plan) if one.name != "speech"):
        values = [getattr(one, name) for one in plans]
        columns[name] = None if values[0] is None else np.concatenate(values)
    return Plan(speech=Speech.in_a_row([one.speech for one in plans]), **columns)


def _near_own(landmarks: np.ndarray, person: Person, share: float) -> np.ndarray:
    """Each face moved towards its affine combination of the person's nearest tracked faces."""
    own = torch.from_numpy(np.array(person.landmarks[: person.n_train])).flatten(1)
    flat = torch.from_numpy(landmarks).flatten(1)
    pulled = project_onto_neighbours(flat, own, share=share, ridge=1e-3)
    return pulled.unflatten(1, (68, 3)).numpy()
