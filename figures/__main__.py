"""Pictures and tables of figures/: redrawn from their data, or made of several persons' runs.

python -m geneface_kit figures --check
python -m geneface_kit tables RUN...
python -m geneface_kit filmstrips obama=song.wav lieu=news.wav --profile cpu
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from geneface_kit.pipeline import options as given
from geneface_kit.pipeline.options import CommandLine
from geneface_kit.runs.record import named_run, root


def figures(
    check: Annotated[bool, typer.Option("--check", help="compare instead of writing")] = False,
) -> int:
    """Redraw figures/ from its data."""
    import geneface_kit_figures

    return geneface_kit_figures.redraw(check=check)


def tables(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="ids or folders")],
    to: Annotated[Path | None, typer.Option(metavar="FOLDER", help="default: figures/")] = None,
    out: given.Out = "",
) -> None:
    """Put evaluations of several persons in one table each."""
    from geneface_kit_figures.collect import collect

    for path in collect([named_run(name, out) for name in runs], to or root() / "figures"):
        typer.echo(f"written: {path.name}")


def filmstrips(
    talks: Annotated[list[str], typer.Argument(metavar="PERSON=RECORDING")],
    profile: given.Profile = "auto",
    overrides: given.Overrides = "",
    seed: given.Seed = 0,
    method: given.Method = "full",
    out: given.Out = "",
) -> None:
    """Draw several persons, each driven by a recording, in one picture."""
    from geneface_kit_figures import save_filmstrips

    from geneface_kit.pipeline.require import require
    from geneface_kit.pipeline.settings import parse

    unit = {"profile": profile, "seed": seed, "method": method, "out": out}
    made = []
    for pair in talks:
        person, equals, audio = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair!r} must look like PERSON=RECORDING")
        changes = parse(overrides) | {"talk.audio": str(Path(audio).resolve())}
        made.append(require("talk", person, overrides=changes, **unit))
    name, title = f"filmstrips_{made[0].profile}", f"Driven by other voices ({made[0].profile})"
    save_filmstrips(root() / "figures", name, made, title=title)
    typer.echo(f"drawn: {root() / 'figures' / name}.png")


main = CommandLine(figures, tables, filmstrips)

if __name__ == "__main__":
    sys.exit(main())
