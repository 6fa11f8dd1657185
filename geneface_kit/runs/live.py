"""Live: what a stage shows while it works, and the plain form of it when nobody watches."""

import base64
import io
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Item = TypeVar("Item")


def is_live() -> bool:
    """True in a notebook that a person has open, False under papermill, nbval and the shell."""
    return "JPY_SESSION_NAME" in os.environ and "GENEFACE_KIT_HEADLESS" not in os.environ


def progress(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Passes items on and shows how far along they are.

    Live or on a terminal: a bar. Elsewhere: whole lines at 0, 25, 50, 75 and 100 percent without
    timings, so that logs and notebook outputs are stable.
    """
    total = total or (len(items) if hasattr(items, "__len__") else 0)
    if is_live() or sys.stdout.isatty():
        from tqdm.auto import tqdm

        yield from tqdm(items, desc=label, total=total or None, leave=False)
        return
    shown = -1
    for count, item in enumerate(items):
        quarter = 4 * count // total if total else 0
        if quarter > shown:
            shown = quarter
            _line(f"{label}: {25 * quarter} %")
        yield item
    _line(f"{label}: 100 %")


class Screen:
    """One place of a live notebook whose picture is replaced by the next; elsewhere nothing."""

    def __init__(self):
        self._handle = None

    def show(self, picture: UInt8[np.ndarray, "h w 3"], caption: str) -> None:
        """Shows a picture, and what it is, in place of the one before."""
        if is_live() and shell() is not None:
            from IPython.display import display

            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, format="png")
            data = base64.b64encode(buffer.getvalue()).decode()
            source = f"<img alt='{caption}' src='data:image/png;base64,{data}'>"
            bundle = {"text/html": f"<p>{caption}</p>{source}"}
            if self._handle is None:
                self._handle = display(bundle, raw=True, display_id=True)
            else:
                self._handle.update(bundle, raw=True)


def shell():
    """IPython's shell, None outside of it."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None


def _line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
