"""Notebooks: executes them with typed parameters, and keeps what is committed tidy."""

import os
from pathlib import Path
from typing import Any

from geneface_kit import runs
from geneface_kit.pipeline.settings import RENAMED
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


def folder() -> Path:
    """Where the notebooks are."""
    return runs.root() / "notebooks"


def names() -> list[str]:
    """The notebooks in flow order, without their ending."""
    return sorted(path.stem for path in folder().glob("[0-9]*.ipynb"))


def execute(name: str, out: Path, parameters: dict[str, Any], *, timeout_s: int = 7200) -> Path:
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
        execution_timeout=timeout_s,
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


def tidy(notebook: Any) -> bool:
    """Drops what changes from run to run; keeps outputs, counts and ids. True if it changed.

    Removed: papermill and widget metadata, language version, per-cell timing, and what native
    libraries write to the error stream (the kit itself speaks on the other one). Execution counts
    become 1..n and neighbouring pieces of one stream become one output.
    """
    before = str(notebook)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
    }
    count = 0
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        cell.outputs = _join_streams(cell.outputs)
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
            if "metadata" in output:
                output.metadata = {}
    return str(notebook) != before


def _join_streams(outputs: list[Any]) -> list[Any]:
    joined: list[Any] = []
    for output in outputs:
        if output.get("name") == "stderr":
            continue
        same = joined and output.output_type == joined[-1].output_type == "stream"
        if same and output.name == joined[-1].name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined
