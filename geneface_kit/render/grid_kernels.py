"""Grid kernels: the lookup of `grid.grid_encode` and its gradient, for the CPU and for CUDA.

The lookup is written once for `lanes` points side by side: sixteen on a CPU, whose compiler makes
vector instructions of it (SIMD), one on CUDA, where a thread is a lane already.
"""

from typing import no_type_check

import warp as wp

from geneface_kit.render.kernels import once

PRIMES = (1, 2654435761, 805459861)
"""Factors of the spatial hash, one per dimension (Teschner et al. 2003, as in instant-ngp)."""
PRIME_1 = wp.constant(wp.uint32(PRIMES[1]))
PRIME_2 = wp.constant(wp.uint32(PRIMES[2]))


@once
def lookup_kernel(n_dims: int, lanes: int) -> wp.Kernel:
    """The kernel that looks up points (n, n_dims); a thread does `lanes` of them."""
    point = wp.types.vector(n_dims, wp.float32)
    floats, whole = (wp.types.vector(lanes, kind) for kind in (wp.float32, wp.uint32))
    counted, hashed = (_level_lookup(n_dims, lanes, is_hash) for is_hash in (False, True))

    @no_type_check
    @wp.kernel(name=f"grid_lookup_{n_dims}d", enable_backward=False, module="unique")
    def grid_lookup(
        points: wp.array(dtype=point),
        table: wp.array(dtype=wp.vec2),
        scales: wp.array(dtype=float),
        offsets: wp.array(dtype=int),
        rows: wp.array(dtype=wp.vec4i),
        features: wp.array2d(dtype=wp.vec2),
        first: int,
    ):
        start, last = (first + wp.tid()) * lanes, points.shape[0] - 1
        x, y, z, inside = floats(), floats(), floats(), floats()
        for j in range(lanes):
            p = points[wp.min(start + j, last)]
            if wp.min(p) >= 0.0 and wp.max(p) <= 1.0:
                inside[j] = 1.0
                x[j] = p[0]
                y[j] = p[1]
                if wp.static(n_dims == 3):
                    z[j] = p[2]
        half = floats(0.5)
        for level in range(scales.shape[0]):
            row, scale = rows[level], scales[level]
            at_x, at_y, at_z = x * scale + half, y * scale + half, z * scale + half
            a, b = floats(), floats()
            if row[3] == 1:
                a, b = hashed(table, at_x, at_y, at_z, offsets[level], row)
            else:
                a, b = counted(table, at_x, at_y, at_z, offsets[level], row)
            for j in range(lanes):
                if start + j <= last:
                    value = wp.vec2(a[j], b[j])
                    features[start + j, level] = wp.where(inside[j] == 1.0, value, wp.vec2(0.0))

    return grid_lookup


def _level_lookup(n_dims: int, lanes: int, is_hash: bool):
    """The two features of one level at `lanes` points. Whether its rows are counted or hashed, see
    `_row`, is decided while compiling; products that corners share are made once."""
    floats, whole = (wp.types.vector(lanes, kind) for kind in (wp.float32, wp.uint32))

    @no_type_check
    @wp.func
    def read(table: wp.array(dtype=wp.vec2), start: int, at: whole):
        first, second = floats(), floats()
        for j in range(lanes):
            row = table[start + int(at[j])]
            first[j] = row[0]
            second[j] = row[1]
        return first, second

    @no_type_check
    @wp.func
    def lerp(w: floats, a: floats, b: floats) -> floats:
        return a + wp.cw_mul(w, b - a)

    @no_type_check
    @wp.func
    def cells(at: floats):
        """The cells in which coordinates lie, and the weights of their far ends."""
        cell, w = whole(), floats()
        for j in range(lanes):
            low = wp.uint32(int(at[j]))
            cell[j] = low
            w[j] = at[j] - float(low)
        return cell, w

    @no_type_check
    @wp.func
    def edge(
        table: wp.array(dtype=wp.vec2), x: whole, rest: whole, w: floats, start: int, mask: whole
    ):
        next_x = x + whole(wp.uint32(1))
        if wp.static(is_hash):
            low, high = x ^ rest, next_x ^ rest
        else:
            low, high = x + rest, next_x + rest
        a, b = read(table, start, low & mask)
        c, d = read(table, start, high & mask)
        return lerp(w, a, c), lerp(w, b, d)

    @no_type_check
    @wp.func
    def face(
        table: wp.array(dtype=wp.vec2),
        x: whole,
        near: whole,
        far: whole,
        wx: floats,
        wy: floats,
        start: int,
        mask: whole,
    ):
        a, b = edge(table, x, near, wx, start, mask)
        c, d = edge(table, x, far, wx, start, mask)
        return lerp(wy, a, c), lerp(wy, b, d)

    @no_type_check
    @wp.func
    def look_up(
        table: wp.array(dtype=wp.vec2),
        x: floats,
        y: floats,
        z: floats,
        start: int,
        row: wp.vec4i,
    ):
        one, mask = whole(wp.uint32(1)), whole(wp.uint32(row[2]))
        column, wx = cells(x)
        line, wy = cells(y)
        if wp.static(is_hash):
            near, far = line * PRIME_1, (line + one) * PRIME_1
        else:
            near, far = line * wp.uint32(row[0]), (line + one) * wp.uint32(row[0])
        if wp.static(n_dims == 2):
            return face(table, column, near, far, wx, wy, start, mask)
        else:
            layer, wz = cells(z)
            if wp.static(is_hash):
                front, back = layer * PRIME_2, (layer + one) * PRIME_2
                a, b = face(table, column, near ^ front, far ^ front, wx, wy, start, mask)
                c, d = face(table, column, near ^ back, far ^ back, wx, wy, start, mask)
            else:
                front, back = layer * wp.uint32(row[1]), (layer + one) * wp.uint32(row[1])
                a, b = face(table, column, near + front, far + front, wx, wy, start, mask)
                c, d = face(table, column, near + back, far + back, wx, wy, start, mask)
            return lerp(wz, a, c), lerp(wz, b, d)

    return look_up


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
