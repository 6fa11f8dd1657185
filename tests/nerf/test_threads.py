"""In parallel: results in order, few at a time, the thread setting restored in any case."""

import threading
import time

import pytest
import torch

from geneface_kit.nerf.avatar import AHEAD, in_parallel


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_results_come_in_order_from_several_threads_with_one_core_each(two_threads):
    seen = set()

    def make(item):
        seen.add((threading.get_ident(), torch.get_num_threads()))
        time.sleep(0.02 if item % 2 else 0.001)
        return 10 * item

    assert list(in_parallel(make, range(9))) == [10 * k for k in range(9)]
    assert len({thread for thread, _ in seen}) == 2 and {cores for _, cores in seen} == {1}


def test_a_slow_taker_is_not_overrun(two_threads):
    made = []
    results = in_parallel(lambda item: made.append(item), range(100))
    next(results)
    time.sleep(0.05)
    assert len(made) <= 2 * AHEAD
    results.close()


def test_an_error_comes_through_and_ends_the_work(two_threads):
    def make(item):
        if item == 3:
            raise ValueError("no picture 3")
        return item

    found = []
    with pytest.raises(ValueError, match="no picture 3"):
        found.extend(in_parallel(make, range(50)))
    assert list(in_parallel(make, [1])) == [1] and list(in_parallel(make, [])) == []
