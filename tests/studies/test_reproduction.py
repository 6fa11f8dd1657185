"""Reproduction: a plan knows its runs beforehand, shares them, resumes; clean runs agree."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from acting import a_row
from geneface_kit_figures.collect import collect
from geneface_kit_figures.tables import read_table
from safetensors.numpy import load_file

from geneface_kit import runs
from geneface_kit.evaluation import tables
from geneface_kit.person import demo
from notebooks import execution
from notebooks.studies.crates import crate
from notebooks.studies.reproduction import workflow
from notebooks.studies.reproduction.__main__ import main

SAME_BYTES = {".csv", ".npy", ".npz", ".png", ".wav"}
TABLE_A = "synthetic_smoke_table_a"
SMALL = (
    "person.size=64,person.max_s=3.0,sync.steps=4,motion.steps=4,adaptation.steps=8,"
    "head.steps=12,head.n_samples=2000,head.hidden=16,head.n_levels=4,head.step_length=0.2,"
    "torso.steps=12,torso.n_pixels=1024,torso.n_head_frames=4,joint.steps=4,avatar.prune=False,"
    "talk.max_s=2.0,evaluation.n_frames=3,evaluation.cross_s=1.0"
)
"""The smoke profile with a short clip and small networks: what it makes need not be good."""


def stages(jobs):
    return [job.stage for job in jobs.values()]


def test_a_place_is_the_folder_of_the_run_and_nothing_is_made(tmp_path):
    jobs = workflow.plan(workflow.Study(out=str(tmp_path), until="nerf"))
    assert stages(jobs) == ["person", "nerf"]
    assert list(tmp_path.iterdir()) == []
    place = list(jobs)[0]
    assert place.startswith("demo/person-smoke-") and place.endswith("/00_prepare_person.ipynb")
    assert jobs[list(jobs)[1]].after == (place,)


def test_all_seven_notebooks_come_in_order():
    jobs = workflow.plan(workflow.Study())
    assert [job.notebook[:2] for job in jobs.values()] == [f"0{k}" for k in range(7)]
    done = set()
    for place, job in jobs.items():
        assert set(job.after) <= done
        done.add(place)


def test_methods_share_what_they_do_not_change():
    study = workflow.Study(
        methods=("full", "postnet-no-sync", "torso-not-head-aware"), until="evaluation"
    )
    jobs = workflow.plan(study)
    # A changed post-net leaves the head alone, and a changed torso leaves the post-net alone.
    assert sorted(stages(jobs)) == sorted(
        ["person", "motion", *["adaptation"] * 2, *["nerf"] * 2, *["evaluation"] * 3]
    )
    passed = {job.parameters["overrides"] for job in jobs.values() if job.stage == "nerf"}
    assert passed == {"", "torso.head_aware=False"}


def test_the_notebook_of_the_motion_shows_the_person_of_the_study():
    """Else it would prepare another person beside the study's own."""
    jobs = workflow.plan(workflow.Study(overrides="person.size=64", until="adaptation"))
    passed = {job.stage: job.parameters["overrides"] for job in jobs.values()}
    assert passed == dict.fromkeys(["person", "motion", "adaptation"], "person.size=64")


def test_seeds_and_persons_are_units_of_their_own(tmp_path):
    clip = tmp_path / "ada.mp4"
    clip.write_bytes(demo.clip_path("demo_b").read_bytes())
    study = workflow.Study(persons=("demo", str(clip)), seeds=(0, 1), until="nerf")
    jobs = workflow.plan(study)
    assert sorted({place.split("/")[0] for place in jobs}) == ["ada", "demo"]
    assert sorted(stages(jobs)) == ["nerf"] * 4 + ["person"] * 2  # nothing is drawn in person
    seeds = [job.parameters["seed"] for job in jobs.values() if job.stage == "nerf"]
    assert sorted(seeds) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "study, sentence",
    [
        (workflow.Study(until="tlak"), "unknown stage 'tlak': choose one of person, motion"),
        (workflow.Study(profile="big"), "unknown profile 'big'"),
        (workflow.Study(overrides="head.stepz=1"), "unknown setting 'head.stepz'"),
        (workflow.Study(methods=("vanila",)), "unknown method 'vanila': choose one of full"),
        (workflow.Study(overrides="evaluation.recordings=a.wav"), "a field of its own here"),
    ],
)
def test_a_wrong_request_is_one_sentence(study, sentence):
    with pytest.raises(ValueError, match=sentence):
        workflow.plan(study)


