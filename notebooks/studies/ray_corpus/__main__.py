"""Talking videos -> training data, as the command `corpus`, by Ray: on a cluster, or here.

python -m geneface_kit ray-corpus FOLDER
"""

import argparse
import sys

from geneface_kit.person import corpus
from geneface_kit.pipeline.commands import said
from geneface_kit.pipeline.settings import parse, resolve
from notebooks.studies.ray_corpus.cluster import each


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m geneface_kit ray-corpus", description=__doc__)
    add = parser.add_argument
    add("folder", help="videos, in one sub-folder a speaker or named SPEAKER_clip1")
    add("--profile", default="smoke", help="smoke, cpu or paper")
    add("--set", default="", metavar="a.b=1,c.d=x", help="override settings")
    add("--workers", type=int, help="processes without RAY_ADDRESS (default: one per core)")
    add("--retry", action="store_true", help="read broken clips again")
    chosen = parser.parse_args(arguments)
    return said(lambda: _read(chosen))


def _read(chosen: argparse.Namespace) -> None:
    overrides = parse(chosen.set) | {"corpus.folder": chosen.folder}
    config = resolve(chosen.profile, overrides).corpus
    data = corpus.prepare(config, workers=chosen.workers, retry=chosen.retry, by=each)
    sys.stdout.write(f"{corpus.summary(data)}\n")


if __name__ == "__main__":
    sys.exit(main())
