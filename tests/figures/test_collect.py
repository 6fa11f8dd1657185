"""Tables of several persons: rows of runs that go together, unchanged."""

from pathlib import Path

import pandas as pd
import pytest
from acting import a_row, a_run
from geneface_kit_figures import __main__ as command_line
from geneface_kit_figures.__main__ import main
from geneface_kit_figures.collect import collect
from geneface_kit_figures.records import wrong_records
from geneface_kit_figures.tables import read_table

from geneface_kit import runs
from geneface_kit.evaluation import tables
from geneface_kit.runs.files import sha256


def chain(home: Path, subject: str, method: str = "full", **changes) -> runs.Run:
    """A finished evaluation of a person with its upstream runs and one-row tables."""
    facts = {"subject": subject, "profile": "cpu", "data_kind": "real"} | changes
    facts |= {"config": {"evaluation": {"n_frames": 44, "recordings": "voice.wav", "cross_s": 9.0}}}
    parents = {}
    for stage in ("person", "motion", "adaptation", "nerf"):
        whose = {"subject": "speakers"} if stage == "motion" else {}
        facts_of = facts | whose | {"id": f"{stage}-{subject}"}
        parents[stage] = a_run(home / subject / stage, stage, **facts_of)
    facts |= {"id": f"evaluation-{subject}-{facts.get('seed', 0)}"}
    run = a_run(home / facts["id"], parents=parents, **facts)
    for name in "abd":
        ids = " ".join([*(one.id for one in parents.values()), run.id])
        row = a_row(table=name, person=subject, runs=ids, seed=run.seed)
        row |= {"method": method, "profile": run.profile, "data_kind": run.data_kind}
        tables.write_table(run.folder / f"table_{name}.csv", [row])
        run.facts["outputs"] |= {f"table_{name}.csv": sha256(run.folder / f"table_{name}.csv")}
    run.facts["sizes"] = {name: (run.folder / name).stat().st_size for name in run.facts["outputs"]}
    return run


def test_persons_stand_in_one_table_with_their_runs(tmp_path):
    evaluations = [chain(tmp_path, name) for name in ("obama", "lieu")]
    evaluations.append(chain(tmp_path / "other", "lieu", "by speech"))
    written = collect(evaluations, tmp_path / "figures")
    tables_of = [f"table_{name}.{end}" for name in "abd" for end in ("csv", "html", "tex")]
    assert sorted(path.name for path in written) == ["heads.csv", *tables_of]
    heads = pd.read_csv(tmp_path / "figures" / "heads.csv")
    assert heads[["person", "seed", "run"]].values.tolist() == [
        ["obama", 0, "nerf-obama"],
        ["lieu", 0, "nerf-lieu"],
    ]
    table = read_table(tmp_path / "figures" / "table_a.csv")
    assert table["person"].tolist() == ["obama", "lieu", "lieu"]
    assert table["method"].tolist() == ["full", "full", "by speech"]
    last = [ids.split()[-1] for ids in table["runs"]]
    assert last == ["evaluation-obama-0"] + 2 * ["evaluation-lieu-0"]
    html = (tmp_path / "figures" / "table_a.html").read_text()
    assert "(real data)" in html and "lieu, self-driven" in html


def test_a_table_that_is_not_what_its_runs_say_is_found(tmp_path):
    collect([chain(tmp_path, "obama")], tmp_path / "out")
    assert wrong_records(tmp_path / "out") == []
    heads = tmp_path / "out" / "heads.csv"
    said = heads.read_text()
    heads.write_text(said.replace("obama", "lieu"))
    assert wrong_records(tmp_path / "out") == ["heads.csv is not what the records of its runs say"]
    heads.write_text(said)
    table = tmp_path / "out" / "table_b.csv"
    table.write_text(table.read_text().replace("30.25", "31.25"))
    (tmp_path / "out" / "runs" / "nerf-obama" / "run.json").unlink()
    told = tmp_path / "out" / "runs" / "evaluation-obama-0" / "table_a.csv"
    told.write_text(told.read_text() + "\n")
    assert wrong_records(tmp_path / "out") == [
        "table_a.csv names nerf-obama, of which there is no record",
        "table_b.csv is not what evaluation-obama-0 says",
        "table_b.csv names nerf-obama, of which there is no record",
        "table_d.csv names nerf-obama, of which there is no record",
        "runs/evaluation-obama-0/table_a.csv is not what the run wrote",
    ]


def test_files_of_synthetic_or_smoke_runs_say_so_in_their_names(tmp_path):
    kinds = {
        "synthetic_smoke_": {"data_kind": "synthetic", "profile": "smoke"},
        "smoke_": {"profile": "smoke"},
        "synthetic_": {"data_kind": "synthetic"},
    }
    for before, changes in kinds.items():
        run = chain(tmp_path / before, "demo", **changes)
        names = {path.name for path in collect([run], tmp_path / "out")}
        tables_of = {f"table_{name}.{end}" for name in "abd" for end in ("csv", "html", "tex")}
        assert names == {f"{before}{name}" for name in tables_of | {"heads.csv"}}
    assert not list((tmp_path / "out").glob("table_*"))


def test_runs_that_do_not_go_together_are_refused(tmp_path):
    obama = chain(tmp_path, "obama")
    others = {
        "is synthetic and evaluation-obama-0 is real": {"data_kind": "synthetic"},
        "is smoke and evaluation-obama-0 is cpu": {"profile": "smoke"},
    }
    for number, (complaint, changes) in enumerate(others.items()):
        other = chain(tmp_path / str(number), "lieu", **changes)
        with pytest.raises(ValueError, match=complaint):
            collect([obama, other], tmp_path / "figures")
    unfinished = runs.Run(obama.folder, obama.facts | {"status": "failed"}, obama.parents)
    with pytest.raises(ValueError, match="is failed: only finished runs"):
        collect([unfinished], tmp_path / "figures")
    with pytest.raises(ValueError, match="is a run of talk"):
        collect([obama, a_run(tmp_path / "talk", "talk")], tmp_path / "figures")
    with pytest.raises(ValueError, match="two runs of obama, full, with seed 0"):
        collect([obama, obama], tmp_path / "figures")
    with pytest.raises(ValueError, match="no runs were given"):
        collect([], tmp_path / "figures")
    lieu = chain(tmp_path, "lieu")
    lieu.config["evaluation"] = lieu.config["evaluation"] | {"n_frames": 12}
    with pytest.raises(ValueError, match="evaluation.n_frames 12 .* 44: score all with the same"):
        collect([obama, lieu], tmp_path / "figures")
    assert not (tmp_path / "figures").exists(), "nothing is written by halves"


def test_the_command_writes_tables_of_named_runs(tmp_path, monkeypatch, capsys):
    run = chain(tmp_path, "obama")
    monkeypatch.setattr(command_line, "named_run", lambda name, out: {run.id: run}[name])
    assert main(["tables", run.id, "--to", str(tmp_path / "out")]) == 0
    assert "written: table_d.tex" in capsys.readouterr().out
    lone = a_run(tmp_path / "nerf", "nerf")
    monkeypatch.setattr(command_line, "named_run", lambda name, out: lone)
    assert main(["tables", "nerf-pretend", "--to", str(tmp_path / "out")]) == 2
    assert "is a run of nerf" in capsys.readouterr().err
