"""Ablations: table C from runs of methods, persons and seeds; landmarks scored pictureless."""

from dataclasses import replace

import acting
import numpy as np
import pandas as pd
import pytest
from acting import TALK, a_row, a_run
from geneface_kit_figures.tables import read_table

from geneface_kit.evaluation import tables
from geneface_kit.metrics.networks import NotMeasured
from geneface_kit.talk import plan as plan_module
from notebooks.studies.ablations import ablations
from notebooks.studies.ablations.__main__ import main
from notebooks.studies.ablations.ablations import FOREIGN, SELF_DRIVEN, Study


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """An adaptation run of the pretend actor, whose parts are loaded from nowhere."""
    monkeypatch.setattr(plan_module, "encode", lambda audio, _: acting.speech(audio, "none"))
    actor = acting.actor(tmp_path)
    monkeypatch.setattr(ablations, "load_person", lambda folder: actor.person)
    shipped = ablations.motion.load()
    loaded = lambda folder=None: actor.motion if folder else shipped  # noqa: E731
    monkeypatch.setattr(ablations.motion, "load", loaded)
    monkeypatch.setattr(ablations.adaptation, "load", lambda folder: actor.adaptation)
    parents = {name: a_run(tmp_path / name, name) for name in ("person", "motion")}
    measured = {"distance_after": 0.25, "told_apart_after": 0.75, "best_step": 40}
    run = a_run(tmp_path / "adaptation", "adaptation", parents, metrics=measured)
    return run, actor


@pytest.fixture
def asked(tmp_path, stage, monkeypatch):
    """What a study asks to be made, (stage, person, method, seed), every run a pretend one."""
    run, _ = stage
    rows = [a_row(runs="evaluation-pretend"), a_row(metric="LPIPS", value=NotMeasured("no net"))]
    rows.append(a_row(metric="SSIM", value=NotMeasured("no face")))
    evaluation = a_run(tmp_path / "evaluation")
    tables.write_table(evaluation.folder / "table_a.csv", rows)
    found = []

    def require(study, name, person, method, seed):
        found.append((name, person, method, seed))
        return evaluation if name == "evaluation" else run

    monkeypatch.setattr(ablations, "_require", require)
    return found


def play(monkeypatch, landmarks: np.ndarray) -> None:
    """Whatever the sound, these landmarks are planned."""
    plan = ablations.own_plan

    def planned(*arguments):
        return replace(plan(*arguments), landmarks=landmarks)

    monkeypatch.setattr(ablations, "own_plan", planned)


def test_the_tracked_mouth_itself_scores_perfectly(stage, monkeypatch):
    run, actor = stage
    person = actor.person
    play(monkeypatch, person.landmarks[person.n_train :])
    found = ablations.landmark_scores(run, TALK)
    assert found[SELF_DRIVEN]["lip error"] == 0
    assert found[SELF_DRIVEN]["mouth correlation"] == pytest.approx(1)
    assert found[SELF_DRIVEN]["mouth motion ratio"] == pytest.approx(1)
    assert "does not read none features" in found[SELF_DRIVEN]["sync expert"].reason
    assert found[FOREIGN]["domain distance"] == 0.25 and found[FOREIGN]["told apart"] == 0.75
    assert found[FOREIGN]["post-net updates"] == 40


def test_what_the_corpus_says_stands_under_a_name_of_its_own(stage, monkeypatch):
    run, actor = stage
    play(monkeypatch, actor.person.landmarks[actor.person.n_train :])
    run = replace(run, facts=run.facts | {"config": {"corpus": {"folder": "clips"}}})
    found = ablations.landmark_scores(run, TALK)
    assert found["corpus speech, landmarks"]["domain distance"] == 0.25 and FOREIGN not in found


def test_lips_elsewhere_cost_their_distance(stage, monkeypatch):
    run, actor = stage
    moved = actor.person.landmarks[actor.person.n_train :].copy()
    moved[:, 48:68, 0] += 0.03
    moved[:, 48:68, 2] += 0.04
    moved[:, :48] += 9  # only lips count
    play(monkeypatch, moved)
    found = ablations.landmark_scores(run, TALK)
    assert found[SELF_DRIVEN]["lip error"] == pytest.approx(0.05)


def test_landmarks_are_scored_with_every_seed_pictures_with_one(asked, tmp_path):
    study = Study(("pretend",), ("full", "lle", "torso-not-head-aware"), seeds=(0, 1))
    path = ablations.make(study, tmp_path / "figures")
    assert asked[1:] == [
        ("adaptation", "pretend", "full", 0),
        ("adaptation", "pretend", "full", 1),
        ("evaluation", "pretend", "full", 0),
        ("adaptation", "pretend", "lle", 0),
        ("adaptation", "pretend", "lle", 1),
        ("evaluation", "pretend", "torso-not-head-aware", 0),
    ]
    assert path.name == "synthetic_smoke_table_c.csv"
    table = read_table(path)
    assert set(table["table"]) == {"c"}
    assert "Table C: ablations (synthetic data)" in path.with_suffix(".html").read_text()
    assert r"\begin{tabular}" in path.with_suffix(".tex").read_text()
    lips = table[(table["metric"] == "lip error") & (table["method"] == "lle")]
    assert lips["seed"].astype(int).tolist() == [0, 1] and lips["value"].nunique() == 1


