"""Execution: a notebook of this folder with typed parameters -> the executed one, kept tidy.

python -m notebooks.execution NAME PARAMETERS.json TARGET: one notebook of the workflow, kept with
its run. Loads nothing of the stages: they live in the notebook's own process.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
import papermill
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

from geneface_kit.runs import replacing
from geneface_kit.runs.ranges import one_of

Parameter = bool | int | float | str

FOLDER = Path(__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("[0-9]*.ipynb"))
"""The notebooks in flow order."""
TIMEOUT_S = 7200
"""Seconds after which a cell is given up."""


def source_of(name: str) -> Path:
    """The file of a notebook, named with or without its ending.

    Raises: ValueError for an unknown one.
    """
    return FOLDER / f"{one_of('notebook', name.removesuffix('.ipynb'), NAMES)}.ipynb"


def execute(name: str, out: Path, parameters: Mapping[str, Parameter]) -> None:
    """Runs a notebook with papermill into `out`.

    Raises: ValueError for an unknown notebook or parameter (papermill alone would only warn).
    """
    source = source_of(name)
    known = papermill.inspect_notebook(source)
    for parameter in parameters:
        if parameter not in known:
            from geneface_kit.pipeline.settings import RENAMED

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


def keep(notebook: str, parameters: Mapping[str, Parameter], target: Path) -> None:
    """Executes a notebook and puts it, complete or not at all, where it is kept.

    target: in the folder of the run that the notebook finds or makes.
    """
    target.parent.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent.parent / f".{target.parent.name}-{target.stem}.part.ipynb"
    try:
        execute(notebook, partial, dict(parameters))
        content = json.loads(partial.read_text())
        record = content["metadata"]["papermill"]
        record["input_path"], record["output_path"] = f"{notebook}.ipynb", target.name
        if not (target.parent / "run.json").is_file():
            raise FileNotFoundError(
                f"{notebook} made no run {target.parent.name}: it was planned with other settings"
            )
        with replacing(target) as whole:
            whole.write_text(json.dumps(content, indent=1))
    finally:
        partial.unlink(missing_ok=True)


def refresh(name: str) -> Path:
    """Executes a notebook with its default parameters and stores the tidy result in its place."""
    source = source_of(name)
    with replacing(source) as partial:
        execute(name, partial, {})
        notebook = nbformat.read(partial, as_version=4)
        tidy(notebook)
        nbformat.write(notebook, partial)
    return source


def tidy(notebook: dict) -> bool:
    """Drops what changes from run to run; keeps outputs, counts and ids. True if it changed.

    notebook: as nbformat reads it. Removed: papermill and widget metadata, language version,
    per-cell timing, and what native libraries write to the error stream (the kit itself speaks on
    the other one). Execution counts become 1..n, neighbouring pieces of one stream one output.
    """
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


if __name__ == "__main__":  # what the Snakefile calls
    name, values, place = sys.argv[1:]
    keep(name, json.loads(values), Path(place))
