"""Figures: csv and npz -> pictures. Reads and writes figures/: NAME.png, its data, NAME.json.

A drawing function sees nothing but the data file, so every picture can be redrawn and compared
without a GPU and without the runs it came from.
"""

import html
import inspect
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from geneface_kit_figures.colours import GREY, INK
from geneface_kit_figures.content import (
    ablations_data,
    bars_data,
    domain_groups,
    domains_data,
    filmstrip_data,
    mouth_data,
    pipeline_data,
    training_data,
)
from geneface_kit_figures.curves import (
    draw_ablations,
    draw_opening,
    draw_training,
    opening_twin,
    training_twin,
)
from geneface_kit_figures.drawings import (
    domains_twin,
    draw_bars,
    draw_domains,
    draw_mouth,
    draw_pipeline,
)
from geneface_kit_figures.faces import (
    draw_filmstrip,
    draw_filmstrips,
    draw_grid,
    draw_worst,
    sketch,
)
from geneface_kit_figures.lips import (
    filmstrips_data,
    grid_data,
    moments,
    opening_data,
    rendered_at,
    spoken_row,
    strip_row,
    true_row,
)
from geneface_kit_figures.records import wrong_records
from jaxtyping import UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from geneface_kit.runs import Run, replacing, root, write_json
from geneface_kit.runs.arrays import read_npz, write_npz
from geneface_kit.runs.files import read_json, readable

__all__ = [
    "DRAW",
    "ablations_data",
    "bars_data",
    "domain_groups",
    "domains_data",
    "domains_twin",
    "draw",
    "draw_ablations",
    "draw_bars",
    "draw_domains",
    "draw_filmstrip",
    "draw_filmstrips",
    "draw_grid",
    "draw_mouth",
    "draw_opening",
    "draw_pipeline",
    "draw_training",
    "draw_worst",
    "filmstrip_data",
    "filmstrips_data",
    "grid_data",
    "listing",
    "moments",
    "mouth_data",
    "names",
    "opening_data",
    "opening_twin",
    "pipeline_data",
    "pixels",
    "redraw",
    "rendered_at",
    "save",
    "save_filmstrips",
    "sketch",
    "spoken_row",
    "strip_row",
    "style",
    "training_data",
    "training_twin",
    "true_row",
]

log = logging.getLogger(__name__)

Data = pd.DataFrame | Mapping[str, np.ndarray]
"""What a figure is drawn from: a table (csv) or arrays (npz)."""
SCHEMA = 1
DPI = 120


def style() -> dict[str, object]:
    """Settings of matplotlib that every figure is drawn with (for `rc_context`)."""
    return mpl.rcParamsDefault.copy() | {
        "figure.dpi": DPI,
        "savefig.dpi": DPI,
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "legend.frameon": False,
        "lines.linewidth": 1.4,
    }


def save(
    folder: Path,
    name: str,
    kind: str,
    data: Data,
    *,
    title: str,
    sources: list[Run],
) -> Figure:
    """Writes a figure's data, facts and picture under one name; returns the figure.

    sources: the runs that the data came from, besides those that a column `runs` of the data
    names. All must be finished; if one is of synthetic data, the title says so.
    """
    for run in sources:
        if run.status != "ok":
            raise ValueError(f"figure {name}: run {run.id} is {run.status}, only ok runs are drawn")
    folder.mkdir(parents=True, exist_ok=True)
    ids, kinds = [run.id for run in sources], {run.data_kind for run in sources}
    if isinstance(data, pd.DataFrame) and "runs" in data:
        ids += " ".join(data["runs"]).split()
        kinds |= set(data["data_kind"])
    facts = {
        "schema": SCHEMA,
        "kind": kind,
        "title": title,
        "synthetic": "synthetic" in kinds,
        "runs": list(dict.fromkeys(ids)),
        "profiles": sorted({run.profile for run in sources}),
    }
    for stale in (folder / f"{name}.csv", folder / f"{name}.npz"):
        stale.unlink(missing_ok=True)
    _write_data(folder, name, data)
    write_json(folder / f"{name}.json", facts)
    figure = draw(folder, name)
    _write_png(folder / f"{name}.png", figure)
    return figure


def save_filmstrips(folder: Path, name: str, talks: list[Run], *, title: str) -> Figure:
    """Saves strips of several talks, of any persons and recordings, under each other.

    Each row is named by its person and its recording. Frames are chosen by `moments`.
    """
    rows = {}
    for talked in talks:
        recording = next(iter(talked.facts["inputs"]), "text")
        rows[f"{Path(talked.subject).stem} · {recording}"] = strip_row(talked)
    data = filmstrips_data(rows)
    return save(folder, name, "filmstrips", data, title=title, sources=talks)


