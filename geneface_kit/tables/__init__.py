"""Evaluation: finished runs -> the paper's tables. Reads person/ to nerf/; writes evaluation/.

Every row names its runs and the kind of data; what cannot be measured says so. Published numbers
stand in rows of their own, with their source.
"""

import dataclasses
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from safetensors import safe_open

from geneface_kit import live, metrics, speech, sync, talk
from geneface_kit.clip import read_audio
from geneface_kit.metrics import NotMeasured
from geneface_kit.tables.methods import FULL, check
from geneface_kit.tables.rows import (
    Row,
    beside_published,
    published,
    read_table,
    to_html,
    write_html,
    write_table,
)
from geneface_kit.talk import mouth_opening

__all__ = [
    "CPU",
    "PAPER",
    "EvaluationConfig",
    "Row",
    "beside_published",
    "cost",
    "cross_driven",
    "expert_score",
    "held_out",
    "held_out_plan",
    "inputs",
    "landmark_driven",
    "make",
    "published",
    "read_table",
    "recordings",
    "score_pictures",
    "self_driven",
    "to_html",
    "write_html",
    "write_table",
]

log = logging.getLogger(__name__)

HEAD = 1
"""The label of head pixels."""
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
    method: str = FULL  # whose settings these are, a name of tables.methods (ours)


CPU = {"n_frames": 44, "cross_s": 10.0}
PAPER = {"n_frames": 0, "cross_s": 0.0}


def inputs(subject: str, settings: Any) -> list[Path]:
    """The files read besides the upstream runs: recordings, and measuring networks if present."""
    found = [metrics.network(name) for name in metrics.NETWORKS]
    present = [path for path in found if not isinstance(path, NotMeasured)]
    return [*recordings(settings.evaluation), *present]


def make(run: Any, settings: Any) -> None:
    """Scores the person of a run by the three protocols and writes tables A, B and D."""
    config = settings.evaluation
    check(settings)
    actor = talk.load_actor(run.parents)
    run.data_kind = actor.person.data_kind
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
    planned, frames = self_driven(actor, chosen, settings.talk, run.generator("self-driven"))
    _store(run.folder / "self_driven.npy", frames)
    measured = score_pictures(actor.person, chosen, frames)
    measured |= _landmark_measures(actor.person, planned)
    note("a", "self-driven", measured, len(frames))
    for path in recordings(config):
        limits = dataclasses.replace(settings.talk, max_s=config.cross_s)
        generator = run.generator(f"cross-driven {path.name}")
        planned = talk.plan(actor, read_audio(path), limits, generator)
        n_frames = len(planned.landmarks)
        note("b", f"cross-driven: {path.stem}", cross_driven(actor, planned), n_frames)
    side, nerf = actor.person.size, run.parents["nerf"].metrics
    backend = f"{nerf.get('backend', 'torch')}, {run.facts['machine']['device']}"
    note("d", f"rendering {side}x{side}, {backend}", {"FPS": (fps, "1/s")}, len(frames))
    for stage, measured in cost(run.parents).items():
        note("d", stage, measured, 0)
    for name, rows in scored.items():
        write_table(run.folder / f"table_{name}.csv", rows)
        ours = read_table(run.folder / f"table_{name}.csv")
        write_html(run.folder / f"table_{name}.html", ours, name)
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
    """Frames rendered from the tracked landmarks and poses: what the renderer alone can do.

    A head that speech drives gets their own sound instead.
    """
    person = actor.person
    track = actor.portrait.driving(person.landmarks, person.speech)
    frames = actor.portrait.render(track, person.poses, only=chosen.tolist())
    return np.stack(list(live.progress(frames, "landmark-driven", len(chosen))))


def self_driven(
    actor: talk.Actor,
    chosen: Int[np.ndarray, " n"],
    config: talk.TalkConfig,
    generator: torch.Generator,
) -> tuple[talk.Plan, UInt8[np.ndarray, "n h w 3"]]:
    """Frames rendered from the person's own held-out sound, on the tracked head poses.

    The landmarks come from speech alone; the eyes are replayed from frames of training.
    """
    person = actor.person
    planned = held_out_plan(actor, config, generator)
    poses = person.poses[person.n_train : person.n_train + len(planned.landmarks)]
    only = (chosen - person.n_train).tolist()
    track = actor.portrait.driving(planned.landmarks, planned.speech)
    frames = actor.portrait.render(track, poses, only=only)
    return planned, np.stack(list(live.progress(frames, "self-driven", len(chosen))))


def held_out_plan(
    actor: talk.Actor, config: talk.TalkConfig, generator: torch.Generator
) -> talk.Plan:
    """What the face does for all of the person's own held-out sound, from speech alone."""
    person = actor.person
    sound = person.audio[person.n_train * talk.SAMPLES : len(person.landmarks) * talk.SAMPLES]
    whole = dataclasses.replace(config, max_s=0.0)
    return talk.plan(actor, sound, whole, generator)


