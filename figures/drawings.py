"""Drawings: the data of a figure -> a matplotlib figure. No other input, no global state."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from geneface_kit_figures.colours import BLUE, GREEN, GREY, INK, PALE, RED, YELLOW
from geneface_kit_figures.faces import sketch
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

__all__ = [
    "domains_twin",
    "draw_bars",
    "draw_domains",
    "draw_mouth",
    "draw_pipeline",
]


def draw_pipeline(data: pd.DataFrame, title: str) -> Figure:
    """Boxes for stages, arrows from what they read to what they give."""
    figure = Figure(figsize=(8.4, 3.0))
    axis = figure.add_axes((0, 0, 1, 0.9))
    axis.set(xlim=(-0.75, 2.7), ylim=(-0.62, 1.62))
    axis.invert_yaxis()
    axis.set_axis_off()
    figure.suptitle(title, x=0.02, ha="left", fontsize=10, fontweight="bold")
    place = {row.stage: (row.column, row.row) for row in data.itertuples()}
    for row in data.itertuples():
        x, y = place[row.stage]
        for parent in str(row.parents or "").split():
            if place[parent][0] == x - 1 or len(row.parents.split()) <= 2:
                _arrow(axis, place[parent], (x, y))
        box = FancyBboxPatch(
            (x - 0.34, y - 0.32), 0.68, 0.64, boxstyle="round,pad=0,rounding_size=0.06"
        )
        box.set(facecolor="white", edgecolor=BLUE, linewidth=1.4, zorder=3)
        axis.add_patch(box)
        axis.text(x, y - 0.17, row.stage, ha="center", va="center", fontweight="bold", zorder=4)
        axis.text(x, y + 0.1, row.gives, ha="center", va="center", fontsize=8, zorder=4)
        if row.enters:
            side = -1 if x == 0 else 1
            start = (x + side * 0.6, y)
            axis.text(*start, row.enters, ha="center", va="center", fontsize=8, color=GREEN)
            _arrow(axis, (x + side * 0.46, y), (x + side * 0.34, y), boxes=False)
    return figure


def draw_mouth(data: pd.DataFrame, title: str) -> Figure:
    """Two mouth-opening curves over the envelope of the sound."""
    figure = Figure(figsize=(7.6, 2.8), layout="constrained")
    axis = figure.subplots()
    top = 1.15 * float(data[["adapted", "rendered"]].max().max())
    envelope = data["loudness"] / max(float(data["loudness"].max()), 1e-6) * top
    axis.fill_between(data["seconds"], envelope, color=PALE, label="sound (its own scale)")
    axis.plot(data["seconds"], data["adapted"], color=RED, lw=1, label="after adaptation")
    axis.plot(data["seconds"], data["rendered"], color=BLUE, label="as rendered")
    axis.set(xlabel="time (s)", ylabel="mouth opening\n(eye distances)", title=title)
    axis.set(xlim=(0, float(data["seconds"].iloc[-1])), ylim=(0, top))
    axis.legend(ncols=3, loc="upper right", fontsize=8)
    return figure


DOMAIN_COLOURS = {
    "corpus": GREEN,
    "person": BLUE,
    "without adaptation": RED,
    "with adaptation": YELLOW,
}


def draw_domains(data: pd.DataFrame, title: str) -> Figure:
    """The figure of the domains (GeneFace, fig. 3): one dot per frame, one colour per origin.

    A second panel shows the t-SNE when the data has one.
    """
    planes = [("x", "y")] + ([("u", "v")] if "u" in data else [])
    figure = Figure(figsize=(6.0 if len(planes) == 1 else 8.4, 4.2), layout="constrained")
    axes = figure.subplots(1, len(planes), squeeze=False)[0]
    for axis, (x, y) in zip(axes, planes, strict=True):
        for name, points in data.groupby("origin", sort=False):
            colour = DOMAIN_COLOURS.get(str(name), GREY)
            axis.scatter(points[x], points[y], s=7, color=colour, alpha=0.6, lw=0, label=name)
            if x == "x":
                centre = points[[x, y]].mean()
                axis.scatter(*centre, s=70, color=colour, edgecolor=INK, zorder=3)
    axes[0].set(xlabel="first component (eye distances)", ylabel="second component", title=title)
    axes[0].legend(fontsize=8, markerscale=2)
    if len(planes) == 2:
        axes[1].set(title="t-SNE: neighbours stay together", xticks=[], yticks=[])
    return figure


def domains_twin(
    data: pd.DataFrame, faces: Mapping[str, Float[np.ndarray, "_ 68 3"]] | None = None
) -> Any:
    """The same dots, planes and group means as a plotly figure; a click on a name hides its cloud.

    faces: the landmarks (or displacements) that `domains_data` was made of; a face stands beside
    every tenth part of a cloud or more, and shows itself under the mouse.
    """
    from plotly.subplots import make_subplots

    planes = [("x", "y")] + ([("u", "v")] if "u" in data else [])
    titles = ("", "t-SNE: neighbours stay together")
    twin = make_subplots(1, len(planes), subplot_titles=titles[: len(planes)])
    for column, (x, y) in enumerate(planes, 1):
        for name, points in data.groupby("origin", sort=False):
            colour = DOMAIN_COLOURS.get(str(name), GREY)
            own = {"legendgroup": name, "row": 1, "col": column}
            shown = _thinned(points)
            text = None if faces is None else _sketches(faces[str(name)], points, shown)
            hover = {"hovertemplate": "%{text}<extra>" + str(name) + "</extra>"} if text else {}
            twin.add_scatter(
                x=shown[x].round(3).tolist(), y=shown[y].round(3).tolist(), mode="markers",
                name=name, text=text, showlegend=column == 1, opacity=0.7,
                marker={"color": colour, "size": 5}, **hover, **own,
            )  # fmt: skip
            if x == "x":
                mean = points[[x, y]].mean().round(3).tolist()
                twin.add_scatter(
                    x=mean[:1], y=mean[1:], mode="markers", name=f"mean, {name}", showlegend=False,
                    marker={"color": colour, "size": 14, "line": {"color": INK, "width": 2}}, **own,
                )  # fmt: skip
    twin.update_xaxes(title="first component (eye distances)", row=1, col=1)
    twin.update_yaxes(title="second component (eye distances)", row=1, col=1)
    if len(planes) == 2:
        twin.update_xaxes(showticklabels=False, row=1, col=2)
        twin.update_yaxes(showticklabels=False, row=1, col=2)
    font = {"family": "DejaVu Sans Mono, monospace", "size": 13, "color": INK}
    twin.update_layout(hoverlabel={"font": font, "bgcolor": "white"})
    return twin


TWIN_DOTS = 100
"""Most dots of a cloud in the twin: each carries a face, and notebooks stay small."""


def _thinned(points: pd.DataFrame) -> pd.DataFrame:
    return points.iloc[:: -(-len(points) // TWIN_DOTS)]


def _sketches(
    faces: Float[np.ndarray, "_ 68 3"], points: pd.DataFrame, shown: pd.DataFrame
) -> list[str]:
    """The faces of some dots; the dots are frames evenly spaced, as `domains_data` takes them."""
    step = np.linspace(0, len(faces) - 1, len(points)).round().astype(int)
    return [sketch(faces[step[points.index.get_loc(row)]]) for row in shown.index]


def draw_bars(data: pd.DataFrame, title: str) -> Figure:
    """One panel per metric, one bar per person and protocol, the number at its end."""
    chosen = list(dict.fromkeys(data["metric"]))
    n = max(1, len(chosen))
    names = list(dict.fromkeys(data["person"] + "\n" + data["protocol"]))
    figure = Figure(figsize=(1.2 + 2.1 * n, 1.0 + 0.5 * max(1, len(names))), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    panels = figure.subplots(1, n, squeeze=False, sharey=True)[0]
    for axis, metric in zip(panels, chosen, strict=False):
        rows = data[data["metric"] == metric]
        places = [names.index(name) for name in rows["person"] + "\n" + rows["protocol"]]
        values = rows["value"].astype(float)
        axis.barh(places, values, color=BLUE, height=0.6)
        for place, value in zip(places, values, strict=True):
            axis.text(max(value, 0), place, f" {value:.3g}", va="center", fontsize=8)
        unit = rows["unit"].iloc[0]
        axis.set_title(f"{metric} ({unit})" if isinstance(unit, str) and unit else metric)
        axis.set_yticks(range(len(names)), names)
        axis.set(xlim=(min(0, 1.3 * values.min()), 1.3 * max(values.max(), 1e-6)))
        axis.set_ylim(len(names) - 0.4, -0.6)
    return figure


def _arrow(axis, start, end, *, boxes: bool = True) -> None:
    if boxes:
        (x0, y0), (x1, y1) = start, end
        if x0 == x1:
            start, end = (x0, y0 + np.sign(y1 - y0) * 0.32), (x1, y1 - np.sign(y1 - y0) * 0.32)
        else:
            start, end = (x0 + 0.34, y0 + 0.12 * (y1 - y0)), (x1 - 0.34, y1 - 0.12 * (y1 - y0))
    patch = FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=10, shrinkA=0, shrinkB=1)
    patch.set(color=GREY, linewidth=1.2, zorder=2)
    axis.add_patch(patch)
