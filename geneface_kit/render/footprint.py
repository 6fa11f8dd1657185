"""Footprint: occupied cells as a camera sees them -> which pixels to render, and how deep."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

__all__ = ["footprint"]


def footprint(
    seen: Float[Tensor, "n 2"],
    distances: Float[Tensor, " n"],
    edge: float,
    width: float,
    size: int,
) -> tuple[Int[Tensor, "k 2"], Float[Tensor, "k 2"]]:
    """Pixels that may look at a cell, (k, 2) columns and rows, and (k, 2) near and far distances.

    seen: (n, 2) where the cells' centres are seen, pixels; distances: (n,) from the camera;
    edge: of a cell, same unit; width: of a cell in pixels, at the nearest; size: of the picture.
    Cells are splatted on tiles at least as wide as a cell; a tile takes in its neighbours'.
    """
    tile = max(2, math.ceil(width))
    n_tiles = -(-size // tile) + 2
    place = torch.div(seen, tile, rounding_mode="floor").long() + 1
    inside = ((place >= 0) & (place < n_tiles)).all(-1)
    place, distances = place[inside], distances[inside]
    at = place[:, 1] * n_tiles + place[:, 0]
    reach = 0.9 * edge  # a little more than half the diagonal of a cell
    empty = distances.new_full((n_tiles**2,), -math.inf)
    near = -_widened(empty.scatter_reduce(0, at, reach - distances, "amax"), n_tiles)
    far = _widened(empty.scatter_reduce(0, at, distances + reach, "amax"), n_tiles)
    axis = torch.arange(size, device=seen.device) // tile + 1
    near, far = near[axis][:, axis], far[axis][:, axis]  # (size, size)
    pixels = torch.isfinite(far).nonzero()
    ranges = torch.stack([near, far], -1)[pixels[:, 0], pixels[:, 1]]
    return pixels.flip(-1), ranges


def _widened(tiles: Tensor, n_tiles: int) -> Tensor:
    return functional.max_pool2d(tiles.view(1, 1, n_tiles, n_tiles), 3, 1, 1)[0, 0]
