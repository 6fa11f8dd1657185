"""Motion: speech -> landmarks of any face. Reads a corpus; writes motion/ (sync expert, generator).

The generator is GeneFace's VAE with a flow prior (sec. 3.2; method.md 3). It gives displacements
from a speaker's mean landmarks; `adaptation` makes them this person's own.
`motion.devices=2` trains on two devices of this machine (`devices`, the extra `multi`); on CUDA
networks compute in bfloat16, on a CPU in float32.
"""

from pathlib import Path
from typing import Any

from geneface_kit import corpus
from geneface_kit.motion.config import CPU, PAPER, MotionConfig
from geneface_kit.motion.devices import train_on
from geneface_kit.motion.task import MotionTask, cross_validate, train
from geneface_kit.motion.weights import Motion, files_of, load, load_files, save, ship, shipped

__all__ = [
    "CPU",
    "PAPER",
    "Motion",
    "MotionConfig",
    "MotionTask",
    "cross_validate",
    "inputs",
    "load",
    "make",
    "ship",
    "train",
    "train_on",
]


def inputs(subject: str, settings: Any) -> list[Path]:
    """The files this stage reads: the shipped weights, or the corpus' videos."""
    if settings.motion.weights == "train":
        return corpus.clip_paths(settings.corpus.folder)
    return [shipped(name) for name in ("sync", "motion")]


def make(run: Any, settings: Any) -> None:
    """Writes sync.safetensors and motion.safetensors: the shipped weights, or fresh ones."""
    if settings.motion.weights == "shipped":
        motion = load_files(shipped("motion"), shipped("sync"))
        if motion.encoder != settings.corpus.encoder:
            raise ValueError(
                f"the shipped weights read {motion.encoder!r} features, not "
                f"{settings.corpus.encoder!r}; set motion.weights=train to train new ones"
            )
        save(*files_of(run.folder), motion, "shipped")
        run.record("origin", "shipped")
        return
    if settings.motion.weights != "train":
        raise ValueError(
            f"motion.weights must be 'shipped' or 'train', got {settings.motion.weights!r}"
        )
    data = corpus.prepare(settings.corpus)
    run.data_kind = "real" if settings.corpus.folder else "synthetic"
    every = settings.motion.held_out
    held_out = data.speakers[every - 1 :: every] if every else []
    devices, generator = settings.motion.devices, run.generator("train")
    motion, scores = train_on(devices, data, held_out, settings, run.folder, generator)
    save(*files_of(run.folder), motion, run.facts["id"])
    run.record("broken_clips", data.broken)
    run.record("held_out_speakers", held_out)
    for name, value in scores.items():
        run.record(name, value)
