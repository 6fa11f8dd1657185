"""Every notebook for persons, seeds and methods, each kept with its run, and their tables.

python -m geneface_kit reproduce obama lieu --profile cpu --seeds 0,1,2
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from geneface_kit.pipeline import options as given
from geneface_kit.pipeline.options import CommandLine
from notebooks import commands

LAST = (*given.STAGES, "figures")


def reproduce(
    persons: commands.Persons = ("demo",),
    profile: commands.Profile = "smoke",
    overrides: given.Overrides = "",
    seeds: commands.Seeds = "0",
    methods: commands.Methods = "full",
    recordings: Annotated[str, typer.Option(help="files of the cross-driven table")] = "",
    until: Annotated[
        str, typer.Option(help="last stage", **given.one_of("stage", LAST))
    ] = "figures",
    out: given.Out = "",
    cores: Annotated[int, typer.Option(min=0, help="default: all")] = 0,
    against: Annotated[
        str, typer.Option(metavar="FOLDER", help="of all runs whose tables must agree")
    ] = "",
    check: Annotated[
        bool, typer.Option("--check", help="only the quick claims of claims.csv: pass or fail")
    ] = False,
    snakemake: Annotated[str, typer.Option(help='e.g. "--profile slurm --jobs 20"')] = "",
) -> int:
    """Execute every notebook for persons, seeds and methods; collect their tables."""
    if check:
        from notebooks.studies.reproduction import claims

        failed = 0
        for holds, line in claims.check([one for one in claims.read() if one.quick], out):
            typer.echo(line)
            failed += not holds
        return 1 if failed else 0
    from notebooks.studies.reproduction import workflow

    more = {"profile": profile, "overrides": overrides, "out": out}
    more |= {"recordings": recordings, "until": until}
    study = commands.study_of(workflow.Study, persons, seeds, methods, **more)
    tables = workflow.reproduce(study, cores=cores, snakemake=snakemake)
    for path in sorted(tables.glob("*table_*.csv")):
        typer.echo(f"table: {path}")
    if not against:
        return 0
    wrong = workflow.tables_that_differ(tables, Path(against) / "tables")
    typer.echo("\n".join(wrong or ["every number but those of time and memory agrees"]))
    return 1 if wrong else 0


main = CommandLine(reproduce)

if __name__ == "__main__":
    sys.exit(main())
