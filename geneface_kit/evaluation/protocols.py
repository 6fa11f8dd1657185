"""Protocols: an actor -> frames to be scored: landmark-driven, self-driven, cross-driven.

GeneFace (section 4) drives a head by the person's own held-out sound (self-driven) and by the
sound of others (cross-driven). Landmark-driven is ours: what the renderer alone can.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from geneface_kit.metrics.networks import NotMeasured, network
from geneface_kit.person import speech
from geneface_kit.person.artefact import Person
from geneface_kit.person.clip import FPS, SAMPLES
from geneface_kit.person.mouth import mouth_shape
from geneface_kit.person.speech import Speech
from geneface_kit.runs import live
from geneface_kit.talk.plan import Actor, Plan, in_a_row, plan
from geneface_kit.talk.postprocess import TalkConfig


def held_out(person: Person, n_frames: int) -> Int[np.ndarray, " n"]:
    """Indices of the frames that no stage was trained on: the last 1/11, or n evenly from it."""
    every = np.arange(person.n_train, len(person.landmarks))
    if len(every) == 0:
        raise ValueError(f"{person.name} has no held-out frames: prepare a longer clip")
    if not n_frames or n_frames >= len(every):
        return every
    return every[np.linspace(0, len(every) - 1, n_frames).round().astype(int)]


def landmark_driven(actor: Actor, chosen: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n h w 3"]:
    """Frames rendered from the tracked landmarks, poses and shoulders.

    A head that speech drives gets their own sound instead.
    """
    frames = _rendered(actor, actor.person.landmarks, actor.person.speech, chosen)
    return np.stack(list(live.progress(frames, "landmark-driven", len(chosen))))


def self_driven(
    actor: Actor, chosen: Int[np.ndarray, " n"], config: TalkConfig, generator: torch.Generator
) -> tuple[Plan, UInt8[np.ndarray, "n h w 3"]]:
    """Frames rendered from the person's own held-out sound, on the tracked poses and shoulders.

    The landmarks come from speech alone; the eyes are replayed from frames of training.
    """
    first = actor.person.n_train
    planned = own_plan(actor, config, generator, first)
    frames = _rendered(actor, planned.landmarks, planned.speech, chosen, first)
    return planned, np.stack(list(live.progress(frames, "self-driven", len(chosen))))


def own_plan(actor: Actor, config: TalkConfig, generator: torch.Generator, first: int = 0) -> Plan:
    """What the face does for the person's own sound from a frame on, each stretch heard alone."""
    whole = dataclasses.replace(config, max_s=0.0)
    sounds = [
        actor.person.audio[part.start * SAMPLES : part.stop * SAMPLES]
        for part in actor.person.stretches(first)
    ]
    return in_a_row([plan(actor, sound, whole, generator) for sound in sounds])


def references(
    actor: Actor, config: TalkConfig, generator: torch.Generator
) -> dict[str, tuple[Plan, Float[np.ndarray, "t 68 3"]]]:
    """What the measures of a cross-driven table say where the truth is known: name -> a plan for
    the person's own sound, and the tracked landmarks. A measure that likes the generated mouth
    better than the true one, or that one a second late nearly as much, measures no agreement."""
    planned, person = own_plan(actor, config, generator), actor.person
    tracked, mean = person.landmarks[: len(planned.landmarks)], person.landmark_mean
    faces = {
        "generated": planned.landmarks,
        "true": tracked,
        "true, 1 s late": np.roll(tracked, FPS, axis=0),
        "still face": np.repeat(mean[None], len(tracked), axis=0),
    }
    if planned.speech.encoder == "hama":  # what the regression reads
        shape, apart = mouth_shape(tracked), (tracked - mean).reshape(len(tracked), -1)
        moves = np.linalg.lstsq(shape - shape.mean(0), apart, rcond=None)[0]
        heard = speech.mouth_from_speech(planned.speech)[: len(tracked)]
        faces["ridge"] = (mean + (heard @ moves).reshape(-1, 68, 3)).astype(np.float32)
    return {name: (dataclasses.replace(planned, landmarks=faces[name]), tracked) for name in faces}


def _rendered(
    actor: Actor,
    landmarks: Float[np.ndarray, "t 68 3"],
    heard: Speech,
    chosen: Int[np.ndarray, " n"],
    first: int = 0,
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Frames `chosen` of the clip, on its poses and shoulders; no stretch sees another.

    landmarks, heard: from the clip's frame `first` on.
    """
    person, avatar = actor.person, actor.avatar
    for part in person.stretches(first):
        own = slice(part.start - first, part.stop - first)
        yield from avatar.render(
            avatar.driving(landmarks[own], heard.part(own)),
            person.poses[part],
            only=(chosen[(chosen >= part.start) & (chosen < part.stop)] - part.start).tolist(),
            torso_shifts=None if avatar.torso_shifts is None else avatar.torso_shifts[part],
        )


def cross_driven(
    actor: Actor, audio: Float[np.ndarray, " n"], config: TalkConfig, generator: torch.Generator
) -> tuple[Plan, UInt8[np.ndarray, "t h w 3"] | None]:
    """What the face does for a recording of others; all its frames where SyncNet can see them."""
    planned = plan(actor, audio, config, generator)
    if isinstance(network("syncnet"), NotMeasured):
        return planned, None
    track = actor.avatar.driving(planned.landmarks, planned.speech)
    frames = actor.avatar.render(track, planned.poses, torso_shifts=planned.torso_shifts)
    return planned, np.stack(list(live.progress(frames, "cross-driven", len(planned.landmarks))))
