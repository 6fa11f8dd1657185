"""Panel: the one live widget of the notebooks: a drawing function with controls, rays and sound.

The page is panel.js; here is what it shows. What the page asks for arrives in three ways: `chosen`
(the controls), `pixel` (a click) and the message "say" (a recording by name, or its samples). The
answers are `picture`, `points`, `ghost` and `ray`, and for a recording the message "film" with the
sound and the landmarks of all frames, then one message "picture" a frame. The page plays them by
the clock of the sound and waits where pictures are late: both are in step on any machine.
"""

import base64
import io
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from geneface_kit_figures.faces import LINES
from IPython.display import display
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

__all__ = ["Film", "Panel", "Picture", "Ray", "Scene", "Shot", "first", "shot_of"]

Picture = UInt8[np.ndarray, "h w 3"]
Points = Float[np.ndarray, "68 2"]
VIEW = "application/vnd.jupyter.widget-view+json"
QUALITY = 92  # of the JPEG files that go to the page
SIDE = 256  # pixels of a picture of landmarks alone
ALONE = """<style>
.jp-OutputArea-child:has(.gk-last):has(+ .jp-OutputArea-child .gk-panel) { display: none; }
.jp-OutputArea-child:has(.gk-last) + .jp-OutputArea-child > .jupyter-widgets:not(:has(*)) {
  display: none; }
</style>"""
"""Of a panel and its last picture one is seen: the panel while it lives, the picture in place of
"model not found" when the saved notebook is opened again."""


@dataclass(frozen=True)
class Shot:
    """What a panel shows at rest: a picture, landmarks over it, others in grey behind them.

    points, ghost: columns and rows as shares of the picture's side, from its upper left corner.
    """

    picture: Picture | None = None
    points: Points | None = None
    ghost: Points | None = None

    def image(self) -> Picture:
        """The picture alone; without one, the landmarks as lines on white."""
        if self.picture is not None:
            return self.picture
        image = Image.new("RGB", (SIDE, SIDE), "white")
        pen = ImageDraw.Draw(image)
        for points, colour in ((self.ghost, "#aaa"), (self.points, "black")):
            for part in LINES if points is not None else ():
                pen.line([tuple(SIDE * points[k]) for k in part], fill=colour, width=2)
        return np.asarray(image)


@dataclass(frozen=True)
class Film:
    """What a panel plays: sound at 16 kHz, landmarks and pictures at 25 a second, as in `Shot`.

    pictures: one a frame, made while they are played; None shows landmarks alone.
    """

    sound: Float[np.ndarray, " n"]
    points: Float[np.ndarray, "t 68 2"]
    ghost: Float[np.ndarray, "t 68 2"] | None = None
    pictures: Iterable[Picture] | None = None


