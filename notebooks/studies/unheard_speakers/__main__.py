"""Motion methods judged on speakers they never heard, and speech features compared.

python -m geneface_kit prove FOLDER --folds 4 --seeds 3
"""

import argparse
import sys
from pathlib import Path

from geneface_kit.person import corpus
from geneface_kit.pipeline.commands import said
from geneface_kit.pipeline.settings import parse, resolve
from notebooks.studies.unheard_speakers import proof, scores


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line, trains what is missing and writes the table."""
    parser = argparse.ArgumentParser(prog="python -m geneface_kit prove", description=__doc__)
    parser.add_argument("folder", help="videos, one sub-folder a speaker or named SPEAKER_clip1")
    parser.add_argument("--encoders", action="store_true", help="compare speech features instead")
    parser.add_argument("--profile", default="cpu", help="smoke, cpu or paper")
    parser.add_argument("--set", default="", metavar="a.b=1,c.d=x", help="override settings")
    parser.add_argument("--out", default="", help="folder of all proofs (default: runs/proof/)")
    parser.add_argument("--folds", type=int, default=0, help="groups of speakers; 0: each alone")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", type=Path, default=None, help="csv (default: in its folder)")
    chosen = parser.parse_args(arguments)
    return said(lambda: _prove(chosen))


def _prove(chosen: argparse.Namespace) -> None:
    overrides = parse(chosen.set) | {"corpus.folder": chosen.folder}
    settings = resolve(chosen.profile, overrides)
    ready = proof.prepare(
        corpus.prepare(settings.corpus),
        settings,
        proof.ENCODERS if chosen.encoders else proof.METHODS,
        n_folds=chosen.folds,
        n_seeds=chosen.seeds,
        out=chosen.out,
    )
    sys.stdout.write(f"each row, fold and seed leaves a file in {ready.folder}\n")
    proof.prove(ready)
    table = chosen.table or ready.folder / "table.csv"
    sys.stdout.write(scores.report(ready, _command(chosen), table) + "\n")


def _command(chosen: argparse.Namespace) -> str:
    """The command of a proof, without the places of one machine."""
    parts = ["python -m geneface_kit prove", Path(chosen.folder).name.upper()]
    parts += ["--encoders"] if chosen.encoders else []
    parts += [f"--profile {chosen.profile} --folds {chosen.folds} --seeds {chosen.seeds}"]
    return " ".join(parts + ([f'--set "{chosen.set}"'] if chosen.set else []))


if __name__ == "__main__":
    sys.exit(main())
