"""Grid kernels: the lookup of `grid.grid_encode` and its gradient, for the CPU and for CUDA."""

from typing import no_type_check

import warp as wp

from geneface_kit.render.kernels import once

__all__ = ["PRIMES", "grid_kernels"]

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


@no_type_check
@wp.func
def _weight(fraction: float, smooth: int) -> float:
    return wp.where(smooth == 1, fraction * fraction * (3.0 - 2.0 * fraction), fraction)


@no_type_check
@wp.func
def _slope(fraction: float, scale: float, smooth: int) -> float:
    return wp.where(smooth == 1, 6.0 * scale * fraction * (1.0 - fraction), scale)


def _look_up(n_dims: int, is_hash: bool):
    """The value at a point p of one lattice whose rows are counted, or hashed: `_row` for all
    corners of a cell, each product made once. Which of both is decided while compiling."""
    vector = wp.vec2 if n_dims == 2 else wp.vec3
    is_solid = n_dims == 3

    @no_type_check
    @wp.func
    def edge(
        table: wp.array(dtype=wp.vec2),
        x: wp.uint32,
        rest: wp.uint32,
        w: float,
        start: int,
        mask: wp.uint32,
    ) -> wp.vec2:
        one = wp.uint32(1)
        if wp.static(is_hash):
            low, high = x ^ rest, (x + one) ^ rest
        else:
            low, high = x + rest, x + one + rest
        a = table[start + int(low & mask)]
        b = table[start + int(high & mask)]
        return a + w * (b - a)

    @no_type_check
    @wp.func
    def look_up(
        table: wp.array(dtype=wp.vec2), p: vector, start: int, row: wp.vec4i, smooth: int
    ) -> wp.vec2:
        one, mask = wp.uint32(1), wp.uint32(row[2])
        x, y = wp.uint32(int(p[0])), wp.uint32(int(p[1]))
        wx, wy = _weight(p[0] - float(x), smooth), _weight(p[1] - float(y), smooth)
        if wp.static(is_hash):
            a, b = y * PRIME_1, (y + one) * PRIME_1
        else:
            a, b = y * wp.uint32(row[0]), (y + one) * wp.uint32(row[0])
        if wp.static(not is_solid):
            low = edge(table, x, a, wx, start, mask)
            return low + wy * (edge(table, x, b, wx, start, mask) - low)
        else:
            z = wp.uint32(int(p[2]))
            wz = _weight(p[2] - float(z), smooth)
            if wp.static(is_hash):
                near, far = z * PRIME_2, (z + one) * PRIME_2
                a, b, c, d = a ^ near, b ^ near, a ^ far, b ^ far
            else:
                near, far = z * wp.uint32(row[1]), (z + one) * wp.uint32(row[1])
                a, b, c, d = a + near, b + near, a + far, b + far
            low = edge(table, x, a, wx, start, mask)
            value = low + wy * (edge(table, x, b, wx, start, mask) - low)
            low = edge(table, x, c, wx, start, mask)
            above = low + wy * (edge(table, x, d, wx, start, mask) - low)
            return value + wz * (above - value)

    return look_up


@once
def grid_kernels(n_dims: int) -> dict[str, wp.Kernel]:
    """The kernels of one dimension. A thread is a point, backward a (level, point)."""
    vector = wp.vec2 if n_dims == 2 else wp.vec3
    is_solid = n_dims == 3
    counted, hashed = (_look_up(n_dims, is_hash) for is_hash in (False, True))

    @no_type_check
    @wp.kernel(enable_backward=False)
    def forward(
        points: wp.array(dtype=vector),
        table: wp.array(dtype=wp.vec2),
        scales: wp.array(dtype=float),
        offsets: wp.array(dtype=int),
        rows: wp.array(dtype=wp.vec4i),
        smooth: int,
        features: wp.array2d(dtype=wp.vec2),
        first: int,
    ):
        i = first + wp.tid()
        u = points[i]
        inside = wp.min(u) >= 0.0 and wp.max(u) <= 1.0
        for level in range(scales.shape[0]):
            start, row, scale = offsets[level], rows[level], scales[level]
            value = wp.vec2(0.0, 0.0)
            if inside:
                if row[3] == 1:
                    value = hashed(table, u * scale + vector(0.5), start, row, smooth)
                else:
                    value = counted(table, u * scale + vector(0.5), start, row, smooth)
            features[i, level] = value

    @no_type_check
    @wp.kernel(enable_backward=False)
    def backward(
        points: wp.array(dtype=vector),
        table: wp.array(dtype=wp.vec2),
        scales: wp.array(dtype=float),
        offsets: wp.array(dtype=int),
        rows: wp.array(dtype=wp.vec4i),
        smooth: int,
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
        fx, fy = p[0] - float(x), p[1] - float(y)
        wx, wy = _weight(fx, smooth), _weight(fy, smooth)
        one = wp.uint32(1)
        z = wp.uint32(0)
        fz = float(0.0)  # noqa: UP018
        if wp.static(is_solid):
            z = wp.uint32(int(p[2]))
            fz = p[2] - float(z)
        wz = _weight(fz, smooth)
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
                total[2] = (level_1 - level_0) * _slope(fz, scale, smooth)
                above_x = (1.0 - wy) * (v10 - v00) + wy * (v11 - v01)
                above_y = (1.0 - wx) * (v01 - v00) + wx * (v11 - v10)
                along_x = along_x + wz * (above_x - along_x)
                along_y = along_y + wz * (above_y - along_y)
            total[0] = along_x * _slope(fx, scale, smooth)
            total[1] = along_y * _slope(fy, scale, smooth)
            points_gradient[level, i] = total

    return {"forward": forward, "backward": backward}
