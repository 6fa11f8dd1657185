"""Live: what a stage shows while it works, and the plain form of it when nobody watches."""

import base64
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

Item = TypeVar("Item")
PNG_LIMIT = 50_000  # bytes above which a picture is stored as JPEG, so that notebooks stay small


@runtime_checkable
class Figure(Protocol):
    """A figure of matplotlib, which is loaded where one is drawn: it takes half a second."""

    def savefig(self, fname, **options) -> None:
        """Writes the picture to a file."""


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
    """One place of a live notebook whose figure is replaced by the next; elsewhere nothing."""

    def __init__(self):
        self._handle = None

    def show(self, fig: Figure) -> None:
        """Shows a matplotlib figure in place of the one before, and closes it."""
        import matplotlib.pyplot as plt

        if is_live() and shell() is not None:
            from IPython.display import display

            bundle = stored(fig)
            if self._handle is None:
                self._handle = display(bundle, raw=True, display_id=True)
            else:
                self._handle.update(bundle, raw=True)
        plt.close(fig)


def filmstrip(
    frames: Sequence[np.ndarray], captions: Sequence[str] = (), title: str = ""
) -> Figure:
    """A row of frames, (h, w, 3) each, as one matplotlib figure with a caption under each."""
    import matplotlib.pyplot as plt

    n = max(1, len(frames))
    fig, axes = plt.subplots(1, n, figsize=(1.7 * n, 2.1 if title else 1.9), dpi=80, squeeze=False)
    for k, axis in enumerate(axes[0]):
        axis.set_axis_off()
        if k < len(frames):
            axis.imshow(np.asarray(frames[k]))
        if k < len(captions):
            axis.set_title(captions[k], fontsize=7, y=-0.14)
    if title:
        fig.suptitle(title, fontsize=9)
    fig.subplots_adjust(left=0.01, right=0.99, bottom=0.08, top=0.9 if title else 0.98, wspace=0.03)
    return fig


def shell():
    """IPython's shell, None outside of it."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None


def stored(fig: Figure) -> dict[str, str]:
    """A figure as a notebook keeps it: mime type -> its bytes, base64."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", metadata={"Software": None})
    if buffer.tell() <= PNG_LIMIT:
        return {"image/png": base64.b64encode(buffer.getvalue()).decode()}
    buffer = io.BytesIO()
    fig.savefig(buffer, format="jpeg", pil_kwargs={"quality": 65})
    return {"image/jpeg": base64.b64encode(buffer.getvalue()).decode()}


def _line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
