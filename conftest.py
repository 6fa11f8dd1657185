"""Pytest settings shared by tests/ and by nbval over notebooks/."""


def pytest_collectstart(collector):
    """Outputs that differ from machine to machine are not compared by nbval."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("text/html", "application/vnd.plotly.v1+json", "stderr")
