"""Live: what a notebook shows, live or executed: figures, panels, code, errors in one sentence."""

import ast
import base64
import contextlib
import inspect
import io
import logging
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from traceback import walk_tb
from typing import Any

import numpy as np
from geneface_kit_figures.panel import Panel, Picture, Scene, first, shot_of
from matplotlib.figure import Figure

from geneface_kit.pipeline.settings import RENAMED
from geneface_kit.runs.live import is_live
from geneface_kit.runs.ranges import meant

__all__ = [
    "check_answer", "expect", "explore", "filmstrip", "log_to_notebook", "show", "source", "video",
]  # fmt: skip

PNG_LIMIT = 40_000  # bytes above which a picture is stored as JPEG, so that notebooks stay small


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
            under = {"xycoords": "axes fraction", "textcoords": "offset points"}
            axis.annotate(
                captions[k], (0.5, 0), (0, -2), **under, fontsize=7, ha="center", va="top"
            )
    if title:
        fig.suptitle(title, fontsize=9)
    fig.subplots_adjust(left=0.01, right=0.99, bottom=0.08, top=0.9 if title else 0.98, wspace=0.03)
    return fig


def show(fig: Figure, twin: Any = None) -> None:
    """Shows a matplotlib figure once, as PNG (JPEG when large), and closes it.

    twin: a plotly figure of the same data, which takes the title over; JupyterLab shows it, other
    viewers the picture.
    """
    import matplotlib.pyplot as plt

    bundle = {"text/plain": _title(fig), **stored(fig)}
    plt.close(fig)
    if twin is not None:
        above = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
        twin.update_layout(template="none", title=bundle["text/plain"], legend=above)
        bundle["application/vnd.plotly.v1+json"] = twin.to_plotly_json()
    _publish(bundle)


def explore(scene: Scene | Callable[..., Picture], **values: Sequence[object]) -> None:
    """A panel of what a drawing function draws; without a viewer, a contact sheet of the same.

    scene: as `panel.Scene`; or a function that takes one keyword per entry of `values` and returns
    a picture (h, w, 3). values: name -> the values to choose from. The sheet walks through the
    first name and holds the others as they are at first.
    """
    if not isinstance(scene, Scene):
        scene = Scene(scene, values)
    if is_live():
        Panel(scene).show()
        return
    start = {name: options[first(options)] for name, options in scene.values.items()}
    name, options = next(iter(scene.values.items()))
    picks = [options[k] for k in np.linspace(0, len(options) - 1, min(5, len(options))).astype(int)]
    pictures = [shot_of(scene.draw(**{**start, name: pick})).image() for pick in picks]
    show(filmstrip(pictures, [f"{name} {pick}" for pick in picks]))


@contextlib.contextmanager
def expect(*errors: type[Exception]) -> Iterator[None]:
    """A deliberate failure: prints the error's sentence; raises if no error comes."""
    try:
        yield
    except errors as error:
        print(f"{type(error).__name__}: {error}")
        return
    raise AssertionError(f"expected {' or '.join(error.__name__ for error in errors)}")


def source(*things: Callable[..., object] | type) -> None:
    """Shows the code of functions or classes as the package holds it, so that it cannot drift."""
    code = "\n\n".join(textwrap.dedent(inspect.getsource(thing)).rstrip() for thing in things)
    _publish({"text/markdown": f"```python\n{code}\n```", "text/plain": "source code"})


def check_answer(answer: float | None, right: float, tolerance: float = 1e-3) -> None:
    """Says whether the answer of an exercise is right; None is no answer yet."""
    if answer is None:
        says = "no answer yet"
    elif abs(answer - right) <= tolerance * max(1.0, abs(right)):
        says = "right"
    else:
        says = f"not yet: {answer} is not it"
    print(says)


def video(path: Path | str) -> None:
    """Plays an mp4 in a live notebook; elsewhere names the file."""
    path = Path(path)
    if is_live():
        data = base64.b64encode(path.read_bytes()).decode()
        _publish({"text/html": f'<video controls src="data:video/mp4;base64,{data}"></video>'})
    else:
        print(f"video: {path.name}")


def log_to_notebook(level: int = logging.WARNING) -> None:
    """Sends the kit's log to the cell's output and shows the kit's errors as one sentence; refuses
    parameters that the notebook does not have."""
    logger = logging.getLogger("geneface_kit")
    logger.setLevel(level)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.handlers = [handler]
    logger.propagate = False
    if (found := shell()) is not None:
        found.set_custom_exc((ValueError, OSError, ModuleNotFoundError), _one_sentence)
    check_parameters()


def check_parameters() -> None:
    """Refuses parameters that the notebook does not have; papermill alone only warns of them.

    The first cell of a notebook says which there are, papermill's own cell which were given.
    Raises: ValueError, in one sentence.
    """
    cells = shell().user_ns.get("In", []) if shell() is not None else []
    given = [cell for cell in cells if cell.startswith("# Parameters\n")]
    known = _assigned(cells[1]) if given else []
    for name in [name for cell in given for name in _assigned(cell)]:
        if name not in known:
            hint = f"it is now {RENAMED[name]}" if name in RENAMED else f"it has {', '.join(known)}"
            raise ValueError(f"this notebook has no parameter {name!r}: {meant(name, known)}{hint}")


def _assigned(cell: str) -> list[str]:
    """The names that a cell of parameters assigns."""
    targets = [
        node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        for node in ast.parse(cell).body
        if isinstance(node, ast.AnnAssign | ast.Assign)
    ]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _one_sentence(own_shell, error_type, error, traceback, tb_offset=None):
    """The kit speaks in sentences; any other library's error keeps its traceback."""
    *_, (frame, _) = walk_tb(traceback)
    if str(frame.f_globals.get("__name__", "")).startswith("geneface_kit"):
        lines = [f"{error_type.__name__}: {error}"]
    else:
        lines = own_shell.InteractiveTB.structured_traceback(
            error_type, error, traceback, tb_offset
        )
    own_shell._showtraceback(error_type, error, lines)
    return lines


def stored(fig: Figure) -> dict[str, str]:
    """A figure as a notebook keeps it: mime type -> its bytes, base64."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", metadata={"Software": None})
    if buffer.tell() <= PNG_LIMIT:
        return {"image/png": base64.b64encode(buffer.getvalue()).decode()}
    buffer = io.BytesIO()
    fig.savefig(buffer, format="jpeg", pil_kwargs={"quality": 65})
    return {"image/jpeg": base64.b64encode(buffer.getvalue()).decode()}


def shell():
    """IPython's shell, None outside of it."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None


def _publish(bundle: dict[str, object]) -> None:
    if shell() is not None:
        from IPython.display import publish_display_data

        publish_display_data(bundle)


def _title(fig: Figure) -> str:
    titles = [fig.get_suptitle(), *(axis.get_title() for axis in fig.axes)]
    return next((title for title in titles if title), "figure")
