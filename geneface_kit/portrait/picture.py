"""Picture: a finished head and torso, a pose, a size -> their images, fast or exactly.

The fast way looks only where a finished head is ever seen to be (`shell`), ends rays early and
evaluates fewer pixels where neighbours agree (`refined`). It remembers nothing from frame to
frame: the same input gives the same bytes.
"""

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from geneface_kit import camera
from geneface_kit.head import BOX, HeadField, HeadImage
from geneface_kit.render import Occupancy, empty_shell, look_through, refined, render_rays
from geneface_kit.torso import TorsoField, unit_pixels
from geneface_kit.views import Views, windows_of

__all__ = ["EXACT", "Painter", "PictureConfig", "load_shell", "make_shell", "save_shell"]


@dataclass(frozen=True)
class PictureConfig:
    """How pictures are made of a finished head and torso (all ours)."""

    exact: bool = False  # the reference: every pixel, every sample, float32
    stop: float = 0.01  # transmittance at which a ray ends
    round_size: int = 4  # samples of a ray that are evaluated before looking whether it ends
    tolerance: float = 0.03  # difference of neighbours, of 1, up to which pixels are interpolated
    torso_tolerance: float = 0.03  # likewise for the torso, which is smooth
    finest: int = 128  # picture size down to which pixels are evaluated one in stride^2


EXACT = PictureConfig(exact=True)
"""What the fast way is measured against."""
SHELL = 128
"""Cells of a shell along the head box: 0.034 inter-ocular distances each."""
LEAST = 0.01
"""Weight of a sample below which its cell is left out of the shell."""
LOOKS = 64
"""Training frames through which a shell is found."""


class Painter:
    """Images of one head and torso."""

    def __init__(
        self,
        head: HeadField,
        torso: TorsoField,
        shell: Occupancy | None = None,
        config: PictureConfig | None = None,
    ):
        self.config = config or PictureConfig()
        if self.config.exact:
            head, torso = copy.copy(head), copy.copy(torso)  # the same weights, another type
            head.dtype = torso.dtype = torch.float32
        self.head, self.torso, self.shell = head, torso, shell
        if shell is not None and not self.config.exact:
            self.head = copy.copy(head)
            self.head.occupancy = shell

    @torch.no_grad()
    def head_image(
        self, window: Float[Tensor, "w 68 3"], pose: Float[Tensor, "4 4"], focal: float, size: int
    ) -> HeadImage:
        """The head as one camera sees it.

        window: (w, 68, 3) absolute canonical landmarks around the frame.
        """
        head, config = self.head, self.config
        field = head.at(head.condition(window[None]), head.mean_code(), None)
        count = 0
        ranges = pose.new_zeros(size, size, 2)
        if config.exact:
            mask = torch.ones(size, size, dtype=torch.bool, device=pose.device)
        else:
            pixels, found = head.footprint(pose, focal, size)
            ranges[pixels[:, 1], pixels[:, 0]] = found
            mask = ranges[..., 1] > 0

        def evaluate(pixels: Tensor) -> Tensor:
            nonlocal count
            rays = camera.rays(pose, focal, size, pixels)
            found = render_rays(
                field,
                camera.to_box(rays.origins),
                rays.directions,
                head.occupancy,
                step=head.config.step_length / BOX,
                stop=0.0 if config.exact else config.stop,
                round_size=config.round_size,
                ranges=None if config.exact else ranges[pixels[:, 1], pixels[:, 0]],
            )
            count += int(found.n_samples.sum())
            return torch.cat([found.colour, found.alpha[:, None], found.depth[:, None]], -1)

        values = refined(
            evaluate,
            mask,
            n_channels=5,
            n_watched=4,
            tolerance=config.tolerance,
            stride=self._stride(size),
        )
        alpha = values[..., 3]
        depth = BOX * values[..., 4] / alpha.clamp(min=1e-6)
        return HeadImage(values[..., :3], alpha, depth, count)

    @torch.no_grad()
    def torso_image(
        self, pose: Float[Tensor, "4 4"], head: HeadImage
    ) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"]]:
        """Colour (not multiplied) and opacity of the torso behind a head, with the mean code."""
        torso, size = self.torso, head.alpha.shape[0]
        mask = _resized(torso.occupied, size)
        if not self.config.exact:
            mask = mask & (head.alpha < 0.999)  # nothing shows through
        code = torso.codes.mean(0, keepdim=True)

        def evaluate(pixels: Tensor) -> Tensor:
            at = (pixels[:, 1], pixels[:, 0])
            seen = torch.cat([head.colour[at], head.alpha[at][:, None]], -1)
            colour, alpha = torso(unit_pixels(pixels, size), pose[None], code, seen, None)
            return torch.cat([colour * alpha[:, None], alpha[:, None]], -1)

        values = refined(
            evaluate,
            mask,
            n_channels=4,
            tolerance=self.config.torso_tolerance,
            stride=self._stride(size),
        )
        alpha = values[..., 3]
        return values[..., :3] / alpha.clamp(min=1e-6)[..., None], alpha

    def _stride(self, size: int) -> int:
        """1 for the reference; else the power of two that brings the size to `finest`."""
        if self.config.exact:
            return 1
        return 2 ** max(0, round(float(np.log2(size / self.config.finest))))


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


def save_shell(path: Path, shell: Occupancy) -> None:
    """Writes a shell, a bit per cell."""
    partial = path.with_name(path.name + ".part.npz")
    bits = np.packbits(shell.bits.cpu().numpy().reshape(-1))
    np.savez_compressed(partial, bits=bits, resolution=np.array(shell.resolution))
    os.replace(partial, path)


def load_shell(path: Path, device: torch.device) -> Occupancy | None:
    """The shell of a file; None where there is none: then pictures take longer."""
    if not path.exists():
        return None
    with np.load(path) as stored:
        resolution = int(stored["resolution"])
        bits = np.unpackbits(stored["bits"])[: resolution**3].astype(bool)
    shell = empty_shell(resolution, device)
    shell.bits.copy_(torch.from_numpy(bits).view_as(shell.bits))
    return shell


def _telling_frames(views: Views) -> Sequence[int]:
    track = views.landmarks[: views.n_train].cpu()
    spread = np.linspace(0, views.n_train - 1, min(LOOKS, views.n_train)).round().astype(int)
    mouth = track[:, [8, 51, 57, 62, 66, 48, 54]].flatten(1)
    extremes = torch.cat([mouth.argmin(0), mouth.argmax(0)])
    return sorted({*spread.tolist(), *extremes.tolist()})


def _resized(mask: Bool[Tensor, "h w"], size: int) -> Bool[Tensor, "s s"]:
    if mask.shape[0] == size:
        return mask
    return functional.interpolate(mask[None, None].float(), (size, size))[0, 0] > 0


