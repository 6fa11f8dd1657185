"""Curves: tables of numbers -> a matplotlib figure, and where it helps its plotly twin."""

import textwrap
from typing import Any

import pandas as pd
from geneface_kit_figures.colours import BLUE, GREEN, GREY, INK, PALE, RED
from matplotlib.figure import Figure

__all__ = ["draw_ablations", "draw_opening", "draw_training", "opening_twin", "training_twin"]

CURVES = {
    "tracked": ("tracked (true)", INK),
    "kit": ("by this kit", BLUE),
    "ridge": ("ridge regression", RED),
    "mean": ("mean face", GREY),
}
"""Column of the mouth openings -> its name and colour."""


def draw_training(data: pd.DataFrame, title: str) -> Figure:
    """One panel per trained network, up to six measures, each as a share of its largest value."""
    panels = list(data.groupby("part", sort=False))
    n = max(1, len(panels))
    figure = Figure(figsize=(2.9 * n, 3.4), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    for axis, (part, rows) in zip(figure.subplots(1, n, squeeze=False)[0], panels, strict=False):
        measures = sorted(dict.fromkeys(rows["measure"]), key=lambda name: name != "score")
        for measure in measures[:6]:
            curve = rows[rows["measure"] == measure]
            top = max(float(curve["value"].abs().max()), 1e-12)
            axis.plot(curve["step"], curve["value"] / top, lw=1.1, label=f"{measure} ({top:.2g})")
        axis.set_title(part)
        axis.set(xlabel="step", ylim=(min(0, axis.get_ylim()[0]), 1.05))
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.22), "ncols": 2}
        axis.legend(fontsize=6, title="measure (its largest)", title_fontsize=6, **below)
    return figure


def training_twin(data: pd.DataFrame) -> Any:
    """Every curve as a plotly figure, in its own units, thinned to 50 steps."""
    import plotly.graph_objects as go

    twin = go.Figure()
    for (part, measure), curve in data.groupby(["part", "measure"], sort=False):
        curve = curve.iloc[:: -(-len(curve) // 50)].round(5)
        name = f"{part}: {measure}"
        twin.add_scatter(x=curve["step"].tolist(), y=curve["value"].tolist(), name=name)
    twin.update_xaxes(title="update")
    return twin.update_yaxes(title="value, in the measure's own unit", type="log")


def draw_opening(data: pd.DataFrame, title: str) -> Figure:
    """Mouth openings over time: the tracked one, predictions, and the face that never moves.

    Each prediction's correlation with the tracked curve and its share of the tracked spread stand
    in the legend, over held-out frames where there are any; these are shaded.
    """
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    axis = figure.subplots()
    held = data[data["held_out"] == 1]
    scored = held if len(held) > 2 else data
    if len(held):
        edges = float(held["seconds"].iloc[0]), float(held["seconds"].iloc[-1]) + 0.04
        axis.axvspan(*edges, color=PALE, lw=0, label="held out")
    for column, (name, colour) in CURVES.items():
        if column in data:
            width = 1.0 if column in ("ridge", "mean") else 1.5
            label = name + _agreement(scored, column)
            axis.plot(data["seconds"], data[column], color=colour, lw=width, label=label)
    axis.set(xlabel="time (s)", ylabel="mouth opening\n(eye distances)", title=title)
    axis.set(xlim=(0, float(data["seconds"].iloc[-1])))
    axis.set_ylim(top=1.45 * float(data[[c for c in CURVES if c in data]].max().max()))
    axis.legend(ncols=3, loc="upper left", fontsize=7)
    return figure


def opening_twin(data: pd.DataFrame) -> Any:
    """The same curves, agreements and held-out part as a plotly figure."""
    import plotly.graph_objects as go

    twin = go.Figure()
    held = data[data["held_out"] == 1]
    scored = held if len(held) > 2 else data
    if len(held):
        edges = {"x0": float(held["seconds"].iloc[0]), "x1": float(held["seconds"].iloc[-1]) + 0.04}
        twin.add_vrect(**edges, fillcolor=PALE, line_width=0, layer="below")
        twin.add_annotation(x=edges["x0"], y=1, yref="paper", text="held out", showarrow=False)
    for column, (name, colour) in CURVES.items():
        if column in data:
            y, label = data[column].round(3).tolist(), name + _agreement(scored, column)
            twin.add_scatter(x0=0, dx=0.04, y=y, name=label, line={"color": colour})
    twin.update_xaxes(title="time (s)")
    return twin.update_yaxes(title="mouth opening (eye distances)")


def draw_ablations(data: pd.DataFrame, title: str) -> Figure:
    """One panel per metric, one bar per method: its mean over seeds, a dot per seed.

    An empty table, or a metric that no row measures, is drawn as what it is: not measured.
    """
    metrics, methods = (list(dict.fromkeys(data[name])) for name in ("metric", "method"))
    n, tall = max(1, len(metrics)), max(2, len(methods))
    figure = Figure(figsize=(2.2 + 2.0 * n, 0.9 + 0.3 * tall), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    panels = figure.subplots(1, n, squeeze=False, sharey=True)[0]
    if not metrics:
        panels[0].text(0.5, 0.5, "not measured", ha="center", va="center", color=INK, fontsize=12)
        panels[0].set_axis_off()
        return figure
    for axis, metric in zip(panels, metrics, strict=True):
        rows = data[data["metric"] == metric]
        values = pd.to_numeric(rows["value"], errors="coerce")
        for place, method in enumerate(methods):
            found = values[(rows["method"] == method) & values.notna()]
            if not len(found):
                axis.text(0, place, " not measured", va="center", fontsize=7, color=GREY)
                continue
            mean = float(found.mean())
            axis.barh(place, mean, color=GREEN if place == 0 else BLUE, height=0.6)
            axis.plot(found, [place] * len(found), ".", color=INK, ms=3)
            text = f" {mean:.3g}" if len(found) == 1 else f" {mean:.3g} ({len(found)} seeds)"
            axis.text(max(float(found.max()), 0), place, text, va="center", fontsize=7)
        unit = str(rows["unit"].iloc[0])
        told = f"{metric} ({unit})" if unit not in ("", "nan") else metric
        axis.set_title(textwrap.fill(told, 22))
        axis.set_yticks(range(len(methods)), methods)
        axis.set(xlim=(min(0, 1.3 * values.min()), 1.5 * max(float(values.max()), 1e-6)))
        axis.set_ylim(len(methods) - 0.4, -0.6)
    return figure


def _agreement(data: pd.DataFrame, column: str) -> str:
    """Correlation with the tracked opening and share of its spread, in words for the legend."""
    if column == "tracked" or data["tracked"].std() == 0:
        return ""
    share = data[column].std() / data["tracked"].std()
    if data[column].std() == 0:
        return f": spread {share:.2f}"
    return f": r {data[column].corr(data['tracked']):.2f}, spread {share:.2f}"
