"""Live: what a stage shows while it works, and the plain form of it when nobody watches."""

import base64
import io
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import typer
from PIL import Image

log = logging.getLogger(__name__)
Item = TypeVar("Item")
LONG_S = 120.0  # of work, from which it is said how long it will take (ours)


def is_live() -> bool:
    """True in a notebook that a person has open, False under papermill, nbval and the shell."""
    return "JPY_SESSION_NAME" in os.environ and "GENEFACE_KIT_HEADLESS" not in os.environ


def progress(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Passes items on and shows how far along they are.

    Live or on a terminal: a bar. Elsewhere: whole lines at 0, 25, 50, 75 and 100 percent without
    timings, so that logs and notebook outputs are stable. Of more than LONG_S of work all are told
    how long, by its first items.
    """
    total = total or (len(items) if hasattr(items, "__len__") else 0)
    items = _foretold(items, label, total)
    if is_live() or sys.stdout.isatty():
        from tqdm.auto import tqdm

        yield from tqdm(items, desc=label, total=total or None, leave=False)
        return
    shown = -1
    for count, item in enumerate(items):
        quarter = 4 * count // total if total else 0
        if quarter > shown:
            shown = quarter
            typer.echo(f"{label}: {25 * quarter} %")
        yield item
    typer.echo(f"{label}: 100 %")


def _foretold(items: Iterable[Item], label: str, total: int) -> Iterator[Item]:
    for count, item in enumerate(items):
        if count == 5:  # kernels are compiled by then
            begun = time.perf_counter()
        elif count == 25:
            left = (time.perf_counter() - begun) / 20 * (total - count)
            if left > LONG_S:
                log.info("%s: about %.0f min on this machine", label, left / 60)
        yield item


def html_image(picture: Image.Image, kind: str, text: str, width: int | str = "100%") -> str:
    """A picture inside its HTML tag. kind: "png" or "jpeg"; text: what it shows, in words."""
    small = io.BytesIO()
    picture.save(small, kind, quality=75, optimize=True)
    encoded = base64.b64encode(small.getvalue()).decode()
    return f'<img width="{width}" alt="{text}" src="data:image/{kind};base64,{encoded}">'
