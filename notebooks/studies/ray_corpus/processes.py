"""Processes: clips read by joblib's, of which a dead or hanging one costs its own clip only.

A dead process ends its run: the clips under way are then read again, each alone; one that kills
its process again is broken.
"""

import faulthandler
import logging
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

import cv2
import joblib
from joblib.externals.loky import get_reusable_executor

from geneface_kit.person.corpus.build import Read
from geneface_kit.person.corpus.manifest import ClipJob, Outcome

log = logging.getLogger(__name__)

LIMIT_S, LIMIT_PER_S = 300.0, 20.0  # wall seconds for a clip, and more for each second read (ours)


def limit_for(jobs: Sequence[ClipJob]) -> float:
    """Seconds after which reading one of the clips counts as hanging."""
    return LIMIT_S + LIMIT_PER_S * max((job.config.max_s for job in jobs), default=0.0)


def each(
    read: Read, jobs: Sequence[ClipJob], *, workers: int, limit_s: float | None = None
) -> Iterator[tuple[ClipJob, Outcome]]:
    """Runs read(job) for each job; gives the job with what is known of it, as they finish.

    A job is broken when its process dies or needs more than limit_s seconds, by default LIMIT_S
    and LIMIT_PER_S more for each that is read of a clip. Each process has one thread.
    Raises: what `read` raises; OSError when no process can start. All processes are ended then,
    and also when the caller stops iterating or presses Ctrl-C.
    """
    left = dict(enumerate(jobs))
    limit_s = limit_for(jobs) if limit_s is None else limit_s
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
