"""Pool: a function over many items in processes that may die or hang. One process per core.

Each worker is a fresh interpreter with one thread. It is handed one item at a time through a
pipe, so it is known which item a dead or hanging worker was at; the worker is replaced and the
pool goes on. (The pools of the standard library stop altogether when a worker dies.)
"""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["each", "n_cores", "one_thread"]

log = logging.getLogger(__name__)

Item = TypeVar("Item")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
START = "from geneface_kit.person.corpus.pool import _serve; _serve()"
"""What a worker runs: not the caller's main module, so scripts need no guard against re-import."""
START_LIMIT_S = 300
"""Seconds a worker may take to import what it needs, on a busy machine or a slow disk (ours)."""


def each(
    function: Callable[[Item], None], items: Sequence[Item], *, workers: int, limit_s: float
) -> Iterator[tuple[Item, str]]:
    """Runs function(item) for each item; gives (item, "") or (item, why it was given up).

    function: importable by name. Items come back as they finish. An item is given up when its
    worker dies or needs more than limit_s seconds of wall time. Raises: OSError when the function
    raises or a worker cannot start. All workers are ended then, and also when the caller stops
    iterating or presses Ctrl-C.
    """
    waiting = list(reversed(items))
    crew: list[_Worker] = []
    try:
        for _ in range(min(workers, len(items))):
            crew.append(_Worker())
        busy = len(items)
        while busy:
            for worker in crew:
                if worker.is_free and waiting and worker.start(function, waiting[-1]):
                    waiting.pop()
            spoken = wait([worker.pipe for worker in crew], timeout=_patience(crew, limit_s))
            for worker in list(crew):
                item, why = worker.hear(worker.pipe in spoken, limit_s)
                if worker.ended:
                    crew.remove(worker)
                    if waiting:
                        crew.append(_Worker())
                if item is not None:
                    busy -= 1
                    yield item, why
    finally:
        for worker in crew:
            worker.end()


def n_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def one_thread() -> None:
    """Keeps torch and OpenCV of this process to one thread: the cores are used by processes."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


class _Worker:
    """One process, seen from its owner. item: what it is at; ready: it has started up."""

    def __init__(self) -> None:
        self.pipe, theirs = Pipe()
        self.words = tempfile.TemporaryFile()  # what it writes to its error stream
        self.item: Any = None
        self.ready = self.ended = False
        self.since = time.monotonic()
        places = [str(Path(__file__).parents[3]), *filter(None, sys.path)]
        environment = os.environ | dict.fromkeys(THREADS, "1")
        environment |= {"PYTHONPATH": os.pathsep.join(places), "CORPUS_PIPE": str(theirs.fileno())}
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", START],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=self.words,
                stderr=self.words,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C reaches the owner only, which ends its workers
            )

    @property
    def is_free(self) -> bool:
        """It has started up and is at nothing."""
        return self.ready and self.item is None

    def start(self, function: Callable[[Any], None], item: Any) -> bool:
        """Hands it an item; False when the worker has died meanwhile."""
        try:
            self.pipe.send((function, item))
        except (BrokenPipeError, ConnectionResetError):
            return False
        self.item, self.since = item, time.monotonic()
        return True

    def hear(self, has_spoken: bool, limit_s: float) -> tuple[Any, str]:
        """The item it is done with and why it was given up; (None, "") while there is none."""
        if not has_spoken:
            return self._look_at_the_clock(limit_s)
        try:
            error = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            return self._died()
        if error is not None:
            sentence, trace = error
            failure = OSError(sentence)
            failure.add_note(trace)
            raise failure
        self.ready = True
        item, self.item = self.item, None
        return item, ""

    def end(self) -> None:
        """Ends the process at once."""
        self.ended = True
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.pipe.close()
        self.words.close()

    def _look_at_the_clock(self, limit_s: float) -> tuple[Any, str]:
        waited_s = time.monotonic() - self.since
        if not self.ready and waited_s > START_LIMIT_S:
            raise OSError(f"a worker did not start within {START_LIMIT_S} s: {self._last_words()}")
        if self.item is None or waited_s < limit_s:
            return None, ""
        self.end()
        return self.item, f"took longer than {limit_s:g} s"

    def _died(self) -> tuple[Any, str]:
        code, words = self.process.wait(), self._last_words()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        if not self.ready:
            raise OSError(f"a worker could not start ({how}): {words}")
        log.debug("a worker died (%s): %s", how, words)
        self.end()
        return self.item, f"its process died ({how})"

    def _last_words(self) -> str:
        self.words.seek(0)
        return self.words.read().decode(errors="replace").strip()[-2000:]


def _patience(crew: list[_Worker], limit_s: float) -> float:
    """Seconds until the first worker reaches its limit."""
    ends = [
        worker.since + (limit_s if worker.ready else START_LIMIT_S)
        for worker in crew
        if not worker.is_free
    ]
    return max(0.0, min(ends, default=0.0) - time.monotonic()) + 0.01


def _serve() -> None:
    """A worker's life: items in, answers out, until the owner closes the pipe."""
    pipe = Connection(int(os.environ.pop("CORPUS_PIPE")))
    one_thread()
    pipe.send(None)
    while True:
        try:
            function, item = pipe.recv()
        except EOFError:
            return
        try:
            function(item)
            pipe.send(None)
        except Exception as error:
            pipe.send((f"{type(error).__name__}: {error}", traceback.format_exc()))
