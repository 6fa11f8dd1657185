"""Pictures of figures/: redrawn from their data, and filmstrips of several persons in one.

python -m geneface_kit figures --check
python -m geneface_kit filmstrips obama=song.wav lieu=news.wav --profile cpu
"""

import argparse
import sys

import geneface_kit_figures as figures

from geneface_kit.pipeline.commands import required, said, unit_arguments
from geneface_kit.runs import root


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line; the exit status, 1 or more for pictures that are not their data's."""
    parser = argparse.ArgumentParser(prog="python -m geneface_kit", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sub = commands.add_parser("figures", help="redraw figures/ from its data")
    sub.add_argument("--check", action="store_true", help="compare instead of writing")
    sub.set_defaults(call=lambda chosen: figures.redraw(check=chosen.check))
    sub = commands.add_parser(
        "filmstrips", help="one picture of several persons", parents=[unit_arguments()]
    )
    sub.add_argument("talks", nargs="+", metavar="PERSON=RECORDING")
    sub.set_defaults(call=_filmstrips)
    chosen = parser.parse_args(arguments)
    return said(lambda: chosen.call(chosen))


def _filmstrips(chosen: argparse.Namespace) -> None:
    talks = []
    for pair in chosen.talks:
        chosen.person, equals, audio = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair!r} must look like PERSON=RECORDING")
        talks.append(required(chosen, "talk", audio=audio))
    name, folder = f"filmstrips_{chosen.profile}", root() / "figures"
    title = f"Driven by other voices ({chosen.profile})"
    figures.save_filmstrips(folder, name, talks, title=title)
    sys.stdout.write(f"drawn: {folder / name}.png\n")


if __name__ == "__main__":
    sys.exit(main())
