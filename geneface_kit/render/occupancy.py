"""Occupancy: which cells of the unit box can be seen to hold matter; the march skips the rest."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from geneface_kit.render.composite import transmittance
from geneface_kit.render.widen import widen

__all__ = ["Occupancy"]

SLACK = 1e-4
"""Share of the limit by which a cell may miss it. A fresh field is the same everywhere but for
rounding: without slack, chance decides whether anything of it is looked at, and learns."""


class Occupancy(nn.Module):
    """A grid of cells over the unit box, learned along with a field.

    allowed: cells that may hold matter at all (what every camera sees as the object).
    density: running maximum of the field's density per cell, decaying.
    visible: cells that light reaches from a camera; what lies behind a surface is skipped.
    bits: what the march looks at.
    """

    allowed: Bool[Tensor, "n n n"]
    density: Float[Tensor, "n n n"]
    visible: Float[Tensor, "n n n"]
    bits: Bool[Tensor, "n n n"]

    def __init__(self, resolution: int):
        super().__init__()
        shape = (resolution,) * 3
        self.resolution = resolution
        self.register_buffer("allowed", torch.ones(shape, dtype=torch.bool))
        self.register_buffer("density", torch.zeros(shape))
        self.register_buffer("visible", torch.ones(shape))
        self.register_buffer("bits", torch.ones(shape, dtype=torch.bool))

    def centres(self) -> Float[Tensor, "n 3"]:
        """Centres of all cells, (n^3, 3), in the order of `bits.flatten()`."""
        axis = (torch.arange(self.resolution, device=self.bits.device) + 0.5) / self.resolution
        return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)

    def occupied_centres(self) -> Float[Tensor, "n 3"]:
        """Centres of the cells that the march looks at."""
        return (self.bits.nonzero() + 0.5) / self.resolution

    def bounds(self) -> Float[Tensor, "2 3"]:
        """Lower and upper corner of the box around all occupied cells."""
        cells = self.bits.nonzero()
        if not len(cells):
            return self.bits.new_zeros(2, 3, dtype=torch.float32)
        return torch.stack([cells.min(0).values, cells.max(0).values + 1]) / self.resolution

    def restrict(self, allowed: Bool[Tensor, " cells"]) -> None:
        """Forbids cells for good; one flag per cell, in the order of `centres`."""
        self.allowed.copy_(allowed.view_as(self.allowed))
        self.bits.copy_(self.allowed)

    def cells(self, points: Float[Tensor, "*b 3"]) -> Int[Tensor, "*b"]:
        """Flat index of the cell of each point; points outside fall to the nearest cell."""
        n = self.resolution
        cell = (points * n).long().clamp_(0, n - 1)
        return (cell[..., 0] * n + cell[..., 1]) * n + cell[..., 2]

    @torch.no_grad()
    def update(
        self,
        density: Callable[[Float[Tensor, "n 3"]], Float[Tensor, " n"]],
        *,
        generator: torch.Generator,
        decay: float = 0.95,
        threshold: float = 10.0,
    ) -> None:
        """One look at the field: density = max(decay * density, field at a random point per cell).

        A cell is occupied from min(mean, threshold) on, or beside such a cell (method.md 5b).
        threshold: density per box length.
        """
        index = self.allowed.flatten().nonzero()[:, 0]
        jitter = torch.rand(len(index), 3, generator=generator).to(self.bits.device) - 0.5
        found = density(self.centres()[index] + jitter / self.resolution)
        flat = self.density.view(-1)
        flat.mul_(decay)
        flat[index] = torch.maximum(flat[index], found.float())
        limit = min(float(flat[index].mean()), threshold) if len(index) else threshold
        self.bits.copy_(widen(self.density, self.allowed, (1 - SLACK) * limit))

    @torch.no_grad()
    def look(
        self,
        origins: Float[Tensor, "r 3"],
        directions: Float[Tensor, "r 3"],
        *,
        step: float,
        decay: float = 0.9,
        darkness: float = 0.01,
    ) -> None:
        """Marks cells that light reaches along some rays, through the cells' own densities.

        Costs no evaluation of the field. A cell stays visible for about 20 looks after the last
        ray that saw it with a transmittance above `darkness`.
        """
        from geneface_kit.render.march import march

        samples = march(origins, directions, self, step=step)
        cells = self.cells(samples.positions)
        density = self.density.view(-1)[cells]
        lengths = torch.full_like(density, step)
        light = transmittance(density, lengths, samples.ray_index, len(origins))
        visible = self.visible.view(-1)
        visible.mul_(decay)
        visible[cells[light > darkness]] = 1.0

    def hide_unseen(self) -> None:
        """Takes cells out of the march that no recent `look` saw (their neighbours stay)."""
        self.bits.copy_(widen(self.visible, self.bits, 0.1))
