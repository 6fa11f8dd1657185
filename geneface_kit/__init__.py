"""GeneFace on any machine: a talking video of one person from any speech recording.

The flow is person -> motion -> adaptation -> nerf -> talk -> evaluation, one module and one
notebook each. `require` gives the finished run of a stage, making what is missing.
"""

import os

# Before torch loads OpenMP: its idle threads would spin and starve the threads of Warp and
# mediapipe. On two cores that made head training 5 to 13 times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from geneface_kit.runs import STAGES, Run, open_run, require  # noqa: E402

__all__ = ["STAGES", "Run", "open_run", "require"]