def test_a_study_goes_through_the_config_of_the_workflow():
    study = workflow.from_config({"study": {"persons": ["demo"], "seeds": ["0", "2"]}})
    assert study == workflow.Study(seeds=(0, 2))
    assert workflow.from_config({"profile": "cpu"}) == workflow.Study(profile="cpu")
    with pytest.raises(ValueError, match="unknown setting 'person' of the workflow; it has pers"):
        workflow.from_config({"person": "demo"})


def test_a_notebook_that_cannot_run_leaves_nothing(tmp_path):
    target = tmp_path / "demo" / "person-smoke-1" / "00_prepare_person.ipynb"
    with pytest.raises(ValueError, match="no parameter 'persn'"):
        execution.keep("00_prepare_person", {"persn": "demo"}, target)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def row(value, metric="PSNR", method="full"):
    return a_row(value, metric=metric, method=method, n_frames=3, runs="r")


def test_tables_are_compared_without_clock_times(tmp_path):
    for name, fps in (("one", 3.0), ("two", 4.0)):
        (tmp_path / name).mkdir()
        rows = [row(30.0), row(29.0, method="ablated"), row(fps, "FPS")]
        tables.write_table(tmp_path / name / "synthetic_table_a.csv", rows)
    assert workflow.tables_that_differ(tmp_path / "one", tmp_path / "two") == []
    path = tmp_path / "two" / "synthetic_table_a.csv"
    path.write_text(path.read_text().replace("29", "29.5"))
    wrong = workflow.tables_that_differ(tmp_path / "one", tmp_path / "two")
    assert len(wrong) == 2 and all("PSNR" in sentence for sentence in wrong)
    path.unlink()
    assert workflow.tables_that_differ(tmp_path / "one", tmp_path / "two") == [
        "synthetic_table_a.csv is in one folder only"
    ]


def test_reproduce_runs_a_study_and_compares_its_tables(monkeypatch, tmp_path, capsys):
    asked = []

    def reproduce(study, **options):
        asked.append(study)
        return tmp_path

    monkeypatch.setattr(workflow, "reproduce", reproduce)
    arguments = "obama lieu --profile cpu --seeds 0,1 --methods full,lle --until nerf --out there"
    assert main(arguments.split()) == 0
    persons, methods = ("obama", "lieu"), ("full", "lle")
    assert asked == [workflow.Study(persons, "cpu", (0, 1), methods, until="nerf", out="there")]
    assert main(["--methods", "lle", "--against", "other"]) == 1
    assert asked[1] == workflow.Study(methods=("lle",))
    assert "no tables" in capsys.readouterr().out


