"""Settings of the talk stage."""

from dataclasses import dataclass
from typing import Literal

from geneface_kit.runs.ranges import Folder, NotNegative, Positive, Share


@dataclass(frozen=True)
class TalkConfig:
    """How a recording becomes a video. The defaults are the smoke profile."""

    audio: str = ""  # file with sound; "" means the sentence of the held-out demo (ours)
    text: str = ""  # words to say instead of a recording, by the offline voice (ours)
    max_s: NotNegative = 0.0  # seconds of the recording that are spoken; 0 means all of it (ours)
    temperature: NotNegative = 0.2  # spread of the draw from the flow prior; official code 1 (ours)
    lle_share: Share = 0.0  # share of each face taken from its nearest own faces; GeneFace++ 0.2
    clamp_std: Positive = 2.5  # per-coordinate limit in the person's std (official code, grid road)
    smooth_frames: NotNegative = 0.7  # sigma of the Gaussian over time, frames; 0 = off (ours)
    rest_in_silence: bool = True  # silent stretches close the mouth (official vanilla road)
    blinks: Literal["clip", "none"] = "clip"  # the person's own eyes, or predicted ones
    head_motion: Literal["clip", "still"] = "clip"  # the person's own path and back, or none
    label: str = ""  # visible text in the picture; "" for none (ours)
    c2pa_keys: Folder = ""  # folder of chain.pem and key.pem; "" signs without an identity (ours)
