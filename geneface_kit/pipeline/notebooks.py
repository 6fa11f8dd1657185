"""Notebooks: executes them with typed parameters."""

import os
from collections.abc import Mapping
from pathlib import Path

from geneface_kit import runs
from geneface_kit.pipeline.settings import RENAMED, Value

TIMEOUT_S = 7200
"""Seconds after which a cell is given up."""


def folder() -> Path:
    """Where the notebooks are."""
    return runs.root() / "notebooks"


def execute(name: str, out: Path, parameters: Mapping[str, Value]) -> None:
    """Runs a notebook with papermill into `out`.

    Raises: ValueError for an unknown notebook or parameter (papermill alone would only warn).
    """
    import papermill

    source = folder() / f"{name.removesuffix('.ipynb')}.ipynb"
    if not source.exists():
        names = sorted(path.stem for path in folder().glob("[0-9]*.ipynb"))
        raise ValueError(f"unknown notebook {name!r}: choose one of {', '.join(names)}")
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
