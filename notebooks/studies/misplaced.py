"""Misplaced: how much of a head's held-out error is that things lie in the wrong place.

`python -m notebooks.studies.misplaced PERSON... [--out FOLDER] [--to FOLDER]` makes the nerf stage
of each person and renders held-out frames: as tracked; with six numbers of the pose fitted to the
true picture (placed); the rendered picture moved onto the true one by a smooth optical flow
(flowed); its colours fitted (coloured); both. Only the first row is a result: the others have seen
the true picture and say what is left to gain. Writes misplaced.csv, a line a person and way.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
import torch
import typer
from jaxtyping import Bool, Float, UInt8
from scipy.spatial.transform import Rotation

from geneface_kit.metrics.formulas import psnr_of_error
from geneface_kit.nerf import stage as nerf_stage
from geneface_kit.nerf.avatar import Avatar
from geneface_kit.nerf.dataset import RayDataset
from geneface_kit.nerf.renderer import to_uint8
from geneface_kit.person import stage as person_stage
from geneface_kit.person.segmentation import HEAD
from geneface_kit.pipeline import options as given
from geneface_kit.pipeline.options import CommandLine
from geneface_kit.pipeline.require import require
from geneface_kit.runs import root
from notebooks import commands
from notebooks.studies.shared_detail import along, optical_flow

N_FRAMES = 24  # held-out frames of each person that are looked at
SMOOTH = 6.0  # pixels of a 256-pixel picture over which the flow is smoothed (Gaussian sigma)
STEPS = np.array([3e-3] * 3 + [4e-3] * 3)  # of the derivatives: radians, eye distances
N_ROUNDS = 3  # of Gauss-Newton
WAYS = ("tracked", "placed", "flowed", "coloured", "flowed, coloured")

Picture = UInt8[np.ndarray, "h w 3"]
Inside = Bool[np.ndarray, "h w"]


def flowed(picture: Picture, true: Picture) -> tuple[Picture, Float[np.ndarray, "h w 2"]]:
    """A picture moved onto the true one by a smooth optical flow, and that flow in pixels."""
    gray = [cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in (true, picture)]
    flow = cv2.GaussianBlur(optical_flow(*gray), (0, 0), SMOOTH * len(picture) / 256)
    return along(picture, flow), flow


def coloured(picture: Picture, true: Picture, inside: Inside) -> Picture:
    """A picture whose channels have gain and offset that fit the true one best in a part of it."""
    made = np.empty_like(picture)
    for channel in range(3):
        ours, theirs = (one[..., channel].astype(float) for one in (picture, true))
        design = np.stack([ours[inside], np.ones(inside.sum())], 1)
        gain, offset = np.linalg.lstsq(design, theirs[inside], rcond=None)[0]
        made[..., channel] = (gain * ours + offset).round().clip(0, 255)
    return made


def moved(pose: Float[np.ndarray, "4 4"], by: Float[np.ndarray, " 6"]) -> Float[np.ndarray, "4 4"]:
    """A camera-to-world pose, the head turned (rotation vector, radians) and shifted (eye
    distances) about its own origin. Zeros leave it."""
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(by[:3]).as_matrix()
    motion[:3, 3] = by[3:]
    return (np.linalg.inv(motion) @ pose).astype(np.float32)


def placed(
    render: Callable[[Float[np.ndarray, "4 4"]], Picture],
    pose: Float[np.ndarray, "4 4"],
    true: Picture,
    inside: Inside,
) -> Picture:
    """A head rendered at the pose that fits a true picture best in a part of it (Gauss-Newton from
    the tracked pose, a move that does not help is not made)."""

    def residual(shown: Picture) -> Float[np.ndarray, " n"]:
        return cv2.GaussianBlur(shown.astype(np.float64) - true, (0, 0), 1.0)[inside].ravel()

    best = render(pose)
    for _ in range(N_ROUNDS):
        slopes = []
        for step in np.diag(STEPS):
            ahead, back = (residual(render(moved(pose, by))) for by in (step, -step))
            slopes.append((ahead - back) / (2 * step.sum()))
        now = residual(best)
        step = np.linalg.lstsq(np.stack(slopes, 1), -now, rcond=None)[0]
        for share in (1.0, 0.5, 0.25):
            candidate = moved(pose, share * step)
            shown = render(candidate)
            if np.square(residual(shown)).sum() < np.square(now).sum():
                pose, best = candidate, shown
                break
        else:
            break
    return best


@dataclass
class Squares:
    """Sums of squared errors, of 1, and how many values they are of."""

    total: float = 0.0
    n: int = 0

    def add(self, picture: Picture, true: Picture, inside: Inside) -> None:
        error = (picture[inside].astype(np.float64) - true[inside]) / 255
        self.total += float(np.square(error).sum())
        self.n += error.size


@torch.no_grad()
def rows_of(
    name: str, dataset: RayDataset, avatar: Avatar, n_frames: int = N_FRAMES
) -> list[dict[str, float | int | str]]:
    """The table's rows of one person: PSNR over the pixels of the head's label; and for flowed rows
    the mean length of the flow there, in pixels of a 512-pixel picture."""
    person, frames = dataset.person, dataset.held_out(n_frames)
    windows = dataset.windows(torch.tensor(frames), avatar.head.config)
    sums, lengths = {way: Squares() for way in WAYS}, []
    for window, frame in zip(windows, frames, strict=True):
        true, inside = np.asarray(person.frames[frame]), person.labels[frame] == HEAD
        shift = None if avatar.torso_shifts is None else avatar.torso_shifts[frame]

        def render(
            pose: np.ndarray, window: torch.Tensor = window, shift: np.ndarray | None = shift
        ) -> Picture:
            return to_uint8(avatar.render_frame(window, pose, torso_shift=shift).rgb).numpy()

        shown = render(person.poses[frame])
        by_flow, flow = flowed(shown, true)
        lengths.append(np.linalg.norm(flow[inside], axis=1).mean() * 512 / len(true))
        made = {
            "tracked": shown,
            "placed": placed(render, person.poses[frame], true, inside),
            "flowed": by_flow,
            "coloured": coloured(shown, true, inside),
            "flowed, coloured": coloured(by_flow, true, inside),
        }
        for way, picture in made.items():
            sums[way].add(picture, true, inside)
    return [
        {
            "person": name,
            "way": way,
            "n_frames": len(frames),
            "head_psnr": psnr_of_error(one.total / one.n),
            "flow_px": float(np.mean(lengths)) if "flowed" in way else np.nan,
        }
        for way, one in sums.items()
    ]


def compare(
    persons: commands.Persons,
    profile: given.Profile = "auto",
    overrides: given.Overrides = "",
    out: given.Out = "",
    to: commands.To = None,
) -> None:
    """Make the heads of persons and write what fitting held-out frames to the truth would gain."""
    rows = []
    for name in persons:
        run = require("nerf", name, profile=profile, overrides=overrides, out=out)
        person = person_stage.load(run.parents["person"].folder)
        rows += rows_of(name, RayDataset(person), nerf_stage.load(run.folder, person))
    table = pd.DataFrame(rows).round(3)
    table.to_csv((to or root() / "figures") / "misplaced.csv", index=False)
    typer.echo(table.to_string(index=False))


main = CommandLine(compare)

if __name__ == "__main__":
    sys.exit(main())
