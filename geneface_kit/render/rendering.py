"""Rendering: rays through a field -> colour, opacity and depth of each ray.

Rays march through an occupancy grid, the field is asked at the samples, and what it says is
composited. Everything happens in the unit box: positions are in [0, 1]^3, lengths in edges of the
box. A finished field can also be a `FusedField`, which a CPU renders in one pass.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geneface_kit.render.composite import composite, segment_sum, transmittance
from geneface_kit.render.fused import FusedField, render_fused
from geneface_kit.render.march import Samples, Vectors, box_range, march
from geneface_kit.render.occupancy import Cells, Occupancy, cell_index

DARK = 0.01  # transmittance up to which a cell counts as not reached by light


@dataclass(frozen=True)
class FieldSamples:
    """What a field says of n points: density per box length, colour in [0, 1], and a number that is
    summed along the ray unweighted (for a penalty on ambient coordinates; zeros if none)."""

    density: Float[Tensor, " n"]
    colour: Float[Tensor, "n 3"]
    ambient: Float[Tensor, " n"]


Field = Callable[[Tensor, Tensor, Tensor], FieldSamples]
"""(positions (n, 3), directions (r, 3) of the rays, ray_index (n,)) -> FieldSamples."""


@dataclass(frozen=True)
class Rendering:
    """Rays rendered: as in `Composite` (depth_variance within rounds), lengths those of the box;
    ambient: summed over samples; n_samples: evaluated per ray."""

    colour: Float[Tensor, "r 3"]
    alpha: Float[Tensor, " r"]
    depth: Float[Tensor, " r"]
    depth_variance: Float[Tensor, " r"]
    ambient: Float[Tensor, " r"]
    n_samples: Int[Tensor, " r"]

    def over(self, background: Float[Tensor, "r 3"]) -> Float[Tensor, "r 3"]:
        """The rays' colour with a background behind them: C + (1 - alpha) * background."""
        return self.colour + (1 - self.alpha)[:, None] * background


def render_rays(
    field: Field | FusedField,
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    occupancy: Occupancy,
    *,
    step: float,
    offsets: Float[Tensor, " r"] | None = None,
    max_samples: int = 0,
    stop: float = 0.0,
    round_size: int = 4,
    ranges: Float[Tensor, "r 2"] | None = None,
) -> Rendering:
    """Colour, opacity and depth of rays through a field.

    origins, directions: (r, 3) in the unit box, directions of unit length; step: box lengths.
    offsets: (r,) in [0, 1), training's jitter of the first sample; none at inference.
    stop: 0 evaluates every sample at once (training). Otherwise samples are evaluated from near
    to far, `round_size` per ray and round, and a ray ends when its transmittance is below `stop`.
    A fused field knows neither offsets nor max_samples, and looks after each sample.
    """
    if ranges is None:
        ranges = box_range(origins, directions, occupancy.bounds())
    if isinstance(field, FusedField):
        sums = render_fused(field, origins, directions, ranges, occupancy, step=step, stop=stop)
        *lengths, n_samples = sums[:, 3:].unbind(1)
        return Rendering(sums[:, :3], *lengths, torch.zeros_like(n_samples), n_samples.long())
    how = {"offsets": offsets, "max_samples": max_samples, "ranges": ranges}
    samples = march(origins, directions, occupancy, step=step, **how)
    if not stop:
        return _render_samples(field, directions, samples)
    light, zeros = (torch.full_like(ranges[:, 0], value) for value in (1.0, 0.0))
    sums = [torch.zeros_like(origins), zeros, zeros, zeros, zeros, zeros.long()]
    n_rounds = -(-(int(samples.rank.max()) + 1) // round_size) if len(samples) else 0
    for number in range(n_rounds):
        now = (samples.rank // round_size == number) & (light > stop)[samples.ray_index]
        part = samples.taken(now.nonzero()[:, 0])
        if not len(part):
            break
        seen = _render_samples(field, directions, part)
        dimmed = [light * values for values in (seen.alpha, seen.depth, seen.depth_variance)]
        parts = [light[:, None] * seen.colour, *dimmed, seen.ambient, seen.n_samples]
        sums = [total + values for total, values in zip(sums, parts, strict=True)]
        light = light * (1 - seen.alpha)
    return Rendering(*sums)


@torch.no_grad()
def mark_visible(
    occupancy: Occupancy, origins: Vectors, directions: Vectors, *, step: float, decay: float = 0.9
) -> None:
    """Marks cells that light reaches along some rays, through the cells' own densities: without an
    evaluation of the field that learns. A cell stays visible for about log(0.1) / log(decay) calls
    (22 by default) after the last ray that saw it with a transmittance above `DARK`."""
    samples = march(origins, directions, occupancy, step=step)
    cells = cell_index(samples.positions, occupancy.resolution)
    density = occupancy.density.view(-1)[cells]
    light = transmittance(density, samples)
    visible = occupancy.visible.view(-1)
    visible.mul_(decay)
    visible[cells[light > DARK]] = 1.0


@torch.no_grad()
def max_cell_weights(
    weights: Cells,
    field: Field,
    origins: Vectors,
    directions: Vectors,
    occupancy: Occupancy,
    *,
    step: float,
) -> Cells:
    """The largest weight that some ray gathers in each cell, `weights` of earlier calls included.

    occupancy: the grid that the field was trained with, loose: it must not have missed what still
    changed. A picture through the cells above a
    threshold differs by at most the weights left out. Rays step over cells much smaller than one.
    """
    samples = march(origins, directions, occupancy, step=step)
    said = field(samples.positions, directions, samples.ray_index)
    gathered = composite(said.density, said.colour, samples).weights
    cells = cell_index(samples.positions, len(weights))
    return weights.flatten().scatter_reduce(0, cells, gathered, "amax").view_as(weights)


def _render_samples(field: Field, directions: Tensor, samples: Samples) -> Rendering:
    """The samples' densities and colours, asked of the field and composited."""
    said = field(samples.positions, directions, samples.ray_index)
    found = composite(said.density, said.colour, samples)
    ambient = segment_sum(said.ambient[:, None], samples)[:, 0]
    n_samples = torch.bincount(samples.ray_index, minlength=samples.n_rays)
    sums = (found.colour, found.alpha, found.depth, found.depth_variance)
    return Rendering(*sums, ambient, n_samples)
