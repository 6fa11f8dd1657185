"""Refine: few pixels first, more where neighbours differ -> a whole picture.

What a field shows is mostly smooth at the scale of a pixel: between equal neighbours nothing new
is found. Edges, eyes and lips are evaluated pixel by pixel.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

__all__ = ["refined"]


def refined(
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
    pad = (0, -width % stride, 0, -height % stride)
    mask = functional.pad(mask, pad)
    n_watched = n_watched or n_channels
    coarse = mask[::stride, ::stride]
    values = torch.zeros(*coarse.shape, n_channels, device=mask.device)
    values[coarse] = evaluate(_pixels(coarse, stride))
    while stride > 1:
        stride //= 2
        inside = mask[::stride, ::stride]
        values, spread = _doubled(values, n_watched)
        wanted = inside & (spread > tolerance)
        values = torch.where(inside[..., None], values, 0.0)
        values[wanted] = evaluate(_pixels(wanted, stride))
    return values[:height, :width]


def _pixels(chosen: Tensor, stride: int) -> Tensor:
    return chosen.nonzero().flip(-1) * stride


def _doubled(values: Tensor, n_watched: int) -> tuple[Tensor, Tensor]:
    """Twice the resolution, new pixels the mean of their neighbours; how far those differ."""
    height, width, n_channels = values.shape
    right = torch.cat([values[:, 1:], values[:, -1:]], 1)
    below = torch.cat([values[1:], values[-1:]], 0)
    across = torch.cat([right[1:], right[-1:]], 0)
    doubled = values.new_zeros(height, 2, width, 2, n_channels)
    spread = values.new_zeros(height, 2, width, 2)
    doubled[:, 0, :, 0] = values
    doubled[:, 0, :, 1] = (values + right) / 2
    doubled[:, 1, :, 0] = (values + below) / 2
    doubled[:, 1, :, 1] = (values + right + below + across) / 4
    a, b, c, d = (part[..., :n_watched] for part in (values, right, below, across))
    spread[:, 0, :, 1] = (a - b).abs().amax(-1)
    spread[:, 1, :, 0] = (a - c).abs().amax(-1)
    highest, lowest = torch.stack([a, b, c, d]).aminmax(dim=0)[::-1]
    spread[:, 1, :, 1] = (highest - lowest).amax(-1)
    shape = (2 * height, 2 * width)
    return doubled.view(*shape, n_channels), spread.view(shape)
