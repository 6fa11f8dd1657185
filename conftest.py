"""Pytest settings shared by tests/ and by nbval over notebooks/."""

import os

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
if WORKERS > 1:  # the processes share the cores; before OpenMP is loaded
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // WORKERS)))

import geneface_kit  # noqa: E402, F401  (before torch: it sets how OpenMP threads wait)


def pytest_addoption(parser):
    """--renew: the tests that compare sources with a record write the record anew."""
    parser.addoption("--renew", action="store_true")


def pytest_collectstart(collector):
    """Outputs that differ from machine to machine are not compared by nbval."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("text/html", "application/vnd.plotly.v1+json", "stderr")


def pytest_collection_modifyitems(items):
    """Notebooks first, then files with slow tests: with several processes none is left for last.

    Of the notebooks 03 comes first: the others need its head, and would wait for it."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    longest = ("03_train_nerf", "test_reproduction")

    def order(item) -> tuple[bool, bool, bool]:
        is_notebook = item.path.suffix == ".ipynb"
        return not is_notebook, item.path not in slow, item.path.stem not in longest

    items.sort(key=order)
