"""Devices: sync expert and generator trained by several processes of one machine, as by one.

`motion.devices=2` turns it on; it needs Lightning Fabric, the extra `multi`. See `fitting.team`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geneface_kit.motion.config import MotionSettings
from geneface_kit.motion.task import train
from geneface_kit.motion.weights import Motion, files_of, load, save
from geneface_kit.person import corpus
from geneface_kit.runs.fitting import launch

__all__ = ["train_on"]


def train_on(
    devices: int,
    data: corpus.Corpus,
    held_out: Sequence[str],
    settings: MotionSettings,
    folder: Path,
    generator: torch.Generator,
) -> tuple[Motion, dict[str, float]]:
    """What `train` gives, by `devices` processes; CUDA devices when there are any, else the CPU.

    A corpus on disk is opened by each process; one in memory is copied to each. Cut off, the
    same call goes on, with the same or another number of devices.
    Raises: ValueError when a batch cannot be shared equally, ModuleNotFoundError without Fabric.
    """
    if devices == 1:
        return train(data, held_out, settings, folder, generator)
    shared = {"motion.batch": settings.motion.batch, "sync.pairs": settings.sync.pairs}
    for name, size in shared.items():
        if devices < 1 or size % devices:
            raise ValueError(
                f"motion.devices={devices} cannot share {name}={size}: choose numbers that divide"
            )
    state = generator.get_state()
    scores = launch(devices, _work, data.folder or data, held_out, settings, folder, state)
    return load(folder), scores


def _work(
    fabric: Any,
    data: Path | corpus.Corpus,
    held_out: Sequence[str],
    settings: MotionSettings,
    folder: Path,
    state: Tensor,
) -> dict[str, float]:
    """One process' part of the training; the first one writes the weights."""
    generator = torch.Generator()
    generator.set_state(state)
    opened = corpus.open_corpus(data) if isinstance(data, Path) else data
    motion, scores = train(opened, held_out, settings, folder, generator, fabric=fabric)
    if fabric.global_rank == 0:
        save(*files_of(folder), motion, "")
    return scores