def command(*words):
    """A command of the kit in a process of its own, on this checkout."""
    places = os.pathsep.join(
        [
            str(Path(__file__).parents[1]),
            str(Path(__file__).parents[2]),
            os.environ.get("PYTHONPATH", ""),
        ]
    )
    return subprocess.Popen(
        [sys.executable, "-m", "geneface_kit", *words],
        env=os.environ | {"PYTHONPATH": places},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def reproduce(home):
    """The smoke workflow of the demo person up to its tables, through papermill; what it says."""
    units = ["demo", "--profile", "smoke", "--set", SMALL, "--until", "evaluation"]
    cores = os.environ.get("OMP_NUM_THREADS", "0")  # as many threads as a process beside it
    done = command("reproduce", *units, "--cores", cores, "--out", str(home))
    said, _ = done.communicate()
    assert done.returncode == 0, said[-3000:]
    return said


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """Folder and words of a reproduction; folder of the same runs, made beside it by `run`."""
    pytest.importorskip("snakemake", reason="an extra: pip install 'geneface-kit[batch]'")
    home, alone = (tmp_path_factory.mktemp(name) for name in ("reproduced", "alone"))
    other = command("run", "evaluation", "demo", "--out", str(alone), "--set", SMALL)
    said = reproduce(home)
    words, _ = other.communicate()
    assert other.returncode == 0, words[-3000:]
    return home, said, alone


@pytest.mark.slow
def test_every_notebook_is_kept_whole_with_its_run(reproduced):
    home, said, _ = reproduced
    jobs = workflow.plan(workflow.Study(out=str(home), overrides=SMALL, until="evaluation"))
    assert stages(jobs) == ["person", "motion", "adaptation", "nerf", "evaluation"]
    for place, job in jobs.items():
        kept = nbformat.read(home / place, as_version=4)
        assert kept.metadata.papermill.exception is None
        assert kept.metadata.papermill.input_path == f"{job.notebook}.ipynb"
        run = runs.open_run((home / place).parent)
        assert run.status == "ok" and run.stage == job.stage
        assert Path(place).name not in run.facts["outputs"]
    assert not list(home.rglob("*.part*"))
    assert (home / "tables" / f"{TABLE_A}.html").is_file() and f"{TABLE_A}.csv" in said


@pytest.mark.slow
def test_a_second_call_makes_nothing(reproduced):
    home, _, _ = reproduced
    before = {path: path.stat().st_mtime_ns for path in home.glob("[!.]*/*/*")}
    assert "Nothing to be done" in reproduce(home)
    assert {path: path.stat().st_mtime_ns for path in home.glob("[!.]*/*/*")} == before


@pytest.mark.slow
def test_a_crate_takes_the_notebooks_along_and_verifies(reproduced, tmp_path):
    home, _, _ = reproduced
    folder = next((home / "demo").glob("evaluation-*/run.json")).parent
    out = crate.export(runs.open_run(folder), tmp_path / "crate")
    kept = {path.name for path in (out / "runs").rglob("*.ipynb")}
    assert {"00_prepare_person.ipynb", "03_train_nerf.ipynb", "05_evaluation_tables.ipynb"} <= kept
    found = crate.verify(out)
    assert found.wrong == [] and not any("table A" in one for one in found.not_recomputed)


@pytest.mark.slow
def test_two_clean_runs_train_the_same_networks(reproduced):
    """Weights, curves and predictions agree to the last bit, made in one process or in many."""
    home, _, alone = reproduced
    made = [path.relative_to(home) for path in home.glob("*/*/*") if path.suffix in SAME_BYTES]
    made = [place for place in made if (alone / place).exists() and place.stem != "table_d"]
    made = [place for place in made if not place.stem.endswith("_clock")]  # seconds
    assert len(made) > 15
    for place in made:
        assert (home / place).read_bytes() == (alone / place).read_bytes(), place
    weights = [path.relative_to(alone) for path in alone.glob("demo/*/*.safetensors")]
    assert len(weights) == 4
    for place in weights:  # their headers list the notes in any order
        ours, theirs = (load_file(folder / place) for folder in (home, alone))
        assert all((ours[name] == theirs[name]).all() for name in ours | theirs), place


@pytest.mark.slow
def test_two_clean_runs_give_identical_tables(reproduced, tmp_path):
    """Other processes, another folder, no notebooks: every number but the clock times agrees."""
    home, _, alone = reproduced
    folder = next((alone / "demo").glob("evaluation-*/run.json")).parent
    (path, *_) = collect([runs.open_run(folder)], tmp_path)
    assert workflow.tables_that_differ(home / "tables", tmp_path) == []
    assert (read_table(path)["value"] != "not measured").sum() > 5
