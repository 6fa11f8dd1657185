"""The notebooks as committed: tidy, small, tagged, with the common parameters."""

import re
from pathlib import Path

import nbformat
import pytest

from geneface_kit.pipeline import settings
from notebooks import execution
from notebooks.__main__ import main
from notebooks.execution import NAMES, tidy

FOLDER = Path(__file__).parents[2] / "notebooks"
TAGS = {
    "parameters",
    "nbval-check-output",
    "nbval-ignore-output",
    "nbval-skip",
    "hide-input",
    "interactive",
}
"""The only cell tags a notebook may carry."""
COMMON = ["profile", "person", "seed", "out", "overrides"]


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(name):
    return [cell for cell in read(name).cells if cell.cell_type == "code"]


def tagged(name, tag):
    return [cell for cell in read(name).cells if tag in cell.metadata.get("tags", [])]


def test_all_seven_are_there():
    assert [name[:2] for name in NAMES] == [f"0{k}" for k in range(7)]
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
class TestNotebook:
    def test_is_tidy_and_executed(self, name):
        notebook = read(name)
        assert not tidy(notebook), "run: python -m geneface_kit notebooks"
        assert any(cell.outputs for cell in code_cells(name))
        assert not any(
            output.output_type == "error" for cell in code_cells(name) for output in cell.outputs
        )

    def test_is_small(self, name):
        assert (FOLDER / f"{name}.ipynb").stat().st_size <= 400_000
        for cell in code_cells(name):
            for output in cell.outputs:
                assert len(str(output)) <= 130_000

    def test_uses_known_tags_and_slug_ids(self, name):
        for cell in read(name).cells:
            assert set(cell.metadata.get("tags", [])) <= TAGS
            assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", cell.id), cell.id

    def test_has_one_parameters_cell_of_typed_literals(self, name):
        (cell,) = tagged(name, "parameters")
        assert code_cells(name)[0].id == cell.id
        lines = [line for line in cell.source.splitlines() if line.strip()]
        pattern = r"(\w+): (str|int|float|bool|dict) = [^#=]+  # [^=]+"
        matches = [re.fullmatch(pattern, line) for line in lines]
        assert all(matches), cell.source
        parameters = [match[1] for match in matches if match]
        assert parameters[:5] == COMMON and len(parameters) <= 8

    def test_checks_something(self, name):
        cells = tagged(name, "nbval-check-output")
        assert 1 <= len(cells) <= 5
        assert all(cell.outputs for cell in cells)

    def test_cells_are_short(self, name):
        for cell in code_cells(name):
            assert len(cell.source.splitlines()) <= 25, cell.id
            assert not re.search(r"^class |^%|^!|sys\.path|os\.chdir", cell.source, re.M), cell.id

    def test_holds_no_machine_path(self, name):
        text = (FOLDER / f"{name}.ipynb").read_text()
        assert not re.search(r"/(home|root|work|Users|tmp)/", text)


def test_tidy_removes_timing_and_renumbers():
    notebook = nbformat.v4.new_notebook()
    cell = nbformat.v4.new_code_cell("1")
    cell.metadata["execution"] = {"start": "now"}
    cell.execution_count = 41
    cell.outputs = [nbformat.v4.new_output("stream", text=text) for text in ("a\n", "b\n")]
    notebook.cells = [cell]
    notebook.metadata["papermill"] = {"duration": 3}
    assert tidy(notebook)
    assert cell.execution_count == 1 and cell.metadata == {}
    assert [output.text for output in cell.outputs] == ["a\nb\n"]
    assert "papermill" not in notebook.metadata
    assert not tidy(notebook)


def test_an_unknown_parameter_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(ValueError, match="no parameter 'persn'"):
        execution.execute("00_prepare_person", tmp_path / "out.ipynb", {"persn": "obama"})
    assert list(tmp_path.iterdir()) == []


def test_an_old_parameter_is_refused_with_its_new_name(tmp_path, monkeypatch):
    monkeypatch.setitem(settings.RENAMED, "clip", "person")
    with pytest.raises(ValueError, match="no parameter 'clip'; it is now person"):
        execution.execute("00_prepare_person", tmp_path / "out.ipynb", {"clip": "obama"})


def test_a_refreshed_notebook_is_executed_and_tidy(tmp_path, monkeypatch, capsys):
    (tmp_path / "04_talk.ipynb").write_text("{}")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    notebook.metadata["papermill"] = {"duration": 3}
    monkeypatch.setattr(execution, "FOLDER", tmp_path)
    monkeypatch.setattr(
        execution, "execute", lambda name, out, parameters: nbformat.write(notebook, out)
    )
    assert main(["04_talk"]) == 0
    assert capsys.readouterr().out == "executed 04_talk.ipynb\n"
    kept = nbformat.read(tmp_path / "04_talk.ipynb", as_version=4)
    assert "papermill" not in kept.metadata and kept.cells[0].execution_count == 1
