"""Require: a stage and a person in; the finished, documented run out."""

import dataclasses
import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

from filelock import FileLock

from geneface_kit.pipeline import methods
from geneface_kit.pipeline.settings import Overrides, Settings, resolve
from geneface_kit.pipeline.stages import STAGES, Stage
from geneface_kit.runs.files import Facts, sha256
from geneface_kit.runs.record import SCHEMA, Run, complete, execute, machine, read_facts, root

log = logging.getLogger(__name__)


def require(
    stage: str,
    person: str = "demo",
    *,
    profile: str = "smoke",
    seed: int = 0,
    overrides: Overrides | str | None = None,
    out: Path | str = "",
) -> Run:
    """The finished run of a stage for a person: found, or made together with all it needs.

    overrides: dotted settings, {"head.steps": 100} or "head.steps=100,talk.temperature=0".
    out: the folder of all runs; default: runs/ at the root. The same settings, seed, inputs and
    parents give the same run; a run that was cut off goes on where it stopped.
    """
    settings = resolve(profile, overrides)
    home = Path(out) if out else root() / "runs"
    return _require(_identity(stage, person, settings, seed, home), settings, home)


def locate(
    stage: str,
    person: str = "demo",
    *,
    profile: str = "smoke",
    seed: int = 0,
    overrides: Overrides | str | None = None,
    out: Path | str = "",
) -> Path:
    """The folder of the run that `require` would give, whether it is there or not.

    It follows from settings, seed, inputs and parents alone; nothing is made.
    """
    settings = resolve(profile, overrides)
    home = Path(out) if out else root() / "runs"
    return home / _identity(stage, person, settings, seed, home).where


@dataclasses.dataclass(frozen=True)
class _Identity:
    """What makes a run this run, and the folder (under that of all runs) which follows from it."""

    stage: str
    subject: str
    seed: int
    config: Facts
    inputs: dict[str, str]
    parents: "dict[str, _Identity]"
    id: str
    where: str


def _identity(stage: str, person: str, settings: Settings, seed: int, home: Path) -> _Identity:
    if stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}: choose one of {', '.join(STAGES)}")
    spec = STAGES[stage]
    subject = person if spec.per_person else "speakers"
    config = {name: dataclasses.asdict(getattr(settings, name)) for name in spec.sections}
    own_seed = seed if spec.seeded else 0
    what = [SCHEMA, stage, subject, config, own_seed]
    try:
        files = spec.inputs(subject, *_sections(spec, settings))
        inputs = {path.name: sha256(path) for path in files}
    except FileNotFoundError:
        inputs = _inputs_of_old(home / _label(subject), f"{stage}-{settings.profile}", what)
        if spec.parents or inputs is None:
            raise
    parents = {name: _identity(name, person, settings, seed, home) for name in spec.parents}
    digest = _digest([*what, inputs, [parent.id for parent in parents.values()]])
    where = f"{_label(subject)}/{stage}-{settings.profile}-{digest}"
    run_id = f"{stage}-{_label(subject)}-{settings.profile}-{digest}"
    return _Identity(stage, subject, own_seed, config, inputs, parents, run_id, where)


def _require(identity: _Identity, settings: Settings, home: Path) -> Run:
    stage = STAGES[identity.stage]
    if identity.stage == "evaluation":
        methods.check(settings)
    parents = {name: _require(one, settings, home) for name, one in identity.parents.items()}
    synthetic = any(run.data_kind == "synthetic" for run in parents.values())
    folder = home / identity.where
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "schema": SCHEMA,
        "id": identity.id,
        "stage": identity.stage,
        "subject": identity.subject,
        "profile": settings.profile,
        "seed": identity.seed,
        "status": "running",
        "data_kind": "synthetic" if synthetic else "real",
        "config": identity.config,
        "inputs": identity.inputs,
        "parents": {name: one.where for name, one in identity.parents.items()},
        "outputs": {},
        "metrics": {},
        "wall_s": 0.0,
        "peak_memory_mb": 0.0,
        "machine": machine(),
    }
    with FileLock(str(folder) + ".lock"):
        run = Run(folder, facts, parents)
        earlier = read_facts(folder)
        if earlier is not None and earlier["status"] == "ok" and complete(folder, earlier):
            return Run(folder, earlier, parents)
        if earlier is not None and earlier["status"] == "failed":
            shutil.rmtree(folder)
            folder.mkdir()
        elif earlier is not None:
            run.facts["wall_s"] = earlier["wall_s"]
            log.info("%s: going on with the run that was cut off", run.id)
        execute(run, lambda: stage.make(run, *_sections(stage, settings)))
    return run


def _inputs_of_old(folder: Path, prefix: str, what: list) -> dict[str, str] | None:
    """What a finished run of these settings read: it is found when its clip is gone, too."""
    for path in sorted(folder.glob(f"{prefix}-*/run.json"), key=os.path.getmtime, reverse=True):
        facts = read_facts(path.parent)
        if facts is None or facts["status"] != "ok":
            continue
        if path.parent.name == f"{prefix}-{_digest([*what, facts['inputs'], []])}":
            log.info("%s: its inputs are gone; the finished run is used", facts["id"])
            return facts["inputs"]
    return None


def _digest(identity: list) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]


def _label(subject: str) -> str:
    """A person named by a path becomes the file's stem in folder names."""
    return Path(subject).stem


def _sections(stage: Stage, settings: Settings) -> list:
    """What the settings hold for a stage, in the order of its sections."""
    return [getattr(settings, name) for name in stage.sections]
