"""Evaluation: finished runs -> the paper's tables. Reads person/ to nerf/; writes evaluation/.

Every row names its runs and the kind of data; what cannot be measured says so. Published numbers
stand in rows of their own, with their source.
"""

import dataclasses
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8

from geneface_kit.evaluation.collect import check_run, collect
from geneface_kit.evaluation.latex import to_latex, write_latex
from geneface_kit.evaluation.rows import (
    Row,
    beside_published,
    listing,
    published,
    read_table,
    to_html,
    write_html,
    write_table,
)
from geneface_kit.evaluation.scores import (
    HEAD,
    cost,
    cross_driven,
    expert_score,
    score_landmarks,
    score_pictures,
)
from geneface_kit.metrics.networks import NETWORKS, NotMeasured, network
from geneface_kit.person.clip import read_audio
from geneface_kit.runs import Run, live, replacing
from geneface_kit.talk import stage as talk

__all__ = [
    "CPU",
    "HEAD",
    "PAPER",
    "EvaluationConfig",
    "Row",
    "beside_published",
    "check_run",
    "collect",
    "cost",
    "cross_driven",
    "expert_score",
    "held_out",
    "held_out_plan",
    "inputs",
    "landmark_driven",
    "listing",
    "make",
    "published",
    "read_table",
    "recordings",
    "score_landmarks",
    "score_pictures",
    "self_driven",
    "to_html",
    "to_latex",
    "write_html",
    "write_latex",
    "write_table",
]

log = logging.getLogger(__name__)

OF_LANDMARKS = (
    "mouth correlation",
    "sync expert",
    "mouth correlation with speech",
    "mouth motion ratio",
)
"""Metrics of planned landmarks; no picture is looked at."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What is scored. The defaults are the smoke profile."""

    n_frames: int = 12  # held-out frames that are rendered, evenly spaced; 0 means all (ours)
    recordings: str = ""  # files for the cross-driven table, comma between; "" = held-out demo
    cross_s: float = 4.0  # seconds of each recording; 0 means all of it (ours)
    method: str = "full"  # whose settings these are, a name of tables.methods (ours)


CPU = {"n_frames": 44, "cross_s": 10.0}
PAPER = {"n_frames": 0, "cross_s": 0.0}


def inputs(subject: str, spoken: talk.TalkConfig, config: EvaluationConfig) -> list[Path]:
    """The files read besides the upstream runs: recordings, and measuring networks if present."""
    found = [network(name) for name in NETWORKS]
    present = [path for path in found if not isinstance(path, NotMeasured)]
    return [*recordings(config), *present]


def make(run: Run, spoken: talk.TalkConfig, config: EvaluationConfig) -> None:
    """Scores the person of a run by the three protocols and writes tables A, B and D."""
    check_run(run, finished=False)
    actor = talk.load_actor(run.parents)
    chosen = held_out(actor.person, config.n_frames)
    scored: dict[str, list[Row]] = {"a": [], "b": [], "d": []}

    def note(table, protocol, measured, n_frames):
        measured = _told(measured, actor.portrait.driven_by)
        scored[table] += _rows(run, table, protocol, config.method, measured, n_frames)

    started = time.perf_counter()
    frames = landmark_driven(actor, chosen)
    fps = len(frames) / (time.perf_counter() - started)
    if actor.portrait.driven_by == "landmarks":
        _store(run.folder / "landmark_driven.npy", frames)
        note("a", "landmark-driven", score_pictures(actor.person, chosen, frames), len(frames))
    planned, frames = self_driven(actor, chosen, spoken, run.generator("self-driven"))
    _store(run.folder / "self_driven.npy", frames)
    measured = score_pictures(actor.person, chosen, frames)
    measured |= score_landmarks(actor.person, planned)
    note("a", "self-driven", measured, len(frames))
    for path in recordings(config):
        limits = dataclasses.replace(spoken, max_s=config.cross_s)
        generator = run.generator(f"cross-driven {path.name}")
        planned = talk.plan(actor, read_audio(path), limits, generator)
        n_frames = len(planned.landmarks)
        measured = cross_driven(actor, planned, _for_syncnet(actor, planned))
        note("b", f"cross-driven: {path.stem}", measured, n_frames)
    side, nerf = actor.person.size, run.parents["nerf"].metrics
    backend = f"{nerf.get('backend', 'torch')}, {run.facts['machine']['device']}"
    note("d", f"rendering {side}x{side}, {backend}", {"FPS": (fps, "1/s")}, len(frames))
    for stage, measured in cost(run.parents).items():
        note("d", stage, measured, 0)
    for name, rows in scored.items():
        write_table(run.folder / f"table_{name}.csv", rows)
        ours = read_table(run.folder / f"table_{name}.csv")
        write_html(run.folder / f"table_{name}.html", ours, name)
        write_latex(run.folder / f"table_{name}.tex", ours, name)
    for row in scored["a"]:
        if not isinstance(row.value, NotMeasured):
            run.record(f"{row.protocol} {row.metric}", round(row.value, 4))


