"""Renderer: a head, a pose, a size -> its image, fast or exactly.

The one way a head is rendered: in validation, behind the torso's training, in delivered frames.
The fast way looks only where a finished head is ever seen (pruned occupancy), ends rays early and
evaluates fewer pixels where neighbours agree. The same input gives the same bytes.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import record_function

from geneface_kit.nerf.config import AvatarConfig
from geneface_kit.nerf.dataset import BOX, RayDataset
from geneface_kit.nerf.head import HeadField
from geneface_kit.person import camera
from geneface_kit.render.occupancy import Occupancy
from geneface_kit.render.rendering import render_rays
from geneface_kit.render.screen import ScreenBounds, adaptive_sampling, screen_bounds

ROUND = 32  # samples of a ray that are evaluated before looking whether it ends
MOST_SAMPLES = 2**20  # so many rays are rendered at a time that their samples are about this many
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class HeadImage:
    """A rendered head: colour (h, w, 3) times opacity, alpha (h, w), depth (h, w) in iod (distance
    along the ray, 0 where empty), n_samples the field was asked for."""

    colour: Float[Tensor, "h w 3"]
    alpha: Float[Tensor, "h w"]
    depth: Float[Tensor, "h w"]
    n_samples: int

    def over(self, background: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w 3"]:
        """The head with a picture behind it."""
        return self.colour + (1 - self.alpha)[..., None] * background


class HeadRenderer:
    """Images of one head.

    occupancy: where it is looked at, by `pruning`; the head's own if not given, and always when
    the config is exact.
    """

    def __init__(
        self,
        head: HeadField,
        config: AvatarConfig | None = None,
        occupancy: Occupancy | None = None,
    ):
        self.config = config or AvatarConfig()
        self.trained, self.head = head, prepared(head, self.config)
        self.pruned = occupancy
        is_fast = occupancy is not None and not self.config.exact
        self.occupancy = occupancy if is_fast else head.occupancy
        self.baked = None if self.config.exact else self.head.baked()
        self.centres = _coarse_centres(self.occupancy)
        self.step = head.config.step_length / BOX  # edges of the box

    @torch.no_grad()
    def image(
        self, window: Float[Tensor, "w ..."], pose: Float[Tensor, "4 4"], focal: float, size: int
    ) -> HeadImage:
        """The head as one camera sees it; deterministic, with the mean appearance.

        window: what drives it around the frame, absolute canonical landmarks (w, 68, 3) as a rule.
        pose: camera-to-world; focal: pixels.
        Raises: ValueError when the camera stands inside the head.
        """
        head, config = self.head, self.config
        condition = head.condition(window[None])
        if config.exact:
            field = head.at(condition, head.mean_appearance(), None)
            bounds, mask = None, torch.ones(size, size, dtype=torch.bool, device=pose.device)
        else:
            field = self.baked(condition)
            bounds = self.bounds(pose, focal, size)
            mask = bounds.mask(size)
        longest = math.ceil(math.sqrt(3) / self.step)  # samples of a ray through the whole box
        n_rays = max(1, MOST_SAMPLES // (longest if config.exact else min(ROUND, longest)))
        stop, count = 0.0 if config.exact else config.stop, 0
        march = {"step": self.step, "round_size": ROUND, "stop": stop}

        def evaluate(pixels: Tensor) -> Tensor:
            nonlocal count
            parts = []
            for some in pixels.split(n_rays):
                rays = camera.rays(pose, focal, size, some)
                origins = camera.to_box(rays.origins)
                ranges = None if bounds is None else bounds.at(some)
                found = render_rays(
                    field, origins, rays.directions, self.occupancy, ranges=ranges, **march
                )
                count += int(found.n_samples.sum())
                values = (found.colour, found.alpha[:, None], found.depth[:, None])
                parts.append(torch.cat(values, -1))
            return torch.cat(parts)

        how = {"tolerance": config.tolerance, "stride": sampling_stride(config, size)}
        with record_function("head"):
            values = adaptive_sampling(evaluate, mask, n_channels=5, n_watched=4, **how)
        alpha = values[..., 3]
        depth = BOX * values[..., 4] / alpha.clamp(min=1e-6)
        return HeadImage(values[..., :3], alpha, depth, count)

    def of_frames(self, dataset: RayDataset, frames: Sequence[int]) -> Iterator[HeadImage]:
        """The head as the cameras of some frames of its clip see it, in the clip's size."""
        windows = dataset.windows(torch.tensor(frames), self.head.config)
        for window, frame in zip(windows, frames, strict=True):
            yield self.image(window, dataset.poses[frame], dataset.focal, dataset.size)

    def bounds(self, pose: Tensor, focal: float, size: int) -> ScreenBounds:
        """Between which distances (box lengths) a picture may show the head."""
        centres, edge = self.centres
        seen = (centres - pose[:3, 3]) @ pose[:3, :3]
        distances = seen.norm(dim=-1)
        nearest = float((-seen[:, 2]).min()) if len(seen) else 1.0
        if nearest <= edge:
            raise ValueError("the camera stands inside the head; move it away along its own z axis")
        flat = seen[:, :2] / -seen[:, 2:] * focal
        at = torch.stack([size / 2 + flat[:, 0], size / 2 - flat[:, 1]], -1)
        return screen_bounds(at, distances / BOX, edge / BOX, focal * edge / nearest, size)


def prepared(field: Module, config: AvatarConfig) -> Module:
    """A field of the same weights in the number format of a config."""
    if config.exact:
        field = copy.copy(field)
        field.dtype = torch.float32
    return field


def sampling_stride(config: AvatarConfig, size: int) -> int:
    """1 where every pixel is evaluated, else 2: wider strides leave dots on lids and teeth."""
    return 1 if config.exact or not config.tolerance or size <= config.finest else 2


def to_uint8(picture: Float[Tensor, "*b"]) -> UInt8[Tensor, "*b"]:
    """[0, 1] -> 0 to 255, on the CPU."""
    return (picture * 255).round().clamp(0, 255).to(torch.uint8).contiguous().cpu()


def _coarse_centres(occupancy: Occupancy) -> tuple[Tensor, float]:
    """Centres of occupied cells (head frame), at most 64 along the box, and their edge."""
    pool = max(1, occupancy.resolution // 64)
    bits = functional.max_pool3d(occupancy.bits[None, None].float(), pool, pool, ceil_mode=True)
    edge = pool / occupancy.resolution
    return camera.from_box((bits[0, 0].nonzero() + 0.5) * edge), BOX * edge
