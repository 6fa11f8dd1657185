"""Crate: what was exported can be checked, and every change is found."""

import json
import re
import zipfile

import acting
import numpy as np
import pytest
from geneface_kit_figures.tables import read_table

from geneface_kit import runs
from geneface_kit.evaluation import scores, tables
from geneface_kit.evaluation.stage import held_out
from geneface_kit.person.landmarks import Mesh
from geneface_kit.runs.record import SCHEMA, named_run
from notebooks.studies.crates import crate
from notebooks.studies.crates.__main__ import main

SIZE = acting.SIZE


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A project whose evaluation of a pretend person is finished."""
    monkeypatch.setenv("GENEFACE_KIT_ROOT", str(tmp_path))
    monkeypatch.setattr(crate.person_stage, "load", lambda folder: acting.person(folder))
    monkeypatch.setattr(scores.landmarks, "detect", detect)
    monkeypatch.setenv("GENEFACE_KIT_NETWORKS", str(tmp_path / "none"))
    a_run(tmp_path, "person", {"tracks.npz": b"tracks", "person.json": b'{"name": "pretend"}'})
    evaluation = a_run(tmp_path, "evaluation", {}, parents=("person",))
    write_evaluation(evaluation)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "05.ipynb").write_text("{}")
    (tmp_path / "figures").mkdir()
    for name, ids in (("ours", ["evaluation-pretend"]), ("foreign", ["other"])):
        (tmp_path / "figures" / f"{name}.json").write_text(json.dumps({"runs": ids}))
        (tmp_path / "figures" / f"{name}.csv").write_text("a,b")
    (tmp_path / "LICENSE").write_text("licence")
    return tmp_path


def detect(frames):
    place = frames.mean(axis=(1, 2, 3), dtype=np.float32)[:, None, None]
    points = np.random.default_rng(0).normal(size=(len(frames), 68, 3)).astype(np.float32) + place
    return Mesh(points, np.ones(len(frames), bool), np.zeros(len(frames), np.float32))


def a_run(root, stage, files, parents=()):
    folder = root / "runs" / "pretend" / f"{stage}-smoke-1"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    facts = {"schema": SCHEMA, "id": f"{stage}-pretend", "stage": stage, "subject": "pretend"}
    facts |= {"profile": "smoke", "seed": 0, "status": "ok", "data_kind": "synthetic"}
    facts |= {"config": {"evaluation": {"n_frames": 3}}, "metrics": {}}
    facts["parents"] = {name: f"pretend/{name}-smoke-1" for name in parents}
    facts["outputs"] = {name: runs.sha256(folder / name) for name in files}
    runs.write_json(folder / "run.json", facts)
    return runs.open_run(folder)


def write_evaluation(run):
    """Stored frames and the table that follows from them."""
    person = acting.person(run.parents["person"].folder)
    chosen = held_out(person, 3)
    rows = []
    for protocol in ("landmark-driven", "self-driven"):
        frames = np.clip(person.frames[chosen].astype(int) + 9, 0, 255).astype(np.uint8)
        np.save(run.folder / f"{protocol.replace('-', '_')}.npy", frames)
        found = scores.score_pictures(person, chosen, frames)
        place = {"table": "a", "protocol": protocol, "method": "full", "n_frames": 3}
        rows += tables.rows_of(run, found, **place)
    tables.write_table(run.folder / "table_a.csv", rows)
    files = ("landmark_driven.npy", "self_driven.npy", "table_a.csv")
    run.facts["outputs"] = {name: runs.sha256(run.folder / name) for name in files}
    run.facts["parents"] = {"person": "pretend/person-smoke-1"}
    run.save()


def exported(home, name="out.zip"):
    return crate.export(named_run("evaluation-pretend"), home / name)


def test_a_crate_holds_the_run_its_upstream_and_its_figures(home):
    with zipfile.ZipFile(exported(home)) as archive:
        names = set(archive.namelist())
        listing = json.loads(archive.read("checksums.json"))["sha256"]
        graph = json.loads(archive.read("ro-crate-metadata.json"))["@graph"]
    assert "runs/pretend/person-smoke-1/tracks.npz" in names
    assert "runs/pretend/evaluation-smoke-1/table_a.csv" in names
    assert {"figures/ours.csv", "notebooks/05.ipynb", "LICENSE"} <= names
    assert not any("foreign" in name for name in names)
    assert set(listing) == names - {"checksums.json", "ro-crate-metadata.json"}
    files = {entity["@id"]: entity for entity in graph if entity["@type"] == "File"}
    assert all(files[place]["sha256"] == digest for place, digest in listing.items())
    assert [path.name for path in home.glob(".*.part")] == []


def test_an_untouched_crate_is_as_exported_as_zip_and_as_folder(home):
    found = crate.verify(exported(home))
    assert found.wrong == []
    assert found.not_recomputed == [
        "figures/ours.csv: drawn, not recomputed",
        "frames of landmark-driven: not rendered anew",
        "frames of self-driven: not rendered anew",
    ]
    assert crate.verify(exported(home, "folder")).wrong == []


def test_changed_missing_and_added_files_are_found(home):
    folder = exported(home, "folder")
    (folder / "LICENSE").write_text("another licence")
    (folder / "notebooks" / "05.ipynb").unlink()
    (folder / "extra.txt").write_text("extra")
    assert crate.verify(folder).wrong == [
        "notebooks/05.ipynb is missing",
        "LICENSE was changed",
        "extra.txt does not belong here",
    ]


def test_an_executed_notebook_travels_with_its_run(home):
    """It is none of the run's outputs, and yet no byte of it may change."""
    run = named_run("evaluation-pretend")
    (run.folder / "05_evaluation_tables.ipynb").write_text('{"cells": []}')
    folder = exported(home, "folder")
    kept = folder / "runs" / "pretend" / "evaluation-smoke-1" / "05_evaluation_tables.ipynb"
    assert crate.verify(folder).wrong == [] and kept.read_text() == '{"cells": []}'
    kept.write_text("{}")
    assert crate.verify(folder).wrong == [
        "runs/pretend/evaluation-smoke-1/05_evaluation_tables.ipynb was changed"
    ]


