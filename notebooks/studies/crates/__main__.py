"""A finished run with all it came from, as an RO-Crate that anybody can check.

python -m geneface_kit export RUN run.zip
python -m geneface_kit verify run.zip
"""

import argparse
import sys
from pathlib import Path

from geneface_kit_figures.collect import named_run

from geneface_kit.pipeline.commands import said
from notebooks.studies.crates import crate


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line; the exit status, 1 for a crate that is not as it was exported."""
    parser = argparse.ArgumentParser(prog="python -m geneface_kit", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sub = commands.add_parser("export", help="pack a run and its upstream")
    sub.add_argument("run", help="the run's folder, or its id")
    sub.add_argument("out", type=Path, nargs="?", help="folder or .zip (default: ID.zip)")
    sub.set_defaults(call=_export)
    sub = commands.add_parser("verify", help="its checksums, and its table computed anew")
    sub.add_argument("crate", type=Path)
    sub.set_defaults(call=_verify)
    chosen = parser.parse_args(arguments)
    return said(lambda: chosen.call(chosen))


def _export(chosen: argparse.Namespace) -> None:
    run = named_run(chosen.run)
    sys.stdout.write(f"exported: {crate.export(run, chosen.out or Path(f'{run.id}.zip'))}\n")


def _verify(chosen: argparse.Namespace) -> int:
    found = crate.verify(chosen.crate)
    verdict = "not as it was exported" if found.wrong else "all as it was exported"
    lines = [*found.not_recomputed, *found.wrong, f"{chosen.crate.name}: {verdict}\n"]
    sys.stdout.write("\n".join(lines))
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
