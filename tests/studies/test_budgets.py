"""Budgets: the study learns from the frames it says, and adds to what it has recorded."""

from types import SimpleNamespace

import pandas as pd
from puppet import puppet

from geneface_kit.runs.files import read_json
from notebooks.studies import budgets


def recorded(monkeypatch, folder, *arguments):
    """The study of a puppet without its training: its table, and what it would have learned."""
    person, asked = puppet(), []

    def learned(person, settings, n_train, end, seed):
        asked.append((settings.head.steps, n_train, end))
        return {"updates": settings.head.steps, "head_psnr": float(len(asked))}

    run = SimpleNamespace(folder=folder / "person-x")
    monkeypatch.setattr(budgets, "require", lambda *_, **__: run)
    monkeypatch.setattr(budgets.person_stage, "load", lambda _: person)
    monkeypatch.setattr(budgets, "learned", learned)
    budgets.main([*arguments, "--to", str(folder)])
    return asked, person


def test_budgets_are_chosen_on_frames_that_no_table_looks_at(monkeypatch, tmp_path):
    asked, person = recorded(monkeypatch, tmp_path, "minutes", "ada", "--numbers", "10,20")
    assert [steps for steps, _, _ in asked] == [10, 20]
    assert {(first, end) for _, first, end in asked} == {
        (int(0.9 * person.n_train), person.n_train)
    }


def test_a_number_out_of_range_is_refused_before_anything_is_made(tmp_path, capsys):
    assert budgets.main(["minutes", "demo", "--numbers", "0", "--out", str(tmp_path)]) == 2
    assert "'head.steps' must be a whole number of at least 1" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_row_tells_the_seconds_that_the_clip_has(monkeypatch, tmp_path):
    asked, person = recorded(monkeypatch, tmp_path, "seconds", "ada", "--numbers", "1000")
    assert asked[0][1] == person.n_train
    assert pd.read_csv(tmp_path / "few_seconds.csv")["seconds"].tolist() == [person.n_train / 25]


def test_rows_of_other_numbers_and_persons_are_kept(monkeypatch, tmp_path):
    recorded(monkeypatch, tmp_path, "minutes", "ada", "--numbers", "10")
    recorded(monkeypatch, tmp_path, "minutes", "ada", "bob", "--numbers", "10,20")
    table = pd.read_csv(tmp_path / "minutes.csv")
    assert list(zip(table["person"], table["updates"], strict=True)) == [
        ("ada", 10), ("ada", 20), ("bob", 10), ("bob", 20)
    ]  # fmt: skip
    facts = read_json(tmp_path / "minutes.json")
    assert facts["n"] == 4 and facts["run of bob"] == "person-x"
    command = "python -m notebooks.studies.budgets minutes ada"
    assert facts["commands of ada"] == [
        f"{command} --numbers 10 --profile cpu --seed 0",
        f"{command} bob --numbers 10,20 --profile cpu --seed 0",
    ]
