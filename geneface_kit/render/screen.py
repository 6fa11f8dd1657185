"""Screen: which pixels of a picture are rendered at all, how deep, and which are interpolated.

Between equal neighbours nothing new is found; edges are evaluated pixel by pixel.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

TILE = 4  # pixels are evaluated tile by tile: neighbours look at the same rows of a grid


@dataclass(frozen=True)
class ScreenBounds:
    """Between which distances each tile of a picture may show something; 0 where it may not.

    width: of a tile, pixels; ranges: (rows, columns, 2) near and far.
    """

    width: int
    ranges: Float[Tensor, "rows columns 2"]

    def mask(self, size: int) -> Bool[Tensor, "h w"]:
        """The pixels of the tiles that may show something."""
        axis = torch.arange(size, device=self.ranges.device) // self.width
        return (self.ranges[..., 1] > 0)[axis][:, axis]

    def at(self, pixels: Int[Tensor, "k 2"]) -> Float[Tensor, "k 2"]:
        """Near and far of pixels, columns and rows."""
        column, row = torch.div(pixels, self.width, rounding_mode="floor").unbind(-1)
        return self.ranges[row, column]


def screen_bounds(
    seen: Float[Tensor, "n 2"], distances: Float[Tensor, " n"], edge: float, width: float, size: int
) -> ScreenBounds:
    """Where cells may be seen in a picture, and how far away.

    seen: where the cells' centres are seen, pixels; distances: from the camera; edge: of a cell,
    same unit; width: of a cell in pixels, at the nearest; size: of the picture. Cells are splatted
    on tiles at least as wide as a cell; a tile takes in its neighbours'.
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
    ranges = torch.stack([near, far], -1)
    return ScreenBounds(tile, torch.where(far.isfinite()[..., None], ranges, 0)[1:-1, 1:-1])


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
    mask = functional.pad(mask, (0, -width % stride, 0, -height % stride))

    def filled(values: Tensor, wanted: Tensor) -> Tensor:
        row, column = _by_tiles(wanted)
        values[row, column] = evaluate(torch.stack([column, row], -1) * stride)
        return values

    coarse = mask[::stride, ::stride]
    values = filled(torch.zeros(*coarse.shape, n_channels, device=mask.device), coarse)
    while stride > 1:
        stride //= 2
        inside = mask[::stride, ::stride]
        values = filled(*_doubled(values, inside, n_watched or n_channels, tolerance))
    return values[:height, :width]


def _by_tiles(wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the pixels that are set, tile by tile."""
    height, width = wanted.shape
    padded = functional.pad(wanted, (0, -width % TILE, 0, -height % TILE))
    tiles = padded.unflatten(1, (-1, TILE)).unflatten(0, (-1, TILE)).transpose(1, 2)
    tile_row, tile_column, row, column = tiles.nonzero().unbind(-1)
    return tile_row * TILE + row, tile_column * TILE + column


def _doubled(
    values: Tensor, inside: Tensor, n_watched: int, tolerance: float
) -> tuple[Tensor, Tensor]:
    """Twice the resolution: new pixels the mean of their neighbours, 0 outside; and which pixels
    inside lie between neighbours that differ by more than the tolerance."""
    lowest = highest = values[..., :n_watched]
    for dim in (1, 0):
        values = _between(values, dim, lambda one, other: 0.5 * (one + other))
        lowest = _between(lowest, dim, torch.minimum)
        highest = _between(highest, dim, torch.maximum)
    height, width = inside.shape
    differ = (highest - lowest).amax(-1)[:height, :width] > tolerance
    return values[:height, :width] * inside[..., None], inside & differ


def _between(values: Tensor, dim: int, mix: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Values, and behind each along an axis what `mix` makes of it and the next; the last is its
    own next."""
    last = values.shape[dim] - 1
    after = torch.cat([values.narrow(dim, 1, last), values.narrow(dim, last, 1)], dim)
    return torch.stack([values, mix(values, after)], dim + 1).flatten(dim, dim + 1)


def _dilated(tiles: Tensor, n_tiles: int) -> Tensor:
    return functional.max_pool2d(tiles.view(1, 1, n_tiles, n_tiles), 3, 1, 1)[0, 0]
