"""Bench: what was measured can be kept, a line of facts beside those of before."""

from geneface_kit.runs.files import read_json
from notebooks.studies.speed import motion
from notebooks.studies.speed.__main__ import main


def test_what_was_measured_is_kept_beside_what_was_before(tmp_path, monkeypatch, capsys):
    def run(subject):
        yield f"heard {subject}"
        return {"offline, times real time": 80.5}

    monkeypatch.setattr(motion, "run", run)
    for subject in ("a.wav", "b.wav"):
        assert main(["motion", subject, "--to", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "heard a.wav\nheard b.wav\n"
    facts = read_json(tmp_path / "speed.json")
    assert facts["motion a.wav: offline, times real time"] == 80.5
    assert facts["motion b.wav: offline, times real time"] == 80.5
    assert "CPU cores" in facts["motion b.wav: on"] and "AMX" in facts["motion b.wav: on"]


def test_what_returns_nothing_is_not_begun_with_a_place_to_keep_it(tmp_path, capsys):
    assert main(["person", "--to", str(tmp_path)]) != 0
    assert "--to keeps what motion, render, train measure, not person" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
