"""Notebooks: executes them with typed parameters, and keeps what is committed tidy."""

import os
from collections.abc import Mapping
from pathlib import Path

from geneface_kit import runs
from geneface_kit.pipeline.settings import RENAMED, Value
from geneface_kit.runs import replacing

__all__ = ["TAGS", "execute", "folder", "names", "refresh", "tidy"]

TAGS = {
    "parameters",
    "nbval-check-output",
    "nbval-ignore-output",
    "nbval-skip",
    "hide-input",
    "interactive",
}
"""The only cell tags a notebook may carry."""
TIMEOUT_S = 7200
"""Seconds after which a cell is given up."""


def folder() -> Path:
    """Where the notebooks are."""
    return runs.root() / "notebooks"


def names() -> list[str]:
    """The notebooks in flow order, without their ending."""
    return sorted(path.stem for path in folder().glob("[0-9]*.ipynb"))


def execute(
    name: str, out: Path, parameters: Mapping[str, Value], *, timeout_s: int = 7200
) -> Path:
    """Runs a notebook with papermill into `out`.

    Raises: ValueError for an unknown notebook or parameter (papermill alone would only warn).
    """
    import papermill

    source = folder() / f"{name.removesuffix('.ipynb')}.ipynb"
    if not source.exists():
        raise ValueError(f"unknown notebook {name!r}: choose one of {', '.join(names())}")
    known = papermill.inspect_notebook(source)
    for parameter in parameters:
        if parameter not in known:
            hint = f"it has {', '.join(known)}"
            if parameter in RENAMED:
                hint = f"it is now {RENAMED[parameter]}"
            raise ValueError(f"{source.name} has no parameter {parameter!r}; {hint}")
    os.environ["GENEFACE_KIT_HEADLESS"] = "1"
    out.parent.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(
        source,
        out,
        parameters=parameters,
        cwd=source.parent,
        kernel_name="python3",
        progress_bar=False,
        execution_timeout=TIMEOUT_S,
    )
    return out


def refresh(chosen: list[str]) -> list[Path]:
    """Executes notebooks with their default parameters, in order, and stores the tidy result."""
    import nbformat

    written = []
    for name in chosen or names():
        source = folder() / f"{name.removesuffix('.ipynb')}.ipynb"
        with replacing(source) as partial:
            execute(name, partial, {})
            notebook = nbformat.read(partial, as_version=4)
            tidy(notebook)
            nbformat.write(notebook, partial)
        written.append(source)
    return written


def tidy(notebook: dict) -> bool:
    """Drops what changes from run to run; keeps outputs, counts and ids. True if it changed.

    notebook: as nbformat reads it. Removed: papermill and widget metadata, language version,
    per-cell timing, and what native libraries write to the error stream (the kit itself speaks on
    the other one). Execution counts become 1..n, neighbouring pieces of one stream one output.
    """
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    before, join = str(notebook), CoalesceStreamsPreprocessor()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
    }
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = {"tags": tags} if tags else {}
    for count, cell in enumerate(code, 1):
        cell.execution_count = count
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        join.preprocess_cell(cell, {}, count)
        for output in cell.outputs:
            output.update({"execution_count": count} if "execution_count" in output else {})
            output.update({"metadata": {}} if "metadata" in output else {})
    return str(notebook) != before
