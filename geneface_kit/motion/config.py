"""Settings of the motion stage."""

from dataclasses import dataclass

from geneface_kit.motion.sync_expert import SyncConfig
from geneface_kit.motion.vae import VAESizes
from geneface_kit.person.corpus import CorpusConfig


@dataclass(frozen=True)
class MotionConfig(VAESizes):
    """Settings of the generator besides its sizes; the defaults are the smoke profile's."""

    weights: str = "shipped"  # "shipped" takes the weights in the kit, "train" makes new ones
    steps: int = 100  # updates; official 40,000
    batch: int = 8  # pieces a step; official up to 512 clips
    frames: int = 100  # frames of a piece, a multiple of 4; official whole clips
    lr: float = 1e-3  # Adam; official 5e-4
    warmup: int = 30  # updates of linear warm-up; official 1,000
    decay: int = 250  # updates in which lr falls to a tenth; official 250,000
    continuity_weight: float = 3.0  # of the frame-difference loss (code)
    kl_weight: float = 0.4  # of the KL divergence (code, LRS3)
    sync_weight: float = 0.01  # of the sync expert's loss (code)
    sync_below: float = 0.75  # validation sync loss that switches the sync loss on (code)
    mouth_weight: float = 6.0  # of lips and lower jaw in the errors; ours, 1 in the code
    devices: int = 1  # of this machine that train together; ours
    held_out: int = 2  # every n-th speaker validates, 0 none; ours (the code splits clips)
    amplitude: float = 0.0  # factor on the motion; 0 measures it on held-out speakers; ours


@dataclass(frozen=True)
class MotionSettings:
    """All that training stage 1 is set by: corpus, sync expert, generator."""

    corpus: CorpusConfig
    sync: SyncConfig
    motion: MotionConfig


CPU: dict[str, int] = {}
PAPER = {
    "weights": "train",
    "hidden": 256,
    "encoder_layers": 8,
    "flow_hidden": 64,
    "both_steps": False,
    "dropout": 0.0,
    "steps": 40_000,
    "batch": 64,
    "lr": 5e-4,
    "warmup": 1000,
    "decay": 250_000,
    "mouth_weight": 1.0,
    "held_out": 10,
    "amplitude": 1.0,
}
