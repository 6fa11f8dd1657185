"""Fitting: the one training loop. A task in; weights, a history and an exact restart out.

`loop` is the loop, `files` the weights on disk, `team` several devices that train one network.
"""

from geneface_kit.runs.fitting.files import load_weights, read_metadata, save_weights
from geneface_kit.runs.fitting.loop import History, Task, fit
from geneface_kit.runs.fitting.team import Team, launch, precision_on

__all__ = [
    "History",
    "Task",
    "Team",
    "fit",
    "launch",
    "load_weights",
    "precision_on",
    "read_metadata",
    "save_weights",
]
