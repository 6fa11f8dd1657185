"""Shared detail: how much of its fine detail one frame of a clip has in common with others.

`python -m notebooks.studies.shared_detail PERSON... [--out FOLDER] [--to FOLDER]` moves training
frames onto each other by dense optical flow and correlates what is finer than a quarter of the
sampling rate inside the head. What two frames do not share is noise, compression and light of the
moment: a head that is the same in all frames cannot show it. So this, and not 1, is what the fine
detail of a rendered head is to be held against. Writes shared_detail.csv, a line a person and
distance in time.
"""

import sys

import cv2
import numpy as np
import pandas as pd
import typer
from jaxtyping import Bool, Float, UInt8

from geneface_kit.metrics.formulas import pearson
from geneface_kit.nerf.verdict import fine_detail
from geneface_kit.person import stage as person_stage
from geneface_kit.person.artefact import Person
from geneface_kit.person.clip import FPS
from geneface_kit.person.segmentation import HEAD
from geneface_kit.pipeline import options as given
from geneface_kit.pipeline.options import CommandLine
from geneface_kit.pipeline.require import require
from geneface_kit.runs import root
from notebooks import commands

LAGS_S = (1.0, 3.0)  # codecs copy noise from a frame to the next ones, not for so long
N_PAIRS = 16  # of each distance in time
MARGIN = 7  # pixels of the head's border that are left out

Gray = UInt8[np.ndarray, "h w"]


def optical_flow(first: Gray, second: Gray) -> Float[np.ndarray, "h w 2"]:
    """Where each pixel of the first picture is in the second, from its own place, pixels."""
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    return search.calc(first, second, None)


def along(picture: np.ndarray, flow: Float[np.ndarray, "h w 2"]) -> np.ndarray:
    """A picture pulled back along a flow to where the flow starts."""
    rows, columns = np.indices(flow.shape[:2], dtype=np.float32)
    at = (columns + flow[..., 0], rows + flow[..., 1])
    return cv2.remap(picture, *at, cv2.INTER_LANCZOS4)


def shared_detail(
    first: Gray, second: Gray, inside: Bool[np.ndarray, "h w"]
) -> tuple[float, Float[np.ndarray, "h w 2"]]:
    """Correlation of the fine detail of two frames, the second moved onto the first, in a part of
    the first; and the flow between them in pixels. 1: the same but for movement."""
    flow = optical_flow(first, second)
    moved = along(second.astype(np.float32), flow)
    ours, theirs = (fine_detail(one.astype(np.float32))[inside] for one in (first, moved))
    return pearson(ours, theirs), flow


def rows_of(name: str, person: Person, seed: int = 0) -> list[dict[str, float | int | str]]:
    """The table's rows of one person, of pairs of frames within one stretch of the clip."""
    draw, rows = np.random.default_rng(seed), []
    inside = np.ones((2 * MARGIN + 1,) * 2, np.uint8)
    for lag_s in LAGS_S:
        lag = round(lag_s * FPS)
        starts = np.concatenate(
            [np.arange(part.start, part.stop - lag) for part in person.stretches()]
        )
        starts = starts[person.trains[starts] & person.trains[starts + lag]]
        if not len(starts):
            continue
        found = []
        for frame in draw.choice(starts, min(N_PAIRS, len(starts)), replace=False):
            pair = [
                cv2.cvtColor(person.frames[k], cv2.COLOR_RGB2GRAY) for k in (frame, frame + lag)
            ]
            head = cv2.erode((person.labels[frame] == HEAD).astype(np.uint8), inside) > 0
            found.append(shared_detail(*pair, head)[0])
        row = {"person": name, "seed": seed, "lag_s": lag_s, "n_pairs": len(found)}
        rows.append(row | {"shared": np.mean(found), "sd": np.std(found, ddof=1)})
    return rows


def compare(
    persons: commands.Persons,
    profile: given.Profile = "auto",
    overrides: given.Overrides = "",
    out: given.Out = "",
    to: commands.To = None,
) -> None:
    """Write how much fine detail frames of persons share."""
    rows = []
    for name in persons:
        run = require("person", name, profile=profile, overrides=overrides, out=out)
        rows += rows_of(name, person_stage.load(run.folder))
    table = pd.DataFrame(rows).round(3)
    table.to_csv((to or root() / "figures") / "shared_detail.csv", index=False)
    typer.echo(table.to_string(index=False))


main = CommandLine(compare)

if __name__ == "__main__":
    sys.exit(main())
