"""Looks: one held-out frame at times of a head's training -> watched live, kept for afterwards."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from geneface_kit.runs import live, replacing

__all__ = ["Look", "Looks", "load_looks"]

FILE = "head_looks.npz"
MOST = 8
"""Looks that are kept; of more, every second one is dropped, the newest never."""


@dataclass(frozen=True)
class Look:
    """A held-out frame as a head rendered it after `step` updates: picture (h, w, 3) over the
    plate, psnr in dB over the head's pixels."""

    step: int
    picture: UInt8[np.ndarray, "h w 3"]
    psnr: float


class Looks:
    """Keeps the looks of a training in its folder and shows each in a live notebook.

    A training that goes on after it was cut goes on here too. Call it with what `HeadTask.on_look`
    gives. truth: the frame itself, shown beside.
    """

    def __init__(self, folder: Path, truth: UInt8[np.ndarray, "h w 3"]):
        self.folder, self.truth, self.screen = folder, np.asarray(truth), live.Screen()

    def __call__(self, step: int, picture: UInt8[np.ndarray, "h w 3"], psnr: float) -> None:
        """Keeps and shows a look; later ones, of an attempt that was cut, are forgotten."""
        looks = [look for look in load_looks(self.folder) if look.step < step]
        looks.append(Look(step, picture, psnr))
        if len(looks) > MOST:
            looks = looks[::-1][::2][::-1]
        _save(self.folder / FILE, looks)
        if live.is_live():
            self.screen.show(self._figure(looks[-1]))

    def _figure(self, look: Look) -> Any:
        caption = f"{look.step} updates: {look.psnr:.1f} dB"
        return live.filmstrip([look.picture, self.truth], [caption, "the frame itself"])


def load_looks(folder: Path) -> list[Look]:
    """What a training's folder keeps; nothing for one that never looked."""
    path = folder / FILE
    if not path.exists():
        return []
    try:
        with np.load(path) as file:
            parts = [file[name] for name in ("steps", "pictures", "psnr")]
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it") from None
    return [
        Look(int(step), picture, float(psnr)) for step, picture, psnr in zip(*parts, strict=True)
    ]


def _save(path: Path, looks: list[Look]) -> None:
    with replacing(path) as partial:
        np.savez_compressed(
            partial,
            steps=np.array([look.step for look in looks]),
            pictures=np.stack([look.picture for look in looks]),
            psnr=np.array([look.psnr for look in looks], np.float32),
        )
