"""Evaluation: finished runs -> the paper's tables. Reads person/ to nerf/; writes evaluation/.

Every row names its runs and the kind of data; what cannot be measured says so. GeneFace (section 4)
drives a head by the person's own held-out sound (self-driven) and by the sound of others
(cross-driven). Landmark-driven is ours: what the renderer alone can.
"""

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from geneface_kit.evaluation import scores
from geneface_kit.evaluation.scores import Scores
from geneface_kit.evaluation.tables import Row, rows_of, write_table
from geneface_kit.metrics.networks import NETWORKS, NotMeasured, network
from geneface_kit.person import speech
from geneface_kit.person.artefact import Person
from geneface_kit.person.clip import FPS, SAMPLE_RATE, SAMPLES, read_audio
from geneface_kit.person.mouth import mouth_shape
from geneface_kit.person.spans import each
from geneface_kit.person.speech import Speech
from geneface_kit.runs import Run, live
from geneface_kit.runs.arrays import write_npy
from geneface_kit.runs.files import named
from geneface_kit.runs.ranges import Natural, NotNegative
from geneface_kit.talk.audio import driving_audio
from geneface_kit.talk.plan import Actor, Plan, in_a_row, load_actor, plan
from geneface_kit.talk.postprocess import Landmarks, TalkConfig

Chosen = Int[np.ndarray, " n"]
Frames = UInt8[np.ndarray, "n h w 3"]
OF_LANDMARKS = (
    *("mouth correlation", "velocity correlation", "peak alignment", "closures met"),
    *("mouth motion ratio", "sync expert"),
)  # metrics of planned landmarks; no picture is looked at
RIDGE = Path(__file__).with_name("ridge.npz")
"""The linear reference: has heard what the shipped generator has; notebooks.studies.ship_motion."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What is scored. The defaults are the smoke profile."""

    n_frames: Natural = 12  # held-out frames that are rendered, evenly spaced; 0 means all (ours)
    recordings: str = ""  # files of the cross-driven table, "a.wav,b.wav"; "" = held-out demo
    cross_s: NotNegative = 4.0  # seconds of each recording; 0 means all of it (ours)
    method: str = "full"  # whose settings these are, a name of pipeline.methods (ours)


def inputs(subject: str, spoken: TalkConfig, config: EvaluationConfig) -> dict[str, Path]:
    """The files read besides the upstream runs: recordings, and measuring networks if present."""
    found = (network(name) for name in NETWORKS)
    return named([*recordings(config), *(one for one in found if isinstance(one, Path))])


def make(run: Run, spoken: TalkConfig, config: EvaluationConfig) -> None:
    """Scores the person of a run by the three protocols and writes tables A, B and D."""
    actor = load_actor(run.parents)
    chosen = held_out(actor.person, config.n_frames)
    scored: dict[str, list[Row]] = {"a": [], "b": [], "d": []}

    driven_by = actor.avatar.driven_by
    unseen = NotMeasured(f"{driven_by} drives this head: it never gets the planned landmarks")

    def note(table: str, protocol: str, told: Scores, n_frames: int) -> None:
        place = {"table": table, "protocol": protocol, "method": config.method}
        if driven_by != "landmarks":
            told = told | dict.fromkeys(told.keys() & OF_LANDMARKS, unseen)
        scored[table] += rows_of(run, told, n_frames=n_frames, **place)
        for metric, value in told.items():
            if table == "a" and not isinstance(value, NotMeasured):
                run.record(f"{protocol} {metric}", round(value, 4))

    next(_rendered(actor, actor.person.landmarks, actor.person.speech, chosen[:1]))  # loads kernels
    started = time.perf_counter()
    frames = landmark_driven(actor, chosen)
    fps = len(frames) / (time.perf_counter() - started)
    if driven_by == "landmarks":
        write_npy(run.folder / "landmark_driven.npy", frames)
        measured = scores.score_pictures(actor.person, chosen, frames)
        note("a", "landmark-driven", measured, len(frames))
    planned, frames = self_driven(actor, chosen, spoken, run.generator("self-driven"))
    write_npy(run.folder / "self_driven.npy", frames)
    note("a", "self-driven", scores.score_pictures(actor.person, chosen, frames), len(frames))
    measured = scores.score_landmarks(planned, actor.person, actor.person.n_train)
    note("a", "self-driven", measured, len(planned.landmarks))
    for path in recordings(config):
        limits = dataclasses.replace(spoken, max_s=config.cross_s)
        generator = run.generator(f"cross-driven {path.name}")
        planned, film = cross_driven(actor, read_audio(path), limits, generator)
        measured = scores.score_recording(actor, planned, film)
        note("b", f"cross-driven: {path.stem}", measured, len(planned.landmarks))
    generator = run.generator("references")
    for name, planned in references(actor, spoken, generator).items():
        measured = scores.score_landmarks(planned, actor.person)
        measured |= scores.score_recording(actor, planned)
        note("b", f"own clip: {name}", measured, len(planned.landmarks))
    noise = np.random.default_rng(0).standard_normal(4 * SAMPLE_RATE, np.float32)
    for name, sound in {"digital silence": 0 * noise, "white noise": noise / 10}.items():
        planned = plan(actor, sound, spoken, generator)  # the mouth should rest
        ratio = {"mouth motion ratio": scores.motion_ratio(actor, planned)}
        note("b", name, ratio, len(planned.landmarks))
    side, device = actor.person.size, run.facts["machine"]["device"]
    note("d", f"rendering {side}x{side}, {device}", {"FPS": fps}, len(frames))
    for stage in ("motion", "adaptation", "nerf"):
        note("d", stage, scores.cost(run.parents[stage]), 0)
    for name, rows in scored.items():
        write_table(run.folder / f"table_{name}.csv", rows)


