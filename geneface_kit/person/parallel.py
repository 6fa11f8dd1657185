"""Parallel: a function over many items in processes that may die or hang, by joblib.

Its loky backend has processes on this machine, its Ray backend (the extra `ray`) also on others;
these must see the project's folder, for tasks read the videos and write their results there.
A dead process ends a run of joblib, so the items under way are then tried again, each alone: the
one that kills its process a second time is given up, and the others go on.
"""

import contextlib
import logging
import os
import re
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TypeVar

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
Crash = tuple[type[Exception], ...]
"""Errors that say that a process died."""


@dataclass(frozen=True)
class GivenUp:
    """Stands for the result of an item whose process died or took too long."""

    why: str


def each(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int,
    limit_s: float,
    on_ray: bool = False,
) -> Iterator[tuple[Item, Result | GivenUp]]:
    """Runs function(item) for each item; gives the item with its result, or why there is none.

    function: importable by name. Items come back as they finish. An item is given up when its
    process dies or needs more than limit_s seconds of wall time. Each process has one thread.
    on_ray: on the cluster that RAY_ADDRESS names, else on a local one of `workers` processes.
    Raises: OSError when the function raises or no process can start; ValueError without Ray.
    All processes are ended then, and also when the caller stops iterating or presses Ctrl-C.
    """
    left = dict(enumerate(items))
    with _processes(on_ray, workers) as (crash, n_jobs):
        while left:
            sent: list[int] = []
            try:
                for number, result in _run(function, left, sent, limit_s, n_jobs):
                    yield left.pop(number), result
            except crash as error:
                log.debug("a process died: %s", error)
                for number in [number for number in sent if number in left]:
                    result = _alone(function, left[number], limit_s, crash)
                    yield left.pop(number), result


def n_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run(
    function: Callable[[Item], Result],
    items: dict[int, Item],
    sent: list[int],
    limit_s: float,
    n_jobs: int,
) -> Iterator[tuple[int, Result]]:
    """The numbers of the items and their results as they are done.

    sent: learns which ones have been handed out. joblib runs a single job in the caller's own
    process, where a crash is the end of all; so one at a time is two processes and one task.
    """

    def tasks() -> Iterator[tuple]:
        for number, item in list(items.items()):
            sent.append(number)
            yield delayed(_guarded)(function, number, item, limit_s)

    parallel = Parallel(
        max(2, n_jobs), return_as="generator_unordered", batch_size=1, pre_dispatch=n_jobs
    )
    outcomes = parallel(tasks())
    try:
        for number, result, failure in outcomes:
            if failure:
                error = OSError(failure[0])
                error.add_note(failure[1])
                raise error
            yield number, result
    finally:
        with warnings.catch_warnings(action="ignore"):  # that unfinished tasks are cancelled
            outcomes.close()


def _alone(
    function: Callable[[Item], Result], item: Item, limit_s: float, crash: Crash
) -> Result | GivenUp:
    """The result of one item while nothing else runs, or why it is given up."""
    start = time.monotonic()
    try:
        ((_, result),) = _run(function, {0: item}, [], limit_s, 1)
        return result
    except crash as error:
        took_s = time.monotonic() - start
        codes = re.findall(r"\b[A-Z]\w+\(-?\d+\)", str(error))  # as loky writes: SIGKILL(-9)
        how = ", ".join(codes) or type(error).__name__
    try:
        list(_run(_nothing, {0: None}, [], limit_s, 1))
    except crash as error:
        raise OSError(f"no process can be started: {error}") from None
    if took_s >= limit_s:
        return GivenUp(f"took longer than {limit_s:g} s")
    return GivenUp(f"its process died ({how})")


def _guarded(
    function: Callable[[Item], Result], number: int, item: Item, limit_s: float
) -> tuple[int, Result | None, tuple[str, str] | None]:
    """The task: number, result, and what the function raised with its traceback, if it did.

    The cores are used by processes, so libraries keep to one thread (joblib and Ray see to those
    that read OMP_NUM_THREADS). The alarm kills this process when time is up, whatever library
    hangs; where the system has no alarms there is no limit.
    """
    os.environ["OPENCV_FOR_THREADS_NUM"] = "1"
    alarm = getattr(signal, "setitimer", lambda *_: None)
    alarm(getattr(signal, "ITIMER_REAL", 0), limit_s)
    try:
        return number, function(item), None
    except Exception as error:
        return number, None, (f"{type(error).__name__}: {error}", traceback.format_exc())
    finally:
        alarm(getattr(signal, "ITIMER_REAL", 0), 0)


def _nothing(_: None) -> None:
    """The item that every process can do."""


@contextlib.contextmanager
def _processes(on_ray: bool, workers: int) -> Iterator[tuple[Crash, int]]:
    """joblib's backend; gives the errors of dead processes and how many run at a time."""
    if not on_ray:
        try:
            with parallel_config("loky", inner_max_num_threads=1):
                yield (BrokenProcessPool,), workers
        finally:
            get_reusable_executor().shutdown(wait=True, kill_workers=True)
        return
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError:
        raise ValueError("Ray is not installed: pip install 'geneface-kit[ray]'") from None
    register_ray()
    started = not ray.is_initialized()
    if started:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        local = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": workers}
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        try:
            ray.init(**quiet, **local)
        except Exception as error:  # Ray raises plain Exception here
            raise OSError(f"Ray did not start: {error}") from None
    try:
        with parallel_config("ray"):
            yield (ray.exceptions.RayError,), int(ray.cluster_resources().get("CPU", 1))
    finally:
        if started:
            ray.shutdown()
