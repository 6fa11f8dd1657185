"""Clock: how long a fit has trained when it was how far, all its attempts together.

Kept apart from the history, which repeats to the bit where seconds never do.
"""

import csv
import time
from dataclasses import dataclass, field
from pathlib import Path

from geneface_kit.runs import replacing

__all__ = ["Clock"]


@dataclass
class Clock:
    """Seconds inside `with clock:`, which holds updates alone: no validation, no files.

    What an attempt that was killed lost is not counted. rows: [step, seconds] noted so far;
    seconds: NaN when an earlier version, which kept no time, made the first updates.
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
        with replacing(path) as partial, partial.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["step", "seconds"])
            writer.writerows(self.rows)
