"""Run page: a finished run -> one html page: settings, inputs, parents, numbers, figures, files.

The pages lie in a folder of their own beside the runs, since a run's folder holds its outputs only.
"""

import html
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from geneface_kit.runs import Run, replacing

__all__ = ["links", "write_page"]

FOLDER = "pages"  # beside the folders of the persons
STYLE = (
    "body{font:14px sans-serif;margin:2em auto;max-width:60em;padding:0 1em}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:2px 12px 2px 0}"
    "th{font-weight:normal;color:#666;vertical-align:top}img,video{max-width:24em}"
)
SHOWN = {".png": "<img src='{0}'>", ".jpg": "<img src='{0}'>", ".mp4": "<video controls src='{0}'>"}
"""Ending of an output -> how it is shown; all outputs are linked."""


def links(runs: Iterable[Run], start: Path | None = None) -> dict[str, str]:
    """Writes the pages of runs and of all that they came from: run id -> address of its page.

    start: the folder that addresses are relative to; that of the process if not given.
    """
    found: dict[str, str] = {}
    for run in runs:
        found |= links(run.parents.values(), start)
        found[run.id] = os.path.relpath(write_page(run), start or Path.cwd())
    return found


def write_page(run: Run) -> Path:
    """Writes the page of one run; returns its path, pages/ID.html in the folder of all runs."""
    path = run.folder.parents[1] / FOLDER / f"{run.id}.html"
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(_page(run, os.path.relpath(run.folder, path.parent)))
    return path


def _page(run: Run, folder: str) -> str:
    facts = run.facts
    about = {name: facts[name] for name in ("stage", "subject", "profile", "seed", "status")}
    about |= {"data": run.data_kind, "seconds": facts["wall_s"], **facts["machine"]}
    parents = {stage: _link(f"{one.id}.html", one.id) for stage, one in run.parents.items()}
    files = {name: _link(f"{folder}/{name}", name) for name in facts["outputs"]}
    files |= {"run.json": _link(f"{folder}/run.json", "run.json")}
    seen = [
        SHOWN[Path(name).suffix].format(html.escape(f"{folder}/{name}", quote=True))
        for name in facts["outputs"]
        if Path(name).suffix in SHOWN
    ]
    parts = {
        "What it is": _table(about),
        "Parents": _table(parents, raw=True),
        "Inputs, sha256": _table(facts["inputs"]),
        "Settings": _table(_flat(run.config)),
        "Numbers": _table(_flat(run.metrics)),
        "Figures": "".join(seen),
        "Files": "<br>".join(files.values()),
    }
    body = "".join(f"<h2>{title}</h2>{part}" for title, part in parts.items() if part)
    head = f"<meta charset='utf-8'><title>{html.escape(run.id)}</title><style>{STYLE}</style>"
    return f"<!doctype html>{head}<h1>{html.escape(run.id)}</h1>{body}\n"


def _flat(values: Mapping[str, object], before: str = "") -> dict[str, object]:
    """Nested settings under dotted names."""
    found: dict[str, object] = {}
    for name, value in values.items():
        deeper = isinstance(value, Mapping)
        found |= _flat(value, f"{before}{name}.") if deeper else {before + name: value}
    return found


def _table(values: Mapping[str, object], *, raw: bool = False) -> str:
    rows = [
        f"<tr><th>{html.escape(name)}</th><td>{value if raw else _said(value)}</td></tr>"
        for name, value in values.items()
    ]
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _said(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return html.escape(text if len(text) <= 200 else text[:197] + "...")


def _link(address: str, text: str) -> str:
    return f"<a href='{html.escape(address, quote=True)}'>{html.escape(text)}</a>"
