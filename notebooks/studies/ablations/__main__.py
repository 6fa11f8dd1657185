"""Table C: every method on persons, with seeds.

python -m geneface_kit ablations obama --profile cpu --seeds 3
"""

import argparse
import sys

from geneface_kit.pipeline.commands import said
from notebooks.studies.ablations import ablations


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line, makes the runs and writes the table."""
    parser = argparse.ArgumentParser(prog="python -m geneface_kit ablations", description=__doc__)
    parser.add_argument("persons", nargs="*", default=["demo"], metavar="PERSON")
    parser.add_argument("--profile", default="smoke", help="smoke, cpu or paper")
    parser.add_argument("--seeds", type=int, default=3, help="how many, of what needs no picture")
    parser.add_argument("--methods", default="", metavar="full,lle", help="default: all")
    parser.add_argument("--set", default="", metavar="a.b=1,c.d=x", help="override settings")
    parser.add_argument("--out", default="", help="folder of all runs (default: runs/)")
    chosen = parser.parse_args(arguments)
    named = {"methods": tuple(chosen.methods.split(","))} if chosen.methods else {}

    def work() -> None:
        study = ablations.Study(
            persons=tuple(chosen.persons),
            profile=chosen.profile,
            n_seeds=chosen.seeds,
            overrides=chosen.set,
            out=chosen.out,
            **named,
        )
        sys.stdout.write(f"table C: {ablations.make(study)}\n")

    return said(work)


if __name__ == "__main__":
    sys.exit(main())
