"""Speed on this machine, both sides of each comparison in one process.

python -m geneface_kit bench render obama
"""

import importlib
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Annotated

import typer

from geneface_kit.pipeline.options import CommandLine, one_of
from notebooks import commands

BENCHES = {
    "person": "person.run",
    "corpus": "corpus.run",
    "motion": "motion.run",
    "render": "render.bench_render",
    "train": "render.bench_train",
    "gpu": "gpu.bench_gpu",
}
"""Benchmark -> its function. It takes the subject ("" is the demo), yields lines to print, and may
return what it measured: name -> value."""

RECORDED = ("motion", "render", "train")
"""Benchmarks that return what they measured."""


def bench(
    what: Annotated[
        str,
        typer.Argument(metavar="WHAT", help=", ".join(BENCHES), **one_of("benchmark", BENCHES)),
    ],
    subject: Annotated[
        str, typer.Argument(metavar="SUBJECT", help="a person or folder (default: demo)")
    ] = "",
    to: commands.To = None,
) -> None:
    """Measure the speed of one part on this machine; --to adds what was found to speed.json."""
    if to and what not in RECORDED:
        raise ValueError(f"--to keeps what {', '.join(RECORDED)} measure, not {what}")
    module, _, function = BENCHES[what].partition(".")
    part = importlib.import_module(f"notebooks.studies.speed.{module}")
    found = _printed(getattr(part, function)(subject))
    if to:
        _keep(to / "speed.json", " ".join(filter(None, [what, subject])), found)


def _printed(lines: Generator[str, None, dict[str, float | str] | None]) -> dict[str, float | str]:
    while True:
        try:
            typer.echo(next(lines))
        except StopIteration as end:
            return end.value or {}


def _keep(path: Path, name: str, found: dict[str, float | str]) -> None:
    from geneface_kit.render.fused import has_amx
    from geneface_kit.runs import write_json
    from geneface_kit.runs.files import read_json
    from notebooks.studies.speed.person import processor

    facts = read_json(path) if path.exists() else {}
    found = found | {"on": f"{processor()}, {'with' if has_amx() else 'without'} AMX"}
    write_json(path, facts | {f"{name}: {key}": value for key, value in found.items()})


main = CommandLine(bench)

if __name__ == "__main__":
    sys.exit(main())
