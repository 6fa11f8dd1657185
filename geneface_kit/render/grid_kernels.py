"""Grid kernels: the lookup of `grid.grid_encode` on CUDA, and its gradient on CUDA and CPU.

A CPU looks up by `grid_lookup.h`, sixteen points side by side.
"""

from typing import no_type_check

import warp as wp

from geneface_kit.render.kernels import once

PRIMES = (1, 2654435761, 805459861)
"""Factors of the spatial hash, one per dimension (Teschner et al. 2003, as in instant-ngp)."""
PRIME_1 = wp.constant(wp.uint32(PRIMES[1]))
PRIME_2 = wp.constant(wp.uint32(PRIMES[2]))


@no_type_check
@wp.func
def _row(x: wp.uint32, y: wp.uint32, z: wp.uint32, start: int, row: wp.vec4i) -> int:
    """Table row of a corner; the wraparound of negative corners never happens inside the box."""
    index = x + y * wp.uint32(row[0]) + z * wp.uint32(row[1])
    if row[3] == 1:
        index = x ^ (y * PRIME_1) ^ (z * PRIME_2)
    return start + int(index & wp.uint32(row[2]))


@once
def lookup_kernel(n_dims: int) -> wp.Kernel:
    """The kernel that looks up points (n, n_dims), for CUDA; a thread does one."""
    vector = wp.vec2 if n_dims == 2 else wp.vec3
    n_corners = 2**n_dims

    @no_type_check
    @wp.kernel(name=f"grid_lookup_{n_dims}d", enable_backward=False, module="unique")
    def grid_lookup(
        points: wp.array(dtype=vector),
        table: wp.array(dtype=wp.vec2),
        scales: wp.array(dtype=float),
        offsets: wp.array(dtype=int),
        rows: wp.array(dtype=wp.vec4i),
        features: wp.array2d(dtype=wp.vec2),
        first: int,
    ):
        i = first + wp.tid()
        u = points[i]
        inside = wp.min(u) >= 0.0 and wp.max(u) <= 1.0
        for level in range(scales.shape[0]):
            total = wp.vec2(0.0)
            if inside:
                p = u * scales[level] + vector(0.5)
                for corner in range(n_corners):
                    w = float(1.0)  # noqa: UP018  (a variable, in Warp)
                    at = wp.vec3ui()
                    for axis in range(n_dims):
                        low = wp.uint32(int(p[axis]))
                        bit = (corner >> axis) & 1
                        share = p[axis] - float(low)
                        w *= wp.where(bit == 1, share, 1.0 - share)
                        at[axis] = low + wp.uint32(bit)
                    row = _row(at[0], at[1], at[2], offsets[level], rows[level])
                    total += w * table[row]
            features[i, level] = total

    return grid_lookup


@no_type_check
@wp.func
def _add(table: wp.array(dtype=wp.vec2), k: int, step: wp.vec2, exclusive: int):
    if exclusive == 1:
        table[k] = table[k] + step
    else:
        wp.atomic_add(table, k, step)


@no_type_check
@wp.func
def _edge_add(
    table: wp.array(dtype=wp.vec2),
    x: wp.uint32,
    y: wp.uint32,
    z: wp.uint32,
    w: float,
    start: int,
    row: wp.vec4i,
    step: wp.vec2,
    exclusive: int,
):
    """Shares a gradient between the two corners of an edge."""
    _add(table, _row(x, y, z, start, row), (1.0 - w) * step, exclusive)
    _add(table, _row(x + wp.uint32(1), y, z, start, row), w * step, exclusive)


@once
def gradient_kernel(n_dims: int) -> wp.Kernel:
    """The kernel of the gradients to table and points (n, n_dims); a thread is a (level, point).

    exclusive: 1 where no two threads add to one level's rows at a time, else atomics are used.
    """
    vector = wp.vec2 if n_dims == 2 else wp.vec3
    is_solid = n_dims == 3

    @no_type_check
    @wp.kernel(name=f"grid_gradient_{n_dims}d", enable_backward=False, module="unique")
    def grid_gradient(
        points: wp.array(dtype=vector),
        table: wp.array(dtype=wp.vec2),
        scales: wp.array(dtype=float),
        offsets: wp.array(dtype=int),
        rows: wp.array(dtype=wp.vec4i),
        gradient: wp.array2d(dtype=wp.vec2),
        wants_points: int,
        exclusive: int,
        table_gradient: wp.array(dtype=wp.vec2),
        points_gradient: wp.array2d(dtype=vector),
        first_level: int,
        level_step: int,
    ):
        slot, i = wp.tid()
        level = first_level + slot * level_step
        u = points[i]
        if wp.min(u) < 0.0 or wp.max(u) > 1.0:
            return
        start, row, scale = offsets[level], rows[level], scales[level]
        g = gradient[i, level]
        p = u * scale + vector(0.5)
        x, y = wp.uint32(int(p[0])), wp.uint32(int(p[1]))
        wx, wy = p[0] - float(x), p[1] - float(y)
        one = wp.uint32(1)
        z = wp.uint32(0)
        wz = float(0.0)  # noqa: UP018
        if wp.static(is_solid):
            z = wp.uint32(int(p[2]))
            wz = p[2] - float(z)
        near = (1.0 - wz) * g
        _edge_add(table_gradient, x, y, z, wx, start, row, (1.0 - wy) * near, exclusive)
        _edge_add(table_gradient, x, y + one, z, wx, start, row, wy * near, exclusive)
        if wp.static(is_solid):
            far = wz * g
            _edge_add(table_gradient, x, y, z + one, wx, start, row, (1.0 - wy) * far, exclusive)
            _edge_add(table_gradient, x, y + one, z + one, wx, start, row, wy * far, exclusive)
        if wants_points == 1:
            v00 = wp.dot(g, table[_row(x, y, z, start, row)])
            v10 = wp.dot(g, table[_row(x + one, y, z, start, row)])
            v01 = wp.dot(g, table[_row(x, y + one, z, start, row)])
            v11 = wp.dot(g, table[_row(x + one, y + one, z, start, row)])
            along_x = (1.0 - wy) * (v10 - v00) + wy * (v11 - v01)
            along_y = (1.0 - wx) * (v01 - v00) + wx * (v11 - v10)
            total = vector()
            if wp.static(is_solid):
                level_0 = (1.0 - wy) * ((1.0 - wx) * v00 + wx * v10)
                level_0 = level_0 + wy * ((1.0 - wx) * v01 + wx * v11)
                v00 = wp.dot(g, table[_row(x, y, z + one, start, row)])
                v10 = wp.dot(g, table[_row(x + one, y, z + one, start, row)])
                v01 = wp.dot(g, table[_row(x, y + one, z + one, start, row)])
                v11 = wp.dot(g, table[_row(x + one, y + one, z + one, start, row)])
                level_1 = (1.0 - wy) * ((1.0 - wx) * v00 + wx * v10)
                level_1 = level_1 + wy * ((1.0 - wx) * v01 + wx * v11)
                total[2] = (level_1 - level_0) * scale
                above_x = (1.0 - wy) * (v10 - v00) + wy * (v11 - v01)
                above_y = (1.0 - wx) * (v01 - v00) + wx * (v11 - v10)
                along_x = along_x + wz * (above_x - along_x)
                along_y = along_y + wz * (above_y - along_y)
            total[0] = along_x * scale
            total[1] = along_y * scale
            points_gradient[level, i] = total

    return grid_gradient
