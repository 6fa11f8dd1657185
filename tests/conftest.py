"""Fixtures: where real clips are, a home for runs."""

import importlib
import os
import signal
from pathlib import Path

import pytest
from filelock import FileLock

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
    """The folder of the official networks' outputs."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def demo_person(tmp_path_factory):
    """The embedded demo person at 128 x 128 pixels, prepared once for all tests and processes."""
    from geneface_kit.person import stage as person

    home = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        home = home.parent  # that of all processes
    folder = home / "demo_person"
    with FileLock(home / "demo_person.lock"):
        if not (folder / "person.json").exists():
            person.prepare(person.find("demo"), folder, name="demo")
    return person.load(folder)


@pytest.fixture
def hears_ctrl_c():
    """SIGINT interrupts, also where a shell started the tests in the background and ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def uncalibrated(monkeypatch):
    """Tracking without the calibration on turned pictures: a person in half the time."""
    track = importlib.import_module("geneface_kit.person.tracking.track")
    monkeypatch.setattr(track, "calibrate", lambda *_: None)
