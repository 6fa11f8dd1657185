"""Speech: sound -> phonetic features, pitch and mel at 50 Hz, and the mouth they predict."""

from geneface_kit.person.speech.features import (
    ENCODERS,
    Speech,
    coarse_pitch,
    encode,
    hama_layers,
    log_mel,
    pitch,
)
from geneface_kit.person.speech.offset import Offset, estimate_offset, mouth_from_speech
from geneface_kit.person.speech.phonemes import SHAPES, Mark, certain_marks, shape_probabilities

__all__ = [
    "ENCODERS",
    "SHAPES",
    "Mark",
    "Offset",
    "Speech",
    "certain_marks",
    "coarse_pitch",
    "encode",
    "estimate_offset",
    "hama_layers",
    "log_mel",
    "mouth_from_speech",
    "pitch",
    "shape_probabilities",
]
