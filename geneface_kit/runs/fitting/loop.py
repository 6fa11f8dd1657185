"""Loop: one loop trains every task, in one process or several, and goes on where it was cut."""

import contextlib
import csv
import json
import logging
import math
import signal
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geneface_kit.runs import live, replacing
from geneface_kit.runs.fitting.clock import Clock
from geneface_kit.runs.fitting.files import load_tensors, save_tensors
from geneface_kit.runs.fitting.team import Team

__all__ = ["History", "Task", "fit"]

log = logging.getLogger(__name__)

ROWS = 200
"""About how many rows a history keeps; losses between two rows are averaged."""


class Task:
    """What is trained: networks, optimisers and one step. Subclass it for each stage.

    modules: name -> network; optimizers: name -> optimiser over their parameters.
    team: the processes that train it, set by `fit`; a task that `shares` its batches out among
    them (see `Team`) may be trained by several.
    """

    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    team: Team = Team()
    shares: bool = False
    ended: str = ""
    """Set by `validate` to end the fit early: the reason, in a few words."""

    def step(self, index: int, generator: torch.Generator) -> dict[str, float]:
        """One update. Every random draw comes from `generator`; returns the losses to record."""
        raise TypeError(f"{type(self).__name__} must define step(index, generator)")

    def validate(self, index: int) -> dict[str, float]:
        """Held-out measures; "score" (lower is better) decides which weights keep="best" keeps."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """Anything beyond weights, optimisers and the generator that a restart must restore."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Takes back what `state` gave."""


@dataclass
class History:
    """What a fit recorded: one row per interval, measures of validation in the same rows.

    sums, count: the losses since the last row, and of how many updates.
    """

    rows: list[dict[str, float | int]] = field(default_factory=list)
    best_step: int = -1
    best_score: float = math.inf
    stopped: bool = False
    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0

    def column(self, name: str) -> list[float | int]:
        """The values of one measure, rows without it left out."""
        return [row[name] for row in self.rows if name in row]

    def add(self, losses: dict[str, float]) -> None:
        """Takes in the losses of one update."""
        for key, value in losses.items():
            self.sums[key] = self.sums.get(key, 0.0) + float(value)
        self.count += 1

    def end_row(self, step: int) -> dict[str, float | int]:
        """A new last row, the mean losses since the one before; measures can be added to it."""
        means = {key: value / self.count for key, value in self.sums.items()}
        self.rows.append({"step": step} | means)
        self.sums, self.count = {}, 0
        return self.rows[-1]

    def save(self, path: Path) -> None:
        """Writes the rows as csv."""
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with replacing(path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)


