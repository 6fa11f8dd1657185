"""Runs: where results live. A stage and a person in; a finished, documented run folder out."""

import dataclasses
import hashlib
import importlib
import importlib.metadata
import json
import logging
import os
import platform
import resource
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

__all__ = ["STAGES", "Run", "Stage", "open_run", "require", "root", "seed_everything", "sha256"]

log = logging.getLogger(__name__)

SCHEMA = 1


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
        self.facts["metrics"][name] = json.loads(json.dumps(value, default=_plain))

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

    if stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}: choose one of {', '.join(STAGES)}")
    settings = profiles.resolve(profile, overrides)
    return _require(stage, person, settings, seed, Path(out) if out else root() / "runs")


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


def sha256(path: Path) -> str:
    """The digest of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seed_everything(seed: int) -> None:
    """Seeds the global generators, for third-party code; the kit's own never uses them."""
    import random

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def write_json(path: Path, content: Any) -> None:
    """Writes json through a temporary name."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(content, indent=1, default=_plain))
    os.replace(partial, path)


def _require(stage: str, person: str, settings: Any, seed: int, home: Path) -> Run:
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
    parents = {name: _require(name, person, settings, seed, home) for name in spec.parents}
    digest = _digest([*what, inputs, [run.id for run in parents.values()]])
    where = f"{_label(subject)}/{stage}-{settings.profile}-{digest}"
    folder = home / where
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "schema": SCHEMA,
        "id": f"{stage}-{_label(subject)}-{settings.profile}-{digest}",
        "stage": stage,
        "subject": subject,
        "profile": settings.profile,
        "seed": own_seed,
        "status": "running",
        "data_kind": _kind(parents),
        "config": config,
        "inputs": inputs,
        "parents": {name: str(run.folder.relative_to(home)) for name, run in parents.items()},
        "outputs": {},
        "metrics": {},
        "wall_s": 0.0,
        "peak_memory_mb": 0.0,
        "machine": _machine(),
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
                if path.is_file() and path.name != "run.json"
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


def _machine() -> dict[str, Any]:
    cuda = torch.cuda.is_available()
    return {
        "kit": importlib.metadata.version("geneface-kit"),
        "git": _git(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cuda": torch.version.cuda if cuda else None,
        "device": torch.cuda.get_device_name() if cuda else f"cpu ({os.cpu_count()} cores)",
        "threads": torch.get_num_threads(),
    }


def _git() -> dict[str, Any]:
    """The checkout's commit and whether it was changed; empty outside a checkout."""
    folder = Path(__file__).parent
    ask = ["git", "-C", str(folder)]
    try:
        commit = subprocess.run(
            [*ask, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        status = subprocess.run(
            [*ask, "status", "--porcelain"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": commit.stdout.strip(), "dirty": bool(status.stdout.strip())}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        return value.tolist()
    if isinstance(value, Path):
        return value.name
    raise TypeError(f"run.json cannot hold a {type(value).__name__}")
