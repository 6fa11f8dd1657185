"""Build: every clip of a folder is read, in processes, and added to the shards of a corpus."""

import contextlib
import itertools
import logging
from pathlib import Path

from filelock import FileLock

from geneface_kit.person import clip, parallel
from geneface_kit.person.corpus import preprocess
from geneface_kit.person.corpus.manifest import ClipJob, CorpusConfig, clip_jobs, corpus_folder
from geneface_kit.person.corpus.shards import BROKEN, Corpus, CorpusWriter, open_corpus, packed
from geneface_kit.runs import live

log = logging.getLogger(__name__)

LIMIT_S, LIMIT_PER_S = 300.0, 20.0
"""Wall seconds after which a clip is given up: these, and these for each second read (ours)."""


def prepare(
    config: CorpusConfig,
    *,
    workers: int | None = None,
    on_ray: bool = False,
    retry: bool = False,
    out: Path | str = "",
) -> Corpus:
    """Every clip of the folder (or the embedded demo clips), memory-mapped; only new ones are read.

    workers: processes, default one per core; on_ray: as Ray tasks instead; retry: read clips again
    that were found broken before; out: the folder of all corpora, default runs/corpus. Cut off at
    any moment, the next call goes on with what is finished.
    Raises: FileNotFoundError when the folder does not exist; ValueError when no clip is usable.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be 1 or more, got {workers}")
    home = corpus_folder(config, out)
    jobs = clip_jobs(config, home)
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home.parent}.lock"):
        known = packed(home)
        if retry:
            known = {key: entry for key, entry in known.items() if "reason" not in entry}
        todo = [job for job in jobs if job.key not in known]
        if todo or known.keys() != {job.key for job in jobs}:
            outcomes = parallel.each(
                preprocess.read,
                todo,
                workers=workers or parallel.n_cores(),
                limit_s=LIMIT_S + LIMIT_PER_S * config.max_s,
                on_ray=on_ray,
            )
            writer = CorpusWriter(home, jobs, known)
            with contextlib.closing(writer), contextlib.closing(outcomes):
                finished = itertools.chain([None] * (len(jobs) - len(todo)), outcomes)
                for outcome in live.progress(finished, "reading the corpus", len(jobs)):
                    if outcome is not None:
                        writer.add(*_facts_of(*outcome))
    data = open_corpus(home)
    reasons = "; ".join(f"{file}: {reason}" for file, reason in list(data.broken.items())[:3])
    if not data.utterances:
        raise ValueError(f"no usable clip in {config.folder or 'the demo'} ({reasons})")
    if data.broken:
        where = home / BROKEN
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
        f"{BROKEN} there"
    )


def _facts_of(
    job: ClipJob, result: parallel.GivenUp | tuple[dict, dict]
) -> tuple[ClipJob, dict, dict]:
    """A clip, what is known of it, and its arrays; a clip that was given up has none."""
    if isinstance(result, parallel.GivenUp):
        result = {"stage": "process", "reason": result.why}, {}
    return job, *result