def draw(folder: Path, name: str) -> Figure:
    """The figure of a name, drawn from its data file alone."""
    layout = {"kind": str, "title": str, "synthetic": bool, "runs": list}
    facts = read_json(folder / f"{name}.json", **layout)
    if facts["kind"] not in DRAW:
        raise ValueError(f"{name}.json has kind {facts['kind']!r}, known are {', '.join(DRAW)}")
    title = facts["title"] + (" · synthetic person" if facts["synthetic"] else "")
    with mpl.rc_context(style()):
        data = _read_data(folder, name)
        with readable(folder / name):  # a column is missing, or holds no numbers
            figure = DRAW[facts["kind"]](data, title)
        FigureCanvasAgg(figure).draw()
    return figure


def names(folder: Path) -> list[str]:
    """The figures of a folder that can be redrawn; other facts have no kind."""
    return sorted(path.stem for path in folder.glob("*.json") if "kind" in read_json(path))


def redraw(folder: Path | None = None, *, check: bool = False) -> int:
    """Draws every figure of a folder anew from its data; the number of pictures that changed.

    folder: default figures/ of the project. check: compare with the stored pictures instead of
    writing, and recorded tables with the records of their runs. Pictures count as equal when fewer
    than 1 % of their values differ by more than 24 of 255 (letters move a little between font
    libraries).
    """
    folder = folder or root() / "figures"
    wrong = wrong_records(folder) if check else []
    for sentence in wrong:
        log.error("figures: %s", sentence)
    n_changed = len(wrong)
    for name in names(folder):
        figure = draw(folder, name)
        path = folder / f"{name}.png"
        if path.exists() and _same_picture(pixels(figure), path):
            continue
        n_changed += 1
        if check:
            log.error(
                "figures/%s.png is not what its data gives: run figures without --check", name
            )
        else:
            _write_png(path, figure)
            log.info("figures/%s.png drawn", name)
    return n_changed if check else 0


DRAW = {
    "pipeline": draw_pipeline,
    "mouth": draw_mouth,
    "filmstrip": draw_filmstrip,
    "domains": draw_domains,
    "training": draw_training,
    "bars": draw_bars,
    "filmstrips": draw_filmstrips,
    "grid": draw_grid,
    "worst": draw_worst,
    "opening": draw_opening,
    "ablations": draw_ablations,
}
"""Kind of figure -> the function that draws its data."""


def listing(folder: Path) -> str:
    """The figures of a folder as an html table: each with its data, its facts, the function that
    draws it and the runs it came from."""
    rows = []
    for name in names(folder):
        facts = json.loads((folder / f"{name}.json").read_text())
        drawn = DRAW[facts["kind"]]
        code = Path(inspect.getsourcefile(drawn))
        files = [path for path in sorted(folder.glob(f"{name}.*")) if path.suffix != ".part"]
        cells = [
            html.escape(facts["title"]),
            ", ".join(_anchor(path, path.suffix[1:]) for path in files),
            _anchor(code, f"{drawn.__name__}, line {inspect.getsourcelines(drawn)[1]}"),
            html.escape(" ".join(facts["runs"])) or "-",
        ]
        rows.append("".join(f"<td style='text-align: left'>{cell}</td>" for cell in cells))
    head = "<th>figure</th><th>picture, data, facts</th><th>drawn by</th><th>runs</th>"
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _anchor(path: Path, text: str) -> str:
    where = html.escape(os.path.relpath(path.resolve()), quote=True)
    return f"<a href='{where}'>{html.escape(text)}</a>"


def pixels(figure: Figure) -> UInt8[np.ndarray, "h w 3"]:
    """A figure as a picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _same_picture(drawn: UInt8[np.ndarray, "h w 3"], path: Path) -> bool:
    from PIL import Image

    with readable(path), Image.open(path) as picture:
        if picture.size != drawn.shape[1::-1]:
            return False
        stored = np.asarray(picture.convert("RGB"))
    return float((np.abs(stored.astype(int) - drawn) > 24).mean()) < 0.01


def _write_png(path: Path, figure: Figure) -> None:
    from PIL import Image

    with replacing(path) as partial:
        Image.fromarray(pixels(figure)).save(partial, format="png", optimize=True)


def _write_data(folder: Path, name: str, data: Data) -> None:
    if isinstance(data, pd.DataFrame):
        with replacing(folder / f"{name}.csv") as partial:
            data.to_csv(partial, index=False)
    else:
        write_npz(folder / f"{name}.npz", **data)


def _read_data(folder: Path, name: str) -> Data:
    table = folder / f"{name}.csv"
    if table.exists():
        with readable(table):
            return pd.read_csv(table, keep_default_na=False)
    return read_npz(folder / f"{name}.npz")
