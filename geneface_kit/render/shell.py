"""Shell: the fine cells that a finished field's pictures are made of -> where to look next time.

An occupancy grid learned while training is loose: it must not miss what still changes. Once the
field is finished, looking at it from its cameras shows which cells contribute.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from geneface_kit.render.composite import composite
from geneface_kit.render.march import march
from geneface_kit.render.occupancy import Occupancy

__all__ = ["look_through", "shell_of"]


def shell_of(weights: Float[Tensor, "n n n"], least: float) -> Occupancy:
    """The occupancy grid of the cells in which `look_through` found a weight above `least`."""
    shell = Occupancy(len(weights)).to(weights.device)
    shell.bits.copy_(weights > least)
    return shell


@torch.no_grad()
def look_through(
    weights: Float[Tensor, "n n n"],
    field: Callable,
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    occupancy: Occupancy,
    *,
    step: float,
) -> Float[Tensor, "n n n"]:
    """The largest weight that some ray gathers in each cell, `weights` of earlier looks included.

    field: as `render_rays` takes it; occupancy: the loose grid it was trained with. A picture
    through the cells above a threshold differs by at most the weights left out. Cells should not
    be much smaller than a step, or rays step over them.
    """
    samples = march(origins, directions, occupancy, step=step)
    found = field(samples.positions, directions, samples.ray_index)
    lengths = torch.full_like(samples.distances, step)
    gathered = composite(
        found.density, found.colour, lengths, samples.distances, samples.ray_index, len(origins)
    ).weights
    n = len(weights)
    x, y, z = (samples.positions * n).long().clamp_(0, n - 1).unbind(-1)
    flat = weights.flatten().scatter_reduce(0, (x * n + y) * n + z, gathered, "amax")
    return flat.view_as(weights)