def test_a_table_that_its_frames_do_not_give_is_found(home):
    """Somebody writes a better number and renews every checksum: the frames still tell."""
    run = named_run("evaluation-pretend")
    table = run.folder / "table_a.csv"
    right = read_table(table)
    right.loc[right["metric"] == "PSNR head", "value"] = "41.5"
    right.to_csv(table, index=False)
    run.facts["outputs"]["table_a.csv"] = runs.sha256(table)
    run.save()
    wrong = crate.verify(exported(home)).wrong
    assert len(wrong) == 2 and all("PSNR head" in sentence for sentence in wrong)


@pytest.mark.parametrize(
    ("metric", "found"), [("FID", []), ("LMD", ["table A"])], ids=["network", "no network"]
)
def test_only_a_missing_network_excuses_a_number(home, monkeypatch, caplog, metric, found):
    """The crate's maker had what the checker lacks: a network, or a detector that finds faces."""
    run = named_run("evaluation-pretend")
    table = run.folder / "table_a.csv"
    stored = read_table(table)
    stored.loc[stored["metric"] == metric, ["value", "reason"]] = ["12.5", ""]
    stored.to_csv(table, index=False)
    run.facts["outputs"]["table_a.csv"] = runs.sha256(table)
    run.save()
    wrong = crate.verify(exported(home)).wrong
    assert len(wrong) == 2 * len(found) and all("not as in table A" in line for line in wrong)
    assert ("FID is not checked" in caplog.text) == (metric == "FID")


def test_a_network_that_only_the_checker_has_is_no_difference(home, monkeypatch):
    out = exported(home)
    monkeypatch.setattr(scores.perceptual, "fid", lambda *_: 12.5)
    assert crate.verify(out).wrong == []
    monkeypatch.setattr(scores.formulas, "ssim", lambda *_, mask=None: 0.5)
    assert len(crate.verify(out).wrong) == 4  # SSIM and SSIM head of two protocols


