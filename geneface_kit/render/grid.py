"""Grid: points of the unit box -> trained features of L levels, from coarse to fine.

The multiresolution hash encoding of instant-ngp (Mueller et al. 2022, sec. 3), or its tiled
variant. CUDA looks up by a Warp kernel, a CPU by `grid_lookup.h` and `grid_adjoint.h`.
"""

import math
from typing import no_type_check

import numpy as np
import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.profiler import record_function

from geneface_kit.render.kernels import arrays, launch_blocks, loaded, once

Points = Float[Tensor, "n d"]
Table = Float[Tensor, "rows 2"]
Features = Float[Tensor, "n c"]
POINTS = 256  # points that a thread of a CPU looks up at a time
PRIMES = (1, 2654435761, 805459861)
"""Factors of the spatial hash, one per dimension (Teschner et al. 2003, as in instant-ngp)."""
PRIME_1, PRIME_2 = (wp.constant(wp.uint32(prime)) for prime in PRIMES[1:])


class GridLayout:
    """Where each level lies in the common table, and how its corners are numbered.

    A point u in [0, 1]^d of level l sits at p = u * scale_l + 0.5; its cell is floor(p). A corner
    c has row c_0 + c_1 * stride_1 + c_2 * stride_2 where that fits the level's rows; beyond it
    the row wraps ("tiled") or is a hash of the corner ("hash").
    """

    levels: Int[Tensor, "levels 6"]  # scale's bits, first row, both strides, mask, 1 where hashed

    def __init__(
        self,
        n_dims: int,
        *,
        n_levels: int = 16,
        base: int = 16,
        finest: int = 2048,
        log2_rows: int = 16,
        kind: str = "hash",
    ):
        """Levels growing geometrically from `base` to `finest` cells (official code).

        kind: "hash", or "tiled" as in the official code, whose fine 3D levels ignore the
        third coordinate because the row index overflows before reaching it.
        Example: n_dims=3 with the defaults has 903,480 rows for either kind.
        """
        # float32 throughout, as in the official kernels: fine lattices feel the last digit
        growth = np.float32(math.log2(finest / base) / max(1, n_levels - 1))
        levels, first_row = [], 0
        for level in range(n_levels):
            scale = float(np.exp2(np.float32(level) * growth) * np.float32(base) - np.float32(1))
            side = math.ceil(round(scale, 3)) + 2
            n_rows = -(-min(2**log2_rows, side**n_dims) // 8) * 8
            powers = [side**axis for axis in range(1, n_dims)]
            strides = [power if power <= n_rows else 0 for power in powers] + [0] * (3 - n_dims)
            full = side**n_dims > n_rows
            mask = n_rows - 1 if full else 2**31 - 1
            bits = int(np.float32(scale).view(np.int32))
            hashed = int(full and kind == "hash")
            levels.append([bits, first_row, *strides, mask, hashed])
            first_row += n_rows
        self.levels = torch.tensor(levels, dtype=torch.int32)
        self.n_dims, self.n_rows = n_dims, first_row


class GridEncoding(nn.Module):
    """A trained grid: points (n, n_dims) of the unit box -> features (n, 2 * n_levels)."""

    def __init__(self, layout: GridLayout):
        super().__init__()
        self.layout = layout
        self.table = nn.Parameter(torch.empty(layout.n_rows, 2).uniform_(-1e-4, 1e-4))

    @property
    def n_features(self) -> int:
        return 2 * len(self.layout.levels)

    def forward(self, points: Points) -> Features:
        self.layout.levels = self.layout.levels.to(points.device)
        return grid_encode(points, self.table, self.layout)


def grid_encode(points: Points, table: Table, layout: GridLayout) -> Features:
    """Features of points, interpolated linearly between the corners of their cell in each level.

    points: (n, 2) or (n, 3); outside [0, 1] the features are 0. Returns (n, 2 * n_levels).
    Gradients flow to the table and to the points.
    """
    if points.shape[1] != layout.n_dims:
        raise ValueError(f"points must be (n, {layout.n_dims}), got {tuple(points.shape)}")
    with record_function("encode"):
        return _GridEncode.apply(points.contiguous(), table.contiguous(), layout)


class _GridEncode(torch.autograd.Function):
    """grid_encode through the kernels."""

    @staticmethod
    def forward(ctx, points, table, layout):
        ctx.save_for_backward(points, table)
        ctx.layout, n_levels = layout, len(layout.levels)
        features = points.new_empty(len(points), n_levels, 2)
        if points.device.type == "cpu":
            launch_blocks(
                "grid_lookup.h",
                -(-len(points) // POINTS),
                {"LEVELS": n_levels, "DIMS": layout.n_dims, "POINTS": POINTS},
                points=points,
                table=table,
                levels=layout.levels,
                features=features,
            )
        else:
            launch_lookup(points, table, layout, features)
        return features.flatten(1)

    @staticmethod
    def backward(ctx, gradient):
        points, table = ctx.saved_tensors
        wants_points, n_levels = ctx.needs_input_grad[0], len(ctx.layout.levels)
        gradient = gradient.contiguous().view(len(points), n_levels, 2)
        table_gradient = torch.zeros_like(table)
        if points.device.type != "cpu":
            points_gradient = torch.zeros_like(points) if wants_points else None
            adjoint = (points_gradient, table_gradient, gradient)
            launch_lookup(points, table, ctx.layout, gradient, adjoint)
            return points_gradient, table_gradient, None
        # a level a block, and a slice each: no two threads ever add to the same number
        slices = points.new_zeros(n_levels if wants_points else 0, *points.shape)
        sizes = {"LEVELS": n_levels, "DIMS": ctx.layout.n_dims}
        launch_blocks(
            "grid_adjoint.h",
            n_levels,
            sizes | {"WANTS_POINTS": int(wants_points)},
            points=points,
            table=table,
            levels=ctx.layout.levels,
            gradient=gradient,
            table_gradient=table_gradient,
            points_gradient=slices,
        )
        return slices.sum(0) if wants_points else None, table_gradient, None


def launch_lookup(
    points: Points,
    table: Table,
    layout: GridLayout,
    features: Float[Tensor, "n levels 2"],
    adjoint: tuple[Points | None, Table, Float[Tensor, "n levels 2"]] | None = None,
) -> None:
    """Runs the Warp kernel over all levels of all points: forward, or with `adjoint`, the
    gradients of points (None for none), table and features, backward by Warp's differentiation,
    which adds to rows with atomics."""
    kernel, levels = loaded(lookup_kernel(layout.n_dims), points.device), layout.levels
    inputs = arrays(kernel, [points, table, levels.view(torch.float32), levels, features])
    options = {}
    if adjoint is not None:
        of_points, of_table, of_features = adjoint
        back = arrays(kernel, [of_points, of_table, None, None, of_features])
        options = {"adjoint": True, "adj_inputs": back}
    where = wp.device_from_torch(points.device)
    wp.launch(kernel, (len(levels), len(points)), inputs, device=where, **options)


@once
def lookup_kernel(n_dims: int) -> wp.Kernel:
    """The kernel that looks up points (n, n_dims); a thread does a level of one."""
    vector = wp.vec2 if n_dims == 2 else wp.vec3
    n_corners = 2**n_dims

    @no_type_check
    @wp.kernel(name=f"grid_lookup_{n_dims}d", module="unique")
    def grid_lookup(
        points: wp.array(dtype=vector),
        table: wp.array(dtype=wp.vec2),
        scales: wp.array2d(dtype=float),
        levels: wp.array2d(dtype=int),
        features: wp.array2d(dtype=wp.vec2),
    ):
        level, i = wp.tid()
        u, hashed = points[i], levels[level, 5] == 1
        total = wp.vec2(0.0)
        if wp.min(u) >= 0.0 and wp.max(u) <= 1.0:
            p = u * scales[level, 0] + vector(0.5)
            for corner in range(n_corners):
                w = float(1.0)  # noqa: UP018  (a variable, in Warp)
                at = wp.vec3ui()
                for axis in range(n_dims):
                    low = wp.uint32(int(p[axis]))
                    bit = (corner >> axis) & 1
                    share = p[axis] - float(low)
                    w *= wp.where(bit == 1, share, 1.0 - share)
                    at[axis] = low + wp.uint32(bit)
                index = at[0] + at[1] * wp.uint32(levels[level, 2])
                index += at[2] * wp.uint32(levels[level, 3])
                if hashed:
                    index = at[0] ^ (at[1] * PRIME_1) ^ (at[2] * PRIME_2)
                total += w * table[levels[level, 1] + int(index & wp.uint32(levels[level, 4]))]
        features[i, level] = total

    return grid_lookup
