"""Motion: speech -> landmarks of any face. Reads a corpus; writes motion/ (sync expert, generator).

The generator is GeneFace's VAE with a flow prior (arXiv:2301.13430, sec. 3.2). It gives
displacements from a speaker's mean landmarks; `adaptation` makes them this person's own.
"""

from pathlib import Path

from geneface_kit.motion.sync_expert import SyncConfig
from geneface_kit.motion.training import MotionConfig, check, train
from geneface_kit.motion.weights import MOTION, SHIPPED, SYNC, Motion, load, save
from geneface_kit.person import corpus
from geneface_kit.person.corpus import CorpusConfig
from geneface_kit.person.speech.encoders import weight_files
from geneface_kit.runs import Run
from geneface_kit.runs.files import named
from geneface_kit.runs.weights import read_metadata

__all__ = ["Motion", "MotionConfig", "inputs", "load", "make"]


def inputs(
    subject: str, corpus_config: CorpusConfig, sync: SyncConfig, config: MotionConfig
) -> dict[str, Path]:
    """The files this stage reads: the shipped weights, or the corpus' videos and its encoder's
    weights.

    Raises: ValueError for a corpus or numbers that the training could not use.
    """
    if config.weights == "train":
        check(sync, config)
        return corpus.clip_files(corpus_config.folder) | weight_files(corpus_config.encoder)
    reads = read_metadata(SHIPPED / MOTION, kind="motion")["encoder"]
    if reads != corpus_config.encoder:
        raise ValueError(
            f"the shipped weights read {reads!r} features, not {corpus_config.encoder!r}; set "
            "motion.weights=train to train new ones"
        )
    return named([SHIPPED / SYNC, SHIPPED / MOTION])


def make(run: Run, corpus_config: CorpusConfig, sync: SyncConfig, config: MotionConfig) -> None:
    """Writes sync.safetensors and motion.safetensors: the shipped weights, or fresh ones."""
    if config.weights == "shipped":
        save(run.folder, load(), "shipped")
        run.record("origin", "shipped")
        return
    data = corpus.prepare(corpus_config)
    run.data_kind = "real" if corpus_config.folder else "synthetic"
    run.record("broken_clips", data.broken)
    for name, value in train(run, data, corpus_config, sync, config).items():
        run.record(name, value)
