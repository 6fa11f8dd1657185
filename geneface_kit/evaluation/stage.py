"""Evaluation: finished runs -> the paper's tables. Reads person/ to nerf/; writes evaluation/.

Every row names its runs and the kind of data; what cannot be measured says so.
"""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geneface_kit.evaluation import protocols, scores
from geneface_kit.evaluation.scores import Scores
from geneface_kit.evaluation.tables import Row, rows_of, write_table
from geneface_kit.metrics.networks import NETWORKS, NotMeasured, network
from geneface_kit.person.clip import SAMPLE_RATE, read_audio
from geneface_kit.runs import Run
from geneface_kit.runs.arrays import write_npy
from geneface_kit.runs.files import named
from geneface_kit.runs.ranges import Natural, NotNegative
from geneface_kit.talk.audio import driving_audio
from geneface_kit.talk.plan import load_actor, plan
from geneface_kit.talk.postprocess import TalkConfig

OF_LANDMARKS = (
    *("mouth correlation", "velocity correlation", "peak alignment", "closures met"),
    *("mouth motion ratio", "sync expert"),
)  # metrics of planned landmarks; no picture is looked at


@dataclass(frozen=True)
class EvaluationConfig:
    """What is scored. The defaults are the smoke profile."""

    n_frames: Natural = 12  # held-out frames that are rendered, evenly spaced; 0 means all (ours)
    recordings: str = ""  # files for the cross-driven table, comma between; "" = held-out demo
    cross_s: NotNegative = 4.0  # seconds of each recording; 0 means all of it (ours)
    method: str = "full"  # whose settings these are, a name of pipeline.methods (ours)


def inputs(subject: str, spoken: TalkConfig, config: EvaluationConfig) -> dict[str, Path]:
    """The files read besides the upstream runs: recordings, and measuring networks if present."""
    found = [network(name) for name in NETWORKS]
    present = [path for path in found if not isinstance(path, NotMeasured)]
    return named([*recordings(config), *present])


def make(run: Run, spoken: TalkConfig, config: EvaluationConfig) -> None:
    """Scores the person of a run by the three protocols and writes tables A, B and D."""
    actor = load_actor(run.parents)
    chosen = protocols.held_out(actor.person, config.n_frames)
    scored: dict[str, list[Row]] = {"a": [], "b": [], "d": []}

    def note(table: str, protocol: str, measured: Scores, n_frames: int) -> None:
        place = {"table": table, "protocol": protocol, "method": config.method}
        told = _told(measured, actor.avatar.driven_by)
        scored[table] += rows_of(run, told, n_frames=n_frames, **place)

    started = time.perf_counter()
    frames = protocols.landmark_driven(actor, chosen)
    fps = len(frames) / (time.perf_counter() - started)
    if actor.avatar.driven_by == "landmarks":
        write_npy(run.folder / "landmark_driven.npy", frames)
        measured = scores.score_pictures(actor.person, chosen, frames)
        note("a", "landmark-driven", measured, len(frames))
    planned, frames = protocols.self_driven(actor, chosen, spoken, run.generator("self-driven"))
    write_npy(run.folder / "self_driven.npy", frames)
    measured = scores.score_pictures(actor.person, chosen, frames)
    measured |= scores.score_landmarks(planned, actor.person.landmarks[actor.person.n_train :])
    note("a", "self-driven", measured, len(frames))
    for path in recordings(config):
        limits = dataclasses.replace(spoken, max_s=config.cross_s)
        generator = run.generator(f"cross-driven {path.name}")
        planned, film = protocols.cross_driven(actor, read_audio(path), limits, generator)
        measured = scores.score_recording(actor, planned, film)
        note("b", f"cross-driven: {path.stem}", measured, len(planned.landmarks))
    generator = run.generator("references")
    for name, (planned, tracked) in protocols.references(actor, spoken, generator).items():
        measured = scores.score_landmarks(planned, tracked)
        measured |= scores.score_recording(actor, planned)
        note("b", f"own clip: {name}", measured, len(tracked))
    noise = np.random.default_rng(0).standard_normal(4 * SAMPLE_RATE, np.float32)
    for name, sound in {"digital silence": 0 * noise, "white noise": noise / 10}.items():
        planned = plan(actor, sound, spoken, generator)  # the mouth should rest
        ratio = {"mouth motion ratio": scores.motion_ratio(actor, planned)}
        note("b", name, ratio, len(planned.landmarks))
    side, nerf = actor.person.size, run.parents["nerf"].metrics
    backend = f"{nerf.get('backend', 'torch')}, {run.facts['machine']['device']}"
    note("d", f"rendering {side}x{side}, {backend}", {"FPS": fps}, len(frames))
    for stage, measured in scores.cost(run.parents).items():
        note("d", stage, measured, 0)
    for name, rows in scored.items():
        write_table(run.folder / f"table_{name}.csv", rows)
    for row in scored["a"]:
        if not isinstance(row.value, NotMeasured):
            run.record(f"{row.protocol} {row.metric}", round(row.value, 4))


def recordings(config: EvaluationConfig) -> list[Path]:
    """The files of the cross-driven table; every one must exist before anything is scored."""
    return [driving_audio(name.strip()) for name in config.recordings.split(",")]


def _told(measured: Scores, driven_by: str) -> Scores:
    """Without the measures of planned landmarks where these are not what a head is driven by."""
    if driven_by == "landmarks":
        return measured
    missing = NotMeasured(f"{driven_by} drives this head: it never gets the planned landmarks")
    return {name: missing if name in OF_LANDMARKS else value for name, value in measured.items()}
