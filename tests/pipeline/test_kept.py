"""Kept runs, persons and settings: what there is, is told; what stands on a run, is named."""

import pytest
import typer
from acting import a_run
from filelock import FileLock

from geneface_kit.person import demo
from geneface_kit.pipeline import settings
from geneface_kit.pipeline.commands import main
from geneface_kit.pipeline.require import locate


@pytest.fixture
def home(tmp_path):
    """runs/ with a person and a head that stands on it, another head, and their measures."""
    for name, parents, metrics in (
        ("person-smoke-1", {}, {"verdict": "usable"}),
        ("nerf-smoke-1", {"person": "ada/person-smoke-1"}, {"psnr": 30.25, "curve": [1, 2]}),
        ("nerf-smoke-2", {}, {"psnr": 28.0, "curve": [1, 2]}),
    ):
        facts = {"schema": 1, "metrics": metrics, "outputs": {}}
        facts |= {"id": name.replace("-", "-ada-", 1), "subject": "ada"}
        facts |= {"config": {"head": {"steps": int(name[-1])}}, "sizes": {"head": 2_000_000}}
        run = a_run(tmp_path / "ada" / name, name.partition("-")[0], **facts)
        run.facts["parents"] = parents
        run.save()
    return tmp_path


def test_runs_are_listed_of_all_or_of_a_stage(home, capsys):
    assert main(["runs", "list", "--out", str(home)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["runs", "list", "ada", "--stage", "nerf", "--out", str(home)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == {"nerf-ada-smoke-1", "nerf-ada-smoke-2"}
    assert "ok" in lines[0] and "2 MB" in lines[0] and "90 s" in lines[0]
    assert main(["runs", "list", "eve", "--out", str(home)]) == 0
    assert capsys.readouterr().out == ""


def test_a_run_is_shown_by_id_or_folder(home, capsys):
    for name in ("nerf-ada-smoke-1", str(home / "ada" / "nerf-smoke-1")):
        assert main(["runs", "show", name, "--out", str(home)]) == 0
        said = capsys.readouterr().out
        assert "30.25" in said and "ada/person-smoke-1" in said and "curve" not in said


def test_a_run_shows_itself_in_a_notebook_and_its_words_are_escaped(tmp_path):
    run = a_run(tmp_path, "nerf", metrics={"psnr": 30.25, "note": "<b>bold</b>"})
    run.facts["parents"] = {}
    page = run._repr_html_()
    assert "<th>psnr</th><td>30.25</td>" in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page and "<b>" not in page


def test_compared_runs_differ_in_settings_parents_and_measures(home, capsys):
    pair = ["nerf-ada-smoke-1", "nerf-ada-smoke-2"]
    assert main(["runs", "compare", *pair, "--out", str(home)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == pair
    said = {line.split()[0]: line.split()[1:] for line in lines}
    assert said == {
        "config.head.steps": ["1", "2"],
        "metrics.psnr": ["30.25", "28.0"],
        "parents.person": ['"ada/person-smoke-1"', "NaN"],
    }
    assert main(["runs", "compare", pair[0], pair[0], "--out", str(home)]) == 0
    assert capsys.readouterr().out == "they say the same\n"


def test_a_run_is_removed_only_when_that_was_wanted_and_what_stands_on_it_is_named(
    home, capsys, monkeypatch
):
    folder, told = home / "ada" / "person-smoke-1", ["runs", "rm", "person-ada-smoke-1"]
    monkeypatch.setattr(typer, "confirm", lambda question: False)
    assert main([*told, "--out", str(home)]) == 0 and folder.is_dir()
    assert "nerf-ada-smoke-1 stands on it" in capsys.readouterr().out
    with FileLock(f"{folder}.lock"):
        assert main([*told, "--yes", "--out", str(home)]) == 2 and folder.is_dir()
    assert "is being made" in capsys.readouterr().err
    assert main([*told, "--yes", "--out", str(home)]) == 0 and not folder.exists()
    assert (home / "ada" / "nerf-smoke-1").is_dir()


def test_every_setting_is_listed_with_its_defaults_range_and_a_line_on_it(capsys):
    listed = list(settings.described())
    assert len(listed) > 100
    for entry in listed:
        first, about = entry.split("\n    ")
        assert len(about) > 5 and ": " in first and " = " in first
    assert main(["settings", "torso"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("torso.steps = 200; cpu 600; paper ")
    assert "a whole number of at least 1\n    updates; paper code: 250,000" in said
    assert "head." not in said
    assert any(entry.startswith("person.tracking.focal_prior = ") for entry in listed)


def test_lists_are_read_from_text():
    rates = settings.resolve("smoke", "corpus.rates=[1, 0.9],head.steps=7").corpus.rates
    assert rates == (1.0, 0.9)
    assert settings.parse("a.b=[x,y],c.d=1") == {"a.b": ["x", "y"], "c.d": 1}
    assert settings.parse('a.b="x,y",c.d=1,e.f="z"') == {"a.b": "x,y", "c.d": 1, "e.f": "z"}


def test_a_method_is_its_settings(tmp_path):
    one = locate("nerf", method="torso-not-head-aware", out=tmp_path)
    assert one == locate("nerf", overrides="torso.head_aware=false", out=tmp_path)
    assert one != locate("nerf", out=tmp_path)


def test_persons_are_told_with_their_place_and_consent(tmp_path, monkeypatch, capsys):
    (tmp_path / "ada.mp4").write_bytes(b"clip")
    (tmp_path / "ada.consent.txt").write_text("I agree.")
    (tmp_path / "eve").mkdir()
    (tmp_path / "eve" / "one.mov").write_bytes(b"clip")
    (tmp_path / "notes").mkdir()
    monkeypatch.setenv("GENEFACE_KIT_DATA", str(tmp_path))
    assert main(["persons"]) == 0
    said = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert said["ada"] == f"{tmp_path / 'ada.mp4'}; consent: I agree."
    assert said["eve"] == f"{tmp_path / 'eve'}; consent: no statement"
    assert "notes" not in said and str(demo.clip_path("demo")) in said["demo"]
    assert said["macron"].startswith("to be fetched by hand; ") and "terms: " in said["macron"]
