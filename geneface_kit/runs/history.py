"""History: what a fit recorded of its losses and measures, and how long it took."""

import csv
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from geneface_kit.runs.files import replacing

__all__ = ["Clock", "History", "Weights"]

Weights = dict[str, dict[str, Tensor]]
"""Name of a network -> its state dict, on the CPU."""


@dataclass
class Clock:
    """How long a fit has trained when it was how far, all its attempts together.

    Seconds inside `with clock:`, which holds updates alone: no validation, no files; what a killed
    attempt lost is not counted. Kept apart from the history, which repeats to the bit where
    seconds never do. rows: [step, seconds] noted so far.
    """

    rows: list[list[float | int]] = field(default_factory=list)
    seconds: float = 0.0

    def __enter__(self) -> None:
        self._since = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.seconds += time.perf_counter() - self._since

    def note(self, step: int) -> None:
        """Remembers that `step` updates are made by now."""
        self.rows.append([step, round(self.seconds, 3)])

    def save(self, path: Path) -> None:
        """Writes a csv of step and seconds."""
        _write_csv(path, [["step", "seconds"], *self.rows])


@dataclass
class History:
    """What a fit recorded: one row per interval, measures of validation in the same rows.

    best_weights: those of the lowest score, with keep="best"; clock: when each row was made; sums,
    count: the losses since the last row, and of how many updates.
    """

    rows: list[dict[str, float | int]] = field(default_factory=list)
    best_step: int = -1
    best_score: float = math.inf
    best_weights: Weights = field(default_factory=dict)
    stopped: bool = False
    clock: Clock = field(default_factory=Clock)
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
        self.clock.note(step)
        self.sums, self.count = {}, 0
        return self.rows[-1]

    def save(self, path: Path) -> None:
        """Writes the rows as csv."""
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        _write_csv(path, [names, *([row.get(name, "") for name in names] for row in self.rows)])


def _write_csv(path: Path, rows: list[list[object]]) -> None:
    with replacing(path) as partial, partial.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
