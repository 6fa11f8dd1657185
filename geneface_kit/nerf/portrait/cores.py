"""Cores: independent pictures, one on each processor core, in order."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["on_cores"]

Result = TypeVar("Result")


def on_cores(make: Callable[[int], Result], items: Sequence[int]) -> Iterator[Result]:
    """make(item) of every item, in their order, as many at a time as torch may use threads.

    Each item is made by one thread with one core: a picture's many small operations share out
    badly over cores, whole pictures share well. At most two results per core wait to be taken.
    """
    n_threads = torch.get_num_threads()
    if n_threads == 1 or len(items) < 2:
        yield from map(make, items)
        return
    torch.set_num_threads(1)  # before the threads exist: each takes the number over at its start
    try:
        with ThreadPoolExecutor(n_threads, thread_name_prefix="picture") as pool:
            waiting: deque = deque()
            try:
                for item in items:
                    waiting.append(pool.submit(make, item))
                    if len(waiting) > 2 * n_threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for job in waiting:
                    job.cancel()
    finally:
        torch.set_num_threads(n_threads)
