"""Faces: data with pictures in it -> a matplotlib figure: strips over their sound, and the grid."""

import itertools
from collections.abc import Callable, Mapping

import numpy as np
from geneface_kit_figures.colours import BLUE, GREEN, GREY, INK, RED, YELLOW
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from geneface_kit.person.artefact import Person
from geneface_kit.person.segmentation import BACKGROUND, HEAD

__all__ = [
    "LINES",
    "SHAPE_COLOURS",
    "draw_filmstrip",
    "draw_filmstrips",
    "draw_grid",
    "draw_worst",
    "gt_image",
    "head_image",
    "sketch",
]

SHAPE_COLOURS = {"m b p": RED, "f v": YELLOW, "o u w": GREEN, "a": BLUE}
"""Shape of the lips (phonemes.SHAPES) -> its colour."""
SHAPE_NAMES = {
    "m b p": "m b p\nlips closed",
    "f v": "f v\nlip on teeth",
    "o u w": "o u w\nrounded",
    "a": "a\nopen",
}
PARTS = ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36), (36, 42), (42, 48), (48, 60), (60, 68))
CLOSED = (36, 42, 48, 60)  # parts whose line returns to its first point
LINES = [[*range(a, b), *([a] if a in CLOSED else [])] for a, b in PARTS]
"""Points of each line of a face: jaw, brows, nose, eyes, lips."""
BRAILLE = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # dots of a sign, row by row


