"""Speed on this machine, both sides of each comparison in one process.

python -m geneface_kit bench render obama
"""

import argparse
import sys
from collections.abc import Callable, Iterator

from geneface_kit.pipeline.commands import said
from notebooks.studies.speed import corpus, gpu, motion, person, render

BENCHES: dict[str, Callable[[str], Iterator[str]]] = {
    "person": person.run,
    "corpus": corpus.run,
    "motion": motion.run,
    "render": render.bench_render,
    "train": render.bench_train,
    "gpu": gpu.bench_gpu,
}
"""Benchmark -> its function. It takes the subject ("" is the demo) and yields lines to print."""


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line and prints what was measured."""
    parser = argparse.ArgumentParser(prog="python -m geneface_kit bench", description=__doc__)
    parser.add_argument("what", choices=sorted(BENCHES))
    parser.add_argument("subject", nargs="?", default="", help="a person or folder (default: demo)")
    chosen = parser.parse_args(arguments)

    def work() -> None:
        for line in BENCHES[chosen.what](chosen.subject):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    return said(work)


if __name__ == "__main__":
    sys.exit(main())
