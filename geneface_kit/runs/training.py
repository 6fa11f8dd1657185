"""Training: one loop trains every task, in one process or several, and goes on where it was cut.

A task in; weights, a history and an exact restart out. Several processes are Lightning Fabric's.
"""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import torch
from torch import Tensor, nn

from geneface_kit.runs import live, replacing
from geneface_kit.runs.history import Clock, History, Weights

if TYPE_CHECKING:
    import lightning_fabric

__all__ = ["History", "Task", "fabric_of", "fit", "warmed_up"]

log = logging.getLogger(__name__)

ROWS = 200
"""About how many rows a history keeps; losses between two rows are averaged."""

CLIP = 1.0
"""Largest norm of a network's gradient (code)."""


class Task:
    """What is trained: networks, optimisers and one step. Subclass it for each stage.

    modules: name -> network; optimizers: name -> optimiser over their parameters.
    fabric: the Lightning Fabric the step goes through, when several processes may train the task;
    None is plain torch in this process alone.
    """

    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    fabric: Optional["lightning_fabric.Fabric"] = None  # noqa: UP045
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

    def share(self, batch: Tensor) -> Tensor:
        """This process' rows of a batch that all processes have drawn."""
        return batch[self.fabric.global_rank :: self.n_processes] if self.fabric else batch

    def update(self, network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """One step down the loss, its gradient clipped to norm 1 (code)."""
        optimizer.zero_grad()
        if self.fabric:
            self.fabric.backward(loss)
        else:
            loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()

    @property
    def n_processes(self) -> int:
        """How many processes train together."""
        return self.fabric.world_size if self.fabric else 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that validates and writes."""
        return self.fabric is None or self.fabric.global_rank == 0


def fabric_of(n_devices: int = 1) -> "lightning_fabric.Fabric":
    """A Lightning Fabric of CUDA devices when there are any, else of processes on the CPU.

    Networks compute in bfloat16 under autocast on CUDA (weights, losses and updates stay
    float32), in float32 on a CPU. Several devices train as torch's DistributedDataParallel does:
    gradients are averaged, batch norms take the statistics of their own process' rows.
    Raises: ValueError when there are fewer CUDA devices.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    n_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if 0 < n_cuda < n_devices:
        raise ValueError(f"{n_devices} devices were asked for, this machine has {n_cuda}")
    # a loss whose weight is 0 leaves a part of the network without a gradient
    several = DDPStrategy(start_method="spawn", find_unused_parameters=True)
    return Fabric(
        accelerator="cuda" if n_cuda else "cpu",
        devices=n_devices,
        strategy=several if n_devices > 1 else "auto",
        precision="bf16-mixed" if n_cuda else "32-true",
    )


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
    checkpoint_every: int = 500,
    keep: str = "last",
) -> History:
    """Trains a task for a number of steps, or goes on where an earlier call was cut off.

    folder: receives `NAME_history.csv`, `NAME_clock.csv` (see `Clock`) and, until the run ends,
    `NAME_checkpoint.pt`.
    generator: the source of every draw; its state and that of torch's global generator (dropout)
    travel with the checkpoint, so a killed and resumed fit gives the numbers of an uninterrupted
    one.
    keep: "last" leaves the final weights in the task's modules, "best" those of the lowest score.
    When the task has a launched `fabric` of several processes, every one calls this with the same
    task and generator; the first one validates and writes, and its weights are everyone's.
    A file named `stop` in the folder ends the fit early and cleanly, and so does a task that sets
    `ended`; Ctrl-C saves and raises.
    """
    if keep not in ("last", "best"):
        raise ValueError(f"keep must be 'last' or 'best', got {keep!r}")
    if keep == "best" and not validate_every:
        raise ValueError("keep='best' needs validate_every > 0")
    checkpoint = folder / f"{name}_checkpoint.pt"
    history, start = History(), 0
    if checkpoint.exists():
        history, start = _load_checkpoint(checkpoint, task, generator)
        log.info("%s: resuming at step %d of %d", name, start, steps)
    ends = _Ends(steps, validate_every, checkpoint_every, max(1, steps // ROWS))
    indices = range(start, steps)
    with _sigint() as signals:
        for index in live.progress(indices, f"training {name}") if task.is_first else indices:
            _mode(task.modules, True)
            with history.clock:
                history.add(task.step(index, generator))
            stop, interrupted = _in_any(task, (folder / "stop").exists(), bool(signals))
            if ends.row(index) or stop:
                row = history.end_row(index + 1)
                if validate_every and (ends.validation(index) or stop):
                    row |= _validate(task, index)
                    if keep == "best":
                        _keep_best(task, history)
            if stop or task.ended:
                (folder / "stop").unlink(missing_ok=True)
                history.stopped = True
                reason = task.ended or "on request"
                log.warning("%s: stopped after %d of %d steps, %s", name, index + 1, steps, reason)
                break
            if ends.checkpoint(index) or interrupted:
                _save_checkpoint(checkpoint, task, generator, history, index + 1)
            if interrupted:
                raise KeyboardInterrupt
    _mode(task.modules, False)
    _save_checkpoint(checkpoint, task, generator, history, steps)
    if task.is_first:
        history.save(folder / f"{name}_history.csv")
        history.clock.save(folder / f"{name}_clock.csv")
    if history.best_weights:
        _restore(task.modules, history.best_weights)
    if task.n_processes > 1:  # the averages of batch norms are each process' own
        _restore(task.modules, task.fabric.broadcast(_weights(task.modules)))
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


def _mode(modules: dict[str, nn.Module], training: bool) -> None:
    for module in modules.values():
        module.train(training)


def _validate(task: Task, index: int) -> dict[str, float]:
    """The first process' measures, and what it changed in its task, in every process."""
    measures: dict[str, float] = {}
    if task.is_first:
        _mode(task.modules, False)
        with torch.no_grad():
            measures = {key: float(value) for key, value in task.validate(index).items()}
        _mode(task.modules, True)
    if task.n_processes > 1:
        news = task.fabric.broadcast((measures, task.state(), task.ended))
        measures, state, task.ended = news
        task.load_state(state)
    return measures


def _in_any(task: Task, *flags: bool) -> tuple[bool, ...]:
    """Whether each flag is up in any process, so that all stop at the same update."""
    if task.n_processes == 1:
        return flags
    count = torch.tensor([float(flag) for flag in flags], device=task.fabric.device)
    return tuple(task.fabric.all_reduce(count, reduce_op="sum").cpu().gt(0).tolist())


def _keep_best(task: Task, history: History) -> None:
    row = history.rows[-1]
    if "score" not in row:
        raise ValueError(f"{type(task).__name__}.validate must return 'score' for keep='best'")
    if row["score"] < history.best_score:
        history.best_score, history.best_step = row["score"], int(row["step"])
        history.best_weights = _weights(task.modules)


def _weights(modules: dict[str, nn.Module]) -> Weights:
    return {
        name: {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}
        for name, module in modules.items()
    }


def _restore(modules: dict[str, nn.Module], weights: Weights) -> None:
    for name, module in modules.items():
        module.load_state_dict(weights[name])


def _save_checkpoint(
    path: Path, task: Task, generator: torch.Generator, history: History, step: int
) -> None:
    if not task.is_first:
        return
    content = {
        "step": step,
        "weights": _weights(task.modules),
        "optimizers": {name: one.state_dict() for name, one in task.optimizers.items()},
        "task": task.state(),
        "generator": generator.get_state(),
        "random": _random_state(),
        "history": asdict(history),
    }
    with replacing(path) as partial:
        torch.save(content, partial)


def _load_checkpoint(path: Path, task: Task, generator: torch.Generator) -> tuple[History, int]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    _restore(task.modules, content["weights"])
    for name, optimizer in task.optimizers.items():
        optimizer.load_state_dict(content["optimizers"][name])
    task.load_state(content["task"])
    generator.set_state(content["generator"])
    torch.set_rng_state(content["random"]["cpu"])
    if "cuda" in content["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(content["random"]["cuda"])
    clock = Clock(**content["history"].pop("clock"))
    return History(**content["history"], clock=clock), content["step"]


def _random_state() -> dict[str, Tensor]:
    """State of torch's global generators, from which dropout draws."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state
