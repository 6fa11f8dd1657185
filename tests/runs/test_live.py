"""The headless form of what notebooks show."""

import numpy as np
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


def test_expect_prints_the_sentence_and_needs_an_error(capsys):
    with live.expect(ValueError):
        raise ValueError("no face in frame 3")
    assert capsys.readouterr().out == "ValueError: no face in frame 3\n"
    with pytest.raises(AssertionError):
        with live.expect(ValueError):
            pass


def test_explore_draws_a_sheet_of_the_first_name():
    seen = []

    def draw(opening, yaw):
        seen.append((opening, yaw))
        return np.zeros((4, 4, 3), np.uint8)

    live.explore(draw, opening=range(9), yaw=(-20, 0, 20))
    assert seen == [(0, 0), (2, 0), (4, 0), (6, 0), (8, 0)]


def test_the_environment_decides_what_is_live(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook")
    assert not live.is_live()
    monkeypatch.delenv("GENEFACE_KIT_HEADLESS")
    assert live.is_live()


def test_an_answer_is_right_wrong_or_not_there_yet(capsys):
    for answer in (None, 0.75, 0.7501, 1.0):
        live.check_answer(answer, 0.75)
    assert capsys.readouterr().out.splitlines() == [
        "no answer yet", "right", "right", "not yet: 1.0 is not it",
    ]  # fmt: skip