def test_cells_are_means_over_seeds_of_what_was_measured():
    rows = [("ada", "full", "p", "r", value) for value in ("0.5", "0.7", "not measured")]
    columns = ["person", "method", "protocol", "metric", "value"]
    rows.append(("ada", "lle", "p", "r", "0.25"))
    found = ablations.cells(pd.DataFrame(rows, columns=columns))
    assert found == {"ada, full, p, r": [0.6, 0.1414, 2], "ada, lle, p, r": [0.25, 0.0, 1]}


def test_rows_of_pictures_keep_their_runs_and_their_gaps(asked, tmp_path):
    path = ablations.make(Study(("pretend",), ("speech-driven",), seeds=(0,)), tmp_path)
    table = read_table(path).set_index("metric")
    assert set(table.index) == {"PSNR", "SSIM"}  # LPIPS is no column of table C
    assert float(table.loc["PSNR", "value"]) == 30.25
    assert table.loc["PSNR", "runs"] == "evaluation-pretend"
    assert table.loc["SSIM", "value"] == "not measured" and table.loc["SSIM", "reason"] == "no face"


def test_persons_and_methods_more_leave_the_others_in_the_table(asked, tmp_path):
    pretend, folder = Study(("pretend",), ("lle",), seeds=(0,)), tmp_path / "figures"
    path = ablations.make(pretend, folder)
    made = path.read_text()
    person = read_table(path)["person"].iloc[0]
    path.write_text(made.replace(f"c,{person},", "c,ada,"))  # another person's, from before
    ablations.make(replace(pretend, methods=("full",)), folder)
    table = read_table(path)
    assert list(dict.fromkeys(zip(table["person"], table["method"], strict=True))) == [
        ("ada", "lle"),
        (person, "full"),
    ]
    ablations.make(pretend, folder)
    ablations.make(replace(pretend, seeds=(0, 1)), folder)  # what a method had before is replaced
    table = read_table(path)
    made = zip(table["person"], table["method"], table["seed"].astype(int), strict=True)
    assert list(dict.fromkeys(made)) == [
        ("ada", "lle", 0),
        (person, "full", 0),
        (person, "lle", 0),
        (person, "lle", 1),
    ]
    table = table[(table["method"] == "lle") & (table["seed"].astype(int) == 0)]
    kept = table[table["person"] == "ada"].drop(columns="person").reset_index(drop=True)
    own = table[table["person"] == person].drop(columns="person").reset_index(drop=True)
    assert kept.equals(own)


def test_a_table_of_others_in_another_profile_is_refused_before_anything_is_made(asked, tmp_path):
    path = ablations.make(Study(("pretend",), ("lle",), seeds=(0,)), tmp_path)
    before = path.read_text().replace(",smoke,", ",cpu,").replace("c,pretend,", "c,ada,")
    path.write_text(before)
    asked.clear()
    with pytest.raises(ValueError, match="holds ada in profile cpu, not smoke"):
        ablations.make(Study(("pretend",), ("lle",), seeds=(0,)), tmp_path)
    assert {stage for stage, *_ in asked} == {"person"} and path.read_text() == before


@pytest.mark.parametrize(
    "study", [Study(()), Study(("pretend",), ()), Study(("pretend",), seeds=())]
)
def test_a_study_of_nothing_is_refused(asked, tmp_path, study):
    with pytest.raises(ValueError, match="at least one person, one method and one seed"):
        ablations.make(study, tmp_path / "none")
    assert not asked and not (tmp_path / "none").exists()


def test_an_unknown_method_is_refused_before_anything_is_made(asked, tmp_path):
    with pytest.raises(ValueError, match="unknown method 'magic'"):
        ablations.make(Study(("pretend",), ("full", "magic")), tmp_path / "none")
    assert not asked


def test_made_up_and_real_persons_never_share_a_table(tmp_path, monkeypatch):
    def require(study, stage, person, method, seed):
        kind = "real" if person == "obama" else "synthetic"
        return a_run(tmp_path / person, "person", data_kind=kind)

    monkeypatch.setattr(ablations, "_require", require)
    with pytest.raises(ValueError, match="demo is synthetic, obama is real: make two tables"):
        ablations.make(Study(("demo", "obama")), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_summary_has_mean_and_spread_over_seeds_beside_what_differs_in_one_thing(tmp_path):
    def row(method, seed, value, metric="lip error"):
        place = {"table": "c", "method": method, "metric": metric, "protocol": SELF_DRIVEN}
        return a_row(value, seed=seed, **place)

    rows = [row("full", seed, value) for seed, value in enumerate((1.0, 2.0, 3.0))]
    rows += [row("no-sync", 0, 4.5), row("no-sync", 0, NotMeasured("why"), "sync expert")]
    tables.write_table(tmp_path / "c.csv", rows)
    found = ablations.summary(read_table(tmp_path / "c.csv"), "demo").set_index("method")
    assert found.loc["full", "lip error"] == "2 ± 1" and found.loc["full", "seeds"] == "3"
    assert found.loc["no-sync", "lip error"] == "4.5"
    assert found.loc["no-sync", "beside"] == "retrained"
    assert found.loc["no-sync", "sync expert"] == "not measured"
    assert found.loc["full", "sync expert"] == "—"
    assert np.isin(found.columns, ["protocol", "beside", "seeds", "lip error", "sync expert"]).all()


def test_the_command_makes_the_table_of_a_study(asked, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GENEFACE_KIT_ROOT", str(tmp_path))
    assert main(["pretend", "--seeds", "0", "--methods", "full,lle"]) == 0
    path = tmp_path / "figures" / "synthetic_smoke_table_c.csv"
    assert f"table C: {path}" in capsys.readouterr().out
    assert set(read_table(path)["method"]) == {"full", "lle"}
    assert main(["pretend", "--methods", "magic"]) == 2
