"""Runs: where results live. A stage and a person in; a finished, documented run folder out."""

import dataclasses
import hashlib
import importlib
import json
import logging
import os
import platform
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from geneface_kit.runs.files import plain, replacing, sha256, write_json
from geneface_kit.runs.machine import machine, repeatable

__all__ = [
    "STAGES",
    "Run",
    "Stage",
    "locate",
    "open_run",
    "replacing",
    "require",
    "root",
    "sha256",
    "write_json",
]

log = logging.getLogger(__name__)

SCHEMA = 1
BESIDE = (".ipynb", "_clock.csv")
"""Executed notebooks and wall times: beside a run's outputs, none of them, never twice alike."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage: the module that makes it, its settings' sections, what it needs upstream.

    seeded: whether it draws at random; one that does not is the same run under every seed.
    """

    module: str
    sections: tuple[str, ...]
    parents: tuple[str, ...]
    per_person: bool = True
    seeded: bool = True


STAGES = {
    "person": Stage("person", ("person",), (), seeded=False),
    "motion": Stage("motion", ("corpus", "sync", "motion"), (), per_person=False),
    "adaptation": Stage("adaptation", ("adaptation",), ("person", "motion")),
    "nerf": Stage("portrait", ("head", "torso"), ("person",)),
    "talk": Stage("talk", ("talk",), ("person", "motion", "adaptation", "nerf")),
    "evaluation": Stage(
        "tables", ("talk", "evaluation"), ("person", "motion", "adaptation", "nerf")
    ),
}
"""The flow (design.md 1): stage -> module, sections of the settings, upstream stages."""


class Run:
    """One execution of a stage: its folder, its settings and everything `run.json` says.

    id, stage, subject (the person, or "speakers" for the motion stage), profile, seed, folder;
    parents: upstream stage -> its Run; config: the resolved settings as plain values.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], parents: dict[str, "Run"]):
        self.folder = folder
        self.facts = facts
        self.parents = parents
        self.id: str = facts["id"]
        self.stage: str = facts["stage"]
        self.subject: str = facts["subject"]
        self.profile: str = facts["profile"]
        self.seed: int = facts["seed"]
        self.config: dict[str, Any] = facts["config"]

    def __repr__(self) -> str:
        return f"Run({self.id}, {self.status})"

    @property
    def status(self) -> str:
        """running, ok, failed or interrupted."""
        return self.facts["status"]

    @property
    def metrics(self) -> dict[str, Any]:
        """Every recorded number: name -> value."""
        return self.facts["metrics"]

    @property
    def data_kind(self) -> str:
        """ "synthetic" if any input is, else "real"; the person stage decides."""
        return self.facts["data_kind"]

    @data_kind.setter
    def data_kind(self, kind: str) -> None:
        if kind not in ("synthetic", "real"):
            raise ValueError(f"data_kind must be 'synthetic' or 'real', got {kind!r}")
        self.facts["data_kind"] = kind

    def record(self, name: str, value: Any) -> None:
        """Keeps a number (or a list or dict of numbers) in run.json."""
        self.facts["metrics"][name] = json.loads(json.dumps(value, default=plain))

    def add_input(self, path: Path) -> None:
        """Names a file this run reads, with its digest."""
        self.facts["inputs"][path.name] = sha256(path)

    def generator(self, name: str = "") -> torch.Generator:
        """A torch generator of this run's own: its stream follows from seed, stage and name."""
        generator = torch.Generator()
        generator.manual_seed(_stream(self.seed, self.stage, name))
        return generator

    def numpy_generator(self, name: str = "") -> np.random.Generator:
        """The numpy twin of `generator`, of another stream."""
        return np.random.default_rng(_stream(self.seed, self.stage, f"numpy/{name}"))

    def save(self) -> None:
        """Writes run.json."""
        write_json(self.folder / "run.json", self.facts)


def require(
    stage: str,
    person: str = "demo",
    *,
    profile: str = "smoke",
    seed: int = 0,
    overrides: dict[str, Any] | str | None = None,
    out: Path | str = "",
) -> Run:
    """The finished run of a stage for a person: found, or made together with all it needs.

    overrides: dotted settings, {"head.steps": 100} or "head.steps=100,talk.temperature=0".
    out: the folder of all runs; default: runs/ at the root. The same settings, seed, inputs and
    parents give the same run; a run that was cut off goes on where it stopped.
    """
    from geneface_kit import profiles

    settings = profiles.resolve(profile, overrides)
    home = Path(out) if out else root() / "runs"
    return _require(_identity(stage, person, settings, seed, home), settings, home)


def locate(
    stage: str,
    person: str = "demo",
    *,
    profile: str = "smoke",
    seed: int = 0,
    overrides: dict[str, Any] | str | None = None,
    out: Path | str = "",
) -> Path:
    """The folder of the run that `require` would give; nothing is made, whether it is there or not.

    The name follows from settings, seed, inputs and parents alone, so it is known beforehand.
    """
    from geneface_kit import profiles

    settings = profiles.resolve(profile, overrides)
    home = Path(out) if out else root() / "runs"
    return home / _identity(stage, person, settings, seed, home).where