def recordings(config: EvaluationConfig) -> list[Path]:
    """The files of the cross-driven table; every one must exist before anything is scored."""
    names = [name.strip() for name in config.recordings.split(",")]
    return [talk.driving_audio(name) for name in names]


def held_out(person: Any, n_frames: int) -> Int[np.ndarray, " n"]:
    """Indices of the frames that no stage was trained on: the last 1/11, or n evenly from it."""
    every = np.arange(person.n_train, len(person.landmarks))
    if len(every) == 0:
        raise ValueError(f"{person.name} has no held-out frames: prepare a longer clip")
    if not n_frames or n_frames >= len(every):
        return every
    return every[np.linspace(0, len(every) - 1, n_frames).round().astype(int)]


def landmark_driven(
    actor: talk.Actor, chosen: Int[np.ndarray, " n"]
) -> UInt8[np.ndarray, "n h w 3"]:
    """Frames rendered from the tracked landmarks, poses and shoulders: what the renderer alone can.

    A head that speech drives gets their own sound instead.
    """
    person = actor.person
    track = actor.portrait.driving(person.landmarks, person.speech)
    portrait = actor.portrait
    frames = portrait.render(track, person.poses, only=chosen.tolist(), sway=portrait.sway)
    return np.stack(list(live.progress(frames, "landmark-driven", len(chosen))))


def self_driven(
    actor: talk.Actor,
    chosen: Int[np.ndarray, " n"],
    config: talk.TalkConfig,
    generator: torch.Generator,
) -> tuple[talk.Plan, UInt8[np.ndarray, "n h w 3"]]:
    """Frames rendered from the person's own held-out sound, on the tracked poses and shoulders.

    The landmarks come from speech alone; the eyes are replayed from frames of training.
    """
    person = actor.person
    planned = held_out_plan(actor, config, generator)
    there = slice(person.n_train, person.n_train + len(planned.landmarks))
    poses, sway = person.poses[there], actor.portrait.sway
    only = (chosen - person.n_train).tolist()
    track = actor.portrait.driving(planned.landmarks, planned.speech)
    sway = None if sway is None else sway[there]
    frames = actor.portrait.render(track, poses, only=only, sway=sway)
    return planned, np.stack(list(live.progress(frames, "self-driven", len(chosen))))


def held_out_plan(
    actor: talk.Actor, config: talk.TalkConfig, generator: torch.Generator
) -> talk.Plan:
    """What the face does for all of the person's own held-out sound, from speech alone."""
    person = actor.person
    sound = person.audio[person.n_train * talk.SAMPLES : len(person.landmarks) * talk.SAMPLES]
    whole = dataclasses.replace(config, max_s=0.0)
    return talk.plan(actor, sound, whole, generator)


def _for_syncnet(actor: talk.Actor, planned: talk.Plan) -> UInt8[np.ndarray, "t h w 3"] | None:
    """All frames of a plan when SyncNet is there to see them; else nothing is rendered."""
    if isinstance(network("syncnet"), NotMeasured):
        return None
    track = actor.portrait.driving(planned.landmarks, planned.speech)
    frames = actor.portrait.render(track, planned.poses, sway=planned.sway)
    return np.stack(list(live.progress(frames, "cross-driven", len(planned.landmarks))))


def _rows(run, table, protocol, method, measured, n_frames) -> list[Row]:
    sources = tuple(parent.id for parent in run.parents.values()) + (run.id,)
    return [
        Row(
            table=table,
            person=run.subject,
            protocol=protocol,
            method=method,
            metric=metric,
            value=value,
            unit=unit,
            n_frames=n_frames,
            runs=sources,
            seed=run.seed,
            profile=run.profile,
            data_kind=run.data_kind,
        )
        for metric, (value, unit) in measured.items()
    ]


def _told(
    measured: dict[str, tuple[float | NotMeasured, str]], driven_by: str
) -> dict[str, tuple[float | NotMeasured, str]]:
    """Without the measures of planned landmarks where these are not what a head is driven by."""
    if driven_by == "landmarks":
        return measured
    missing = NotMeasured(f"{driven_by} drives this head: it never gets the planned landmarks")
    return {
        metric: (missing if metric in OF_LANDMARKS else value, unit)
        for metric, (value, unit) in measured.items()
    }


def _store(path: Path, frames: np.ndarray) -> None:
    with replacing(path) as partial:
        np.save(partial, frames)
