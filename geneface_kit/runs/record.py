"""Runs: one execution of a stage, in a folder that says all about it (`run.json`)."""

import contextlib
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from geneface_kit.runs.files import Damaged, Facts, plain, read_json, readable, sha256, write_json

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

SCHEMA = 1
FACTS = {  # that a run.json says at least
    "schema": SCHEMA,
    **dict.fromkeys(("id", "stage", "subject", "profile", "data_kind", "status"), str),
    **dict.fromkeys(("config", "parents", "outputs", "metrics"), dict),
    "seed": int,
}
BESIDE = (".ipynb", "_clock.csv")  # lie beside a run's outputs, never twice alike


def _fact(name: str) -> property:
    return property(lambda run: run.facts[name], lambda run, value: run.facts.update({name: value}))


@dataclass(eq=False, repr=False)
class Run:
    """One execution of a stage: its folder and everything `run.json` says.

    subject: the person, or "speakers" for the motion stage; config: the resolved settings as plain
    values; status: running, ok, failed or interrupted; data_kind: "synthetic" if any input is, else
    "real"; metrics: every recorded number by its name; parents: upstream stage -> its Run.
    """

    folder: Path
    facts: Facts
    parents: dict[str, "Run"]
    id, stage, subject, profile, seed = map(_fact, ("id", "stage", "subject", "profile", "seed"))
    config, status, data_kind, metrics = map(_fact, ("config", "status", "data_kind", "metrics"))

    def __repr__(self) -> str:
        return f"Run({self.id}, {self.status})"

    def _repr_html_(self) -> str:
        cells = (map(escape, pair) for pair in self.summary().items())
        rows = (f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in cells)
        return f"<table>{''.join(rows)}</table>"

    def summary(self) -> dict[str, str]:
        """What a run was made of, where it is and, of its measures, those of a single value."""
        names = ("id", "status", "profile", "seed", "data_kind", "wall_s")
        told = {name: self.facts.get(name, "-") for name in names}
        told["inputs"] = ", ".join(self.facts.get("inputs", ()))
        told["parents"] = ", ".join(self.facts["parents"].values())
        told |= {"folder": self.folder} | self.metrics
        single = {name: one for name, one in told.items() if not isinstance(one, list | dict)}
        return {k: f"{v:.4g}" if isinstance(v, float) else str(v) for k, v in single.items()}

    def record(self, name: str, value: object) -> None:
        """Keeps a number (or a list or dict of numbers) in run.json."""
        self.facts["metrics"][name] = json.loads(json.dumps(value, default=plain))

    def generator(self, name: str = "") -> "torch.Generator":
        """A torch generator of this run's own: its stream follows from seed, stage and name."""
        import torch

        digest = hashlib.sha256(f"{self.seed}/{self.stage}/{name}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)

    def save(self) -> None:
        """Writes run.json."""
        write_json(self.folder / "run.json", self.facts)


def execute(run: Run, work: Callable[[], None]) -> None:
    """Does the work of a run; run.json says `running` until it is `ok`, `failed`, `interrupted`.
    What was finished in its folder stays, for the next attempt. SIGTERM interrupts as Ctrl-C."""
    for path in run.folder.rglob(".*.part*"):  # of a process that was killed
        path.unlink()
    start, before = time.perf_counter(), run.facts["wall_s"]
    run.save()
    with contextlib.suppress(OSError):  # Linux: the peak from here on, not of what ran before
        Path("/proc/self/clear_refs").write_text("5")
    log.info("%s: making", run.id)
    status = "failed"
    try:
        with handled(signal.default_int_handler, signal.SIGTERM), repeatable():
            work()
        status = "ok"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        run.facts["status"] = status
        run.facts["wall_s"] = round(before + time.perf_counter() - start, 2)
        run.facts["peak_memory_mb"] = None
        with contextlib.suppress(ModuleNotFoundError):  # on Windows, which does not say it
            import resource

            unit = 2**20 if platform.system() == "Darwin" else 1024
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            run.facts["peak_memory_mb"] = round(peak / unit)
        if status == "ok":
            for path in run.folder.glob("*_checkpoint.safetensors"):
                path.unlink()
            run.facts["steps"] = {  # that were done: a training may end early
                path.stem.removesuffix("_history"): int(row.partition(",")[0])
                for path in sorted(run.folder.glob("*_history.csv"))
                for row in path.read_text().splitlines()[1:][-1:]
            }
            files = files_of(run.folder)
            run.facts["outputs"] = {name: sha256(path) for name, path in files.items()}
            run.facts["sizes"] = {name: path.stat().st_size for name, path in files.items()}
        try:
            run.save()
        except OSError as error:  # a full disk: the old run.json still says `running`
            log.error("%s: run.json could not be written: %s", run.id, error)
            if status == "ok":
                raise


@contextlib.contextmanager
def handled(handler: Callable[[int, object], None], *numbers: signal.Signals) -> Iterator[None]:
    """These signals go to `handler` inside; in another than the main thread nothing is changed."""
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number in numbers if is_main}
    try:
        yield
    finally:
        for number, one in before.items():
            signal.signal(number, one)


