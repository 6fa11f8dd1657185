"""Records: what a clone needs to check recorded tables: run.json, histories and tables of each run.

They lie in runs/ID beside the tables. Weights and pictures are too large to travel.
"""

import shutil
from pathlib import Path

import pandas as pd
from geneface_kit_figures.tables import read_table

from geneface_kit.runs import Run, write_json
from geneface_kit.runs.files import read_json, sha256

TABLES = ("a", "b", "d")
KEPT = ("*_history.csv", "table_*.csv")


def keep_records(evaluations: list[Run], folder: Path) -> None:
    """Copies what is small of evaluation runs and of the runs they came from."""
    every = [one for run in evaluations for one in (run, *run.parents.values())]
    for run in {one.id: one for one in every}.values():
        to = folder / run.id
        to.mkdir(parents=True, exist_ok=True)
        write_json(to / "run.json", run.facts)
        for path in (path for pattern in KEPT for path in run.folder.glob(pattern)):
            shutil.copyfile(path, to / path.name)


def heads(table: Path) -> str:
    """The metrics of the heads behind a table, a line a nerf run, by their records, as csv."""
    ids = dict.fromkeys(one for row in read_table(table)["runs"] for one in row.split())
    records = table.parent / table.name.replace("table_a.csv", "runs")
    lines = []
    for facts in (read_json(records / one / "run.json") for one in ids if one.startswith("nerf-")):
        numbers = {k: v for k, v in facts["metrics"].items() if isinstance(v, float | int)}
        lines.append(
            {"person": facts["subject"], "seed": facts["seed"], "run": facts["id"]} | numbers
        )
    return pd.DataFrame(lines).to_csv(index=False)


def wrong_records(folder: Path) -> list[str]:
    """What the tables of a folder say otherwise than the records of their runs, in sentences."""
    records, wrong = folder / "runs", []
    for path in filter(Path.is_file, (folder / f"table_{name}.csv" for name in TABLES)):
        for ids, rows in read_table(path).groupby("runs", sort=False):
            told = records / ids.split()[-1] / path.name
            if not told.is_file() or not read_table(told).equals(rows.reset_index(drop=True)):
                wrong.append(f"{path.name} is not what {told.parent.name} says")
            missing = [one for one in ids.split() if not (records / one / "run.json").is_file()]
            wrong += [f"{path.name} names {one}, of which there is no record" for one in missing]
    recorded = folder / "heads.csv"
    if not wrong and recorded.is_file() and recorded.read_text() != heads(folder / "table_a.csv"):
        wrong.append("heads.csv is not what the records of its runs say")
    for path in sorted(records.glob("*/run.json")):
        outputs = read_json(path)["outputs"]
        kept = {one.name: sha256(one) for one in path.parent.iterdir() if one != path}
        changed = [name for name, digest in kept.items() if outputs.get(name) != digest]
        wrong += [f"runs/{path.parent.name}/{name} is not what the run wrote" for name in changed]
    return wrong
