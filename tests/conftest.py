"""Fixtures: where real clips are, a home for runs."""

import os
from pathlib import Path

import pytest

os.environ["GENEFACE_KIT_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips, ../shared/data or GENEFACE_KIT_DATA; skips visibly without it."""
    named = os.environ.get("GENEFACE_KIT_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.exists():
        pytest.skip(f"no real clips at {folder}")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of the official networks' outputs; skips visibly without it."""
    folder = Path(__file__).parents[2] / "shared" / "reference" / "golden"
    if not folder.exists():
        pytest.skip(f"no golden vectors at {folder}")
    return folder


@pytest.fixture(scope="session")
def demo_person(tmp_path_factory):
    """The embedded demo person, prepared once for all tests at 128 x 128 pixels."""
    from geneface_kit.person import stage as person

    return person.prepare(person.find("demo"), tmp_path_factory.mktemp("demo"), name="demo")
