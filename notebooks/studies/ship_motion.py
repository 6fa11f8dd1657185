"""Ship: makes the weights of a motion run those that come with the kit, in half precision, and fits
the ridge regression that stands beside them in Table B to the recordings that they heard.

`python -m notebooks.studies.ship_motion RUN_FOLDER`; how the kit's own were trained stands in
geneface_kit/motion/MODEL_CARD.md.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from geneface_kit.evaluation.stage import RIDGE
from geneface_kit.motion.weights import SHIPPED, load, save
from geneface_kit.person import corpus
from geneface_kit.person.corpus import Utterance
from geneface_kit.person.mouth import mouth_shape
from geneface_kit.person.speech.offset import in_context
from geneface_kit.pipeline.settings import resolve
from geneface_kit.runs.arrays import write_npz
from geneface_kit.runs.files import read_json
from notebooks.studies.mouth_ridge import solve_ridge

TERMS = "for research use: trained on recordings of research-only data sets, see MODEL_CARD.md"


def ship(folder: Path, out: Path = SHIPPED) -> None:
    """Writes a run's generator and sync expert, and their terms, to the kit's folder."""
    motion = replace(load(folder), terms=TERMS)
    for network in (motion.vae, motion.expert):
        network.half()
    save(out, motion, "shipped")


def ship_ridge(utterances: tuple[Utterance, ...], path: Path = RIDGE) -> None:
    """Writes the regression from speech to opening and width, of clips as they were recorded: with
    copies at other speeds it does worse (figures/unheard_speakers.csv has none either)."""
    clips = [one for one in utterances if one.name == one.clip]
    mouths = [mouth_shape(one.landmarks) for one in clips]
    heard = [in_context(one.speech.features) for one in clips]
    ridge = solve_ridge(heard, [mouth - mouth.mean(0) for mouth in mouths])
    write_npz(path, **{name: values.astype(np.float32) for name, values in ridge.items()})


if __name__ == "__main__":
    ship(Path(sys.argv[1]))
    heard = read_json(Path(sys.argv[1]) / "run.json")["config"]["corpus"]["folder"]
    ship_ridge(corpus.prepare(resolve("cpu", {"corpus.folder": heard}).corpus).utterances)