def recordings(config: EvaluationConfig) -> list[Path]:
    """The files of the cross-driven table; every one must exist before anything is scored."""
    return [driving_audio(name.strip()) for name in config.recordings.split(",")]


def held_out(person: Person, n_frames: int) -> Chosen:
    """Indices of the frames that no stage was trained on: the last 1/11, or n evenly from it."""
    every = np.arange(person.n_train, len(person.landmarks))
    if not len(every):
        raise ValueError(f"{person.name} has no held-out frames: prepare a longer clip")
    n = min(n_frames or len(every), len(every))
    return every[np.linspace(0, len(every) - 1, n).round().astype(int)]


def landmark_driven(actor: Actor, chosen: Chosen) -> Frames:
    """Frames rendered from the tracked landmarks, poses and shoulders; of a head that speech drives
    from their own sound instead of landmarks."""
    frames = _rendered(actor, actor.person.landmarks, actor.person.speech, chosen)
    return np.stack(list(live.progress(frames, "landmark-driven", len(chosen))))


def self_driven(
    actor: Actor, chosen: Chosen, config: TalkConfig, generator: torch.Generator
) -> tuple[Plan, Frames]:
    """Frames rendered from the person's own held-out sound, on the tracked poses and shoulders. The
    landmarks come from speech alone; the eyes are replayed from frames of training."""
    first = actor.person.n_train
    planned = own_plan(actor, config, generator, first)
    frames = _rendered(actor, planned.landmarks, planned.speech, chosen, first)
    return planned, np.stack(list(live.progress(frames, "self-driven", len(chosen))))


def own_plan(actor: Actor, config: TalkConfig, generator: torch.Generator, first: int = 0) -> Plan:
    """What the face does for the person's own sound from a frame on, each stretch heard alone."""
    whole, plans = dataclasses.replace(config, max_s=0.0), []
    for part in actor.person.stretches(first):
        sound = actor.person.audio[part.start * SAMPLES : part.stop * SAMPLES]
        plans.append(plan(actor, sound, whole, generator))
    return in_a_row(plans)


def references(actor: Actor, config: TalkConfig, generator: torch.Generator) -> dict[str, Plan]:
    """What the measures of a cross-driven table say where the truth is known: name -> a plan for
    the person's own sound. A measure that likes the generated mouth better than the true one, or
    that one a second late nearly as much, measures no agreement."""
    planned, person = own_plan(actor, config, generator), actor.person
    tracked, mean = person.landmarks[: len(planned.landmarks)], person.landmark_mean
    faces = {
        "generated": planned.landmarks,
        "true": tracked,
        "true, 1 s late": each(lambda face: np.roll(face, FPS, axis=0), tracked, person.spans),
        "still face": np.repeat(mean[None], len(tracked), axis=0),
    }
    if planned.speech.encoder == "hama":  # what the regression reads
        shape, apart = mouth_shape(tracked), (tracked - mean).reshape(len(tracked), -1)
        moves = np.linalg.lstsq(shape - shape.mean(0), apart, rcond=None)[0]
        heard = speech.mouth_from_speech(planned.speech, person.spans, RIDGE)[: len(tracked)]
        faces["ridge"] = (mean + (heard @ moves).reshape(-1, 68, 3)).astype(np.float32)
    return {name: dataclasses.replace(planned, landmarks=face) for name, face in faces.items()}


def _rendered(
    actor: Actor, landmarks: Landmarks, heard: Speech, chosen: Chosen, first: int = 0
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Frames `chosen` of the clip, on its poses and shoulders; no stretch sees another. landmarks,
    heard: from the clip's frame `first` on."""
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
) -> tuple[Plan, Frames | None]:
    """What the face does for a recording of others; all its frames where SyncNet can see them."""
    planned = plan(actor, audio, config, generator)
    if isinstance(network("syncnet"), NotMeasured):
        return planned, None
    track = actor.avatar.driving(planned.landmarks, planned.speech)
    frames = actor.avatar.render(track, planned.poses, torso_shifts=planned.torso_shifts)
    return planned, np.stack(list(live.progress(frames, "cross-driven", len(planned.landmarks))))