def open_run(folder: Path) -> Run:
    """The run of a folder, as run.json describes it, with its parents."""
    path = folder / "run.json"
    if not path.exists():
        raise FileNotFoundError(f"no run.json in {folder}: this is not a run folder")
    facts = json.loads(path.read_text())
    if facts.get("schema") != SCHEMA:
        raise ValueError(f"{path} has schema {facts.get('schema')}, this version reads {SCHEMA}")
    home = folder.parent.parent
    parents = {stage: open_run(home / where) for stage, where in facts["parents"].items()}
    return Run(folder, facts, parents)


def root() -> Path:
    """The project's folder: GENEFACE_KIT_ROOT, or the nearest parent with the kit's pyproject."""
    if "GENEFACE_KIT_ROOT" in os.environ:
        return Path(os.environ["GENEFACE_KIT_ROOT"])
    for folder in (Path.cwd(), *Path.cwd().parents):
        project = folder / "pyproject.toml"
        if project.exists() and 'name = "geneface-kit"' in project.read_text():
            return folder
    return Path.cwd()


@dataclasses.dataclass(frozen=True)
class _Identity:
    """What makes a run this run, and the folder (under that of all runs) which follows from it."""

    stage: str
    subject: str
    seed: int
    config: dict[str, Any]
    inputs: dict[str, str]
    parents: "dict[str, _Identity]"
    id: str
    where: str


def _identity(stage: str, person: str, settings: Any, seed: int, home: Path) -> _Identity:
    if stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}: choose one of {', '.join(STAGES)}")
    spec = STAGES[stage]
    module = importlib.import_module(f"geneface_kit.{spec.module}")
    subject = person if spec.per_person else "speakers"
    config = {name: dataclasses.asdict(getattr(settings, name)) for name in spec.sections}
    own_seed = seed if spec.seeded else 0
    what = [SCHEMA, stage, subject, config, own_seed]
    try:
        files = module.inputs(subject, settings) if hasattr(module, "inputs") else []
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


def _require(identity: _Identity, settings: Any, home: Path) -> Run:
    module = importlib.import_module(f"geneface_kit.{STAGES[identity.stage].module}")
    parents = {name: _require(one, settings, home) for name, one in identity.parents.items()}
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
        "data_kind": _kind(parents),
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
        earlier = _earlier(folder)
        if earlier is not None and earlier["status"] == "ok" and _complete(folder, earlier):
            return Run(folder, earlier, parents)
        if earlier is not None and earlier["status"] == "failed":
            shutil.rmtree(folder)
            folder.mkdir()
        elif earlier is not None:
            run.facts["wall_s"] = earlier["wall_s"]
            log.info("%s: going on with the run that was cut off", run.id)
        _make(run, module, settings)
    return run


def _make(run: Run, module: Any, settings: Any) -> None:
    """Runs the stage; run.json says `running` until it is `ok`, `failed` or `interrupted`."""
    start, before = time.perf_counter(), run.facts["wall_s"]
    run.save()
    log.info("%s: making", run.id)
    status = "failed"
    try:
        with repeatable():
            module.make(run, settings)
        status = "ok"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        run.facts["status"] = status
        run.facts["wall_s"] = round(before + time.perf_counter() - start, 2)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run.facts["peak_memory_mb"] = round(
            peak / (2**20 if platform.system() == "Darwin" else 1024)
        )
        if status == "ok":
            for path in run.folder.glob("*_checkpoint.safetensors"):
                path.unlink()
            run.facts["outputs"] = {
                str(path.relative_to(run.folder)): sha256(path)
                for path in sorted(run.folder.rglob("*"))
                if path.is_file() and path.name != "run.json" and not path.name.endswith(BESIDE)
            }
        try:
            run.save()
        except OSError as error:  # a full disk: the old run.json still says `running`
            log.error("%s: run.json could not be written: %s", run.id, error)
            if status == "ok":
                raise


def _earlier(folder: Path) -> dict[str, Any] | None:
    path = folder / "run.json"
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _inputs_of_old(folder: Path, prefix: str, what: list[Any]) -> dict[str, str] | None:
    """What a finished run of these settings read: it is found when its clip is gone, too."""
    for path in sorted(folder.glob(f"{prefix}-*/run.json"), key=os.path.getmtime, reverse=True):
        facts = _earlier(path.parent)
        if facts is None or facts["status"] != "ok":
            continue
        if path.parent.name == f"{prefix}-{_digest([*what, facts['inputs'], []])}":
            log.info("%s: its inputs are gone; the finished run is used", facts["id"])
            return facts["inputs"]
    return None


def _digest(identity: list[Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]


def _complete(folder: Path, facts: dict[str, Any]) -> bool:
    return all((folder / name).exists() for name in facts["outputs"])


def _kind(parents: dict[str, Run]) -> str:
    return "synthetic" if any(run.data_kind == "synthetic" for run in parents.values()) else "real"


def _label(subject: str) -> str:
    """A person named by a path becomes the file's stem in folder names."""
    return Path(subject).stem


def _stream(seed: int, stage: str, name: str) -> int:
    digest = hashlib.sha256(f"{seed}/{stage}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
