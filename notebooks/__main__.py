"""The notebooks of this folder, executed with their default parameters and kept tidy.

python -m geneface_kit notebooks 04_talk
"""

import argparse
import sys
from pathlib import Path

import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

from geneface_kit.pipeline.commands import said
from geneface_kit.pipeline.notebooks import execute, folder
from geneface_kit.runs import replacing


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line and executes the notebooks named in it."""
    parser = argparse.ArgumentParser(prog="python -m geneface_kit notebooks", description=__doc__)
    parser.add_argument("names", nargs="*", help="default: all of them, in order")
    chosen = parser.parse_args(arguments)

    def work() -> None:
        for name in chosen.names or sorted(path.stem for path in folder().glob("[0-9]*.ipynb")):
            sys.stdout.write(f"executed {_refresh(name).name}\n")
            sys.stdout.flush()

    return said(work)


def _refresh(name: str) -> Path:
    """Executes a notebook with its default parameters and stores the tidy result."""
    source = folder() / f"{name.removesuffix('.ipynb')}.ipynb"
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


if __name__ == "__main__":
    sys.exit(main())
