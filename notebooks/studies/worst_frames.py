"""Worst frames: the held-out frames that persons' avatars render worst, not the best.

`python -m notebooks.studies.worst_frames PERSON... [--out FOLDER] [--to FOLDER]` makes the nerf
stage of each person, renders held-out frames from their tracked landmarks and draws those with the
largest error over the head's pixels: worst_frames.png and its data. True frames enter no figure.
"""

import sys
from pathlib import Path

import cv2
import geneface_kit_figures as figures
import numpy as np
import torch
import typer
from jaxtyping import Float, Int, UInt8

from geneface_kit.nerf import stage as nerf_stage
from geneface_kit.nerf.avatar import Avatar
from geneface_kit.nerf.dataset import RayDataset
from geneface_kit.nerf.held_out import layer_quality
from geneface_kit.person import stage as person_stage
from geneface_kit.pipeline import options as given
from geneface_kit.pipeline.options import CommandLine
from geneface_kit.pipeline.require import require
from geneface_kit.runs import root
from notebooks import commands

N_FRAMES = 48  # held-out frames of each person that are looked at
N_SHOWN = 6
SIZE = 192  # edge of a picture in the figure, pixels


@torch.no_grad()
def worst(
    dataset: RayDataset, avatar: Avatar, n: int = N_SHOWN
) -> tuple[UInt8[np.ndarray, "n s s 3"], Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The n held-out frames that an avatar renders worst, the worst first: pictures, numbers in the
    clip, PSNR over the head's pixels in dB."""
    frames = dataset.held_out(N_FRAMES)
    how = {"only": frames, "torso_shifts": avatar.torso_shifts}
    pictures = list(avatar.render(dataset.track(avatar.driven_by), dataset.person.poses, **how))
    psnr = [
        layer_quality([picture], dataset, [frame]).get("head_psnr", np.inf)
        for picture, frame in zip(pictures, frames, strict=True)
    ]
    order = np.argsort(psnr)[:n]
    small = [cv2.resize(pictures[k], (SIZE, SIZE), interpolation=cv2.INTER_AREA) for k in order]
    return np.stack(small), np.array(frames)[order], np.array(psnr)[order]


def worst_frames(
    persons: commands.Persons,
    profile: given.Profile = "auto",
    overrides: given.Overrides = "",
    out: given.Out = "",
    to: commands.To = None,
) -> None:
    """Make the heads of persons and draw the frames that they render worst."""
    to = to or root() / "figures"
    sources, found = [], []
    for name in persons:
        sources.append(require("nerf", name, profile=profile, overrides=overrides, out=out))
        person = person_stage.load(sources[-1].parents["person"].folder)
        found.append(worst(RayDataset(person), nerf_stage.load(sources[-1].folder, person)))
    n = min(len(frames) for _, frames, _ in found)
    columns = zip(*([part[:n] for part in one] for one in found), strict=True)
    data = dict(zip(("pictures", "frames", "psnr"), map(np.stack, columns), strict=True))
    data["names"] = np.array([Path(name).stem for name in persons])
    title = "Held-out frames that are rendered worst, from tracked landmarks"
    figures.save(to, "worst_frames", "worst", data, title=title, sources=sources)
    typer.echo(f"drawn: {to / 'worst_frames.png'}")


main = CommandLine(worst_frames)

if __name__ == "__main__":
    sys.exit(main())
