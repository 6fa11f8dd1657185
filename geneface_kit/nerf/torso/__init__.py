"""Torso: a head pose and the rendered head -> colour and opacity of neck and shoulders.

The 2D field of method.md 5b. Reads a person and a trained head; `portrait` writes the weights.
"""

from geneface_kit.nerf.torso.config import CPU, PAPER, TorsoConfig
from geneface_kit.nerf.torso.field import TorsoField, euler, unit_pixels, waves
from geneface_kit.nerf.torso.task import TorsoTask

__all__ = [
    "CPU",
    "PAPER",
    "TorsoConfig",
    "TorsoField",
    "TorsoTask",
    "euler",
    "unit_pixels",
    "waves",
]
