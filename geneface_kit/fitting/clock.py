"""Clock: how long a fit has trained when it was how far, all its attempts together.

Kept apart from the history, which repeats to the bit where seconds never do.
"""

import contextlib
import csv
import os
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Clock"]


class Clock:
    """Seconds of updates alone: validation is not counted, nor is what a killed attempt lost.

    rows: (step, seconds) of earlier attempts, as far as their checkpoint knows them.
    """

    def __init__(self, rows: list[list[float | int]] | None = None):
        self.rows = [list(row) for row in rows or []]
        self._spent = float(self.rows[-1][1]) if self.rows else 0.0
        self._since: float | None = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return self._spent + running

    def note(self, step: int) -> None:
        """Remembers that `step` updates are made by now."""
        self.rows.append([step, round(self.seconds, 3)])

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """What happens inside is not counted."""
        self._spent, self._since = self.seconds, None
        try:
            yield
        finally:
            self._since = time.perf_counter()

    def save(self, path: Path) -> None:
        """Writes a csv of step and seconds."""
        partial = path.with_name(path.name + ".part")
        with partial.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["step", "seconds"])
            writer.writerows(self.rows)
        os.replace(partial, path)