def test_a_table_whose_frames_are_forged_too_is_found_where_the_weights_are(home, monkeypatch):
    """Who stores true frames as rendered ones, and the right table of them, is told by the weights;
    without them nobody can tell, and it is said."""
    out = exported(home)
    person = acting.person(home / "runs" / "pretend" / "person-smoke-1")
    frames = person.frames[held_out(person, 3)]
    rendered = np.clip(frames.astype(int) + 9, 0, 255).astype(np.uint8)
    for anew, wrong in ((rendered, []), (frames, ["landmark_driven.npy is not what the weights"])):
        monkeypatch.setattr(
            crate, "_rendered_anew", lambda run, anew=anew: {"landmark-driven": (anew, {})}
        )
        found = crate.verify(out)
        assert [line[:42] for line in found.wrong] == [line[:42] for line in wrong]
        assert "frames of self-driven: not rendered anew" in found.not_recomputed
        assert "frames of landmark-driven: not rendered anew" not in found.not_recomputed


def test_a_table_without_its_frames_is_called_not_recomputed(home):
    run = named_run("evaluation-pretend")
    (run.folder / "self_driven.npy").unlink()
    del run.facts["outputs"]["self_driven.npy"]
    run.save()
    found = crate.verify(exported(home))
    assert found.wrong == []
    assert "self-driven PSNR head of table A: not recomputed" in found.not_recomputed
    assert "landmark-driven PSNR head of table A: not recomputed" not in found.not_recomputed


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("../evil.txt", {}, "'../evil.txt' has a path that is not safe"),
        ("/evil.txt", {}, "'/evil.txt' has a path that is not safe"),
        ("C:evil.txt", {}, "'C:evil.txt' has a path that is not safe"),
        ("a/" * 9 + "evil.txt", {}, "has a path that is not safe"),
        ("a\nb", {}, r"'a\\nb' has a path that is not safe"),
        ("link", {"external_attr": 0o120777 << 16}, "'link' is a link or a device"),
        ("a", {"flag_bits": 1}, "'a' is encrypted"),
        ("a", {"compress_type": zipfile.ZIP_LZMA}, "'a' is packed by method 14"),
        ("a", {"file_size": 2**60}, "its members take .* more than there is room for"),
        ("LICENSE", {}, "two members have one name"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_harmful_zip_is_not_unpacked(home, monkeypatch, name, changes, said):
    monkeypatch.setattr(zipfile.ZipFile, "extractall", lambda *_: pytest.fail("it was unpacked"))
    out = exported(home)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(name, "evil")
        for field, value in changes.items():
            setattr(archive.infolist()[-1], field, value)
    found = crate.verify(out)
    assert any(re.search(said, line) for line in found.wrong), found.wrong


def test_a_listing_that_points_outside_is_refused(home):
    folder = exported(home, "folder")
    listing = json.loads((folder / "checksums.json").read_text())
    listing["sha256"]["../secret.txt"] = "0"
    (folder / "checksums.json").write_text(json.dumps(listing))
    assert crate.verify(folder).wrong == ["'../secret.txt' has a path that is not safe"]
    (folder / "LICENSE").unlink()
    (folder / "LICENSE").symlink_to(home / "LICENSE")
    assert "LICENSE is a link" in crate.verify(folder).wrong


def test_unfinished_runs_existing_files_and_unknown_names_are_refused(home):
    run = named_run(str(home / "runs" / "pretend" / "person-smoke-1"))
    (home / "there.zip").write_bytes(b"")
    with pytest.raises(FileExistsError, match="there already"):
        crate.export(run, home / "there.zip")
    run.facts["status"] = "interrupted"
    with pytest.raises(ValueError, match="only finished runs"):
        crate.export(run, home / "new.zip")
    with pytest.raises(FileNotFoundError, match="no run 'nothing'"):
        named_run("nothing")
    assert crate.verify(home / "there.zip").wrong == ["there.zip is no readable zip file"]
    assert crate.verify(home / "notebooks").wrong == [
        "checksums.json is missing: this is no crate of geneface_kit"
    ]


def test_the_commands_export_and_verify(home, capsys):
    out = home / "c.zip"
    assert main(["export", "evaluation-pretend", str(out)]) == 0
    assert main(["verify", str(out)]) == 0
    assert "all as it was exported" in capsys.readouterr().out
    out.write_bytes(b"broken")
    assert main(["verify", str(out)]) == 1
