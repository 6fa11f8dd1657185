"""A file bears its name only once it is whole."""

import pytest

from geneface_kit.runs import files, replacing


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


def test_a_large_file_is_read_again_only_when_it_changed(tmp_path, monkeypatch):
    memory, clip = tmp_path / "digests.json", tmp_path / "clip.mp4"
    clip.write_bytes(b"one")
    monkeypatch.setattr(files, "LARGE", 3)
    read = []
    monkeypatch.setattr(files, "sha256", lambda path: read.append(path.name) or str(len(read)))
    assert files.digests({"a": clip}, memory) == {"a": "1"}
    assert files.digests({"b/a": clip}, memory) == {"b/a": "1"}
    clip.write_bytes(b"two")
    assert files.digests({"a": clip}, memory) == {"a": "2"}
    memory.write_bytes(b"damaged")
    assert files.digests({"a": clip}, memory) == {"a": "3"}
    monkeypatch.setattr(files, "LARGE", 4)
    memory.unlink()
    assert files.digests({"a": clip}, memory) == {"a": "4"} and not memory.exists()


def test_two_inputs_of_one_name_are_refused(tmp_path):
    paths = [tmp_path / "a" / "x.wav", tmp_path / "b" / "x.wav"]
    assert files.named(paths[:1]) == {"x.wav": paths[0]}
    with pytest.raises(ValueError, match="two inputs are called x.wav: give one of them another"):
        files.named(paths)
