"""The notebooks of this folder, executed with their default parameters and kept tidy.

python -m geneface_kit notebooks 04_talk
"""

import sys
from typing import Annotated

import typer

from geneface_kit.pipeline.options import CommandLine


def notebooks(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="default: all, in order")] = (),
) -> None:
    """Execute notebooks with their default parameters and store the tidy result."""
    from notebooks.execution import NAMES, refresh

    for name in names or NAMES:
        typer.echo(f"executed {refresh(name).name}")


main = CommandLine(notebooks)

if __name__ == "__main__":
    sys.exit(main())
