"""Cluster: a function over many items as Ray tasks, on this machine or on many.

Needs the extra `ray`. On many machines the project's folder must be on a file system that all of
them see: tasks read the videos and write their results there.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from geneface_kit.person.corpus.pool import one_thread

__all__ = ["each"]

Item = TypeVar("Item")


def each(
    function: Callable[[Item], None],
    items: Sequence[Item],
    *,
    workers: int,
    limit_s: float,
) -> Iterator[tuple[Item, str]]:
    """Runs function(item) as a Ray task per item; the same promises as `pool.each`.

    Uses the cluster this process is connected to, or the one that RAY_ADDRESS names; else a
    local one of `workers` processes. Raises: ValueError without the package
    ray; OSError when Ray does not start.
    """
    try:
        import ray
    except ImportError:
        raise ValueError("Ray is not installed: pip install 'geneface-kit[ray]'") from None
    started = not ray.is_initialized()
    if started:
        _start(ray, workers)
    try:
        yield from _tasks(ray, function, items, limit_s)
    finally:
        if started:
            ray.shutdown()


def _start(ray: Any, workers: int) -> None:
    """Connects to the cluster of RAY_ADDRESS, or starts one on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    local = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": workers}
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **local)
    except Exception as error:  # Ray raises plain Exception here
        raise OSError(f"Ray did not start: {error}") from None


def _tasks(
    ray: Any, function: Callable[[Item], None], items: Sequence[Item], limit_s: float
) -> Iterator[tuple[Item, str]]:
    """As many tasks in flight as the cluster has cores, so that a task's clock starts with it."""
    task = ray.remote(num_cpus=1, max_retries=0)(_alone)
    waiting, running = list(reversed(items)), {}
    while waiting or running:
        while waiting and len(running) < int(ray.cluster_resources().get("CPU", 1)):
            item = waiting.pop()
            running[task.remote(function, item)] = item, time.monotonic()
        ready, _ = ray.wait(list(running), num_returns=1, timeout=1.0)
        for reference in ready:
            item, _ = running.pop(reference)
            yield item, _fate(ray, reference)
        for reference, (item, since) in list(running.items()):
            if time.monotonic() - since > limit_s:
                ray.cancel(reference, force=True)
                del running[reference]
                yield item, f"took longer than {limit_s:g} s"


def _alone(function: Callable[[Item], None], item: Item) -> None:
    """The task: the function, on one core."""
    one_thread()
    function(item)


def _fate(ray: Any, reference: Any) -> str:
    """ "" for a task that is done, why for one whose process died; an error it raised is raised."""
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        failure = OSError(f"{type(error.cause).__name__}: {error.cause}")
        failure.add_note(str(error))
        raise failure from None
    except ray.exceptions.RayError as error:
        return f"its process died ({type(error).__name__})"
    return ""
