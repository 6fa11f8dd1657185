"""Settings of the person stage."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from geneface_kit.person.speech.encoders import EncoderName
from geneface_kit.person.takes import ALL
from geneface_kit.person.tracking.track import TrackingConfig
from geneface_kit.runs.ranges import NotNegative, Range

Size = Annotated[int, Range(32, 4096, step=2)]
Span = Annotated[int, Range(ALL)]


@dataclass(frozen=True)
class PersonConfig:
    """Settings of the stage; the defaults are the smoke profile's. All ours but where noted."""

    size: Size = 128  # side of the square pictures, pixels; the method has 512
    max_s: NotNegative = 0.0  # seconds read from the clip; 0 = all
    span: Span = ALL  # all usable stretches of one framing; 0 the longest alone, 1 the second, ...
    sound: Literal["auto", "track", "beside"] = "auto"  # what speaks, own, NAME.wav
    detector: Literal["mediapipe", "face-alignment"] = "mediapipe"  # of landmarks
    encoder: EncoderName = "hama"  # see speech.encoders; method: HuBERT
    force: bool = False  # let later stages go on with a clip whose verdict is "not usable"
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
