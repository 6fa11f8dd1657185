"""Corpus: a folder of talking videos -> speech and landmarks of many speakers, for motion and sync.

Reads any video PyAV reads (with a .wav of the same name beside it when the picture is silent).
`source` lists the clips, `reading` is the unit of work on one of them, `pool` and `cluster` are
where units run, `packing` and `shards` are the storage, `batches` what training draws; `spoken`
keeps the speech alone, for those who need no faces. A broken
clip is listed in broken.csv, never fatal. The speaker of a clip is the sub-folder it lies in, else
its name before "_clip".
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from geneface_kit.person import clip
from geneface_kit.person.corpus import cluster, packing, pool, reading, shards, source
from geneface_kit.person.corpus.batches import (
    Displacement,
    Sequences,
    Track,
    check_unit,
    collate,
    cut,
    displacements,
    draw_batch,
    feature_statistics,
    folds,
)
from geneface_kit.person.corpus.shards import Corpus, Utterance, open_corpus
from geneface_kit.person.corpus.source import CorpusConfig, Unit, clip_paths
from geneface_kit.person.corpus.spoken import speeches
from geneface_kit.runs import live

__all__ = [
    "CPU",
    "PAPER",
    "Corpus",
    "CorpusConfig",
    "Displacement",
    "Track",
    "Sequences",
    "Utterance",
    "check_unit",
    "clip_paths",
    "collate",
    "cut",
    "displacements",
    "draw_batch",
    "feature_statistics",
    "folds",
    "open_corpus",
    "prepare",
    "speeches",
    "summary",
]

log = logging.getLogger(__name__)

CPU = {}
PAPER = {"rates": (1.0,), "max_s": 600.0}


def prepare(
    config: CorpusConfig,
    *,
    workers: int | None = None,
    on_ray: bool = False,
    retry: bool = False,
    limit_s: float | None = None,
    out: Path | str = "",
) -> Corpus:
    """Every clip of the folder (or the embedded demo clips), memory-mapped; only new ones are read.

    workers: processes, default one per core; on_ray: units of work as Ray tasks instead;
    retry: read clips again that were found broken before; limit_s: wall seconds after which a clip
    is given up, default 300 and 20 for each second that may be read; out: the folder of all
    corpora, default runs/corpus.
    Cut off at any moment, the next call goes on with what is finished.
    Raises: FileNotFoundError when the folder does not exist; ValueError when no clip is usable.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be 1 or more, got {workers}")
    home = source.home(config, out)
    units = source.units(config, home)
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home.parent}.lock"):
        known = shards.packed(home)
        if retry:
            known = {key: entry for key, entry in known.items() if "reason" not in entry}
        todo = _todo(units, set(known), retry)
        limits = {
            "workers": workers or pool.n_cores(),
            "limit_s": limit_s or 300 + 20 * config.max_s,
        }
        each = cluster.each if on_ray else pool.each
        with contextlib.closing(each(reading.read, todo, **limits)) as outcomes:
            done = _all(units, todo, outcomes)
            for unit, why in live.progress(done, "reading the corpus", len(units)):
                if why:
                    reading.give_up(unit, "process", why)
        if known.keys() != {unit.key for unit in units}:
            packing.pack(home, units, known)
    data = open_corpus(home)
    reasons = "; ".join(f"{file}: {reason}" for file, reason in list(data.broken.items())[:3])
    if not data.utterances:
        raise ValueError(f"no usable clip in {config.folder or 'the demo'} ({reasons})")
    if data.broken:
        where = home / packing.BROKEN
        log.warning("%d clips are left out, listed in %s: %s", len(data.broken), where, reasons)
    return data


def summary(data: Corpus) -> str:
    """One line: how many clips are usable and broken, and where the corpus and its csv are."""
    recorded = [utterance for utterance in data.utterances if utterance.name == utterance.clip]
    minutes = sum(len(utterance) for utterance in recorded) / clip.FPS / 60
    moved = sum(facts["offset_corrected"] for facts in data.facts.values())
    return (
        f"{len(recorded) + len(data.broken)} clips: {len(recorded)} usable ({minutes:.1f} min of "
        f"{len(data.speakers)} speakers; with copies {len(data.utterances)} utterances; sound "
        f"moved in {moved}), {len(data.broken)} broken; in {data.folder}, reasons in "
        f"{packing.BROKEN} there"
    )


def _todo(units: list[Unit], known: set[str], retry: bool) -> list[Unit]:
    """The units that no earlier call has finished; clears what a cut one left half-written."""
    for folder in {unit.target.parent for unit in units} | {unit.faces.parent for unit in units}:
        for partial in folder.glob("*.part"):
            partial.unlink()
    if retry:
        for unit in units:
            unit.verdict.unlink(missing_ok=True)
    return [
        unit
        for unit in units
        if unit.key not in known and not unit.target.exists() and not unit.verdict.exists()
    ]


def _all(
    units: list[Unit], todo: list[Unit], outcomes: Iterator[tuple[Unit, str]]
) -> Iterator[tuple[Unit, str]]:
    """Finished units first, then the others as they finish, so that progress counts all."""
    open_keys = {unit.key for unit in todo}
    yield from ((unit, "") for unit in units if unit.key not in open_keys)
    yield from outcomes
