"""The headless form of what notebooks show."""

from types import SimpleNamespace

import numpy as np
import pytest
from geneface_kit_figures import live


@pytest.fixture(autouse=True)
def headless(monkeypatch):
    monkeypatch.setenv("GENEFACE_KIT_HEADLESS", "1")


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


def test_an_answer_is_right_wrong_or_not_there_yet(capsys):
    for answer in (None, 0.75, 0.7501, 1.0):
        live.check_answer(answer, 0.75)
    assert capsys.readouterr().out.splitlines() == [
        "no answer yet", "right", "right", "not yet: 1.0 is not it",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("persn = 'obama'", "no parameter 'persn': did you mean person\\? it has profile, person"),
        ("clip = 'a.mp4'", "no parameter 'clip': it is now person"),
    ],
)
def test_a_parameter_that_papermill_only_warns_of_is_refused(given, sentence, monkeypatch):
    monkeypatch.setitem(live.RENAMED, "clip", "person")
    first = 'profile: str = "auto"  # of size\nperson: str = "demo"  # who'
    cells = ["", first, f"# Parameters\nprofile = 'cpu'\n{given}"]
    monkeypatch.setattr(live, "shell", lambda: SimpleNamespace(user_ns={"In": cells}))
    with pytest.raises(ValueError, match=sentence):
        live.check_parameters()
    cells[2] = "# Parameters\nprofile = 'cpu'\nperson = 'obama'"
    live.check_parameters()
    monkeypatch.setattr(live, "shell", lambda: None)
    live.check_parameters()
