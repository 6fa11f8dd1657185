"""Twins: what the kernels must give, in plain torch, slow and plain."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geneface_kit.render.grid import PRIMES, Features, GridLayout, Points, Table
from geneface_kit.render.line_warp import line_table
from geneface_kit.render.march import Ranges, Samples, Vectors
from geneface_kit.render.occupancy import Occupancy, cell_index

PIECE = 8192  # points that are warped at a time


def grid_encode_torch(points: Points, table: Table, layout: GridLayout) -> Features:
    """`grid.grid_encode`."""
    inside = ((points >= 0) & (points <= 1)).all(-1, keepdim=True)
    features = []
    for level in range(len(layout.levels)):
        first, stride_1, stride_2, mask, hashed = layout.levels[level, 1:].tolist()
        p = points * layout.levels[level, 0].view(torch.float32) + 0.5
        cell = p.detach().floor()
        w = p - cell
        cell = torch.where(inside, cell, 0).long()
        total = 0
        for corner in range(2**layout.n_dims):
            bit = torch.tensor([corner >> axis & 1 for axis in range(layout.n_dims)]).to(cell)
            at = cell + bit
            if hashed:
                row = at[:, 0]
                for axis in range(1, layout.n_dims):
                    row = row ^ (at[:, axis] * PRIMES[axis] & 0xFFFFFFFF)
            else:
                row = at[:, 0] + at[:, 1] * stride_1
                row = row + at[:, 2] * stride_2 if layout.n_dims == 3 else row
            weight = torch.where(bit == 1, w, 1 - w).prod(-1, keepdim=True)
            total = total + weight * table[first + (row & mask)]
        features.append(torch.where(inside, total, 0))
    return torch.cat(features, dim=-1)


def march_torch(
    origins: Vectors,
    directions: Vectors,
    occupancy: Occupancy,
    step: float,
    offsets: Float[Tensor, " r"],
    max_samples: int,
    ranges: Ranges,
) -> Samples:
    """`march.march`: every candidate of every ray is laid out, then sifted."""
    near, far = ranges.unbind(-1)
    first = (near / step - offsets).ceil()
    n_steps = int(((far - near) / step).max().ceil()) + 1 if len(near) else 0
    number = first[:, None] + torch.arange(n_steps, device=origins.device)
    candidates = (number + offsets[:, None]) * step  # (r, n_steps)
    ray_index, column = (candidates < far[:, None]).nonzero().unbind(-1)
    distances = candidates[ray_index, column]
    positions = torch.addcmul(origins[ray_index], directions[ray_index], distances[:, None])
    keep = occupancy.bits.view(-1)[cell_index(positions, occupancy.resolution)]
    keep &= ((positions >= 0) & (positions <= 1)).all(-1)
    kept = keep.nonzero()[:, 0]
    ray_index = ray_index[kept]
    per_ray = torch.bincount(ray_index, minlength=len(origins))
    before = torch.cumsum(per_ray, 0) - per_ray
    rank = torch.arange(len(kept), device=origins.device) - before[ray_index]
    if max_samples:
        near_enough = rank < max_samples
        kept, ray_index, rank = kept[near_enough], ray_index[near_enough], rank[near_enough]
    return Samples(positions[kept], distances[kept], ray_index, rank, step, len(origins))


def line_warp_torch(
    positions: Float[Tensor, "n 3"],
    lines: Float[Tensor, "k m 2 2"],
    rest: Float[Tensor, "m 2 2"],
    softness: Float[Tensor, " m"],
    inside: Float[Tensor, " m"],
    set_of_point: Int[Tensor, " n"] | None,
    *,
    reach: float,
    fade: tuple[float, float],
) -> Float[Tensor, "n 3"]:
    """`line_warp.line_warp`."""
    pieces = []
    with torch.no_grad():
        for start in range(0, len(positions), PIECE):
            p = positions[start : start + PIECE]
            lead = lines if set_of_point is None else lines[set_of_point[start : start + PIECE]]
            parts = line_table(lead, rest, softness, inside).split([2, 2, 2, 2, 2, 2, 1], dim=-1)
            first, along, per_length, moved, change, right, squared = parts  # (1 or n, m, 2 or 1)
            away = p[:, None, :2] - first
            t = (away * per_length).sum(-1, keepdim=True).clamp(0, 1)
            gained = (away * right).sum(-1, keepdim=True).clamp(min=0).square()
            w = ((away - t * along).square().sum(-1, keepdim=True) + gained + squared) ** -2
            moved = (w * (moved + t * change)).sum(1) / (w.sum(1) + reach**-4)
            share = ((p[:, 2:] - fade[0]) / (fade[1] - fade[0])).clamp(0, 1)
            pieces.append(torch.cat([p[:, :2] - share * moved, p[:, 2:]], -1))
    return torch.cat(pieces) if pieces else positions.clone()
