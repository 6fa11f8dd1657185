"""Layers: frames + person probability + landmarks -> labels, background plate, torso picture.

Labels: 0 background, 1 head (face, hair, ears), 2 neck, 3 torso. Method: reference sections
1.3-1.5 of the GeneFace pipeline, with a person network and landmark geometry for the parsing,
or a parsing network when its weights are given.
"""

from geneface_kit.person.layers.labels import Palette, label_frame, learn_palette, refine_mask
from geneface_kit.person.layers.parser import load_parser
from geneface_kit.person.layers.parts import BACKGROUND, HEAD, NECK, TORSO, LayersConfig
from geneface_kit.person.layers.pictures import gt_image, head_image, torso_image
from geneface_kit.person.layers.plate import (
    Plate,
    background_motion,
    best_still,
    make_plate,
    plate_from,
    some_frames,
)
from geneface_kit.person.layers.steady import flicker, steady_labels

__all__ = [
    "BACKGROUND",
    "HEAD",
    "NECK",
    "TORSO",
    "LayersConfig",
    "Palette",
    "Plate",
    "background_motion",
    "best_still",
    "flicker",
    "gt_image",
    "head_image",
    "label_frame",
    "learn_palette",
    "load_parser",
    "make_plate",
    "plate_from",
    "refine_mask",
    "some_frames",
    "steady_labels",
    "torso_image",
]
