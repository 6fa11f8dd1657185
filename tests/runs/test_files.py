"""A file bears its name only once it is whole."""

import pytest

from geneface_kit.runs import replacing


def test_the_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "table.csv"
    with replacing(path) as partial:
        partial.write_text("whole")
        assert partial.suffix == ".csv" and not path.exists()
    assert path.read_text() == "whole" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_what_was_there(tmp_path, stop):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(stop), replacing(path) as partial:
        partial.write_text("hal")
        raise stop
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "table.csv"):
        pass
    assert not list(tmp_path.iterdir())
