"""Build: every clip of a folder is read, in processes, and added to the shards of a corpus.

Processes are joblib's, and a dead one ends its run: the clips under way are then read again, each
alone; one that kills its process again is broken.
"""

import contextlib
import dataclasses
import faulthandler
import logging
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
import joblib
from filelock import FileLock
from joblib.externals.loky import get_reusable_executor

from geneface_kit.person.corpus import manifest, preprocess
from geneface_kit.person.corpus.manifest import ClipJob, CorpusConfig, Outcome
from geneface_kit.person.corpus.shards import BROKEN, Corpus, open_corpus, pack, packed
from geneface_kit.person.speech import Speech
from geneface_kit.runs import live
from geneface_kit.runs.files import check_writable

log = logging.getLogger(__name__)

LIMIT_S, LIMIT_PER_S = 300.0, 20.0  # wall seconds for a clip, and more for each second read (ours)

Read = Callable[[ClipJob], Outcome]


def prepare(
    config: CorpusConfig,
    *,
    workers: int | None = None,
    retry: bool = False,
    out: Path | str = "",
    by: Callable[..., Iterator[tuple[ClipJob, Outcome]]] | None = None,
) -> Corpus:
    """Every clip of the folder (or the embedded demo clips), memory-mapped; only new ones are read.

    workers: processes, default one per core; retry: read clips again that were found broken before;
    out: the folder of all corpora, default runs/corpus; by: what runs them instead of `each`. Cut
    off at any moment, the next call goes on with what is finished.
    Raises: FileNotFoundError when the folder does not exist; ValueError when no clip is usable.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be 1 or more, got {workers}")
    home = manifest.corpus_folder(config, out)
    check_writable(home)

    def read_all(todo: Sequence[ClipJob]) -> Iterator[tuple[ClipJob, Outcome]]:
        limit_s = LIMIT_S + LIMIT_PER_S * config.max_s
        count = workers or joblib.cpu_count()
        return (by or each)(preprocess.read, todo, workers=count, limit_s=limit_s)

    return _filled(home, manifest.clip_jobs(config, home), read_all, retry=retry)


def cached_speech(config: CorpusConfig, *, out: Path | str = "") -> list[Speech]:
    """The speech of every clip of the folder, of any length, for stages that need no faces.

    It lies in speech-ENCODER beside the corpus. out, Raises: as `prepare` has them.
    """
    home = manifest.corpus_folder(config, out)
    home = home.with_name(f"speech-{home.name.rpartition('-')[0]}")
    jobs = manifest.clip_jobs(dataclasses.replace(config, max_s=0.0), home)
    data = _filled(home, jobs, lambda todo: ((job, preprocess.read_speech(job)) for job in todo))
    return [utterance.speech for utterance in data.utterances]


def each(
    read: Read, jobs: Sequence[ClipJob], *, workers: int, limit_s: float
) -> Iterator[tuple[ClipJob, Outcome]]:
    """Runs read(job) for each job; gives the job with what is known of it, as they finish.

    A job is broken when its process dies or needs more than limit_s seconds. Each process has one
    thread.
    Raises: what `read` raises; OSError when no process can start. All processes are ended then,
    and also when the caller stops iterating or presses Ctrl-C.
    """
    left = dict(enumerate(jobs))
    try:
        while left:
            try:
                for number, outcome in _run(read, left, limit_s, workers):
                    yield left.pop(number), outcome
            except BrokenProcessPool as error:
                log.debug("a process died: %s", error)
                for number in list(left)[:workers]:  # they were under way
                    yield left[number], _alone(read, left[number], limit_s)
                    del left[number]
    finally:
        get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _filled(
    home: Path,
    jobs: Sequence[ClipJob],
    read_all: Callable[[Sequence[ClipJob]], Iterable[tuple[ClipJob, Outcome]]],
    *,
    retry: bool = False,
) -> Corpus:
    """The corpus of a folder once it holds all jobs; only those it does not hold are read."""
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home.parent}.lock"):
        known = packed(home)
        if retry:
            known = {
                key: one for key, one in known.items() if "reason" not in one or "shard" in one
            }
        todo = [job for job in jobs if job.key not in known]
        compared = all("compared" in entry for entry in known.values() if "shard" in entry)
        if todo or not compared or known.keys() != {job.key for job in jobs}:
            with contextlib.closing(read_all(todo)) as outcomes:
                pack(home, jobs, live.progress(outcomes, "reading the corpus", len(todo)), known)
    data = open_corpus(home)
    reasons = "; ".join(f"{file}: {reason}" for file, reason in list(data.broken.items())[:3])
    if not data.utterances:
        raise ValueError(f"no usable clip in {jobs[0].config.folder or 'the demo'} ({reasons})")
    if data.broken:
        where = home / BROKEN
        log.warning("%d clips are left out, listed in %s: %s", len(data.broken), where, reasons)
    return data


def _run(
    read: Read, jobs: dict[int, ClipJob], limit_s: float, workers: int
) -> Iterator[tuple[int, Outcome]]:
    """The numbers of the jobs and what is known of them, as they are done, by joblib's loky, which
    runs a single job in the caller's own process: one at a time is two processes and one task."""
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(
            max(2, workers), return_as="generator_unordered", batch_size=1, pre_dispatch=workers
        )
    outcomes = parallel([joblib.delayed(guarded)(read, *one, limit_s) for one in jobs.items()])
    try:
        for outcome in outcomes:  # noqa: UP028, `yield from` would close it with the warning
            yield outcome
    finally:
        with warnings.catch_warnings(action="ignore"):  # that unfinished tasks are cancelled
            outcomes.close()


def _alone(read: Read, job: ClipJob, limit_s: float) -> Outcome:
    """What is known of a clip read while nothing else is, or why its process is gone."""
    start = time.monotonic()
    try:
        ((_, outcome),) = _run(read, {0: job}, limit_s, 1)
        return outcome
    except BrokenProcessPool as error:
        codes = re.findall(r"\b[A-Z]\w+\(-?\d+\)", str(error))  # as loky writes: SIGKILL(-9)
        reason = f"its process died ({', '.join(codes) or type(error).__name__})"
    if time.monotonic() - start >= limit_s:
        reason = f"took longer than {limit_s:g} s"
    try:
        list(_run(repr, {0: job}, limit_s, 1))
    except BrokenProcessPool as error:
        raise OSError(f"no process can be started: {error}") from None
    return {"stage": "process", "reason": reason}, {}


def guarded(read: Read, number: int, job: ClipJob, limit_s: float) -> tuple[int, Outcome]:
    """The task. When time is up it ends its process, whatever library hangs, and says where."""
    cv2.setNumThreads(1)  # of the others joblib takes care
    faulthandler.dump_traceback_later(limit_s, exit=True)
    try:
        return number, read(job)
    finally:
        faulthandler.cancel_dump_traceback_later()
