"""What of an official checkpoint fits this kit's networks.

python -m notebooks.studies.official model_ckpt_steps_40000.ckpt
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from geneface_kit.pipeline.options import CommandLine
from notebooks.studies import official


def report(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="a .ckpt file of the authors' code")
    ],
) -> None:
    """Say which networks of an official checkpoint fit this kit's, a line each."""
    content = official.read_checkpoint(checkpoint)
    for name in [*official.NETWORKS, *official.RENDERERS]:
        try:
            module = official.from_checkpoint(content, name)
        except ValueError as error:
            typer.echo(f"{name}: does not fit, {error}")
            continue
        count = sum(parameter.numel() for parameter in module.parameters())
        typer.echo(f"{name}: fits, {count:,} parameters of {type(module).__name__}")


main = CommandLine(report)

if __name__ == "__main__":
    sys.exit(main())
