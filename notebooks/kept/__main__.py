"""Kept: the persons that are here or known; the runs, listed, shown, compared, removed.

python -m geneface_kit persons
python -m geneface_kit runs list
"""

import json
import shutil
import sys
import time
from typing import Annotated

import typer
from filelock import FileLock, Timeout

from geneface_kit.pipeline import options as given
from geneface_kit.pipeline.options import CommandLine, argument
from geneface_kit.runs.record import every_run, named_run
from notebooks.commands import RunName


def persons() -> None:
    """List the persons that are here or known. With where they are, and their consent."""
    from geneface_kit.person import demo, known
    from geneface_kit.person.stage import called, consent_beside, here

    found = {name: demo.clip_path(name) for name in demo.NAMES}
    found |= {called(path): path for path in [*here()][::-1]}
    for name, source in found.items():
        consent = " ".join(consent_beside(source).values())
        typer.echo(f"{name}: {source}; consent: {consent or 'no statement'}")
    for name, person in known.KNOWN.items():
        if name not in found:
            where = "fetched when it is used" if person.address else "to be fetched by hand"
            typer.echo(f"{name}: {where}; {person.source}; terms: {person.terms}")


def list_runs(
    person: Annotated[str, argument("PERSON", "default: all")] = "",
    stage: Annotated[str, typer.Option(**given.one_of("stage", given.STAGES))] = "",
    out: given.Out = "",
) -> None:
    """List the runs, the last made at the end."""
    found = every_run(out)
    if not found:
        typer.echo("no runs yet: `run STAGE PERSON` makes one")
    for one in found:
        if person in ("", one.subject) and stage in ("", one.stage):
            size = sum(one.facts.get("sizes", {}).values()) / 1e6
            when = time.localtime((one.folder / "run.json").stat().st_mtime)
            told = f"{one.id:44} {one.status:11} seed {one.seed}  {one.data_kind:9} {size:5.0f} MB"
            told += f" {one.facts.get('wall_s', 0.0):6.0f} s"
            typer.echo(f"{told}  {time.strftime('%Y-%m-%d %H:%M', when)}")


def show(run: RunName, out: given.Out = "") -> None:
    """Show what a run was made of, its measures and where it is."""
    for name, value in named_run(run, out).summary().items():
        typer.echo(f"{name:20} {value}")


def compare(first: RunName, second: RunName, out: given.Out = "") -> None:
    """Compare the settings, inputs and measures of two runs."""
    import pandas as pd

    pair = [named_run(name, out) for name in (first, second)]
    told = ["profile", "seed", "version", "config", "inputs", "parents", "metrics"]
    facts = [{name: run.facts.get(name) for name in told} for run in pair]
    table = pd.json_normalize(facts).T.map(json.dumps).set_axis([run.id for run in pair], axis=1)
    table = table[table.iloc[:, 0] != table.iloc[:, 1]]
    typer.echo(table.to_string(max_colwidth=40) if len(table) else "they say the same")


def rm(
    names: Annotated[list[str], argument("RUN", "ids or folders")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    out: given.Out = "",
) -> None:
    """Remove runs, after saying which others stand on them."""
    for run in [named_run(name, out) for name in names]:
        typer.echo(f"{run.id}: {run.status}, in {run.folder}")
        place = f"{run.folder.parent.name}/{run.folder.name}"
        others = every_run(run.folder.parent.parent)
        for other in [one for one in others if place in one.facts["parents"].values()]:
            typer.echo(f"  {other.id} stands on it: it stays, this is made anew when it is used")
        if yes or typer.confirm("remove it?"):
            try:
                with FileLock(f"{run.folder}.lock", timeout=0):
                    shutil.rmtree(run.folder)
            except Timeout:
                raise ValueError(f"{run.id} is being made: it cannot be removed now") from None
            typer.echo(f"{run.id}: removed")


runs = CommandLine(show, compare, rm)
runs.command("list")(list_runs)
main = CommandLine(persons)
main.add_typer(runs, name="runs", help="List, show, compare or remove runs.")

if __name__ == "__main__":
    sys.exit(main())
