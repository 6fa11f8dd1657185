"""Plan: an actor and a recording -> what the face does, before a picture is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from geneface_kit.talk import postprocess as after
from geneface_kit.talk.audio import loudness, silent_frames
from geneface_kit.talk.postprocess import Landmarks, TalkConfig


@dataclass(frozen=True)
class Actor:
    """All that was learned to let one person speak; without an avatar only plans are made."""

    person: Person
    motion: Motion
    adaptation: Adapter
    avatar: Avatar | None


@dataclass(frozen=True)
class Plan:
    """What the face does, t frames at 25 per second."""

    audio: Float[np.ndarray, " n"]  # 16 kHz, exactly t/25 s
    speech: Speech
    displacements: Landmarks  # the generator's, from the mean face
    adapted: Landmarks  # after the post-net
    landmarks: Landmarks  # after `postprocess`, what the renderer gets
    poses: Float[np.ndarray, "t 4 4"]
    loudness: Float[np.ndarray, " t"]
    silent: Bool[np.ndarray, " t"]
    torso_shifts: Float[np.ndarray, "t 2"] | None = None
    """Of the shoulders, pixel coordinates of [-1, 1]; None follows the head's poses."""


def load_actor(parents: Mapping[str, Run]) -> Actor:
    """The actor from the finished runs of the four stages upstream."""
    place = {name: run.folder for name, run in parents.items()}
    person, motion = person_stage.load(place["person"]), motion_stage.load(place["motion"])
    adapter = adaptation_stage.load(place["adaptation"])
    return Actor(person, motion, adapter, nerf_stage.load(place["nerf"], person))


def embedded_actor() -> Actor:
    """The demo person as it comes with the kit, trained and ready to talk, see `person.demo`."""
    person, adapter = person_stage.load(demo.AVATAR), adaptation_stage.load(demo.AVATAR)
    return Actor(person, motion_stage.load(), adapter, nerf_stage.load(demo.AVATAR, person))


def plan(
    actor: Actor, audio: Float[np.ndarray, " n"], config: TalkConfig, generator: torch.Generator
) -> Plan:
    """What the face does for a recording of 16 kHz; the same generator state gives the same."""
    person = actor.person
    if 0 < config.max_s < len(audio) / SAMPLE_RATE:
        audio = audio[: max(1, round(config.max_s * SAMPLE_RATE))]
    audio = np.pad(audio, (0, -len(audio) % SAMPLES))
    n_frames = len(audio) // SAMPLES
    speech = encode(audio, person.speech.encoder).cut(n_frames)
    displacements = actor.motion.sample(speech, temperature=config.temperature, generator=generator)
    adapted = np.asarray(actor.adaptation.adapted(displacements, speech), np.float32)
    if config.lle_share:  # each face moves towards the person's nearest tracked ones
        pairs = (adapted, person.landmarks[person.trains])
        # float64: in float32 the addresses of arrays decide the last digits
        flat, own = (torch.from_numpy(np.array(one)).double().flatten(1) for one in pairs)
        pulled = project_onto_neighbours(flat, own, share=config.lle_share, ridge=1e-3)
        adapted = pulled.float().unflatten(1, (68, 3)).numpy()
    silent = silent_frames(loud := loudness(audio))
    torso_shifts = None if actor.avatar is None else actor.avatar.torso_shifts
    return Plan(
        audio=audio,
        speech=speech,
        displacements=np.asarray(displacements, np.float32),
        adapted=adapted,
        landmarks=after.postprocess(adapted, silent, person, config),
        poses=after.pose_path(person, n_frames, config.head),
        loudness=loud,
        silent=silent,
        torso_shifts=after.torso_shift_path(torso_shifts, person, n_frames, config.head),
    )


def in_a_row(plans: Sequence[Plan]) -> Plan:
    """Plans one after the other as one."""
    joined = {}
    for name, first in vars(plans[0]).items():
        join = Speech.in_a_row if name == "speech" else np.concatenate
        joined[name] = None if first is None else join([getattr(one, name) for one in plans])
    return Plan(**joined)
