"""Speech: sound -> phonetic features, pitch and mel at 50 Hz, and the mouth they predict."""

from geneface_kit.person.speech.acoustics import coarse_pitch, log_mel, pitch
from geneface_kit.person.speech.encoders import ENCODERS, Speech, encode
from geneface_kit.person.speech.offset import Offset, estimate_offset, mouth_from_speech
