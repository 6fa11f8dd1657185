"""Ship: makes the weights of a motion run those that come with the kit, in half precision.

`python -m notebooks.studies.ship_motion RUN_FOLDER`; how the kit's own were trained stands in
geneface_kit/motion/MODEL_CARD.md.
"""

import sys
from dataclasses import replace
from pathlib import Path

from geneface_kit.motion.weights import SHIPPED, load, save

TERMS = "for research use: trained on recordings of research-only data sets, see MODEL_CARD.md"


def ship(folder: Path, out: Path = SHIPPED) -> None:
    """Writes a run's generator and sync expert, and their terms, to the kit's folder."""
    motion = replace(load(folder), terms=TERMS)
    for network in (motion.vae, motion.expert):
        network.half()
    save(out, motion, "shipped")


if __name__ == "__main__":
    ship(Path(sys.argv[1]))
