"""Cluster: clips read as Ray tasks, on any machines that see the project's folder."""

import os
from collections.abc import Iterator, Sequence

from geneface_kit.person.corpus.build import Read
from geneface_kit.person.corpus.manifest import ClipJob, Outcome
from notebooks.studies.ray_corpus.processes import guarded, limit_for


def each(
    read: Read, jobs: Sequence[ClipJob], *, workers: int, limit_s: float | None = None
) -> Iterator[tuple[ClipJob, Outcome]]:
    """`processes.each` by Ray, where a dead process costs its own clip only.

    On the cluster that RAY_ADDRESS names, else on a local one of `workers` processes.
    Raises: what `read` raises; ValueError without Ray; OSError when Ray does not start.
    """
    try:
        import ray
    except ImportError:
        raise ValueError("Ray is not installed: pip install 'geneface-kit[ray]'") from None
    limit_s = limit_for(jobs) if limit_s is None else limit_s
    started = not ray.is_initialized()
    if started:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        local = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": workers}
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        try:
            ray.init(**quiet, **local)
        except Exception as error:  # Ray raises plain Exception here
            raise OSError(f"Ray did not start: {error}") from None
    task = ray.remote(max_retries=0)(guarded)
    waiting = {task.remote(read, number, job, limit_s): job for number, job in enumerate(jobs)}
    try:
        while waiting:
            done = ray.wait(list(waiting))[0][0]
            job = waiting.pop(done)
            try:
                yield job, ray.get(done)[1]
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:
                why = type(error).__name__
                reason = f"its process died, or took longer than {limit_s:g} s ({why})"
                yield job, ({"stage": "process", "reason": reason}, {})
    finally:
        for unfinished in waiting:
            ray.cancel(unfinished, force=True)
        if started:
            ray.shutdown()
