"""Survey: a finished head seen from its own cameras -> where its pictures may look, how finely."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geneface_kit import camera
from geneface_kit.head import BOX, HeadField
from geneface_kit.portrait.picture import EXACT, PictureConfig
from geneface_kit.render import Occupancy, empty_shell, look_through
from geneface_kit.views import Views, psnr, windows_of

__all__ = ["load_shell", "make_shell", "save_shell", "calibrated"]

SHELL = 128
"""Cells of a shell along the head box: 0.034 inter-ocular distances each."""
LEAST = 0.03
"""Weight of a sample below which its cell is left out of the shell."""
LOOKS = 64
"""Training frames through which a shell is found."""
FACTORS = (3.0, 2.5, 2.0, 1.5)
"""Multiples of the step length that `calibrated` tries, the fastest first."""
FIDELITY = 42.0
"""PSNR to the reference, dB over the picture, that every frame it looks at must keep."""


def make_shell(head: HeadField, views: Views, *, size: int = 128) -> Occupancy:
    """The fine cells that a finished head's pictures are made of, from some training frames.

    The frames are spread over the clip, and those of the extremes of each lip and jaw coordinate
    are among them: what moves must have been seen where it goes.
    """
    shell = empty_shell(SHELL, views.device)
    focal = camera.crop_focal(views.focal, views.size, size)
    for frame in _telling_frames(views):
        pixels, _ = head.footprint(views.poses[frame], focal, size)
        rays = camera.rays(views.poses[frame], focal, size, pixels)
        window = windows_of(views.landmarks, torch.tensor([frame]), head.config.attention_frames)
        with torch.no_grad():
            field = head.at(head.condition(window), head.mean_code(), None)
        look_through(
            shell,
            field,
            camera.to_box(rays.origins),
            rays.directions,
            head.occupancy,
            step=head.config.step_length / BOX,
            least=LEAST,
        )
    return shell


def save_shell(path: Path, shell: Occupancy, config: PictureConfig) -> None:
    """Writes a shell, a bit per cell, and the step that a survey found."""
    partial = path.with_name(path.name + ".part.npz")
    bits = np.packbits(shell.bits.cpu().numpy().reshape(-1))
    facts = {"resolution": np.array(shell.resolution), "step_factor": np.array(config.step_factor)}
    np.savez_compressed(partial, bits=bits, **facts)
    os.replace(partial, path)


def load_shell(path: Path, device: torch.device) -> tuple[Occupancy | None, PictureConfig]:
    """The shell of a file and its settings; no shell if there is no file: pictures take longer."""
    if not path.exists():
        return None, PictureConfig()
    with np.load(path) as stored:
        resolution = int(stored["resolution"])
        config = PictureConfig(step_factor=float(stored["step_factor"]))
        bits = np.unpackbits(stored["bits"])[: resolution**3].astype(bool)
    shell = empty_shell(resolution, device)
    shell.bits.copy_(torch.from_numpy(bits).view_as(shell.bits))
    return shell, config


def calibrated(portrait: Any, views: Views, *, n_frames: int = 3) -> PictureConfig:
    """The fastest settings at which a person's training frames look as in the reference.

    portrait: a Portrait with its shell. Tries coarser steps along the rays, and takes the
    coarsest one that keeps FIDELITY in each of some frames. Costs a few reference pictures.
    """
    given, width = portrait.painter.config, portrait.head.config.attention_frames
    frames = np.linspace(0, views.n_train - 1, n_frames + 2).astype(int)[1:-1].tolist()
    scenes = [
        (windows_of(views.landmarks, torch.tensor([frame]), width)[0], views.poses[frame])
        for frame in frames
    ]
    exact = portrait.configured(EXACT)
    references = [exact.render_frame(*scene) for scene in scenes]
    for factor in FACTORS:
        config = dataclasses.replace(given, step_factor=factor)
        fast = portrait.configured(config)
        pictures = [fast.render_frame(*scene) for scene in scenes]
        errors = [
            float((picture.rgb - reference.rgb).square().mean())
            for picture, reference in zip(pictures, references, strict=True)
        ]
        if psnr(max(errors)) >= FIDELITY:
            return config
    return dataclasses.replace(given, step_factor=1.0)


def _telling_frames(views: Views) -> Sequence[int]:
    track = views.landmarks[: views.n_train].cpu()
    spread = np.linspace(0, views.n_train - 1, min(LOOKS, views.n_train)).round().astype(int)
    mouth = track[:, [8, 51, 57, 62, 66, 48, 54]].flatten(1)
    extremes = torch.cat([mouth.argmin(0), mouth.argmax(0)])
    return sorted({*spread.tolist(), *extremes.tolist()})
