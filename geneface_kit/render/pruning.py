"""Pruning: which cells of the unit box a camera ever sees -> the only ones that rays march through.

While a field learns, cells that no light reaches are left out (`mark_visible`). Once it is
finished, its occupancy grid is still loose: it must not have missed what still changed. Looking at
the field from its cameras shows which cells contribute to pictures (`max_cell_weights`).
"""

import torch

from geneface_kit.render.composite import composite, transmittance
from geneface_kit.render.march import Vectors, march
from geneface_kit.render.occupancy import Cells, Occupancy, cell_index
from geneface_kit.render.rendering import Field

DARK = 0.01  # transmittance up to which a cell counts as not reached by light


@torch.no_grad()
def mark_visible(
    occupancy: Occupancy, origins: Vectors, directions: Vectors, *, step: float, decay: float = 0.9
) -> None:
    """Marks cells that light reaches along some rays, through the cells' own densities.

    Costs no evaluation of the field. A cell stays visible for about log(0.1) / log(decay) calls
    (22 by default) after the last ray that saw it with a transmittance above `DARK`.
    """
    samples = march(origins, directions, occupancy, step=step)
    cells = cell_index(samples.positions, occupancy.resolution)
    density = occupancy.density.view(-1)[cells]
    lengths = torch.full_like(density, step)
    light = transmittance(density, lengths, samples.ray_index, len(origins))
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

    occupancy: the loose grid that the field was trained with. A picture through the cells above a
    threshold differs by at most the weights left out. Rays step over cells much smaller than one.
    """
    samples = march(origins, directions, occupancy, step=step)
    found = field(samples.positions, directions, samples.ray_index)
    lengths = torch.full_like(samples.distances, step)
    rest = (lengths, samples.distances, samples.ray_index, len(origins))
    gathered = composite(found.density, found.colour, *rest).weights
    cells = cell_index(samples.positions, len(weights))
    return weights.flatten().scatter_reduce(0, cells, gathered, "amax").view_as(weights)
