"""GeneFace on any machine: a talking video of one person from any speech recording.

The flow is person -> motion -> adaptation -> nerf -> talk -> evaluation, one module and one
notebook each. `require` gives the finished run of a stage, making what is missing.
"""

from geneface_kit.runs import STAGES, Run, open_run, require

__all__ = ["STAGES", "Run", "open_run", "require"]
