"""Head border: what training head and torso together does to the border between them.

`python -m notebooks.studies.head_border PERSON... [--out FOLDER] [--to FOLDER]` makes the nerf
stage of each person and looks at held-out frames as its avatar shows them, and as it did before
head and torso learned together. Writes head_border.csv and draws border_frames.png with its data:
the worst frame of each finished avatar, apart and together. True frames enter no figure.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import geneface_kit_figures as figures
import numpy as np
import pandas as pd
import torch
import typer
from jaxtyping import Bool, Float, UInt8

from geneface_kit.metrics.formulas import psnr_of_error
from geneface_kit.nerf import stage as nerf_stage
from geneface_kit.nerf.avatar import Avatar
from geneface_kit.nerf.dataset import RayDataset
from geneface_kit.nerf.held_out import border_band
from geneface_kit.person import stage as person_stage
from geneface_kit.person.segmentation import HEAD
from geneface_kit.pipeline import options as given
from geneface_kit.pipeline.options import CommandLine
from geneface_kit.pipeline.require import require
from geneface_kit.runs import root
from notebooks import commands

__all__ = ["border_quality", "main", "rows_of"]

WAYS = {"apart": False, "together": True}
N_FRAMES = 24  # held-out frames of each person that are looked at
SIZE = 192  # edge of a picture in the figure, pixels
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
) -> tuple[list[dict[str, float | int | str]], dict[str, np.ndarray]]:
    """The table's rows of one person; and how each avatar shows the frame whose band has the
    largest error in the last: pictures (2 a, s, s, 3) of a avatars, whole and about the chin, with
    its number in the clip (frames) and PSNR of the band in dB (psnr)."""
    person, frames = dataset.person, dataset.held_out(n_frames)
    truth = [np.asarray(person.frames[frame]) for frame in frames]
    bands = [border_band(np.asarray(person.labels[frame])) for frame in frames]
    rows, shown, of_frames = [], [], []
    for way, avatar in avatars.items():
        track = dataset.track(avatar.driven_by)
        how = {"only": frames, "torso_shifts": avatar.torso_shifts}
        shown.append(list(avatar.render(track, person.poses, **how)))
        quality = border_quality(shown[-1], truth, bands)
        rows.append({"person": name, "way": way, "n_frames": len(frames)} | quality)
        trios = zip(shown[-1], truth, bands, strict=True)
        alone = [border_quality(*([one] for one in trio)) for trio in trios]
        of_frames.append([quality["border_psnr"] for quality in alone])
    worst = int(np.argmin(of_frames[-1]))
    views = [np.s_[:, :], _about_chin(np.asarray(person.labels[frames[worst]]))]
    pictures = [pictures[worst][view] for view in views for pictures in shown]
    small = [cv2.resize(one, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for one in pictures]
    psnr = [one[worst] for one in of_frames] * len(views)
    return rows, {
        "pictures": np.stack(small),
        "frames": np.full(len(small), frames[worst]),
        "psnr": np.array(psnr),
    }


def head_border(
    persons: commands.Persons,
    profile: given.Profile = "auto",
    overrides: given.Overrides = "",
    out: given.Out = "",
    to: commands.To = None,
) -> None:
    """Make the heads of persons and write a table and a strip of their borders."""
    to = to or root() / "figures"
    rows, sources, worst = [], [], []
    for name in persons:
        run = require("nerf", name, profile=profile, overrides=overrides, out=out)
        person = person_stage.load(run.parents["person"].folder)
        avatars = {
            way: nerf_stage.load(run.folder, person, together=together)
            for way, together in WAYS.items()
        }
        of_person, drawn = rows_of(name, RayDataset(person), avatars)
        rows += of_person
        sources.append(run)
        worst.append(drawn)
    table = pd.DataFrame(rows).round(3)
    table.to_csv(to / "head_border.csv", index=False)
    data = {key: np.stack([one[key] for one in worst]) for key in worst[0]}
    data["names"] = np.array([Path(name).stem for name in persons])
    title = "The head's border at its worst: learned apart, together; and about the chin"
    figures.save(to, "border_frames", "worst", data, title=title, sources=sources)
    typer.echo(table.to_string(index=False))


def _about_chin(labels: UInt8[np.ndarray, "h w"]) -> tuple[slice, slice]:
    """A square of half the picture's edge about the lower border of its head."""
    edge, (rows, columns) = len(labels) // 2, np.nonzero(labels == HEAD)
    top, left = np.clip([rows.max() - 2 * edge // 3, int(columns.mean()) - edge // 2], 0, edge)
    return np.s_[top : top + edge, left : left + edge]


def _gradient(picture: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 2"]:
    return np.stack(np.gradient(picture.mean(-1) / 255), -1)


main = CommandLine(head_border)

if __name__ == "__main__":
    sys.exit(main())
