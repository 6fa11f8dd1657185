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
from geneface_kit.person.speech.mouth import (
    Offset,
    fit_mouth_ridge,
    mouth_from_speech,
    mouth_shape,
    offset,
    save_mouth_ridge,
)
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
    "fit_mouth_ridge",
    "hama_layers",
    "log_mel",
    "mouth_from_speech",
    "mouth_shape",
    "offset",
    "pitch",
    "save_mouth_ridge",
    "shape_probabilities",
]