def score_pictures(
    person: Any, chosen: Int[np.ndarray, " n"], frames: UInt8[np.ndarray, "n h w 3"]
) -> dict[str, tuple[float | NotMeasured, str]]:
    """Metric name -> (value, unit) for rendered frames against the true ones."""
    truth = np.asarray(person.frames[chosen])
    head = np.asarray(person.labels[chosen]) == HEAD
    found = {
        "PSNR": (metrics.psnr(frames, truth), "dB"),
        "PSNR head": (metrics.psnr(frames, truth, mask=head), "dB"),
        "SSIM": (metrics.ssim(frames, truth), ""),
        "LPIPS": (metrics.lpips(frames, truth), ""),
        "FID": (metrics.fid(frames, truth), ""),
        "LSE-C": (metrics.lse(), ""),
    }
    return found | _detected_measures(frames, truth, person.size)


def cross_driven(
    actor: talk.Actor, planned: talk.Plan
) -> dict[str, tuple[float | NotMeasured, str]]:
    """Metric name -> (value, unit) for a recording that has no true frames."""
    opening = mouth_opening(planned.landmarks)
    own = float(mouth_opening(actor.person.landmarks).std())
    return {
        "LSE-D": (metrics.lse(), ""),
        "LSE-C": (metrics.lse(), ""),
        "sync expert": (_expert(actor, planned), "cosine"),
        "mouth correlation with speech": (_heard(planned, opening), "r"),
        "mouth motion ratio": (float(opening.std()) / max(own, 1e-6), ""),
    }


def cost(parents: dict[str, Any]) -> dict[str, dict[str, tuple[float | NotMeasured, str]]]:
    """Stage -> minutes it took and parameters it holds, read from its run."""
    found = {}
    for stage in ("motion", "adaptation", "nerf"):
        run = parents[stage]
        found[stage] = {
            "training minutes": (run.facts["wall_s"] / 60, "min"),
            "parameters": (float(_n_parameters(run.folder)), ""),
        }
    return found


def expert_score(
    expert: torch.nn.Module, unit: float, planned: talk.Plan, mean: Float[np.ndarray, "68 3"]
) -> float:
    """Mean cosine of our own sync expert over every window of a plan, in [0, 1].

    unit: inter-ocular distances per network unit. Not comparable to LSE-C, which is SyncNet's.
    """
    motion = torch.from_numpy((planned.landmarks - mean) / unit).flatten(1).float()
    features = torch.as_tensor(planned.speech.features).float()
    n_windows = len(motion) - sync.WINDOW + 1
    if n_windows < 1:
        raise ValueError(f"the sync expert needs {sync.WINDOW} frames, got {len(motion)}")
    lips = sync.lips(motion[None])[0]
    mouths = torch.stack([lips[k : k + sync.WINDOW] for k in range(n_windows)])
    heard = [features[2 * k : 2 * (k + sync.WINDOW)] for k in range(n_windows)]
    with torch.no_grad():
        return float(expert(torch.stack(heard), mouths).mean())


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


def _heard(planned: talk.Plan, opening: np.ndarray) -> float | NotMeasured:
    """Correlation of a mouth with the one that a regression, not our generator, hears."""
    if planned.speech.encoder != "hama":
        return NotMeasured(f"the mouth regression does not read {planned.speech.encoder} features")
    heard = speech.mouth_from_speech(planned.speech)[: len(opening), 0]
    return metrics.correlation(opening, heard.astype(np.float32))


def _expert(actor: talk.Actor, planned: talk.Plan) -> float | NotMeasured:
    if actor.motion.expert is None:
        return NotMeasured("the motion run holds no sync expert")
    mean = actor.person.landmark_mean
    return expert_score(actor.motion.expert, actor.motion.unit, planned, mean)


def _landmark_measures(person: Any, planned: talk.Plan) -> dict[str, tuple[Any, str]]:
    true = mouth_opening(person.landmarks[person.n_train :])
    r = metrics.correlation(mouth_opening(planned.landmarks), true)
    return {"mouth correlation": (r, "r")}


def _detected_measures(
    frames: UInt8[np.ndarray, "n h w 3"], truth: UInt8[np.ndarray, "n h w 3"], size: int
) -> dict[str, tuple[Any, str]]:
    """LMD between the frames in which a face is found in both; none leaves it unmeasured."""
    a, found_a = metrics.detected_landmarks(frames)
    b, found_b = metrics.detected_landmarks(truth)
    both = found_a & found_b
    if not both.any():
        missing = NotMeasured("no face was found in the rendered frames")
        return {"LMD": (missing, "px"), "LMD lips": (missing, "px")}
    if not both.all():
        log.warning("no face found in %d of %d rendered frames", (~both).sum(), len(both))
    return {
        "LMD": (metrics.lmd(a[both], b[both], size), "px"),
        "LMD lips": (metrics.lmd(a[both], b[both], size, points="lips"), "px"),
        "faces found": (float(both.mean()), ""),
    }


def _n_parameters(folder: Path) -> int:
    n = 0
    for path in sorted(folder.glob("*.safetensors")):
        if "checkpoint" in path.name:
            continue
        with safe_open(path, framework="numpy") as file:
            n += sum(int(np.prod(file.get_slice(key).get_shape())) for key in file.keys())
    return n


def _store(path: Path, frames: np.ndarray) -> None:
    partial = path.with_name("part_" + path.name)
    np.save(partial, frames)
    os.replace(partial, path)
