"""Survey: a finished head seen from its own cameras -> where its pictures may look, how finely."""

import dataclasses
import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geneface_kit.metrics.formulas import psnr_of_error
from geneface_kit.nerf.head import BOX, HeadField
from geneface_kit.nerf.portrait.picture import EXACT, PictureConfig
from geneface_kit.nerf.views import Views
from geneface_kit.person import camera
from geneface_kit.render.occupancy import Occupancy
from geneface_kit.render.pruning import max_cell_weights, pruned_occupancy
from geneface_kit.runs import replacing

__all__ = ["load_shell", "save_shell", "surveyed", "weights_seen"]

log = logging.getLogger(__name__)

CELL = 0.7
"""About how many steps a shell's cell is wide. Finer ones are stepped over and not found. Each lies
within one cell of the loose grid: outside that nothing was learned, and anything may show."""
LEAST = (0.03, 0.01, 0.003)
"""Weights below which a cell is left out of the shell, the fastest first."""
FACTORS = (3.0, 2.5, 2.0, 1.5, 1.0)
"""Multiples of the step length that are tried, the fastest first."""
FIDELITY = 42.0
"""PSNR to the reference, dB over the picture, that every frame looked at must keep."""
LOOKS = 64
"""Training frames through which a shell is found."""
BEYOND = 1.25
"""The extremes are also looked at so many times as far from the mean face: talk may go there."""
MOVING = (8, 51, 57, 62, 66, 48, 54, 37, 38, 40, 41, 43, 44, 46, 47)
"""Landmarks whose extremes are looked at: jaw, lips, lids."""


def surveyed(portrait: Any, views: Views, *, n_frames: int = 3) -> Any:
    """The portrait (a Portrait) with the fastest shell and step that keep its pictures.

    Takes the first of LEAST and FACTORS at which each of some training frames is within FIDELITY
    of the reference; without any such, the portrait as it was. Costs a few reference pictures.
    """
    weights = weights_seen(portrait.head, views)
    frames = np.linspace(0, views.n_train - 1, n_frames + 2).astype(int)[1:-1].tolist()
    scenes = [
        (views.windows(torch.tensor([frame]), portrait.head.config)[0], views.poses[frame])
        for frame in frames
    ]
    exact = portrait.configured(EXACT)
    references = [exact.render_frame(*scene).rgb for scene in scenes]
    for least in LEAST:
        shelled = portrait.with_shell(pruned_occupancy(weights, least))
        for factor in FACTORS:
            fast = shelled.configured(
                dataclasses.replace(portrait.painter.config, step_factor=factor)
            )
            pictures = [fast.render_frame(*scene).rgb for scene in scenes]
            errors = [
                float((picture - reference).square().mean())
                for picture, reference in zip(pictures, references, strict=True)
            ]
            if psnr_of_error(max(errors)) >= FIDELITY:
                return fast
    log.warning("no shell keeps %s's pictures: they are made the slow way", views.person.name)
    return portrait


def weights_seen(head: HeadField, views: Views, *, size: int = 128) -> Float[Tensor, "n n n"]:
    """The largest weight that each fine cell has in the pictures of some training frames.

    The frames are spread over the clip, and those of the extremes of each coordinate of lips, jaw
    and lids are among them, also exaggerated: what moves must have been seen where it goes.
    """
    step = head.config.step_length
    loose = head.occupancy.resolution
    n = loose * max(1, round(BOX / (CELL * step) / loose))  # whole parts of the loose cells
    weights = torch.zeros(n, n, n, device=views.device)
    focal = camera.crop_focal(views.focal, views.size, size)
    for frame, reach in _telling_frames(views):
        pixels, _ = head.screen_bounds(views.poses[frame], focal, size)
        rays = camera.rays(views.poses[frame], focal, size, pixels)
        window = views.windows(torch.tensor([frame]), head.config)
        if head.config.driven_by == "landmarks":
            mean = head.landmark_mean.view(68, 3)
            window = mean + reach * (window - mean)
        with torch.no_grad():
            field = head.at(head.condition(window), head.mean_code(), None)
        origins = camera.to_box(rays.origins)
        weights = max_cell_weights(
            weights, field, origins, rays.directions, head.occupancy, step=step / BOX
        )
    return weights


def save_shell(path: Path, shell: Occupancy, config: PictureConfig) -> None:
    """Writes a shell, a bit per cell, and the step that a survey found."""
    bits = np.packbits(shell.bits.cpu().numpy().reshape(-1))
    facts = {"resolution": np.array(shell.resolution), "step_factor": np.array(config.step_factor)}
    with replacing(path) as partial:
        np.savez_compressed(partial, bits=bits, **facts)


def load_shell(path: Path, device: torch.device) -> tuple[Occupancy | None, PictureConfig]:
    """The shell of a file and its settings; no shell if there is no file: pictures take longer."""
    if not path.exists():
        return None, PictureConfig()
    try:
        with np.load(path) as stored:
            resolution = int(stored["resolution"])
            config = PictureConfig(step_factor=float(stored["step_factor"]))
            bits = np.unpackbits(stored["bits"])[: resolution**3].astype(bool)
    except (ValueError, KeyError, OSError, zipfile.BadZipFile):
        raise ValueError(
            f"{path} is damaged: delete the run and make the stage nerf again"
        ) from None
    cells = torch.from_numpy(bits).view(resolution, resolution, resolution)
    return pruned_occupancy(cells.to(device).float(), 0.5), config


def _telling_frames(views: Views) -> Sequence[tuple[int, float]]:
    """Training frames, and how many times as far from the mean face as they are to look at them."""
    track = views.landmarks[: views.n_train].cpu()
    spread = np.linspace(0, views.n_train - 1, min(LOOKS, views.n_train)).round().astype(int)
    places = track[:, MOVING].flatten(1)
    extremes = sorted({*places.argmin(0).tolist(), *places.argmax(0).tolist()})
    frames = sorted({*spread.tolist(), *extremes})
    return [(frame, 1.0) for frame in frames] + [(frame, BEYOND) for frame in extremes]
