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

__all__ = ["empty_shell", "look_through"]


def empty_shell(resolution: int, device: torch.device) -> Occupancy:
    """An occupancy grid without a cell; `look_through` fills it."""
    shell = Occupancy(resolution).to(device)
    shell.bits.zero_()
    return shell


@torch.no_grad()
def look_through(
    shell: Occupancy,
    field: Callable,
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    occupancy: Occupancy,
    *,
    step: float,
    least: float,
) -> int:
    """Adds to a shell the cells in which some ray gathers a weight above `least`; how many samples.

    field: as `render_rays` takes it; occupancy: the loose grid it was trained with. A picture
    through the shell differs by at most the weights left out.
    """
    samples = march(origins, directions, occupancy, step=step)
    found = field(samples.positions, directions, samples.ray_index)
    lengths = torch.full_like(samples.distances, step)
    weights: Tensor = composite(
        found.density, found.colour, lengths, samples.distances, samples.ray_index, len(origins)
    ).weights
    shell.bits.view(-1)[shell.cells(samples.positions[weights > least])] = True
    return len(samples)
