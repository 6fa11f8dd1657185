"""Speech driven: how much better landmarks drive a head than speech does, with intervals.

`python -m notebooks.studies.speech_driven PERSON... --set head.steps=2500` takes the evaluations of
Table C, or makes them, and compares the frames that landmarks drive from the person's held-out
sound with those that speech drives. Neighbouring frames are alike, so the nominal 95 % intervals
are of a circular block bootstrap (Politis and Romano 1992); of so few blocks they are too narrow,
and they hold nothing of the training. Writes speech_driven.csv, a line a person, pair and measure.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import typer
from jaxtyping import Float, Int

from geneface_kit.evaluation.stage import held_out
from geneface_kit.metrics import formulas
from geneface_kit.person import landmarks
from geneface_kit.person import stage as person_stage
from geneface_kit.person.mouth import LIPS, seen_opening
from geneface_kit.person.segmentation import HEAD
from geneface_kit.pipeline import options as given
from geneface_kit.pipeline.methods import overrides as of_method
from geneface_kit.pipeline.options import CommandLine
from geneface_kit.pipeline.require import require
from geneface_kit.pipeline.settings import parse
from geneface_kit.runs import Run, root
from geneface_kit.runs.arrays import read_npy
from notebooks import commands

PAIRS = {"as the kit is": ("full", "speech-driven"), "plain": ("plain-landmarks", "plain-speech")}
"""Landmarks and speech: in the renderer as it is, and without what this kit adds to landmarks."""
FRAMES = "byte n h w 3"
BLOCK = 8  # neighbours among the chosen frames that are drawn together
N_DRAWS = 2000


@dataclass(frozen=True)
class Seen:
    """Held-out frames beside the true ones: lips off, px of a 512-pixel picture; PSNR of the head,
    dB; the mouth's opening in both, seen eye distances. Only frames that show a face in all."""

    lips: Float[np.ndarray, " n"]
    head: Float[np.ndarray, " n"]
    opening: Float[np.ndarray, " n"]
    true: Float[np.ndarray, " n"]

    def part(self, frames: Int[np.ndarray, " k"]) -> "Seen":
        """The same of some frames, which may be drawn twice."""
        return Seen(*(values[frames] for values in vars(self).values()))


MEASURES: dict[str, Callable[[Seen], float]] = {
    "LMD lips": lambda seen: float(seen.lips.mean()),
    "PSNR head": lambda seen: float(seen.head.mean()),
    "mouth correlation seen": lambda seen: formulas.pearson(seen.opening, seen.true, still=0.0),
}


def intervals(one: Seen, other: Seen) -> dict[str, tuple[float, float, float]]:
    """Measure -> one rendering's minus the other's, of the same frames, and the 95 % interval:
    blocks of neighbours are drawn with replacement, the same ones of both; after the last frame
    comes the first. A mouth that is still has an r of 0. Raises: ValueError for under two blocks.
    """
    n, draw = len(one.lips), np.random.default_rng(0)
    if n < 2 * BLOCK:
        raise ValueError(f"{n} frames show a face in all renderings, {2 * BLOCK} are needed")
    starts = draw.integers(n, size=(N_DRAWS, -(-n // BLOCK)))
    drawn = ((starts[:, :, None] + np.arange(BLOCK)) % n).reshape(N_DRAWS, -1)[:, :n]
    found = {}
    for name, measure in MEASURES.items():
        apart = [measure(one.part(frames)) - measure(other.part(frames)) for frames in drawn]
        whole = measure(one) - measure(other)
        found[name] = (whole, *np.percentile(apart, [2.5, 97.5]).tolist())
    return found


def seen_of(runs: list[Run], n_frames: int) -> list[Seen]:
    """What the self-driven frames of some evaluations of one person show, where all show a face."""
    person = person_stage.load(runs[0].parents["person"].folder)
    chosen = held_out(person, n_frames)
    truth, heads = person.frames[chosen], person.labels[chosen] == HEAD
    pictures = [read_npy(run.folder / "self_driven.npy", FRAMES) for run in runs]
    meshes = [landmarks.detect(frames) for frames in (truth, *pictures)]
    shown = np.flatnonzero(np.all([mesh.found for mesh in meshes], axis=0))
    true, *faces = (landmarks.to_68(mesh)[..., :2] for mesh in meshes)
    found = []
    for frames, face in zip(pictures, faces, strict=True):
        parts = [slice(k, k + 1) for k in shown]
        lips = [(face[part, LIPS], true[part, LIPS]) for part in parts]
        found.append(
            Seen(
                np.array([formulas.lmd(*pair, person.size) for pair in lips]),
                np.array([formulas.psnr(frames[k], truth[k], mask=heads[k]) for k in parts]),
                seen_opening(face[shown]),
                seen_opening(true[shown]),
            )
        )
    return found


def speech_driven(
    persons: commands.Persons,
    profile: commands.Profile = "cpu",
    overrides: given.Overrides = "",
    out: given.Out = "",
    to: commands.To = None,
) -> None:
    """Compare what landmarks and what speech drive, on held-out frames, with intervals."""
    to, rows = to or root() / "figures", []
    for person in persons:
        for name, methods in PAIRS.items():
            runs = [
                require("evaluation", person, profile=profile, overrides=settings, out=out)
                for settings in (of_method(method, parse(overrides)) for method in methods)
            ]
            one, other = seen_of(runs, runs[0].config["evaluation"]["n_frames"])
            place = {"person": runs[0].subject, "pair": name, "n_frames": len(one.lips)}
            for measure, (apart, low, high) in intervals(one, other).items():
                found = {"measure": measure, "difference": apart, "low": low, "high": high}
                rows.append(place | found | {"runs": " ".join(run.id for run in runs)})
    pd.DataFrame(rows).round(4).to_csv(to / "speech_driven.csv", index=False)
    typer.echo(f"written: {to / 'speech_driven.csv'}")


main = CommandLine(speech_driven)

if __name__ == "__main__":
    sys.exit(main())
