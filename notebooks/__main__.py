"""The notebooks of this folder, executed with their default parameters and kept tidy.

python -m geneface_kit notebooks 04_talk
"""

import argparse
import sys

from geneface_kit.pipeline.commands import said
from notebooks.execution import NAMES, refresh


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line and executes the notebooks named in it."""
    parser = argparse.ArgumentParser(prog="python -m geneface_kit notebooks", description=__doc__)
    parser.add_argument("names", nargs="*", help="default: all of them, in order")
    chosen = parser.parse_args(arguments)

    def work() -> None:
        for name in chosen.names or NAMES:
            sys.stdout.write(f"executed {refresh(name).name}\n")
            sys.stdout.flush()

    return said(work)


if __name__ == "__main__":
    sys.exit(main())
