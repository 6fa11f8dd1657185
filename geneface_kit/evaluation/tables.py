"""Tables: numbers with their origin -> csv, one a line.

The pages of these tables, html and LaTeX, beside published numbers, are drawn by `figures/`.
"""

from collections.abc import Mapping
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
COLUMNS = (
    *("table", "person", "protocol", "method", "metric", "value", "unit", "n_frames"),
    *("runs", "seed", "profile", "data_kind", "reason"),
)
"""Of every table. runs: ids of the runs that a number was computed from; reason: why there is no
number, where `value` reads "not measured"."""
Row = dict[str, str | int]  # one number of a table: its column -> what stands there


def rows_of(run: Run, scores: Mapping[str, float | NotMeasured], **place: str | int) -> list[Row]:
    """A row for each metric that was measured in a run.

    place: table, protocol, method and n_frames of a Row; also seed, where it is not the run's.
    """
    ids = [*(parent.id for parent in run.parents.values()), run.id]
    shared = {"person": run.subject, "runs": " ".join(ids), "seed": run.seed}
    shared |= {"profile": run.profile, "data_kind": run.data_kind} | place
    return [
        shared | {"metric": metric, "unit": METRICS[metric]["unit"]} | cells_of(value)
        for metric, value in scores.items()
    ]


def cells_of(value: float | NotMeasured) -> Row:
    """The value and the reason of a row."""
    if isinstance(value, NotMeasured):
        return {"value": str(value), "reason": value.reason}
    return {"value": f"{value:.6g}", "reason": ""}


def write_table(path: Path, rows: list[Row]) -> None:
    """One csv line per number.

    Raises: ValueError when rows of synthetic and of real data, or of the smoke and another
    profile, would stand in one table.
    """
    for column in ("data_kind", "profile"):
        kinds = sorted({row[column] for row in rows})
        if len(kinds) > 1:
            raise ValueError(
                f"{path.stem} would mix {' and '.join(kinds)} rows: one table holds one "
                "kind of data and one profile"
            )
    with replacing(path) as partial:
        pd.DataFrame(rows, columns=COLUMNS).to_csv(partial, index=False)
