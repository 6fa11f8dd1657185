"""The headless form of what stages show."""

from types import SimpleNamespace

import pytest

from geneface_kit.runs import live


@pytest.fixture(autouse=True)
def headless(monkeypatch):
    monkeypatch.setenv("GENEFACE_KIT_HEADLESS", "1")


def test_progress_passes_everything_on_in_five_lines(capsys):
    assert list(live.progress(range(1000), "counting")) == list(range(1000))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"counting: {part} %" for part in (0, 25, 50, 75, 100)]


def test_progress_counts_a_stream_of_known_length(capsys):
    list(live.progress(iter("abcd"), "letters", total=4))
    assert capsys.readouterr().out.splitlines()[2] == "letters: 50 %"


def test_long_work_says_how_long_after_its_first_items(monkeypatch, caplog):
    """Each item takes 3 s by this clock: 75 are left after 25 of 100, 35 of 60."""
    caplog.set_level("INFO", logger="geneface_kit")
    now = [0.0]
    monkeypatch.setattr(live, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    for n in (60, 100):
        assert "about" not in caplog.text
        for _ in live.progress(range(n), "counting"):
            now[0] += 3.0
    assert "counting: about 4 min on this machine" in caplog.text


def test_the_environment_decides_what_is_live(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook")
    assert not live.is_live()
    monkeypatch.delenv("GENEFACE_KIT_HEADLESS")
    assert live.is_live()
