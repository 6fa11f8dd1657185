"""A finished run with all it came from, as an RO-Crate that anybody can check.

python -m geneface_kit export RUN run.zip
python -m geneface_kit verify run.zip
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from geneface_kit.pipeline.options import CommandLine, Out
from geneface_kit.runs.record import named_run
from notebooks.commands import RunName


def export(
    run: RunName,
    crate: Annotated[
        Path | None, typer.Argument(metavar="CRATE", help="folder or .zip (default: ID.zip)")
    ] = None,
    out: Out = "",
) -> None:
    """Pack a run and all it came from."""
    from notebooks.studies.crates.crate import export as pack

    packed = named_run(run, out)
    typer.echo(f"exported: {pack(packed, crate or Path(f'{packed.id}.zip'))}")


def verify(crate: Annotated[Path, typer.Argument(metavar="CRATE")]) -> int:
    """Check a crate's checksums, and compute its table anew."""
    from notebooks.studies.crates.crate import verify as check

    found = check(crate)
    verdict = "not as it was exported" if found.wrong else "all as it was exported"
    typer.echo("\n".join([*found.not_recomputed, *found.wrong, f"{crate.name}: {verdict}"]))
    return 1 if found.wrong else 0


main = CommandLine(export, verify)

if __name__ == "__main__":
    sys.exit(main())
