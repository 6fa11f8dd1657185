"""March: rays of the unit box -> packed samples at equal steps, empty cells skipped.

Samples lie at (k + offset) * step from a ray's origin, k whole: a tighter range or grid leaves
samples out and moves none.
"""

from dataclasses import dataclass
from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor
from torch.profiler import record_function

from geneface_kit.render.kernels import launch
from geneface_kit.render.occupancy import Occupancy

Vectors = Float[Tensor, "r 3"]
Ranges = Float[Tensor, "r 2"]


@dataclass(frozen=True)
class Samples:
    """Samples of many rays, packed: those of ray 0 from near to far, then those of ray 1, ...

    positions: in the unit box; distances: from the ray's origin; rank: number of the sample on its
    ray, from 0; step: length that each stands for; n_rays: with those that have none.
    """

    positions: Float[Tensor, "n 3"]
    distances: Float[Tensor, " n"]
    ray_index: Int[Tensor, " n"]
    rank: Int[Tensor, " n"]
    step: float
    n_rays: int

    def __len__(self) -> int:
        return self.distances.shape[0]

    def taken(self, index: Int[Tensor, " k"]) -> "Samples":
        """Some of the samples."""
        parts = (self.positions, self.distances, self.ray_index, self.rank)
        return Samples(*(part[index] for part in parts), self.step, self.n_rays)


def march(
    origins: Vectors,
    directions: Vectors,
    occupancy: Occupancy,
    *,
    step: float,
    offsets: Float[Tensor, " r"] | None = None,
    max_samples: int = 0,
    ranges: Ranges | None = None,
) -> Samples:
    """Samples every `step` (box lengths) wherever the occupancy grid is set.

    offsets: where in a step the samples of each ray lie, in [0, 1); the middle if not given.
    max_samples: how many samples a ray may have (the nearest are kept); 0 means all.
    ranges: near and far distance to look at, if known better than the occupied box.
    """
    with record_function("march"):
        if ranges is None:
            ranges = box_range(origins, directions, occupancy.bounds())
        if offsets is None:
            offsets = torch.full_like(ranges[:, 0], 0.5)
        inputs = [
            *(rays.float().contiguous() for rays in (origins, directions, ranges, offsets)),
            occupancy.bits.view(-1).view(torch.uint8),
            occupancy.resolution,
            float(step),
        ]
        n_rays, device = len(origins), origins.device
        most = max_samples or torch.iinfo(torch.int32).max
        counts = torch.full((n_rays,), most, dtype=torch.int32, device=device)

        def launched(starts: Tensor, n: int, fills: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            positions, distances = origins.new_empty(n, 3), origins.new_empty(n)
            ray_index, rank = (torch.empty(n, dtype=torch.int64, device=device) for _ in range(2))
            outputs = (positions, distances, ray_index, rank)
            launch(_march_ray, n_rays, [*inputs, starts, fills, counts, *outputs], device)
            return outputs

        launched(counts, 0, fills=0)
        ends = torch.cumsum(counts, 0, dtype=torch.int32)
        n = int(ends[-1]) if n_rays else 0
        return Samples(*launched(ends - counts, n, fills=1), step, n_rays)


def box_range(origins: Vectors, directions: Vectors, bounds: Float[Tensor, "2 3"]) -> Ranges:
    """Distances at which rays enter and leave a box; both 0 where they miss it, so that no distance
    is larger than the scene: a march in float32 steps would not get on there."""
    safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    at = (bounds[:, None] - origins) / safe  # (2, r, 3)
    near = at.amin(0).amax(-1).clamp(min=0)
    far = at.amax(0).amin(-1)
    return torch.where(far > near, torch.stack([near, far]), 0.0).mT


@no_type_check
@wp.func
def _occupied(bits: wp.array(dtype=wp.uint8), resolution: int, p: wp.vec3) -> bool:
    """Whether a point lies in the box and its cell is set."""
    if wp.min(p) < 0.0 or wp.max(p) > 1.0:
        return False
    n = float(resolution)
    last = resolution - 1
    x = wp.min(int(p[0] * n), last)
    y = wp.min(int(p[1] * n), last)
    z = wp.min(int(p[2] * n), last)
    return int(bits[(x * resolution + y) * resolution + z]) != 0


@no_type_check
@wp.kernel(enable_backward=False)
def _march_ray(
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    ranges: wp.array(dtype=wp.vec2),
    offsets: wp.array(dtype=float),
    bits: wp.array(dtype=wp.uint8),
    resolution: int,
    step: float,
    starts: wp.array(dtype=int),
    fills: int,
    counts: wp.array(dtype=int),
    positions: wp.array(dtype=wp.vec3),
    distances: wp.array(dtype=float),
    ray_index: wp.array(dtype=wp.int64),
    rank: wp.array(dtype=wp.int64),
    first: int,
):
    """Finds at most counts[ray] samples of a ray and leaves their number there; where `fills`,
    writes them down from starts[ray] on."""
    ray = first + wp.tid()
    origin, direction, offset = origins[ray], directions[ray], offsets[ray]
    number = wp.ceil(ranges[ray][0] / step - offset)
    distance = (number + offset) * step
    found = int(0)  # noqa: UP018  (a variable, in Warp)
    while distance < ranges[ray][1] and found < counts[ray]:
        p = origin + distance * direction
        if _occupied(bits, resolution, p):
            if fills == 1:
                k = starts[ray] + found
                positions[k] = p
                distances[k] = distance
                ray_index[k] = wp.int64(ray)
                rank[k] = wp.int64(found)
            found += 1
        number += 1.0
        distance = (number + offset) * step
    counts[ray] = found
