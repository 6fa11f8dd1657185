"""Rows: numbers with their origin -> csv, and html beside published numbers.

A row is ours, with run ids, or published, with its source; never both.
"""

import dataclasses
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pandas as pd

from geneface_kit.metrics import NotMeasured

__all__ = [
    "Row",
    "beside_published",
    "published",
    "read_table",
    "to_html",
    "write_html",
    "write_table",
]

TITLES = {
    "a": "Table A: reconstruction of held-out frames",
    "b": "Table B: lip sync to other recordings",
    "d": "Table D: cost",
}
BESIDE = {"a": "head_reconstruction", "b": "cross_subject_lip_sync", "d": "head_reconstruction"}
COST = ("train_hours", "FPS", "training minutes", "parameters")


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


def write_table(path: Path, rows: list[Row]) -> None:
    """One csv line per number; a missing one reads "not measured" and keeps its reason."""
    lines = []
    for row in rows:
        line = dataclasses.asdict(row) | {"runs": " ".join(row.runs)}
        missing = isinstance(row.value, NotMeasured)
        line["value"] = str(row.value) if missing else f"{row.value:.6g}"
        line["reason"] = row.value.reason if missing else ""
        lines.append(line)
    names = [field.name for field in dataclasses.fields(Row)] + ["reason"]
    _store_text(path, pd.DataFrame(lines, columns=names).to_csv(index=False))


def write_html(path: Path, ours: pd.DataFrame, name: str) -> None:
    """The table as `to_html` gives it."""
    _store_text(path, to_html(ours, name))


def read_table(path: Path) -> pd.DataFrame:
    """A table as text cells, as `write_table` wrote it."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def published() -> pd.DataFrame:
    """Published numbers, one per row, each with the paper and table it is quoted from."""
    path = resources.files("geneface_kit") / "data" / "published_results.csv"
    with path.open() as file:
        return pd.read_csv(file, dtype=str, keep_default_na=False)


def beside_published(ours: pd.DataFrame, name: str) -> pd.DataFrame:
    """A wide table: our rows first, the published ones under them, metrics as columns.

    A row is either ours, with its run ids, or published, with its source: never both.
    """
    quoted = published()
    quoted = quoted[quoted["table"] == BESIDE[name]]
    quoted = quoted[quoted["metric"].isin(COST) == (name == "d")]
    columns = list(dict.fromkeys([*ours["metric"], *quoted["metric"]]))
    keys = ["origin", "method", "setting", "data", "source"]
    left = pd.DataFrame(
        {
            "origin": "ours",
            "method": ours["method"],
            "setting": ours["person"] + ", " + ours["protocol"],
            "data": ours["data_kind"] + ", " + ours["profile"],
            "source": "runs " + ours["runs"].map(_short_ids),
            "metric": ours["metric"],
            "value": [_short(value) for value in ours["value"]],
        }
    )
    right = quoted.assign(origin="published", data="real")[[*keys, "metric", "value"]]
    rows = pd.concat([left, right]).drop_duplicates([*keys, "metric"])
    order = rows[keys].drop_duplicates().apply(tuple, axis=1).tolist()
    wide = rows.pivot(index=keys, columns="metric", values="value").reindex(columns=columns)
    return wide.loc[order].fillna("—").reset_index().rename_axis(columns=None)


def to_html(ours: pd.DataFrame, name: str) -> str:
    """The wide table as html, titled, with the reasons for what was not measured under it."""
    kinds = " and ".join(sorted(set(ours["data_kind"]))) or "no"
    missing = ours[ours["reason"] != ""][["metric", "reason"]].drop_duplicates()
    notes = "".join(f"<li>{m}: {r}</li>" for m, r in missing.itertuples(index=False))
    table = beside_published(ours, name).to_html(index=False, border=0)
    return f"<h3>{TITLES[name]} ({kinds} data)</h3>\n{table}\n<ul>{notes}</ul>\n"


def _short_ids(ids: str) -> str:
    """Stage and digest of each run; person and profile stand in columns of their own."""
    parts = [run_id.split("-") for run_id in ids.split()]
    return " ".join(dict.fromkeys(f"{part[0]}-{part[-1]}" for part in parts))


def _short(value: str) -> str:
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value


def _store_text(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".part")
    partial.write_text(text)
    os.replace(partial, path)
