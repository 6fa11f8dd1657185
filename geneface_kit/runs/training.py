"""Training: one loop trains every task, and goes on where it was cut.

A task in; weights, a history and an exact restart out.
"""

import logging
import signal
import time
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from geneface_kit.runs import live, replacing
from geneface_kit.runs.files import readable
from geneface_kit.runs.record import handled
from geneface_kit.runs.weights import load_nested, save_nested

log = logging.getLogger(__name__)

ROWS = 200  # about how many rows a history keeps; losses between two rows are averaged
CHECKPOINT_S = 30.0  # of work, after which a checkpoint is written (ours)
CLIP = 1.0  # largest norm of a network's gradient (code)


class Task:
    """What is trained: networks, optimisers and one step. Subclass it for each stage."""

    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    ended: str = ""  # set by `validate` to end the fit early: the reason, in a few words
    kept: tuple[str, ...] = ()
    """Further attributes that a restart must restore: what `save_nested` takes."""

    def step(self, index: int, generator: torch.Generator) -> dict[str, float]:
        """One update. Every random draw comes from `generator`; returns the losses to record."""
        raise TypeError(f"{type(self).__name__} must define step(index, generator)")

    def validate(self, index: int) -> dict[str, float]:
        """Held-out measures."""
        return {}

    def update(self, network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """One step down the loss, its gradient clipped to norm 1 (code)."""
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()

    @property
    def networks(self) -> nn.ModuleDict:
        """All its modules as one."""
        return nn.ModuleDict(self.modules)


@dataclass
class History:
    """What a fit recorded: one row per interval, measures of validation in the same rows."""

    rows: list[dict[str, float | int]] = field(default_factory=list)
    row_seconds: list[float] = field(default_factory=list)  # `seconds` at each row
    seconds: float = 0.0  # of updates alone, all attempts together
    sums: dict[str, float] = field(default_factory=dict)  # losses since the last row,
    count: int = 0  # of so many updates

    def add(self, losses: dict[str, float], seconds: float) -> None:
        """Takes in the losses of one update, and how long it took."""
        for key, value in losses.items():
            self.sums[key] = self.sums.get(key, 0.0) + float(value)
        self.count += 1
        self.seconds += seconds

    def end_row(self, step: int) -> dict[str, float | int]:
        """A new last row, the mean losses since the one before; measures can be added to it."""
        means = {key: value / self.count for key, value in self.sums.items()}
        self.rows.append({"step": step} | means)
        self.row_seconds.append(round(self.seconds, 3))
        self.sums, self.count = {}, 0
        return self.rows[-1]

    def save(self, folder: Path, name: str) -> None:
        """Writes the rows as NAME_history.csv, and the seconds, which never repeat, as
        NAME_clock.csv."""
        pairs = zip(self.rows, self.row_seconds, strict=True)
        clock = [{"step": row["step"], "seconds": seconds} for row, seconds in pairs]
        for kind, rows in (("history", self.rows), ("clock", clock)):
            with replacing(folder / f"{name}_{kind}.csv") as partial:
                pd.DataFrame(rows).to_csv(partial, index=False, lineterminator="\r\n")


def warmed_up(rate: float, index: int, *, warmup: int, decay: int) -> float:
    """The learning rate of update `index`: linear over `warmup` updates up to `rate`, times 0.1
    for every `decay` updates (code).

    Example: warmed_up(1.0, 4, warmup=10, decay=250_000) is 0.49998.
    """
    return rate * min(1.0, (index + 1) / max(1, warmup)) * 0.1 ** (index / decay)


def fit(
    task: Task,
    folder: Path,
    *,
    name: str,
    steps: int,
    generator: torch.Generator,
    validate_every: int = 0,
) -> History:
    """Trains a task for a number of steps, or goes on where an earlier call was cut off.

    folder: receives what `History.save` writes and, until the run ends, a checkpoint, new every
    CHECKPOINT_S. generator: the source of every draw; its state and that of torch's global one
    (dropout) are kept there: a killed and resumed fit gives the numbers of an uninterrupted one.
    A file named `stop` in the folder ends the fit early and cleanly, and so does a task that sets
    `ended`; Ctrl-C or SIGTERM saves and raises.
    Raises: ValueError when a loss or a weight is no finite number; the last checkpoint stays.
    """
    checkpoint = folder / f"{name}_checkpoint.safetensors"
    history, start, row_every = History(), 0, max(1, steps // ROWS)
    networks = task.networks
    if checkpoint.exists():
        try:
            history, start = _load_checkpoint(checkpoint, task, generator)
            log.info("%s: resuming at step %d of %d", name, start, steps)
        except ValueError as error:  # of the file, before anything is taken from it
            log.warning("%s: it starts anew: %s", name, error)
    saved = time.perf_counter()
    signals: list[int] = []

    def note(number: int, _: object) -> None:
        """Keeps Ctrl-C or SIGTERM until an update is whole; a second one raises at once."""
        if signals:
            raise KeyboardInterrupt
        signals.append(number)

    with handled(note, signal.SIGINT, signal.SIGTERM):
        for index in live.progress(range(start, steps), f"training {name}"):
            networks.train()
            done, since = index + 1, time.perf_counter()
            losses = task.step(index, generator)
            wrong = [f"its {key} is {one}" for key, one in losses.items() if not isfinite(one)]
            _refuse(wrong, checkpoint, name, done)
            history.add(losses, time.perf_counter() - since)
            stop = (folder / "stop").exists()
            ends = stop or done == steps
            looks = bool(validate_every) and (ends or done % validate_every == 0)
            if ends or looks or done % row_every == 0:
                row = history.end_row(done)
                if looks:
                    networks.eval()
                    with torch.no_grad():
                        row |= {key: float(one) for key, one in task.validate(index).items()}
            if stop or task.ended:
                (folder / "stop").unlink(missing_ok=True)
                reason = task.ended or "on request"
                log.warning("%s: stopped after %d of %d steps, %s", name, done, steps, reason)
                break
            if signals or time.perf_counter() - saved >= CHECKPOINT_S:
                _save_checkpoint(checkpoint, task, generator, history, done)
                saved = time.perf_counter()
            if signals:
                raise KeyboardInterrupt
    networks.eval()
    _save_checkpoint(checkpoint, task, generator, history, steps)
    history.save(folder, name)
    return history


def _save_checkpoint(
    path: Path, task: Task, generator: torch.Generator, history: History, step: int
) -> None:
    weights = task.networks.state_dict()
    wrong = [f"{key} is not finite" for key, value in weights.items() if not value.isfinite().all()]
    _refuse(wrong, path, path.stem.removesuffix("_checkpoint"), step)
    content = {
        "step": step,
        "weights": weights,
        "optimizers": {name: one.state_dict() for name, one in task.optimizers.items()},
        "task": {name: getattr(task, name) for name in task.kept},
        "generator": generator.get_state(),
        "dropout": {"cpu": torch.get_rng_state()},
        "history": asdict(history),
    }
    if torch.cuda.is_available():
        content["dropout"]["cuda"] = torch.cuda.get_rng_state()
    save_nested(path, content)


def _refuse(wrong: list[str], checkpoint: Path, name: str, step: int) -> None:
    """Raises ValueError, in one sentence, where something is wrong."""
    if wrong:
        there = f"the last good weights stay in {checkpoint}"
        kept = there if checkpoint.exists() else "no checkpoint was due before"
        raise ValueError(
            f"the training of {name} diverged at update {step} ({wrong[0]}); {kept}; train with a "
            "lower learning rate or another seed"
        )


def _load_checkpoint(path: Path, task: Task, generator: torch.Generator) -> tuple[History, int]:
    content = load_nested(path)
    with readable(path):
        shapes = [
            {name: value.shape for name, value in weights.items()}
            for weights in (task.networks.state_dict(), content["weights"])
        ]
        if shapes[0] != shapes[1]:
            raise ValueError("its weights are of another network")
        task.networks.load_state_dict(content["weights"])
    for name, optimizer in task.optimizers.items():
        state = content["optimizers"][name]
        state["state"] = {int(key): value for key, value in state["state"].items()}
        optimizer.load_state_dict(state)
    vars(task).update(content["task"])
    generator.set_state(content["generator"])
    torch.set_rng_state(content["dropout"]["cpu"])
    if "cuda" in content["dropout"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(content["dropout"]["cuda"])
    return History(**content["history"]), content["step"]
