"""Tables: numbers with their origin -> csv, one a line.

The pages of these tables, html and LaTeX, beside published numbers, are drawn by `figures/`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from geneface_kit.metrics.networks import NotMeasured
from geneface_kit.runs.files import read_rows, replacing
from geneface_kit.runs.record import Run

METRICS = {row["metric"]: row for row in read_rows(Path(__file__).with_name("metrics.csv"))}
"""Every metric that this kit writes into a table, by its name -> its row.

unit: "" for a pure number. better: "higher", "lower", or "" where neither is. text: definition,
scale and alignment in one line.
"""


@dataclass(frozen=True)
class Row:
    """One number of a table and where it comes from.

    value: a number, or NotMeasured with its reason. runs: ids of the runs it was computed from.
    """

    table: str
    person: str
    protocol: str
    method: str
    metric: str
    value: float | NotMeasured
    unit: str
    n_frames: int
    runs: tuple[str, ...]
    seed: int
    profile: str
    data_kind: str


def rows_of(run: Run, scores: Mapping[str, float | NotMeasured], **place: str | int) -> list[Row]:
    """A row for each metric that was measured in a run.

    place: table, protocol, method and n_frames of a Row; also seed, where it is not the run's.
    """
    ids = tuple(parent.id for parent in run.parents.values()) + (run.id,)
    of_run = {"person": run.subject, "runs": ids, "seed": run.seed}
    shared = of_run | {"profile": run.profile, "data_kind": run.data_kind} | place
    return [
        Row(metric=metric, value=value, unit=METRICS[metric]["unit"], **shared)
        for metric, value in scores.items()
    ]


def write_table(path: Path, rows: list[Row]) -> None:
    """One csv line per number; a missing one reads "not measured" and keeps its reason.

    Raises: ValueError when rows of synthetic and of real data, or of the smoke and another
    profile, would stand in one table.
    """
    for kind in ({row.data_kind for row in rows}, {row.profile for row in rows}):
        if len(kind) > 1:
            raise ValueError(
                f"{path.stem} would mix {' and '.join(sorted(kind))} rows: one table holds one "
                "kind of data and one profile"
            )
    lines = []
    for row in rows:
        line = dataclasses.asdict(row) | {"runs": " ".join(row.runs)}
        missing = isinstance(row.value, NotMeasured)
        line["value"] = str(row.value) if missing else f"{row.value:.6g}"
        line["reason"] = row.value.reason if missing else ""
        lines.append(line)
    names = [field.name for field in dataclasses.fields(Row)] + ["reason"]
    write_csv(path, pd.DataFrame(lines, columns=names))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """A table of text cells, all or nothing."""
    with replacing(path) as partial:
        partial.write_text(table.to_csv(index=False))
