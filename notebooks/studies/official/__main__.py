"""What of an official checkpoint fits this kit's networks.

python -m notebooks.studies.official model_ckpt_steps_40000.ckpt
"""

import argparse
import sys
from pathlib import Path

from geneface_kit.pipeline.commands import said
from notebooks.studies import official


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line and prints a line for each network."""
    parser = argparse.ArgumentParser(
        prog="python -m notebooks.studies.official", description=__doc__
    )
    parser.add_argument("checkpoint", type=Path, help="a .ckpt file of the authors' code")
    chosen = parser.parse_args(arguments)
    return said(lambda: _report(chosen.checkpoint))


def _report(path: Path) -> None:
    content = official.read_checkpoint(path)
    names = [*official.NETWORKS, *official.RENDERERS]
    for name in names:
        try:
            module = official.from_checkpoint(content, name)
        except ValueError as error:
            sys.stdout.write(f"{name}: does not fit, {error}\n")
            continue
        count = sum(parameter.numel() for parameter in module.parameters())
        sys.stdout.write(f"{name}: fits, {count:,} parameters of {type(module).__name__}\n")


if __name__ == "__main__":
    sys.exit(main())
