"""Settings of the person stage."""

from dataclasses import dataclass, field

from geneface_kit.person.takes import ALL
from geneface_kit.person.tracking.track import TrackingConfig


@dataclass(frozen=True)
class PersonConfig:
    """Settings of the stage; the defaults are the smoke profile's. All ours but where noted."""

    size: int = 128  # side of the square pictures, pixels; the method has 512
    max_s: float = 0.0  # seconds read from the clip; 0 = all
    span: int = ALL  # all usable stretches of one framing; 0 the longest alone, 1 the second, ...
    sound: str = "auto"  # track, the video's own; beside, NAME.wav; auto, whichever speaks
    detector: str = "mediapipe"  # landmarks.DETECTORS
    encoder: str = "hama"  # a name of speech.ENCODERS or "package.module:Class"; method: HuBERT
    encoder_weights: str = ""  # folder of the encoder's weights; "" = its own choice (hub's cache)
    force: bool = False  # let later stages go on with a clip whose verdict is "not usable"
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
