"""Occupancy: which cells of the unit box can be seen to hold matter; the march skips the rest."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

Cells = Float[Tensor, "n n n"]
Flags = Bool[Tensor, "n n n"]
SLACK = 1e-4
"""Share of the limit by which a cell may miss it. A fresh field is the same everywhere but for
rounding: without slack, chance decides whether anything of it is looked at, and learns."""


class Occupancy(nn.Module):
    """A grid of cells over the unit box, learned along with a field.

    allowed: cells that may hold matter at all; density: running maximum of the field's, decaying;
    visible: cells that light reaches from a camera; bits: what the march looks at.
    """

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

        A cell is occupied from min(mean, threshold) on, or beside such a cell (official code).
        threshold: density per box length.
        """
        index = self.allowed.flatten().nonzero()[:, 0]
        jitter = torch.rand(len(index), 3, generator=generator).to(self.bits.device) - 0.5
        found = density(self.centres()[index] + jitter / self.resolution)
        flat = self.density.view(-1)
        flat.mul_(decay)
        flat[index] = torch.maximum(flat[index], found.float())
        limit = min(float(flat[index].mean()), threshold) if len(index) else threshold
        self.bits.copy_(dilate(self.density, self.allowed, (1 - SLACK) * limit))

    def cull_invisible(self) -> None:
        """Takes cells out of the march that no recent `mark_visible` saw; their neighbours stay."""
        self.bits.copy_(dilate(self.visible, self.bits, 0.1))


def cell_index(points: Float[Tensor, "*b 3"], n: int) -> Int[Tensor, "*b"]:
    """Flat index among n^3 cells of the cell of each point; points outside fall to the nearest."""
    x, y, z = (points * n).long().clamp_(0, n - 1).unbind(-1)
    return (x * n + y) * n + z


def dilate(density: Cells, allowed: Flags, limit: float) -> Flags:
    """Allowed cells that are, or touch (a corner suffices), a cell denser than `limit`. Example:
    one dense cell in the middle of 3 x 3 x 3 allowed ones sets all 27."""
    dense = (density > limit)[None, None].float()
    return (functional.max_pool3d(dense, 3, 1, 1)[0, 0] > 0) & allowed
