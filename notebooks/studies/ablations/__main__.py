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
    profile: given.Profile = "smoke",
    seeds: commands.Seeds = "0,1,2",
    methods: commands.Methods = ALL,
    overrides: given.Overrides = "",
    out: given.Out = "",
) -> None:
    """Make table C: every method on persons; what needs no picture, with every seed."""
    from notebooks.studies.ablations import ablations as study

    wanted = study.Study(
        persons=tuple(persons),
        profile=profile,
        seeds=commands.seeds_of(seeds),
        methods=given.several(methods),
        overrides=overrides,
        out=out,
    )
    typer.echo(f"table C: {study.make(wanted)}")


main = CommandLine(ablations)

if __name__ == "__main__":
    sys.exit(main())
