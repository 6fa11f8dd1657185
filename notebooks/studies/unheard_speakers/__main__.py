"""Motion methods judged on speakers they never heard, and speech features compared.

python -m geneface_kit prove FOLDER --folds 4 --seeds 0,1,2
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from geneface_kit.pipeline import options as given
from geneface_kit.pipeline.options import CommandLine
from notebooks import commands


def prove(
    folder: commands.Videos,
    encoders: Annotated[
        bool, typer.Option("--encoders", help="compare speech features instead")
    ] = False,
    profile: commands.Profile = "cpu",
    overrides: given.Overrides = "",
    folds: Annotated[int, typer.Option(min=0, help="groups of speakers; 0: each alone")] = 0,
    seeds: commands.Seeds = "0,1,2",
    out: given.Out = "",
    to: commands.To = None,
) -> None:
    """Train what is missing and write the table of methods on speakers they never heard."""
    from geneface_kit.person import corpus
    from geneface_kit.pipeline.settings import parse, resolve
    from notebooks.studies.unheard_speakers import proof, scores

    chosen = resolve(profile, parse(overrides) | {"corpus.folder": folder})
    ready = proof.prepare(
        corpus.prepare(chosen.corpus),
        chosen,
        proof.ENCODERS if encoders else proof.METHODS,
        n_folds=folds,
        seeds=commands.seeds_of(seeds),
        out=out,
    )
    typer.echo(f"each row, fold and seed leaves a file in {ready.folder}")
    proof.prove(ready)
    # the command, without the places of one machine
    parts = ["python -m geneface_kit prove", Path(folder).name.upper(), *["--encoders"] * encoders]
    parts += [f"--profile {profile} --folds {folds} --seeds {seeds}"]
    parts += [f'--set "{overrides}"'] if overrides else []
    typer.echo(scores.report(ready, " ".join(parts), (to or ready.folder) / "table.csv"))


main = CommandLine(prove)

if __name__ == "__main__":
    sys.exit(main())
