"""Resolution: what a head gains by learning at its clip's own size.

`python -m notebooks.studies.resolution PERSON... [--numbers 256,512] [--out FOLDER] [--to FOLDER]`
makes the nerf stage of each person at each size, renders held-out frames, enlarges them to the
largest and compares all with its true frames. Writes resolution.csv, a line a person and size.
"""

import sys
from typing import Annotated

import cv2
import numpy as np
import pandas as pd
import typer
from jaxtyping import UInt8

from geneface_kit.evaluation.scores import score_pictures
from geneface_kit.metrics.networks import NotMeasured
from geneface_kit.nerf import stage as nerf_stage
from geneface_kit.nerf.dataset import RayDataset
from geneface_kit.nerf.verdict import DETAIL, Look
from geneface_kit.person import stage as person_stage
from geneface_kit.person.artefact import Person
from geneface_kit.pipeline import options as given
from geneface_kit.pipeline.options import CommandLine
from geneface_kit.pipeline.require import require
from geneface_kit.runs import Run, root
from notebooks import commands

N_FRAMES = 24  # held-out frames of each person that are looked at
MEASURES = {
    "PSNR head": "head_psnr",
    "LMD lips": "lips_px",
    "VGG-HED distance": "vgg_hed",
}
Frames = UInt8[np.ndarray, "n h w 3"]


def rendered(run: Run) -> tuple[Person, list[int], Frames]:
    """A person, its held-out frames, and these as the avatar of a nerf run shows them."""
    person = person_stage.load(run.parents["person"].folder)
    avatar, dataset = nerf_stage.load(run.folder, person), RayDataset(person)
    frames = dataset.held_out(N_FRAMES)
    how = {"only": frames, "torso_shifts": avatar.torso_shifts}
    pictures = avatar.render(dataset.track(avatar.driven_by), person.poses, **how)
    return person, frames, np.stack(list(pictures))


def enlarged(pictures: Frames, size: int) -> Frames:
    """Pictures at another edge length, by cubic interpolation."""
    return np.stack(
        [cv2.resize(one, (size, size), interpolation=cv2.INTER_CUBIC) for one in pictures]
    )


def measured(person: Person, frames: list[int], pictures: Frames) -> dict[str, float]:
    """head_psnr, dB; lips_px of a 512-pixel picture; vgg_hed; detail: the energy of fine structure
    over the true frames'. NaN: not measured, its network is not here."""
    scores = score_pictures(person, np.array(frames), pictures)
    found = {ours: scores[name] for name, ours in MEASURES.items()}
    labels, truth = person.labels[frames], person.frames[frames]
    seen, true = (Look(zip(one, labels, strict=True)) for one in (pictures, truth))
    found["detail"] = seen.value(DETAIL) / true.value(DETAIL)
    return {name: np.nan if isinstance(v, NotMeasured) else v for name, v in found.items()}


def compare(
    persons: commands.Persons,
    numbers: Annotated[str, typer.Option(metavar="256,512", help="edges, pixels")] = "256,512",
    profile: given.Profile = "auto",
    overrides: given.Overrides = "",
    out: given.Out = "",
    to: commands.To = None,
) -> None:
    """Make the heads of persons at several sizes and write how good each is at the largest."""
    rows, sizes = [], sorted(commands.seeds_of(numbers, "--numbers"), reverse=True)
    for name in persons:
        best: tuple[Person, list[int]] | None = None
        for size in sizes:
            told = ",".join(filter(None, [overrides, f"person.size={size}"]))
            run = require("nerf", name, profile=profile, overrides=told, out=out)
            person, frames, pictures = rendered(run)
            best = best or (person, frames)
            if frames != best[1]:
                raise ValueError(f"{name} has other held-out frames at {size} than at {sizes[0]}")
            row = {"person": name, "asked": size, "size": person.size, "n_frames": len(frames)}
            found = measured(*best, enlarged(pictures, best[0].size))
            rows.append(row | {"run": run.folder.name} | found)
    table = pd.DataFrame(rows).round(3)
    table.to_csv((to or root() / "figures") / "resolution.csv", index=False)
    typer.echo(table.to_string(index=False))


main = CommandLine(compare)

if __name__ == "__main__":
    sys.exit(main())
