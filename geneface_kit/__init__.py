"""GeneFace on any machine: a talking video of one person from any speech recording.

The flow is person -> motion -> adaptation -> nerf -> talk -> evaluation, one folder and one
notebook each. `require` gives the finished run of a stage, making what is missing.
"""

import os

# Before torch loads OpenMP: its idle threads would spin and starve the threads of Warp and
# mediapipe. On two cores that made head training 5 to 13 times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__all__ = ["STAGES", "Run", "open_run", "require", "say"]


def __getattr__(name: str) -> object:
    """The public names, imported when first used: one part of the kit does not load the others."""
    if name not in __all__:
        raise AttributeError(f"module 'geneface_kit' has no attribute {name!r}")
    from geneface_kit.pipeline.require import require, say
    from geneface_kit.pipeline.stages import STAGES
    from geneface_kit.runs.record import Run, open_run

    globals().update(STAGES=STAGES, Run=Run, open_run=open_run, require=require, say=say)
    return globals()[name]
