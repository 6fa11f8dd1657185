"""Charts: small line and point drawings as SVG text, for the report's page."""

import html

import numpy as np
from jaxtyping import Float

__all__ = ["lines", "points"]

WIDTH, HEIGHT = 780, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 40
COLOURS = ("#1f6fb4", "#d9641e", "#2d8a4e")
MOST_POINTS = 600


def lines(
    x: Float[np.ndarray, " n"],
    series: dict[str, Float[np.ndarray, " n"]],
    *,
    x_label: str,
    y_label: str = "",
    marks: list[float] | None = None,
    bands: list[tuple[float, float]] | None = None,
) -> str:
    """Curves over x, named; marks: x of vertical lines; bands: x ranges that are shaded."""
    values = np.concatenate(list(series.values()))
    axes = _Axes(x, values)
    body = [
        f'<rect x="{axes.x(a):.1f}" y="{TOP}" width="{axes.x(b) - axes.x(a):.1f}" '
        f'height="{HEIGHT - TOP - BOTTOM}" fill="#cfe3f5"/>'
        for a, b in bands or []
    ]
    for curve, colour in zip(series.values(), COLOURS, strict=False):
        keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), 4 * MOST_POINTS)).astype(int))
        spots = zip(x[keep].tolist(), curve[keep].tolist(), strict=True)
        path = " ".join(f"{axes.x(a):.1f},{axes.y(b):.1f}" for a, b in spots)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.3"/>')
    body += [
        f'<line x1="{axes.x(mark):.1f}" x2="{axes.x(mark):.1f}" y1="{TOP}" '
        f'y2="{HEIGHT - BOTTOM}" stroke="#b3261e"/>'
        for mark in marks or []
    ]
    if len(series) > 1:
        body += [
            f'<text x="{WIDTH - RIGHT - 60 * (len(series) - k) + 10}" y="{TOP + 12}" '
            f'fill="{colour}">{html.escape(name)}</text>'
            for k, (name, colour) in enumerate(zip(series, COLOURS, strict=False))
        ]
    return axes.drawing(body, x_label, y_label or next(iter(series)))


def points(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    *,
    x_label: str,
    y_label: str,
) -> str:
    """A cloud of points; of a long clip, evenly chosen ones."""
    axes = _Axes(x, y)
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).astype(int))
    spots = zip(x[keep].tolist(), y[keep].tolist(), strict=True)
    body = [f'<circle cx="{axes.x(a):.0f}" cy="{axes.y(b):.0f}" r="2"/>' for a, b in spots]
    cloud = f'<g fill="{COLOURS[0]}" fill-opacity="0.45">{"".join(body)}</g>'
    return axes.drawing([cloud], x_label, y_label)


class _Axes:
    """Scales from values to the drawing's pixels, with round ticks."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x_low, self.x_high = _range(x, 0.0)
        self.y_low, self.y_high = _range(y, 0.06)

    def x(self, value: float) -> float:
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def drawing(self, body: list[str], x_label: str, y_label: str) -> str:
        ticks = []
        for value in _ticks(self.x_low, self.x_high, 9):
            ticks.append(
                f'<text x="{self.x(value):.1f}" y="{HEIGHT - BOTTOM + 15}" '
                f'text-anchor="middle">{value:g}</text>'
            )
        for value in _ticks(self.y_low, self.y_high, 4):
            at = self.y(value)
            ticks.append(
                f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" '
                'stroke="#e3e3e6"/>'
                f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>'
            )
        middle = (HEIGHT - BOTTOM + TOP) / 2
        labels = (
            f'<text x="{(WIDTH + LEFT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
            f"{html.escape(x_label)}</text>"
            f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">'
            f"{html.escape(y_label)}</text>"
        )
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" role="img" '
            'font-family="system-ui,sans-serif" font-size="12" fill="#55555c">'
            f"{''.join(ticks)}{''.join(body)}{labels}</svg>"
        )


def _range(values: np.ndarray, margin: float) -> tuple[float, float]:
    low, high = float(np.min(values)), float(np.max(values))
    spare = max(high - low, 1e-6) * margin + 1e-6
    return low - spare, high + spare


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers inside a range: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / most
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = np.ceil(low / step)
    return [round(float((first + k) * step), 9) for k in range(int((high / step) - first) + 1)]
