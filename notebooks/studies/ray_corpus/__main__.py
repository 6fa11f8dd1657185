"""Talking videos -> training data: a process per core, or by Ray: on a cluster, or here.

python -m geneface_kit corpus FOLDER
python -m geneface_kit ray-corpus FOLDER
"""

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from geneface_kit.person.clip import FPS
from geneface_kit.person.corpus.store import BROKEN, Corpus
from geneface_kit.pipeline import options as given
from geneface_kit.pipeline.options import CommandLine
from notebooks import commands

Workers = Annotated[int | None, typer.Option(help="processes (default: one per core)")]
Retry = Annotated[bool, typer.Option("--retry", help="read broken clips again")]


def corpus(
    folder: commands.Videos,
    profile: commands.Profile = "smoke",
    overrides: given.Overrides = "",
    workers: Workers = None,
    retry: Retry = False,
) -> None:
    """Read talking videos into training data."""
    from notebooks.studies.ray_corpus.processes import each

    _read(folder, profile, overrides, workers=workers, retry=retry, by=each)


def ray_corpus(
    folder: commands.Videos,
    profile: commands.Profile = "smoke",
    overrides: given.Overrides = "",
    workers: Workers = None,
    retry: Retry = False,
) -> None:
    """Read talking videos by Ray; RAY_ADDRESS names a cluster, else it runs here."""
    from notebooks.studies.ray_corpus.cluster import each

    _read(folder, profile, overrides, workers=workers, retry=retry, by=each)


def _read(folder: str, profile: str, overrides: str, **options: int | bool | Callable) -> None:
    from geneface_kit.person import corpus
    from geneface_kit.pipeline.settings import parse, resolve

    config = resolve(profile, parse(overrides) | {"corpus.folder": folder}).corpus
    typer.echo(summary(corpus.prepare(config, **options)))


def summary(data: Corpus) -> str:
    """One line: how many clips are usable and broken, and where the corpus and its csv are."""
    recorded = [utterance for utterance in data.utterances if utterance.name == utterance.clip]
    minutes = sum(len(utterance) for utterance in recorded) / FPS / 60
    moved = sum(facts["offset_corrected"] for facts in data.facts.values())
    return (
        f"{len(recorded) + len(data.broken)} clips: {len(recorded)} usable ({minutes:.1f} min of "
        f"{len(data.speakers)} speakers; with copies {len(data.utterances)} utterances; sound "
        f"moved in {moved}), {len(data.broken)} broken; in {data.folder}, reasons in "
        f"{BROKEN} there"
    )


main = CommandLine(corpus, ray_corpus)

if __name__ == "__main__":
    sys.exit(main())
