"""Head: landmarks (or speech) and a camera pose -> colour, opacity and depth of the head.

The grid renderer of method.md 5b. Reads a person; `portrait` writes the weights.
"""

from geneface_kit.nerf.head.config import CPU, PAPER, HeadConfig
from geneface_kit.nerf.head.field import BOX, HeadField, HeadImage, make_field
from geneface_kit.nerf.head.task import HeadTask, watched_frame

__all__ = [
    "BOX",
    "CPU",
    "PAPER",
    "HeadConfig",
    "HeadField",
    "HeadImage",
    "HeadTask",
    "make_field",
    "watched_frame",
]
