"""Pictures and tables of figures/: redrawn from their data, or made of several persons' runs.

python -m geneface_kit figures --check
python -m geneface_kit tables RUN...
python -m geneface_kit filmstrips obama=song.wav lieu=news.wav --profile cpu
"""

import argparse
import sys
from pathlib import Path

import geneface_kit_figures as figures
from geneface_kit_figures.collect import collect, named_run

from geneface_kit.pipeline.commands import required, said, unit_arguments
from geneface_kit.runs.record import root


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line; the exit status, 1 or more for pictures that are not their data's."""
    parser = argparse.ArgumentParser(prog="python -m geneface_kit", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sub = commands.add_parser("figures", help="redraw figures/ from its data")
    sub.add_argument("--check", action="store_true", help="compare instead of writing")
    sub.set_defaults(call=lambda chosen: figures.redraw(check=chosen.check))
    sub = commands.add_parser("tables", help="evaluations of several persons in one table each")
    sub.add_argument("runs", nargs="+", metavar="RUN", help="its folder, or its id")
    sub.add_argument("--out", type=Path, help="folder (default: figures/)")
    sub.set_defaults(call=_tables)
    sub = commands.add_parser(
        "filmstrips", help="one picture of several persons", parents=[unit_arguments()]
    )
    sub.add_argument("talks", nargs="+", metavar="PERSON=RECORDING")
    sub.set_defaults(call=_filmstrips)
    chosen = parser.parse_args(arguments)
    return said(lambda: chosen.call(chosen))


def _tables(chosen: argparse.Namespace) -> None:
    evaluations = [named_run(name) for name in chosen.runs]
    for path in collect(evaluations, chosen.out or root() / "figures"):
        sys.stdout.write(f"written: {path.name}\n")


def _filmstrips(chosen: argparse.Namespace) -> None:
    talks = []
    for pair in chosen.talks:
        chosen.person, equals, audio = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair!r} must look like PERSON=RECORDING")
        talks.append(required(chosen, "talk", audio=audio))
    profile, folder = talks[0].profile, root() / "figures"
    name, title = f"filmstrips_{profile}", f"Driven by other voices ({profile})"
    figures.save_filmstrips(folder, name, talks, title=title)
    sys.stdout.write(f"drawn: {folder / name}.png\n")


if __name__ == "__main__":
    sys.exit(main())
