"""Picture: a finished head and torso, a pose, a size -> their images, fast or exactly.

The fast way looks only where a finished head is ever seen to be (`shell`), ends rays early and
evaluates fewer pixels where neighbours agree (`adaptive_sampling`). It remembers nothing from frame
to frame: the same input gives the same bytes.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional
from torch.profiler import record_function

from geneface_kit.metrics.formulas import psnr_of_error
from geneface_kit.nerf.head import BOX, HeadField, HeadImage
from geneface_kit.nerf.torso import TorsoField, unit_pixels
from geneface_kit.person import camera
from geneface_kit.render.grid import GridEncoding
from geneface_kit.render.mlp import padded_rows
from geneface_kit.render.occupancy import Occupancy
from geneface_kit.render.rendering import render_rays
from geneface_kit.render.screen import adaptive_sampling, screen_bounds

__all__ = [
    "EXACT",
    "Frame",
    "Painter",
    "PictureConfig",
    "fidelity",
]


@dataclass(frozen=True)
class Frame:
    """One rendered frame and what it is made of.

    rgb: (h, w, 3) the picture; head_alpha: (h, w) opacity of the head; depth: (h, w) distance of
    the head along the ray, inter-ocular distances, 0 where there is none; torso_alpha: (h, w);
    n_samples: points at which the head field was asked.
    """

    rgb: Float[Tensor, "h w 3"]
    head_alpha: Float[Tensor, "h w"]
    depth: Float[Tensor, "h w"]
    torso_alpha: Float[Tensor, "h w"]
    n_samples: int


@dataclass(frozen=True)
class PictureConfig:
    """How pictures are made of a finished head and torso (all ours)."""

    exact: bool = False  # the reference: every pixel, every sample, float32
    step_factor: float = 1.0  # times the head's step length; `surveyed` finds how coarse
    stop: float = 0.02  # transmittance at which a ray ends
    round_size: int = 32  # samples of a ray that are evaluated before looking whether it ends
    tolerance: float = 0.08  # difference of neighbours, of 1, up to which pixels are interpolated
    finest: int = 128  # picture size down to which pixels are evaluated one in stride^2
    backend: str = "auto"  # of the kernels: auto, warp, or torch, their twins


EXACT = PictureConfig(exact=True)
"""What the fast way is measured against."""


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
        if self.config.backend != "auto":
            head, torso = (_on_backend(part, self.config.backend) for part in (head, torso))
        if self.config.exact:
            head, torso = copy.copy(head), copy.copy(torso)  # the same weights, another type
            head.dtype = torso.dtype = torch.float32
        self.head, self.torso, self.shell = head, torso, shell
        is_fast = shell is not None and not self.config.exact
        self.occupancy = shell if is_fast else head.occupancy
        self.centres = _coarse_centres(self.occupancy)

    @torch.no_grad()
    def head_image(
        self, window: Float[Tensor, "w ..."], pose: Float[Tensor, "4 4"], focal: float, size: int
    ) -> HeadImage:
        """The head as one camera sees it.

        window: what drives it around the frame, absolute canonical landmarks (w, 68, 3) as a rule.
        """
        with record_function("head"):
            return self._head_image(window, pose, focal, size)

    def _head_image(self, window: Tensor, pose: Tensor, focal: float, size: int) -> HeadImage:
        head, config = self.head, self.config
        condition = head.condition(window[None])
        is_exact = config.exact
        field = head.at(condition, head.mean_code(), None) if is_exact else head.baked(condition)
        count = 0
        step = (1.0 if config.exact else config.step_factor) * head.config.step_length / BOX
        ranges = pose.new_zeros(size, size, 2)
        if config.exact:
            mask = torch.ones(size, size, dtype=torch.bool, device=pose.device)
        else:
            pixels, found = self._screen_bounds(pose, focal, size)
            ranges[pixels[:, 1], pixels[:, 0]] = found
            mask = ranges[..., 1] > 0

        def evaluate(pixels: Tensor) -> Tensor:
            nonlocal count
            rays = camera.rays(pose, focal, size, pixels)
            found = render_rays(
                field,
                camera.to_box(rays.origins),
                rays.directions,
                self.occupancy,
                step=step,
                stop=0.0 if config.exact else config.stop,
                round_size=config.round_size,
                ranges=None if config.exact else ranges[pixels[:, 1], pixels[:, 0]],
                backend=config.backend,
            )
            count += int(found.n_samples.sum())
            return torch.cat([found.colour, found.alpha[:, None], found.depth[:, None]], -1)

        values = adaptive_sampling(
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
        self, pose: Float[Tensor, "4 4"], head: HeadImage, sway: Float[Tensor, " 2"] | None = None
    ) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"]]:
        """Colour (not multiplied) and opacity of the torso behind a head, with the mean code.

        sway: the torso's shift, in pixel coordinates of [-1, 1]; None predicts it from the pose.
        """
        with record_function("torso"):
            return self._torso_image(pose, head, None if sway is None else sway[None])

    def _torso_image(
        self, pose: Tensor, head: HeadImage, shifts: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        torso, size = self.torso, head.alpha.shape[0]
        mask = _resized(torso.occupied, size)
        if not self.config.exact:
            mask = mask & (head.alpha < 0.999)  # nothing shows through
        code = torso.codes.mean(0, keepdim=True)

        def evaluate(pixels: Tensor) -> Tensor:
            n = len(pixels)
            pixels = functional.pad(pixels, (0, 0, 0, padded_rows(n) - n))
            at = (pixels[:, 1], pixels[:, 0])
            seen = torch.cat([head.colour[at], head.alpha[at][:, None]], -1)
            colour, alpha = torso(unit_pixels(pixels, size), pose[None], code, seen, None, shifts)
            return torch.cat([colour * alpha[:, None], alpha[:, None]], -1)[:n]

        values = adaptive_sampling(
            evaluate,
            mask,
            n_channels=4,
            tolerance=self.config.tolerance,
            stride=self._stride(size),
        )
        alpha = values[..., 3]
        return values[..., :3] / alpha.clamp(min=1e-6)[..., None], alpha

    def _screen_bounds(self, pose: Tensor, focal: float, size: int) -> tuple[Tensor, Tensor]:
        """Pixels that may see the head, and between which distances (box lengths)."""
        centres, edge = self.centres
        seen = (centres - pose[:3, 3]) @ pose[:3, :3]
        distances = seen.norm(dim=-1)
        nearest = float((-seen[:, 2]).min()) if len(seen) else 1.0
        if nearest <= edge:
            raise ValueError("the camera stands inside the head; move it away along its own z axis")
        flat = seen[:, :2] / -seen[:, 2:] * focal
        at = torch.stack([size / 2 + flat[:, 0], size / 2 - flat[:, 1]], -1)
        pixels, ranges = screen_bounds(at, distances, edge, focal * edge / nearest, size)
        return pixels, ranges / BOX

    def _stride(self, size: int) -> int:
        """1 for the reference; else the power of two that brings the size to `finest`."""
        if self.config.exact:
            return 1
        return 2 ** max(0, round(float(np.log2(size / self.config.finest))))


def fidelity(picture: Frame, reference: Frame) -> float:
    """PSNR in dB between two pictures, over the pixels where either shows the head."""
    is_head = (picture.head_alpha > 0) | (reference.head_alpha > 0)
    squared = (picture.rgb - reference.rgb).square().mean(-1)[is_head]
    return psnr_of_error(float(squared.mean())) if len(squared) else psnr_of_error(0.0)


def _coarse_centres(occupancy: Occupancy) -> tuple[Tensor, float]:
    """Centres of occupied cells (head frame), at most 64 along the box, and their edge."""
    pool = max(1, occupancy.resolution // 64)
    bits = functional.max_pool3d(occupancy.bits[None, None].float(), pool, pool, ceil_mode=True)
    edge = pool / occupancy.resolution
    return camera.from_box((bits[0, 0].nonzero() + 0.5) * edge), BOX * edge


def _on_backend(part: torch.nn.Module, backend: str) -> torch.nn.Module:
    """A copy whose grids are encoded by the given backend."""
    part = copy.deepcopy(part)
    for module in part.modules():
        if isinstance(module, GridEncoding):
            module.backend = backend
    return part


def _resized(mask: Bool[Tensor, "h w"], size: int) -> Bool[Tensor, "s s"]:
    if mask.shape[0] == size:
        return mask
    return functional.interpolate(mask[None, None].float(), (size, size))[0, 0] > 0
