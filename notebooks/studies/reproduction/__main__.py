"""Every notebook for persons, seeds and methods, each kept with its run, and their tables.

python -m geneface_kit reproduce obama lieu --profile cpu --seeds 0,1,2
"""

import argparse
import sys
from pathlib import Path

from geneface_kit.pipeline.commands import said
from notebooks.studies.reproduction import workflow


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line; the exit status, 1 for tables that differ from those `--against`."""
    parser = argparse.ArgumentParser(prog="python -m geneface_kit reproduce", description=__doc__)
    add = parser.add_argument
    add("persons", nargs="*", default=["demo"])
    add("--profile", default="smoke", help="smoke, cpu or paper")
    add("--set", default="", metavar="a.b=1,c.d=x", help="override settings")
    add("--seeds", default="0", metavar="0,1,2")
    add("--methods", default="full", metavar="full,...", help="baselines and ablations")
    add("--recordings", default="", help="files of the cross-driven table")
    add("--until", default="figures", metavar="STAGE", help="last stage")
    add("--out", default="", help="folder of all runs (default: runs/)")
    add("--cores", type=int, default=0, help="default: all")
    add("--against", default="", help="folder of all runs whose tables must agree")
    add("--snakemake", default="", help='e.g. "--profile slurm --jobs 20"')
    chosen = parser.parse_args(arguments)
    return said(lambda: _reproduce(chosen))


def _reproduce(chosen: argparse.Namespace) -> int:
    study = workflow.Study(
        persons=tuple(chosen.persons),
        profile=chosen.profile,
        seeds=tuple(int(seed) for seed in chosen.seeds.split(",")),
        methods=tuple(chosen.methods.split(",")),
        overrides=chosen.set,
        recordings=chosen.recordings,
        until=chosen.until,
        out=chosen.out,
    )
    tables = workflow.reproduce(study, cores=chosen.cores, snakemake=chosen.snakemake)
    for path in sorted(tables.glob("*table_*.csv")):
        sys.stdout.write(f"table: {path}\n")
    if not chosen.against:
        return 0
    wrong = workflow.tables_that_differ(tables, Path(chosen.against) / "tables")
    agree = "every number but those of time and memory agrees"
    sys.stdout.write("\n".join([*wrong] or [agree]) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
