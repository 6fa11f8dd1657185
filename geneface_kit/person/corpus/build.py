"""Build: every clip of a folder is read, in processes, and added to a corpus."""

import contextlib
import dataclasses
import logging
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
from geneface_kit.person.corpus.store import BROKEN, Corpus, open_corpus, pack, packed
from geneface_kit.person.speech import Speech
from geneface_kit.runs import live
from geneface_kit.runs.files import check_writable

log = logging.getLogger(__name__)

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
        return (by or each)(preprocess.read, todo, workers=workers or joblib.cpu_count())

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


def each(read: Read, jobs: Sequence[ClipJob], *, workers: int) -> Iterator[tuple[ClipJob, Outcome]]:
    """Runs read(job) for each job in processes of one thread, never in the caller's own; gives the
    job with what is known of it, as they finish.

    Raises: what `read` raises; OSError when a process dies. All are ended then, and also when the
    caller stops iterating or presses Ctrl-C.
    """
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(
            max(2, workers), return_as="generator_unordered", batch_size=1, pre_dispatch=workers
        )
    outcomes = parallel(joblib.delayed(_read)(read, job) for job in jobs)
    try:
        for outcome in outcomes:  # noqa: UP028, `yield from` would close it with the warning
            yield outcome
    except BrokenProcessPool:
        raise OSError(
            "a process died while it read a clip: `python -m geneface_kit corpus FOLDER`, a "
            "command of the checkout, finds out which one it was and leaves it out"
        ) from None
    finally:
        with warnings.catch_warnings(action="ignore"):  # that unfinished tasks are cancelled
            outcomes.close()
        get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _read(read: Read, job: ClipJob) -> tuple[ClipJob, Outcome]:
    cv2.setNumThreads(1)  # of the others joblib takes care
    return job, read(job)


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
                key: one for key, one in known.items() if "reason" not in one or "sha256" in one
            }
        todo = [job for job in jobs if job.key not in known]
        compared = all("compared" in entry for entry in known.values() if "sha256" in entry)
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
