"""Collect: evaluation runs of several persons -> tables A, B and D of all of them.

One table holds one kind of data and one profile. Only real persons beyond the smoke profile are
written as table_a.csv; anything else carries its kind in the file's name.
"""

from pathlib import Path

import pandas as pd
from geneface_kit_figures.methods import METHODS
from geneface_kit_figures.pages import spread, write_pages
from geneface_kit_figures.records import TABLES, heads, keep_records
from geneface_kit_figures.tables import read_table

from geneface_kit.runs.files import replacing
from geneface_kit.runs.record import Run, damaged

SAME = ("n_frames", "recordings", "cross_s")
"""Settings of an evaluation that must agree within a table."""


def collect(evaluations: list[Run], out: Path) -> list[Path]:
    """Writes every table of the given evaluation runs as csv, html and LaTeX, and heads.csv, the
    metrics of their nerf runs; returns the files. The records of the runs are kept beside them.

    The rows are those of the runs, unchanged, with their run ids; persons in the order given.
    Raises: ValueError for a run that is not a finished evaluation, or that does not go with the
    others: synthetic with real data, another profile, other settings, or the same person, method
    and seed twice.
    """
    if not evaluations:
        raise ValueError("no runs were given: name finished evaluation runs by id or folder")
    for run in evaluations:
        if run.stage != "evaluation":
            raise ValueError(f"{run.id} is a run of {run.stage}: tables are of evaluation runs")
        if run.status != "ok":
            raise ValueError(f"{run.id} is {run.status}: only finished runs go into a table")
        if wrong := damaged(run, digests=True):
            raise ValueError(f"{run.id}: {', '.join(wrong)} is not what it wrote: make it again")
        _check_beside(run, evaluations[0])
    named = [(run.subject, _method(run), run.seed) for run in evaluations]
    for subject, method, seed in named:
        if named.count((subject, method, seed)) > 1:
            raise ValueError(
                f"two runs of {subject}, {method}, with seed {seed} were given: choose one"
            )
    before = prefix(evaluations[0])
    out.mkdir(parents=True, exist_ok=True)
    keep_records(evaluations, out / f"{before}runs")
    written = []
    for name in TABLES:
        table = pd.concat([read_table(run.folder / f"table_{name}.csv") for run in evaluations])
        path = out / f"{before}table_{name}.csv"
        with replacing(path) as partial:
            table.to_csv(partial, index=False)
        write_pages(path, table, name)
        written += [path.with_suffix(ending) for ending in (".csv", ".html", ".tex")]
    told = out / f"{before}heads.csv"
    with replacing(told) as partial:
        partial.write_text(heads(out / f"{before}table_a.csv"))
    return [*written, told]


def prefix(run: Run) -> str:
    """What stands before the name of a table's file: "" only for real data, not of smoke size."""
    kind = "" if run.data_kind == "real" else f"{run.data_kind}_"
    return kind + ("smoke_" if run.profile == "smoke" else "")


def _check_beside(run: Run, first: Run) -> None:
    for what in ("data_kind", "profile"):
        ours, theirs = getattr(run, what), getattr(first, what)
        if ours != theirs:
            raise ValueError(
                f"{run.id} is {ours} and {first.id} is {theirs}: one table holds one kind of data "
                "and one profile"
            )
    ours, theirs = (_evaluated(one) for one in (run, first))
    for name in ours:
        if ours[name] != theirs[name]:
            raise ValueError(
                f"{run.id} has evaluation.{name} {ours[name]!r} and {first.id} {theirs[name]!r}: "
                "score all with the same settings"
            )


def _method(run: Run) -> str:
    """What was evaluated, as the run's own rows say it."""
    return read_table(run.folder / "table_a.csv")["method"].iloc[0]


def _evaluated(run: Run) -> dict[str, object]:
    """The settings of SAME; recordings count by their files' names."""
    settings = {name: run.config["evaluation"][name] for name in SAME}
    names = settings["recordings"].split(",")
    settings["recordings"] = ", ".join(Path(name.strip()).name for name in names)
    return settings


def summary(table: pd.DataFrame, person: str) -> pd.DataFrame:
    """Table C of one person, a line per method and protocol, mean ± standard deviation over seeds.

    table: as `tables.read_table` gives it. One seed has no spread; a gap reads as it does there.
    """
    ours = table[table["person"] == person]
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for (method, protocol, metric), rows in ours.groupby(
        ["method", "protocol", "metric"], sort=False
    ):
        line = lines.setdefault((method, protocol), {"method": method, "protocol": protocol})
        line["beside"] = METHODS[method].beside if method in METHODS else ""
        line["seeds"] = str(rows["seed"].nunique())
        line[metric] = spread(list(rows["value"]))
    return pd.DataFrame(lines.values()).fillna("—")
