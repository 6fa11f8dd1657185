"""Head border: what training head and torso together does to the border between them.

`python -m notebooks.studies.head_border PERSON... [--out FOLDER] [--to FOLDER]` makes the nerf
stage of each person and looks at held-out frames as its avatar shows them, and as it did before
head and torso learned together. Writes head_border.csv and head_border.png: a row a person, the
worst frame of the finished avatar: true, apart, together.
"""

import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
import typer
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from geneface_kit.metrics.formulas import psnr_of_error
from geneface_kit.nerf import stage as nerf_stage
from geneface_kit.nerf.avatar import Avatar
from geneface_kit.nerf.dataset import RayDataset
from geneface_kit.nerf.held_out import border_band
from geneface_kit.person import stage as person_stage
from geneface_kit.pipeline import options as given
from geneface_kit.pipeline.options import CommandLine
from geneface_kit.pipeline.require import require
from geneface_kit.runs import root
from notebooks import commands

__all__ = ["border_quality", "main", "rows_of"]

WAYS = {"apart": False, "together": True}
N_FRAMES = 24  # held-out frames of each person that are looked at
Pictures = Sequence[UInt8[np.ndarray, "h w 3"]]


def border_quality(
    rendered: Pictures, truth: Pictures, bands: Sequence[Bool[np.ndarray, "h w"]]
) -> dict[str, float]:
    """Rendered frames against true ones. frame_psnr, border_psnr: dB, of all pixels and of the
    bands; energy: of the gradient in the bands, over the true frames', 1 where edges are as sharp;
    error: energy of the gradient's difference over the same, 0 where edges agree."""
    squared, of_band, energies = [], [], np.zeros(3)
    for picture, true, band in zip(rendered, truth, bands, strict=True):
        error = ((picture.astype(np.float64) - true) ** 2).mean(-1) / 255**2
        squared.append(error)
        of_band.append(error[band])
        ours, theirs = (_gradient(one)[band] for one in (picture, true))
        energies += [(one**2).sum() for one in (ours, theirs, ours - theirs)]
    return {
        "frame_psnr": psnr_of_error(float(np.mean(squared))),
        "border_psnr": psnr_of_error(float(np.concatenate(of_band).mean())),
        "energy": float(energies[0] / energies[1]),
        "error": float(energies[2] / energies[1]),
    }


@torch.no_grad()
def rows_of(
    name: str, dataset: RayDataset, avatars: dict[str, Avatar], n_frames: int = N_FRAMES
) -> tuple[list[dict[str, float | int | str]], UInt8[np.ndarray, "h w3 3"]]:
    """The table's rows of one person, and the worst frame of the last avatar beside the others:
    the one with the largest error in its band."""
    person, frames = dataset.person, dataset.held_out(n_frames)
    truth = [np.asarray(person.frames[frame]) for frame in frames]
    bands = [border_band(np.asarray(person.labels[frame])) for frame in frames]
    rows, pictures = [], {}
    for way, avatar in avatars.items():
        track = dataset.track(avatar.driven_by)
        how = {"only": frames, "torso_shifts": avatar.torso_shifts}
        pictures[way] = list(avatar.render(track, person.poses, **how))
        quality = border_quality(pictures[way], truth, bands)
        rows.append({"person": name, "way": way, "n_frames": len(frames)} | quality)
    last = pictures[list(avatars)[-1]]
    each = [
        border_quality(*([one] for one in trio)) for trio in zip(last, truth, bands, strict=True)
    ]
    worst = int(np.argmin([quality["border_psnr"] for quality in each]))
    return rows, np.concatenate([truth[worst], *(shown[worst] for shown in pictures.values())], 1)


def head_border(
    persons: commands.Persons,
    profile: given.Profile = "auto",
    overrides: given.Overrides = "",
    out: given.Out = "",
    to: commands.To = None,
) -> None:
    """Make the heads of persons and write a table and a strip of their borders."""
    to = to or root() / "figures"
    rows, strips = [], []
    for name in persons:
        run = require("nerf", name, profile=profile, overrides=overrides, out=out)
        person = person_stage.load(run.parents["person"].folder)
        avatars = {
            way: nerf_stage.load(run.folder, person, together=together)
            for way, together in WAYS.items()
        }
        of_person, strip = rows_of(name, RayDataset(person), avatars)
        rows += of_person
        strips.append(strip)
    table = pd.DataFrame(rows).round(3)
    width = max(strip.shape[1] for strip in strips)
    strips = [
        np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=255)
        for strip in strips
    ]
    table.to_csv(to / "head_border.csv", index=False)
    Image.fromarray(np.concatenate(strips)).save(to / "head_border.png")
    typer.echo(table.to_string(index=False))


def _gradient(picture: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 2"]:
    return np.stack(np.gradient(picture.mean(-1) / 255), -1)


main = CommandLine(head_border)

if __name__ == "__main__":
    sys.exit(main())
