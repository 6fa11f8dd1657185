"""Pytest settings shared by tests/ and by nbval over notebooks/."""

import geneface_kit  # noqa: F401  (before torch: it sets how OpenMP threads wait)


def pytest_collectstart(collector):
    """Outputs that differ from machine to machine are not compared by nbval."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("text/html", "application/vnd.plotly.v1+json", "stderr")
