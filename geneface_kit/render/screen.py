"""Screen: which pixels of a picture are rendered at all, how deep, and which are interpolated.

What a field shows is mostly smooth at the scale of a pixel: between equal neighbours nothing new
is found. Edges are evaluated pixel by pixel.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

__all__ = ["adaptive_sampling", "screen_bounds"]


def screen_bounds(
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
    near = -_dilated(empty.scatter_reduce(0, at, reach - distances, "amax"), n_tiles)
    far = _dilated(empty.scatter_reduce(0, at, distances + reach, "amax"), n_tiles)
    axis = torch.arange(size, device=seen.device) // tile + 1
    near, far = near[axis][:, axis], far[axis][:, axis]  # (size, size)
    pixels = torch.isfinite(far).nonzero()
    ranges = torch.stack([near, far], -1)[pixels[:, 0], pixels[:, 1]]
    return pixels.flip(-1), ranges


def adaptive_sampling(
    evaluate: Callable[[Int[Tensor, "k 2"]], Float[Tensor, "k c"]],
    mask: Bool[Tensor, "h w"],
    *,
    n_channels: int,
    tolerance: float,
    stride: int,
    n_watched: int = 0,
) -> Float[Tensor, "h w c"]:
    """The values of all pixels of a mask; 0 outside it.

    evaluate: (k, 2) columns and rows -> values. Every `stride`-th pixel (a power of two) is
    evaluated; then, halving the stride, a pixel is evaluated where its neighbours (two along a
    row or column, four across) differ by more than `tolerance` in one of the first `n_watched`
    channels (0: all), and is their mean elsewhere. stride 1 evaluates every pixel.
    Example: of a picture of one colour, stride 2 evaluates a quarter of the pixels.
    """
    if stride < 1 or stride & (stride - 1):
        raise ValueError(f"stride must be a power of two, got {stride}")
    height, width = mask.shape
    picture = torch.zeros(n_channels, height, width, device=mask.device)  # planes: quick to add up
    top, left, mask = _cropped(
        functional.pad(mask, (0, -width % stride, 0, -height % stride)), stride
    )
    n_watched = n_watched or n_channels

    def filled(values: Tensor, wanted: Tensor) -> Tensor:
        row, column = wanted.nonzero().unbind(-1)
        pixels = torch.stack([column * stride + left, row * stride + top], -1)
        values[:, row, column] = evaluate(pixels).T
        return values

    coarse = mask[::stride, ::stride]
    values = filled(picture.new_zeros(n_channels, *coarse.shape), coarse)
    while stride > 1:
        stride //= 2
        inside = mask[::stride, ::stride]
        values, spread = _doubled(values, n_watched)
        values = filled(values * inside, inside & (spread > tolerance))
    part = picture[:, top : top + len(mask), left : left + mask.shape[1]]
    part[:] = values[:, : part.shape[1], : part.shape[2]]
    return picture.permute(1, 2, 0)


def _cropped(mask: Tensor, stride: int) -> tuple[int, int, Tensor]:
    """Row and column at which the part of a mask with anything in it begins, and that part.

    It begins at multiples of the stride, and ends one behind the last pixel's.
    """
    starts, parts = [], []
    for dim in (1, 0):
        found = mask.any(dim).nonzero()[:, 0]
        low, high = (int(found[0]), int(found[-1])) if len(found) else (0, 0)
        starts.append(low // stride * stride)
        parts.append(slice(starts[-1], (high // stride + 2) * stride))
    return *starts, mask[tuple(parts)]


def _doubled(values: Tensor, n_watched: int) -> tuple[Tensor, Tensor]:
    """Twice the resolution, new pixels the mean of their neighbours; how far those differ."""
    n_channels, height, width = values.shape
    right = torch.cat([values[..., 1:], values[..., -1:]], -1)
    below, across = (torch.cat([part[:, 1:], part[:, -1:]], 1) for part in (values, right))
    doubled = values.new_empty(n_channels, height, 2, width, 2)
    doubled[:, :, 0, :, 0] = values
    doubled[:, :, 0, :, 1] = (values + right) / 2
    doubled[:, :, 1, :, 0] = (values + below) / 2
    doubled[:, :, 1, :, 1] = (values + right + below + across) / 4
    a, b, c, d = (part[:n_watched] for part in (values, right, below, across))
    spread = values.new_zeros(height, 2, width, 2)
    spread[:, 0, :, 1] = (a - b).abs().amax(0)
    spread[:, 1, :, 0] = (a - c).abs().amax(0)
    highest = torch.maximum(torch.maximum(a, b), torch.maximum(c, d))
    lowest = torch.minimum(torch.minimum(a, b), torch.minimum(c, d))
    spread[:, 1, :, 1] = (highest - lowest).amax(0)
    shape = (2 * height, 2 * width)
    return doubled.view(n_channels, *shape), spread.view(shape)


def _dilated(tiles: Tensor, n_tiles: int) -> Tensor:
    return functional.max_pool2d(tiles.view(1, 1, n_tiles, n_tiles), 3, 1, 1)[0, 0]
