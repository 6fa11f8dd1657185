"""Widen: densities of cells -> the cells that a march looks at: dense ones and their neighbours.

The public function, its Warp kernel, and below it the torch twin, which is its specification.
"""

from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from geneface_kit.render.kernels import array, backend_for, launch

__all__ = ["widen", "widen_torch"]


def widen(
    density: Float[Tensor, "n n n"],
    allowed: Bool[Tensor, "n n n"],
    limit: float,
    *,
    backend: str = "auto",
) -> Bool[Tensor, "n n n"]:
    """Allowed cells that are, or touch (a corner suffices), a cell denser than `limit`.

    Example: one dense cell in the middle of 3 x 3 x 3 allowed ones sets all 27.
    """
    if backend_for(backend, density.device) == "torch":
        return widen_torch(density, allowed, limit)
    bits = torch.empty_like(allowed)
    flat = lambda t: array(t.contiguous().view(-1).view(torch.uint8))  # noqa: E731
    inputs = [array(density.contiguous().view(-1)), flat(allowed), len(density), float(limit)]
    launch(_widen, density.numel(), [*inputs, flat(bits)], density.device)
    return bits


@no_type_check
@wp.kernel(enable_backward=False)
def _widen(
    density: wp.array(dtype=float),
    allowed: wp.array(dtype=wp.uint8),
    n: int,
    limit: float,
    bits: wp.array(dtype=wp.uint8),
    first: int,
):
    cell = first + wp.tid()
    found = wp.uint8(0)
    if int(allowed[cell]) != 0:
        x, y, z = cell / (n * n), (cell / n) % n, cell % n
        for i in range(wp.max(x - 1, 0), wp.min(x + 2, n)):
            for j in range(wp.max(y - 1, 0), wp.min(y + 2, n)):
                for k in range(wp.max(z - 1, 0), wp.min(z + 2, n)):
                    if density[(i * n + j) * n + k] > limit:
                        found = wp.uint8(1)
    bits[cell] = found


def widen_torch(
    density: Float[Tensor, "n n n"], allowed: Bool[Tensor, "n n n"], limit: float
) -> Bool[Tensor, "n n n"]:
    """The torch twin of `widen`."""
    dense = (density > limit)[None, None].float()
    return (functional.max_pool3d(dense, 3, 1, 1)[0, 0] > 0) & allowed
