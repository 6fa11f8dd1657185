"""Settings of the evaluation stage."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluationConfig:
    """What is scored. The defaults are the smoke profile."""

    n_frames: int = 12  # held-out frames that are rendered, evenly spaced; 0 means all (ours)
    recordings: str = ""  # files for the cross-driven table, comma between; "" = held-out demo
    cross_s: float = 4.0  # seconds of each recording; 0 means all of it (ours)
    method: str = "full"  # whose settings these are, a name of pipeline.methods (ours)


CPU = {"n_frames": 44, "cross_s": 10.0}
PAPER = {"n_frames": 0, "cross_s": 0.0}
