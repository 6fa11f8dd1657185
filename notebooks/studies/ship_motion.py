"""Ship: makes the weights of a motion run those that come with the kit, in half precision.

`python -m notebooks.studies.ship_motion RUN_FOLDER`; how the kit's own were trained stands in
geneface_kit/motion/MODEL_CARD.md.
"""

import sys
from pathlib import Path

from geneface_kit.motion.weights import SHIPPED, load, save


def ship(folder: Path, out: Path = SHIPPED) -> None:
    """Writes a run's generator and sync expert to the kit's folder."""
    motion = load(folder)
    for network in (motion.vae, motion.expert):
        network.half()
    save(out, motion, "shipped")


if __name__ == "__main__":
    ship(Path(sys.argv[1]))
