"""Speed on this machine, both sides of each comparison in one process.

python -m geneface_kit bench render obama
"""

import importlib
import sys
from typing import Annotated

import typer

from geneface_kit.pipeline.options import CommandLine, one_of

BENCHES = {
    "person": "person.run",
    "corpus": "corpus.run",
    "motion": "motion.run",
    "render": "render.bench_render",
    "train": "render.bench_train",
    "gpu": "gpu.bench_gpu",
}
"""Benchmark -> its function. It takes the subject ("" is the demo) and yields lines to print."""


def bench(
    what: Annotated[
        str,
        typer.Argument(metavar="WHAT", help=", ".join(BENCHES), **one_of("benchmark", BENCHES)),
    ],
    subject: Annotated[
        str, typer.Argument(metavar="SUBJECT", help="a person or folder (default: demo)")
    ] = "",
) -> None:
    """Measure the speed of one part on this machine."""
    module, _, function = BENCHES[what].partition(".")
    part = importlib.import_module(f"notebooks.studies.speed.{module}")
    for line in getattr(part, function)(subject):
        typer.echo(line)


main = CommandLine(bench)

if __name__ == "__main__":
    sys.exit(main())
