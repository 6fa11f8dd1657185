"""Batch: a plan knows its runs beforehand, shares them, resumes; clean runs agree."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from geneface_kit import runs, tables
from geneface_kit.notebooks import batch
from geneface_kit.tables import crate

METHODS = {"no sync": {"adaptation.sync_weight": 0.0}, "plain torso": {"torso.steps": 3}}
SMALL = (
    "head.steps=20,torso.steps=20,adaptation.steps=8,sync.steps=4,motion.steps=4,"
    "evaluation.n_frames=3,evaluation.cross_s=1.0"
)
"""A smoke profile that ends sooner."""


def stages(jobs):
    return [job.stage for job in jobs.values()]


def test_a_place_is_the_folder_of_the_run_and_nothing_is_made(tmp_path):
    jobs = batch.plan(batch.Study(out=str(tmp_path), until="nerf"))
    assert stages(jobs) == ["person", "nerf"]
    assert list(tmp_path.iterdir()) == []
    place = list(jobs)[0]
    assert place.startswith("demo/person-smoke-") and place.endswith("/00_prepare_person.ipynb")
    assert jobs[list(jobs)[1]].after == (place,)


def test_all_seven_notebooks_come_in_order():
    jobs = batch.plan(batch.Study())
    assert [job.notebook[:2] for job in jobs.values()] == [f"0{k}" for k in range(7)]
    done = set()
    for place, job in jobs.items():
        assert set(job.after) <= done
        done.add(place)


def test_methods_share_what_they_do_not_change():
    study = batch.Study(methods=("full", "no sync", "plain torso"), until="evaluation")
    jobs = batch.plan(study, METHODS)
    # A changed post-net leaves the head alone, and a changed torso leaves the post-net alone.
    assert sorted(stages(jobs)) == sorted(
        ["person", "motion", *["adaptation"] * 2, *["nerf"] * 2, *["evaluation"] * 3]
    )
    passed = {job.parameters["overrides"] for job in jobs.values() if job.stage == "nerf"}
    assert passed == {"", "torso.steps=3"}


def test_seeds_and_persons_are_units_of_their_own(tmp_path):
    clip = tmp_path / "ada.mp4"
    clip.write_bytes((Path(batch.__file__).parents[1] / "demo" / "demo_b.mp4").read_bytes())
    study = batch.Study(persons=("demo", str(clip)), seeds=(0, 1), until="person")
    jobs = batch.plan(study)
    assert sorted({place.split("/")[0] for place in jobs}) == ["ada", "demo"]
    assert sorted(job.parameters["seed"] for job in jobs.values()) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "study, sentence",
    [
        (batch.Study(until="tlak"), "unknown stage 'tlak': choose one of person, motion"),
        (batch.Study(profile="big"), "unknown profile 'big'"),
        (batch.Study(overrides="head.stepz=1"), "unknown setting 'head.stepz'"),
        (batch.Study(methods=("vanila",)), "unknown method 'vanila': choose one of no sync"),
        (batch.Study(overrides="evaluation.recordings=a.wav"), "a field of its own here"),
    ],
)
def test_a_wrong_request_is_one_sentence(study, sentence):
    with pytest.raises(ValueError, match=sentence):
        batch.plan(study, METHODS)


def test_a_study_goes_through_the_config_of_the_workflow():
    study = batch.from_config({"study": {"persons": ["demo"], "seeds": ["0", "2"]}})
    assert study == batch.Study(seeds=(0, 2))
    assert batch.from_config({"profile": "cpu"}) == batch.Study(profile="cpu")
    with pytest.raises(ValueError, match="unknown setting 'person' of the workflow; it has pers"):
        batch.from_config({"person": "demo"})


def row(value, metric="PSNR", method="full"):
    cells = ("a", "demo", "self-driven", method, metric, value, "dB", 3, ("r",), 0)
    return tables.Row(*cells, "smoke", "synthetic")


def test_gathered_tables_name_their_methods_and_are_compared_without_clock_times(tmp_path):
    for name, fps in (("one", 3.0), ("two", 4.0)):
        for unit, psnr in (("full", 30.0), ("ablated", 29.0)):
            (tmp_path / name / unit).mkdir(parents=True)
            written = [row(psnr), row(fps, "FPS")]
            tables.write_table(tmp_path / name / unit / "table_a.csv", written)
        scored = {str(tmp_path / name / unit): unit for unit in ("full", "ablated")}
        (path,) = batch.gather(scored, tmp_path / name)
    assert pd.read_csv(path)["method"].tolist() == ["full", "full", "ablated", "ablated"]
    assert batch.tables_that_differ(tmp_path / "one", tmp_path / "two") == []
    changed = path.read_text().replace("29", "29.5")
    path.write_text(changed)
    wrong = batch.tables_that_differ(tmp_path / "one", tmp_path / "two")
    assert len(wrong) == 2 and all("PSNR" in sentence for sentence in wrong)
    path.unlink()
    assert batch.tables_that_differ(tmp_path / "one", tmp_path / "two") == [
        "table_a.csv is in one folder only"
    ]


def reproduce(*options):
    """The command in a process of its own; what it wrote."""
    places = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "geneface_kit", "reproduce", "--profile", "smoke", *options]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": places},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """The smoke workflow of the demo person up to its tables, through papermill."""
    pytest.importorskip("snakemake", reason="an extra: pip install 'geneface-kit[batch]'")
    home = tmp_path_factory.mktemp("reproduced")
    said = reproduce("demo", "--out", str(home), "--set", SMALL, "--until", "evaluation")
    return home, said


@pytest.mark.slow
def test_every_notebook_is_kept_whole_with_its_run(reproduced):
    home, said = reproduced
    jobs = batch.plan(batch.Study(out=str(home), overrides=SMALL, until="evaluation"))
    assert stages(jobs) == ["person", "motion", "adaptation", "nerf", "evaluation"]
    for place, job in jobs.items():
        kept = nbformat.read(home / place, as_version=4)
        assert kept.metadata.papermill.exception is None
        assert kept.metadata.papermill.input_path == f"{job.notebook}.ipynb"
        run = runs.open_run((home / place).parent)
        assert run.status == "ok" and run.stage == job.stage
        assert Path(place).name not in run.facts["outputs"]
    assert not list(home.rglob("*.part*"))
    assert (home / "tables" / "table_a.csv").is_file() and "table_a.csv" in said


@pytest.mark.slow
def test_a_second_call_makes_nothing(reproduced):
    home, _ = reproduced
    before = {path: path.stat().st_mtime_ns for path in home.glob("*/*/*")}
    again = reproduce("demo", "--out", str(home), "--set", SMALL, "--until", "evaluation")
    assert {path: path.stat().st_mtime_ns for path in home.glob("*/*/*")} == before
    assert "Nothing to be done" in again


@pytest.mark.slow
def test_a_crate_takes_the_notebooks_along_and_verifies(reproduced, tmp_path):
    home, _ = reproduced
    (folder,) = (home / "demo").glob("evaluation-*")
    out = crate.export(runs.open_run(folder), tmp_path / "crate")
    kept = {path.name for path in (out / "runs").rglob("*.ipynb")}
    assert {"00_prepare_person.ipynb", "03_train_nerf.ipynb", "05_evaluation_tables.ipynb"} <= kept
    assert crate.verify(out) == []


@pytest.mark.slow
def test_two_clean_runs_give_identical_tables(reproduced, tmp_path):
    """Another process, another folder, no notebooks: every number but the clock times agrees."""
    home, _ = reproduced
    command = [sys.executable, "-m", "geneface_kit", "run", "evaluation", "demo", "--out"]
    places = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": places}
    subprocess.run([*command, str(tmp_path), "--set", SMALL], env=environment, check=True)
    (folder,) = (tmp_path / "demo").glob("evaluation-*")
    batch.gather({str(folder): "full"}, tmp_path / "tables")
    assert batch.tables_that_differ(home / "tables", tmp_path / "tables") == []
    numbers = pd.read_csv(tmp_path / "tables" / "table_a.csv")
    assert len(numbers) > 8 and json.loads((folder / "run.json").read_text())["status"] == "ok"