def files_of(folder: Path) -> dict[str, Path]:
    """The outputs in a run's folder: their names below it, sorted -> their paths."""
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "run.json" and not path.name.endswith(BESIDE)
    }


def damaged(run: Run, *, digests: bool = False) -> list[str]:
    """The outputs of a finished run that are gone, of another size than run.json says or, with
    `digests`, of other bytes."""
    files, sizes = files_of(run.folder), run.facts.get("sizes", {})
    return [
        name
        for name, digest in run.facts["outputs"].items()
        if name not in files
        or files[name].stat().st_size != sizes.get(name)
        or (digests and sha256(files[name]) != digest)
    ]


def open_run(folder: Path) -> Run:
    """The run of a folder, as run.json describes it, with its parents. Raises: FileNotFoundError;
    Damaged for a run.json of another content or version."""
    facts, home = read_json(folder / "run.json", **FACTS), folder.parent.parent
    with readable(folder / "run.json"):  # runs that are each other's parents have no end
        parents = {stage: open_run(home / where) for stage, where in facts["parents"].items()}
    return Run(folder, facts, parents)


def every_run(out: Path | str = "") -> list[Run]:
    """The runs of a folder, those made last at the end; their parents are not opened."""
    paths = sorted(home_of(out).glob("*/*/run.json"), key=lambda path: path.stat().st_mtime)
    facts = {path.parent: read_facts(path.parent) for path in paths}
    return [Run(folder, one, {}) for folder, one in facts.items() if one]


def named_run(name: str, out: Path | str = "") -> Run:
    """A run by its folder or its id. Raises: FileNotFoundError when there is none."""
    if Path(name).is_dir():
        return open_run(Path(name))
    for one in every_run(out):
        if one.id == name:
            return open_run(one.folder)
    raise FileNotFoundError(f"no run {name!r} in {home_of(out).name}/: `runs list` tells their ids")


def read_facts(folder: Path) -> Facts | None:
    """What run.json says; None where there is none, or none that can be read."""
    with contextlib.suppress(FileNotFoundError, Damaged):
        return read_json(folder / "run.json", **FACTS)


def home_of(out: Path | str = "") -> Path:
    """The folder of all runs: the one given, or runs/ at the root."""
    return Path(out) if out else root() / "runs"


def root() -> Path:
    """The project's folder: GENEFACE_KIT_ROOT, or the nearest parent with the kit's pyproject."""
    if "GENEFACE_KIT_ROOT" in os.environ:
        return Path(os.environ["GENEFACE_KIT_ROOT"])
    for folder in (Path.cwd(), *Path.cwd().parents):
        project = folder / "pyproject.toml"
        if project.exists() and 'name = "geneface-kit"' in project.read_text():
            return folder
    return Path.cwd()


def data_places(name: str) -> list[Path]:
    """Where a folder of data may be: as given, in GENEFACE_KIT_DATA, in data/ of the project."""
    given = filter(None, [os.environ.get("GENEFACE_KIT_DATA")])
    return [Path(name), *(Path(data) / name for data in given), root() / "data" / name]


@contextlib.contextmanager
def repeatable() -> Iterator[None]:
    """On a CPU, the same work gives the same bytes inside: else torch sums the gradient of gathered
    values on all threads, in any order. Some of CUDA's kernels have no repeatable form."""
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    if not torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, changes nothing
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled


def machine() -> Facts:
    """Versions, device, threads, and the checkout's commit, for run.json."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "kit": importlib.metadata.version("geneface-kit"),
        "git": _git(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": importlib.metadata.version("numpy"),
        "cuda": torch.version.cuda if cuda else None,
        "device": torch.cuda.get_device_name() if cuda else f"cpu ({os.cpu_count()} cores)",
        "threads": torch.get_num_threads(),
    }


def _git() -> Facts:
    """The checkout's commit and whether it was changed; empty outside a checkout."""
    ask = ["git", "-C", str(Path(__file__).parent), "status", "--porcelain=v2", "--branch"]
    try:
        said = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return {}
    commit = said[0].removeprefix("# branch.oid ")
    return {"commit": commit, "dirty": any(not line.startswith("# ") for line in said)}