def sketch(landmarks: Float[np.ndarray, "68 _"], columns: int = 14, rows: int = 7) -> str:
    """A face in Braille signs (Unicode 2800 to 28FF), lines joined by <br>: a picture of letters,
    which every viewer of a notebook shows, without a kernel."""
    flat = landmarks[:, :2] * (1, -1)
    flat = (flat - flat.min(axis=0)) / np.ptp(flat, axis=0)
    share = np.linspace(0, 1, 4 * rows)[:, None]  # as many points as rows of dots: no gaps
    signs = np.full((rows, columns), 0x2800)
    for line in LINES:
        for start, end in itertools.pairwise(line):
            between = (1 - share) * flat[start] + share * flat[end]
            for x, y in (between * (2 * columns - 1, 4 * rows - 1)).round().astype(int):
                signs[y // 4, x // 2] |= BRAILLE[y % 4][x % 2]
    return "<br>".join("".join(map(chr, row)) for row in signs)


def draw_filmstrip(data: Mapping[str, np.ndarray], title: str) -> Figure:
    """A row of rendered frames over the envelope of the sound; ticks mark their times."""
    stills, at = data["stills"], data["still_frames"] / 25
    n = len(stills)
    figure = Figure(figsize=(1.15 * n, 2.15))
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    for k, still in enumerate(stills):
        axis = figure.add_axes((k / n + 0.002, 0.31, 1 / n - 0.004, 0.57))
        axis.imshow(still)
        axis.set_axis_off()
    axis = figure.add_axes((0.5 / n, 0.14, 1 - 1 / n, 0.15))
    seconds = np.arange(len(data["loudness"])) / 25
    axis.fill_between(seconds, data["loudness"], color=GREY, lw=0)
    axis.vlines(at, 0, float(data["loudness"].max()) or 1, color=BLUE, lw=1)
    axis.set(xlim=(0, max(float(seconds[-1]), 0.04)), yticks=[])
    axis.set_xticks(at, [f"{time:.2f} s" for time in at], fontsize=7)
    axis.spines["left"].set_visible(False)
    return figure


def draw_filmstrips(data: Mapping[str, np.ndarray], title: str) -> Figure:
    """Strips of several persons and recordings: pictures at what is heard, over the sound.

    Over each picture its sound and time, in the colour of the shape that the lips should have;
    under them the envelope, with a tick for every sound of that kind and a line to the picture.
    """
    labels = data["labels"].tolist()
    height = 2.45
    width = 1.2 * max(len(data[f"{row}/frames"]) for row in range(len(labels)))
    figure = Figure(figsize=(max(width, 6.0), 0.42 + height * len(labels)))
    inches_x, inches_y = figure.get_size_inches()
    place = 1 - 0.1 / inches_y
    figure.suptitle(title, x=0.01, y=place, ha="left", va="top", fontsize=10, fontweight="bold")
    for number, label in enumerate(labels):
        row = {key.partition("/")[2]: data[key] for key in data if key.startswith(f"{number}/")}
        bottom = (len(labels) - 1 - number) * height
        figure.text(0.01, (bottom + height - 0.06) / inches_y, label, va="top", fontsize=9)
        n, side = len(row["pictures"]), 1.2
        for k in range(n):
            axis = figure.add_axes(
                (
                    side * k / inches_x,
                    (bottom + 0.85) / inches_y,
                    0.98 * side / inches_x,
                    1.16 / inches_y,
                )
            )
            axis.imshow(row["pictures"][k])
            axis.set_axis_off()
            shape, at = str(row["shapes"][k]), row["frames"][k] / 25
            text = {"fontsize": 7, "pad": 2, "color": SHAPE_COLOURS[shape], "loc": "center"}
            axis.set_title(f"{shape} · {at:.2f} s", **text)
        axis = figure.add_axes(
            (0.1 / inches_x, (bottom + 0.3) / inches_y, (inches_x - 0.2) / inches_x, 0.5 / inches_y)
        )
        _sound(axis, row)
    return figure


def draw_grid(data: Mapping[str, np.ndarray], title: str) -> Figure:
    """Methods down, shapes of the lips across: what each method shows at the same moments."""
    figure, places = _rows_of_pictures(data["pictures"], data["methods"], title, top=0.95)
    for column, shape in enumerate(data["shapes"].tolist()):
        time, sure = data["frames"][column] / 25, data["probabilities"][column]
        text = f"{SHAPE_NAMES[shape]}\n{time:.2f} s, p = {sure:.2f}"
        how = {"ha": "center", "va": "bottom", "fontsize": 7.5, "color": SHAPE_COLOURS[shape]}
        figure.text(*places(0, column), text, **how)
    return figure


def draw_worst(data: Mapping[str, np.ndarray], title: str) -> Figure:
    """Persons down, their worst frames across, the worst first, with what each has in dB."""
    how = {"top": 0.35, "line": 0.16}
    figure, places = _rows_of_pictures(data["pictures"], data["names"], title, **how)
    for (row, column), psnr in np.ndenumerate(data["psnr"]):
        text = f"{psnr:.1f} dB · frame {data['frames'][row, column]}"
        how = {"ha": "center", "va": "bottom", "fontsize": 6.5, "color": INK}
        figure.text(*places(row, column), text, **how)
    return figure


def _rows_of_pictures(
    pictures: UInt8[np.ndarray, "n k h w 3"],
    names: np.ndarray,
    title: str,
    *,
    top: float,
    line: float = 0.0,
) -> tuple[Figure, Callable[[int, int], tuple[float, float]]]:
    """Named rows of pictures, and where a text stands over a picture of a row and column. top,
    line: inches above all rows, and above each."""
    n_rows, n_columns = pictures.shape[:2]
    left, side = 1.15, 1.25
    figure = Figure(figsize=(left + side * max(n_columns, 3), top + (side + line) * n_rows))
    x, y = figure.get_size_inches()
    figure.suptitle(title, x=0.01, y=1 - 0.1 / y, ha="left", va="top", fontsize=10)
    figure.texts[0].set_fontweight("bold")
    bottoms = [(n_rows - 1 - row) * (side + line) for row in range(n_rows)]
    for row, bottom in enumerate(bottoms):
        middle = (bottom + side / 2) / y
        figure.text(0.02, middle, str(names[row]), va="center", fontsize=8, color=INK)
        for column in range(n_columns):
            at = (left + side * column) / x
            axis = figure.add_axes((at, bottom / y, 0.98 * side / x, 0.98 * side / y))
            axis.imshow(pictures[row, column])
            axis.set_axis_off()

    def place(row: int, column: int) -> tuple[float, float]:
        return (left + side * (column + 0.5)) / x, (bottoms[row] + side + 0.02) / y

    return figure, place


def _sound(axis, row: Mapping[str, np.ndarray]) -> None:
    loudness = row["loudness"]
    seconds, top = np.arange(len(loudness)) / 25, float(loudness.max()) or 1.0
    axis.fill_between(seconds, loudness, color=GREY, alpha=0.5, lw=0)
    for shape, colour in SHAPE_COLOURS.items():
        heard = row["mark_frames"][row["mark_shapes"] == shape] / 25
        axis.vlines(heard, 1.05 * top, 1.3 * top, color=colour, lw=1.2)
        shown = row["frames"][row["shapes"] == shape] / 25
        axis.vlines(shown, 0, 1.3 * top, color=colour, lw=0.9)
    axis.set(xlim=(0, max(float(seconds[-1]), 0.04)), ylim=(0, 1.3 * top), yticks=[])
    axis.tick_params(labelsize=7, pad=1, length=2)
    axis.spines["left"].set_visible(False)


def gt_image(who: Person, index: int) -> UInt8[np.ndarray, "h w 3"]:
    """A person's frame with its background replaced by the still background."""
    behind = who.labels[index] == BACKGROUND
    return np.where(behind[..., None], who.background, who.frames[index])


def head_image(who: Person, index: int) -> UInt8[np.ndarray, "h w 3"]:
    """The head's pixels of a person's frame on the background."""
    head = who.labels[index] == HEAD
    return np.where(head[..., None], who.frames[index], who.background)
