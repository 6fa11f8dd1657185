"""Lattice: how many cells each level of a grid has, and which table row a corner of it is."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["GridLayout"]

PRIMES = (1, 2654435761, 805459861)
"""Factors of the spatial hash, one per dimension (Teschner et al. 2003, as in instant-ngp)."""
PRIME_1 = wp.constant(wp.uint32(PRIMES[1]))
PRIME_2 = wp.constant(wp.uint32(PRIMES[2]))


@dataclass(frozen=True)
class GridLayout:
    """Where each lattice lies in the common table, and how its corners are numbered.

    A point u in [0, 1]^d of level l sits at p = u * scale_l + 0.5; its cell is floor(p). A corner
    c has row c_0 + c_1 * stride_1 + c_2 * stride_2 where that fits the level's rows; beyond it
    the row wraps ("tiled") or is a hash of the corner ("hash").
    """

    n_dims: int
    smooth: bool
    scales: Float[Tensor, " levels"]
    offsets: Int[Tensor, " levels_and_end"]
    rows: Int[Tensor, "levels 4"]  # stride_1, stride_2, bit mask, 1 where hashed

    @property
    def n_levels(self) -> int:
        return self.scales.shape[0]

    @property
    def n_rows(self) -> int:
        return int(self.offsets[-1])

    def to(self, device: torch.device) -> "GridLayout":
        """The same layout on another device."""
        tensors = (self.scales.to(device), self.offsets.to(device), self.rows.to(device))
        return GridLayout(self.n_dims, self.smooth, *tensors)

    @staticmethod
    def make(
        n_dims: int,
        *,
        n_levels: int = 16,
        base: int = 16,
        finest: int = 2048,
        log2_rows: int = 16,
        kind: str = "hash",
        smooth: bool = False,
    ) -> "GridLayout":
        """Levels growing geometrically from `base` to `finest` cells (method.md 5b).

        kind: "hash", or "tiled" as in the official code, whose fine 3D levels ignore the
        third coordinate because the row index overflows before reaching it.
        Example: n_dims=3 with the defaults has 903,480 rows for either kind.
        """
        if n_dims not in (2, 3):
            raise ValueError(f"n_dims must be 2 or 3, got {n_dims}")
        if kind not in ("hash", "tiled"):
            raise ValueError(f"kind must be 'hash' or 'tiled', got {kind!r}")
        # float32 throughout, as in the official kernels: fine lattices feel the last digit
        growth = np.float32(math.log2(finest / base) / max(1, n_levels - 1))
        scales, offsets, rows = [], [0], []
        for level in range(n_levels):
            scale = float(np.exp2(np.float32(level) * growth) * np.float32(base) - np.float32(1))
            side = math.ceil(round(scale, 3)) + 2
            n_rows = -(-min(2**log2_rows, side**n_dims) // 8) * 8
            strides, stride = [0, 0, 0], 1
            for axis in range(n_dims):
                if stride > n_rows:
                    break
                strides[axis] = stride
                stride *= side
            full = stride > n_rows
            mask = n_rows - 1 if full else 2**31 - 1
            scales.append(scale)
            offsets.append(offsets[-1] + n_rows)
            rows.append([strides[1], strides[2], mask, int(full and kind == "hash")])
        return GridLayout(
            n_dims,
            smooth,
            torch.tensor(scales, dtype=torch.float32),
            torch.tensor(offsets, dtype=torch.int32),
            torch.tensor(rows, dtype=torch.int32),
        )
