"""Table C: every method on persons, with seeds.

python -m geneface_kit ablations obama --profile cpu --seeds 0,1,2
"""

import sys

import typer

from geneface_kit.pipeline import options as given
from geneface_kit.pipeline.options import CommandLine
from notebooks import commands

ALL = ",".join(given.METHODS)


def ablations(
    persons: commands.Persons = ("demo",),
    profile: commands.Profile = "smoke",
    seeds: commands.Seeds = "0,1,2",
    methods: commands.Methods = ALL,
    overrides: given.Overrides = "",
    out: given.Out = "",
) -> None:
    """Make table C: every method on persons; what needs no picture, with every seed."""
    from notebooks.studies.ablations import ablations as study

    more = {"profile": profile, "overrides": overrides, "out": out}
    wanted = commands.study_of(study.Study, persons, seeds, methods, **more)
    typer.echo(f"table C: {study.make(wanted)}")


main = CommandLine(ablations)

if __name__ == "__main__":
    sys.exit(main())