@dataclass(frozen=True)
class Ray:
    """The samples along the ray of a pixel, from near to far.

    depth, step, range: eye distances from the camera, step between samples, the ends of what is
    drawn; weight: of each sample's colour in the pixel; colour: 0 to 1; opacity: their sum.
    """

    depth: Float[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"]
    colour: Float[np.ndarray, "n 3"]
    step: float
    range: tuple[float, float]
    opacity: float


@dataclass(frozen=True)
class Scene:
    """What a panel can show.

    draw: takes one keyword per entry of `values`, gives a picture or a `Shot`. values: name -> what
    can be chosen, numbers (a slider, its middle at first) or words (a list, its first); `yaw` and
    `pitch` also follow the mouse. ray: takes column and row as shares of the side, then the same
    keywords. say: takes sound at 16 kHz, then the same keywords. recordings: name -> sound.
    units: name -> unit of its numbers.
    """

    draw: Callable[..., Picture | Shot]
    values: Mapping[str, Sequence[object]]
    units: Mapping[str, str] = field(default_factory=dict)
    ray: Callable[..., Ray] | None = None
    say: Callable[..., Film] | None = None
    recordings: Mapping[str, Float[np.ndarray, " n"]] = field(default_factory=dict)


class Panel(anywidget.AnyWidget):
    """A scene in the page."""

    _esm = Path(__file__).with_name("panel.js")
    _css = Path(__file__).with_name("panel.css")
    controls = traitlets.List().tag(sync=True)
    chosen = traitlets.Dict().tag(sync=True)
    pixel = traitlets.List().tag(sync=True)
    picture = traitlets.Bytes().tag(sync=True)
    points = traitlets.List().tag(sync=True)
    ghost = traitlets.List().tag(sync=True)
    ray = traitlets.Dict().tag(sync=True)
    has_rays = traitlets.Bool().tag(sync=True)
    recordings = traitlets.List().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    def __init__(self, scene: Scene):
        self.scene, self._last = scene, None
        super().__init__(
            controls=[
                {"name": name, "options": _plain(options), "unit": scene.units.get(name, "")}
                for name, options in scene.values.items()
            ],
            chosen={name: first(options) for name, options in scene.values.items()},
            has_rays=scene.ray is not None,
            recordings=list(scene.recordings),
        )
        self.draw()
        self.observe(self._follow, names=["chosen", "pixel"])
        self.on_msg(self._hear)

    @property
    def values(self) -> dict[str, object]:
        """What is chosen now."""
        return {name: self.scene.values[name][at] for name, at in self.chosen.items()}

    def draw(self) -> None:
        """Draws what is chosen, and the ray of the chosen pixel."""
        start = time.perf_counter()
        shot = self.shot = shot_of(self.scene.draw(**self.values))
        took = 1000 * (time.perf_counter() - start)
        with self.hold_sync():
            self.picture = b"" if shot.picture is None else _jpeg(shot.picture)
            self.points, self.ghost = _flat(shot.points), _flat(shot.ghost)
            self.note = f"drawn in {took:.0f} ms"
            if self.pixel and self.scene.ray is not None:
                self.ray = _told(self.scene.ray(*self.pixel, **self.values))
        if self._last is not None:
            self._last.update(self._kept(), raw=True)

    def show(self) -> None:
        """Shows the panel, and keeps its last picture in the notebook."""
        self._last = display(self._kept(), raw=True, display_id=True)
        bundle = self._repr_mimebundle_()
        bundle = bundle[0] if isinstance(bundle, tuple) else bundle
        display({VIEW: bundle[VIEW]}, raw=True)  # with nothing for viewers without widgets

    def _kept(self) -> dict[str, str]:
        data = base64.b64encode(_jpeg(self.shot.image())).decode()
        image = f'<img alt="last picture" src="data:image/jpeg;base64,{data}">'
        return {"text/html": f'{ALONE}<div class="gk-last">{image}</div>', "text/plain": "picture"}

    def say(self, sound: Float[np.ndarray, " n"]) -> None:
        """Sends a recording, and the pictures of it one after the other, to be played."""
        if self.scene.say is None:
            return
        film = self.scene.say(np.asarray(sound, np.float32), **self.values)
        parts = [film.sound, film.points, np.zeros(0) if film.ghost is None else film.ghost]
        buffers = [np.ascontiguousarray(part, np.float32).tobytes() for part in parts]
        n_frames, start = len(film.points), time.perf_counter()
        about = {"do": "film", "n": n_frames, "is_drawn": film.pictures is not None}
        self.send(about, buffers=buffers)
        for picture in film.pictures or ():
            self.send({"do": "picture"}, buffers=[_jpeg(picture)])
        speed = n_frames / max(time.perf_counter() - start, 1e-6)
        drawn = f", drawn at {speed:.0f} frames a second" if film.pictures is not None else ""
        self.note = f"{n_frames / 25:.1f} s{drawn}"

    def _follow(self, change: object) -> None:
        self._told_plainly(self.draw)

    def _hear(self, widget: object, message: dict[str, Any], buffers: list[memoryview]) -> None:
        if message.get("do") == "say":
            name = message.get("recording")
            sound = (
                np.frombuffer(buffers[0], np.float32) if buffers else self.scene.recordings[name]
            )
            self._told_plainly(lambda: self.say(sound))

    def _told_plainly(self, work: Callable[[], None]) -> None:
        """The kit's errors are one sentence, for which the panel has a line."""
        try:
            work()
        except (ValueError, FileNotFoundError) as error:
            self.note = str(error)


def shot_of(drawn: Picture | Shot) -> Shot:
    """What a scene drew, as a shot."""
    return drawn if isinstance(drawn, Shot) else Shot(drawn)


def first(options: Sequence[object]) -> int:
    """What is chosen at first: the first of words, the middle one of numbers."""
    return 0 if isinstance(options[0], str) else len(options) // 2


def _plain(options: Sequence[object]) -> list[object]:
    """Numbers as JSON has them, rounded for the eye; everything else as words."""
    if all(isinstance(option, (int, float, np.number)) for option in options):
        return [round(float(option), 3) for option in options]
    return [str(option) for option in options]


def _flat(points: Points | None) -> list[float]:
    return [] if points is None else np.asarray(points, float).round(4).ravel().tolist()


def _jpeg(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="jpeg", quality=QUALITY)
    return buffer.getvalue()


def _told(ray: Ray) -> dict[str, object]:
    colours = (np.clip(ray.colour, 0, 1) * 255).round().astype(int).tolist()
    return {
        "depth": np.asarray(ray.depth, float).round(4).tolist(),
        "weight": np.asarray(ray.weight, float).round(5).tolist(),
        "colour": ["rgb({},{},{})".format(*colour) for colour in colours],
        "step": float(ray.step),
        "range": [float(end) for end in ray.range],
        "opacity": float(ray.opacity),
    }
