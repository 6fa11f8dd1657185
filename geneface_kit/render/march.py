"""March: rays of the unit box -> packed samples at equal steps, empty cells skipped."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geneface_kit.render.occupancy import Occupancy

__all__ = ["Samples", "box_range", "march"]


@dataclass(frozen=True)
class Samples:
    """Samples of many rays, packed: those of ray 0 from near to far, then those of ray 1, ...

    positions: (n, 3) in the unit box; distances: (n,) from the ray's origin; ray_index: (n,);
    rank: (n,) number of the sample on its ray, from 0; step: length that each stands for.
    """

    positions: Float[Tensor, "n 3"]
    distances: Float[Tensor, " n"]
    ray_index: Int[Tensor, " n"]
    rank: Int[Tensor, " n"]
    step: float

    def __len__(self) -> int:
        return self.distances.shape[0]


def march(
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    occupancy: Occupancy,
    *,
    step: float,
    offsets: Float[Tensor, " r"] | None = None,
    max_samples: int = 0,
    ranges: Float[Tensor, "r 2"] | None = None,
) -> Samples:
    """Samples every `step` (box lengths) wherever the occupancy grid is set.

    offsets: (r,) where in the first step each ray starts, in [0, 1); the middle if not given.
    max_samples: how many samples a ray may have (the nearest are kept); 0 means all.
    ranges: (r, 2) near and far distance to look at, if known better than the occupied box.
    """
    near, far = (
        box_range(origins, directions, occupancy.bounds()) if ranges is None else ranges
    ).unbind(-1)
    counts = ((far - near) / step).ceil().clamp(min=0)
    n_steps = int(counts.max()) if len(counts) else 0
    start = near + step * (0.5 if offsets is None else offsets)
    number = torch.arange(n_steps, device=origins.device)
    candidate = number[None] < counts[:, None]  # (r, n_steps)
    ray_index, number = candidate.nonzero().unbind(-1)
    distances = start[ray_index] + number * step
    positions = torch.addcmul(origins[ray_index], directions[ray_index], distances[:, None])
    keep = occupancy.bits.view(-1)[occupancy.cells(positions)]
    keep &= ((positions >= 0) & (positions <= 1)).all(-1)
    kept = keep.nonzero()[:, 0]
    ray_index = ray_index[kept]
    per_ray = torch.bincount(ray_index, minlength=len(origins))
    first = torch.cumsum(per_ray, 0) - per_ray
    rank = torch.arange(len(kept), device=origins.device) - first[ray_index]
    if max_samples:
        near_enough = rank < max_samples
        kept, ray_index, rank = kept[near_enough], ray_index[near_enough], rank[near_enough]
    return Samples(positions[kept], distances[kept], ray_index, rank, step)


def box_range(
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    bounds: Float[Tensor, "2 3"],
) -> Float[Tensor, "r 2"]:
    """Distances at which rays enter and leave a box; equal where they miss it."""
    safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    at = (bounds[:, None] - origins) / safe  # (2, r, 3)
    near = at.amin(0).amax(-1).clamp(min=0)
    far = at.amax(0).amin(-1)
    return torch.stack([near, torch.maximum(far, near)], dim=-1)