def fit(
    task: Task,
    folder: Path,
    *,
    name: str,
    steps: int,
    generator: torch.Generator,
    validate_every: int = 0,
    checkpoint_every: int = 500,
    keep: str = "last",
    fabric: Any = None,
) -> History:
    """Trains a task for a number of steps, or goes on where an earlier call was cut off.

    folder: receives `NAME_history.csv`, `NAME_clock.csv` (see `Clock`) and, until the run ends,
    `NAME_checkpoint.safetensors`.
    generator: the source of every draw; its state and that of torch's global generator (dropout)
    travel with the checkpoint, so a killed and resumed fit gives the numbers of an uninterrupted
    one.
    keep: "last" leaves the final weights in the task's modules, "best" those of the lowest score.
    fabric: a launched Lightning Fabric, every process of which calls this with the same task and
    generator; the first one validates and writes. None is this process alone.
    A file named `stop` in the folder ends the fit early and cleanly, and so does a task that sets
    `ended`; Ctrl-C saves and raises.
    """
    if keep not in ("last", "best"):
        raise ValueError(f"keep must be 'last' or 'best', got {keep!r}")
    if keep == "best" and not validate_every:
        raise ValueError("keep='best' needs validate_every > 0")
    task.team = team = Team(fabric)
    if team.size > 1 and not task.shares:
        raise ValueError(f"{type(task).__name__} trains in one process, not in {team.size}")
    checkpoint = folder / f"{name}_checkpoint.safetensors"
    history, clock, best, start = History(), Clock(), {}, 0
    if checkpoint.exists():
        history, clock, best, start = _load_checkpoint(checkpoint, task, generator)
        log.info("%s: resuming at step %d of %d", name, start, steps)
    ends = _Ends(steps, validate_every, checkpoint_every, max(1, steps // ROWS))
    with _sigint() as signals, team.joined(task.modules.values()):
        for index in _progress(range(start, steps), f"training {name}", team):
            _mode(task.modules, True)
            with clock:
                history.add(task.step(index, generator))
            stop, interrupted = team.any((folder / "stop").exists(), bool(signals))
            if ends.row(index) or stop:
                row = history.end_row(index + 1)
                clock.note(index + 1)
                if validate_every and (ends.validation(index) or stop):
                    row |= _validate(task, index)
                    best = _keep_best(task, history, row, best) if keep == "best" else best
            if stop or task.ended:
                (folder / "stop").unlink(missing_ok=True)
                history.stopped = True
                reason = task.ended or "on request"
                log.warning("%s: stopped after %d of %d steps, %s", name, index + 1, steps, reason)
                break
            if ends.checkpoint(index) or interrupted:
                _save_checkpoint(checkpoint, task, generator, history, clock, best, index + 1)
            if interrupted:
                raise KeyboardInterrupt
    _mode(task.modules, False)
    _save_checkpoint(checkpoint, task, generator, history, clock, best, steps)
    if team.rank == 0:
        history.save(folder / f"{name}_history.csv")
        clock.save(folder / f"{name}_clock.csv")
    if keep == "best" and best:
        _restore(task.modules, best)
    return history


@dataclass(frozen=True)
class _Ends:
    """At which updates something happens; the last one is always a row and a validation, if any."""

    steps: int
    validate_every: int
    checkpoint_every: int
    row_every: int

    def row(self, index: int) -> bool:
        return (index + 1) % self.row_every == 0 or self.validation(index) or self.checkpoint(index)

    def validation(self, index: int) -> bool:
        last = index + 1 == self.steps
        return last or bool(self.validate_every) and (index + 1) % self.validate_every == 0

    def checkpoint(self, index: int) -> bool:
        return (index + 1) % self.checkpoint_every == 0


@contextlib.contextmanager
def _sigint() -> Iterator[list[int]]:
    """Ctrl-C fills the list instead of cutting an update in half; a second one raises at once."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number, frame):
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


def _progress(indices: range, label: str, team: Team) -> Iterable[int]:
    """Shown once, whatever the number of processes."""
    return live.progress(indices, label) if team.rank == 0 else indices


def _mode(modules: dict[str, nn.Module], training: bool) -> None:
    for module in modules.values():
        module.train(training)


def _validate(task: Task, index: int) -> dict[str, float]:
    """The first process' measures, and what it changed in its task, in every process."""
    team, measures = task.team, {}
    if team.rank == 0:
        _mode(task.modules, False)
        with torch.no_grad():
            measures = {key: float(value) for key, value in task.validate(index).items()}
        _mode(task.modules, True)
    measures, state, ended = team.told((measures, task.state(), task.ended))
    if team.rank:
        task.load_state(state)
        task.ended = ended
    return measures


def _keep_best(task, history, row, best):
    if "score" not in row:
        raise ValueError(f"{type(task).__name__}.validate must return 'score' for keep='best'")
    if row["score"] < history.best_score:
        history.best_score, history.best_step = row["score"], int(row["step"])
        return _flatten(task.modules)
    return best


def _flatten(modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value.detach().cpu().clone().contiguous()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }


def _restore(modules: dict[str, nn.Module], tensors: dict[str, Tensor]) -> None:
    for name, module in modules.items():
        module.load_state_dict(_part(tensors, f"{name}/"))


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def _save_checkpoint(path, task, generator, history, clock, best, step) -> None:
    if task.team.rank:
        return
    tensors = {f"module/{key}": value for key, value in _flatten(task.modules).items()}
    tensors |= {f"best/{key}": value for key, value in best.items()}
    tensors |= {f"task/{key}": value.contiguous() for key, value in task.state().items()}
    tensors["generator"] = generator.get_state()
    tensors |= {f"random/{key}": value for key, value in _random_state().items()}
    groups = {}
    for name, optimizer in task.optimizers.items():
        state = optimizer.state_dict()
        groups[name] = state["param_groups"]
        for index, entries in state["state"].items():
            for key, value in entries.items():
                tensors[f"optimizer/{name}/{index}/{key}"] = torch.as_tensor(value).contiguous()
    notes = {"step": step, "groups": groups, "clock": asdict(clock)} | asdict(history)
    save_tensors(path, tensors, {"checkpoint": json.dumps(notes)})


def _load_checkpoint(path, task, generator):
    tensors, metadata = load_tensors(path)
    notes = json.loads(metadata["checkpoint"])
    _restore(task.modules, _part(tensors, "module/"))
    for name, optimizer in task.optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _part(tensors, f"optimizer/{name}/").items():
            index, entry = key.split("/")
            state.setdefault(int(index), {})[entry] = value
        optimizer.load_state_dict({"state": state, "param_groups": notes["groups"][name]})
    task.load_state(_part(tensors, "task/"))
    generator.set_state(tensors["generator"])
    _set_random_state(_part(tensors, "random/"))
    history = History(
        **{entry.name: notes[entry.name] for entry in fields(History) if entry.name in notes}
    )
    clock = Clock(**notes["clock"]) if "clock" in notes else Clock(seconds=math.nan)
    return history, clock, _part(tensors, "best/"), notes["step"]


def _random_state() -> dict[str, Tensor]:
    """State of torch's global generators, from which dropout draws."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(state: dict[str, Tensor]) -> None:
    if "cpu" in state:
        torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
