"""Abreast: points looked up in a grid sixteen at a time, as a CPU's widest registers hold them.

The forward kernels of `grid_encode` on a CPU: the arithmetic of those in `grid`, to the bit.
"""

from typing import no_type_check

import warp as wp

from geneface_kit.render.grid_kernels import PRIME_1, PRIME_2
from geneface_kit.render.kernels import once

__all__ = ["LANES", "lookup_kernel"]

LANES = 16
"""Points looked up together: float32 numbers in a CPU's widest register."""
lanes = wp.types.vector(LANES, wp.float32)
whole = wp.types.vector(LANES, wp.uint32)


@no_type_check
@wp.func
def _rows(table: wp.array(dtype=wp.vec2), start: int, at: whole):
    """The two columns of sixteen rows of a table."""
    first, second = lanes(), lanes()
    for j in range(LANES):
        row = table[start + int(at[j])]
        first[j] = row[0]
        second[j] = row[1]
    return first, second


@no_type_check
@wp.func
def _between(w: lanes, a: lanes, b: lanes) -> lanes:
    return a + wp.cw_mul(w, b - a)


@no_type_check
@wp.func
def _cells(at: lanes, smooth: int):
    """The cells in which coordinates lie, and the weights of their far ends."""
    cells, w = whole(), lanes()
    for j in range(LANES):
        cell = wp.uint32(int(at[j]))
        cells[j] = cell
        w[j] = at[j] - float(cell)
    if smooth == 1:
        w = wp.cw_mul(wp.cw_mul(w, w), lanes(3.0) - 2.0 * w)
    return cells, w


def _look_up(n_dims: int, is_hash: bool):
    """The values of one lattice, whose rows are counted or hashed, at sixteen points."""

    @no_type_check
    @wp.func
    def edge(
        table: wp.array(dtype=wp.vec2), x: whole, rest: whole, w: lanes, start: int, mask: whole
    ):
        next_x = x + whole(wp.uint32(1))
        if wp.static(is_hash):
            low, high = x ^ rest, next_x ^ rest
        else:
            low, high = x + rest, next_x + rest
        a, b = _rows(table, start, low & mask)
        c, d = _rows(table, start, high & mask)
        return _between(w, a, c), _between(w, b, d)

    @no_type_check
    @wp.func
    def face(
        table: wp.array(dtype=wp.vec2),
        x: whole,
        near: whole,
        far: whole,
        wx: lanes,
        wy: lanes,
        start: int,
        mask: whole,
    ):
        a, b = edge(table, x, near, wx, start, mask)
        c, d = edge(table, x, far, wx, start, mask)
        return _between(wy, a, c), _between(wy, b, d)

    @no_type_check
    @wp.func
    def look_up(
        table: wp.array(dtype=wp.vec2),
        x: lanes,
        y: lanes,
        z: lanes,
        start: int,
        row: wp.vec4i,
        smooth: int,
    ):
        one, mask = whole(wp.uint32(1)), whole(wp.uint32(row[2]))
        column, wx = _cells(x, smooth)
        line, wy = _cells(y, smooth)
        if wp.static(is_hash):
            near, far = line * PRIME_1, (line + one) * PRIME_1
        else:
            near, far = line * wp.uint32(row[0]), (line + one) * wp.uint32(row[0])
        if wp.static(n_dims == 2):
            return face(table, column, near, far, wx, wy, start, mask)
        else:
            layer, wz = _cells(z, smooth)
            if wp.static(is_hash):
                front, back = layer * PRIME_2, (layer + one) * PRIME_2
                a, b = face(table, column, near ^ front, far ^ front, wx, wy, start, mask)
                c, d = face(table, column, near ^ back, far ^ back, wx, wy, start, mask)
            else:
                front, back = layer * wp.uint32(row[1]), (layer + one) * wp.uint32(row[1])
                a, b = face(table, column, near + front, far + front, wx, wy, start, mask)
                c, d = face(table, column, near + back, far + back, wx, wy, start, mask)
            return _between(wz, a, c), _between(wz, b, d)

    return look_up


@once
def lookup_kernel(n_dims: int) -> wp.Kernel:
    """The kernel of one dimension: a thread looks up LANES points."""
    vector = wp.vec2 if n_dims == 2 else wp.vec3
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
        start, last = (first + wp.tid()) * LANES, points.shape[0] - 1
        x, y, z, inside = lanes(), lanes(), lanes(), lanes()
        for j in range(LANES):
            p = points[wp.min(start + j, last)]
            if wp.min(p) >= 0.0 and wp.max(p) <= 1.0:
                inside[j] = 1.0
                x[j] = p[0]
                y[j] = p[1]
                if wp.static(n_dims == 3):
                    z[j] = p[2]
        half = lanes(0.5)
        for level in range(scales.shape[0]):
            row, scale = rows[level], scales[level]
            at_x, at_y, at_z = x * scale + half, y * scale + half, z * scale + half
            a, b = lanes(), lanes()
            if row[3] == 1:
                a, b = hashed(table, at_x, at_y, at_z, offsets[level], row, smooth)
            else:
                a, b = counted(table, at_x, at_y, at_z, offsets[level], row, smooth)
            for j in range(LANES):
                if start + j <= last:
                    value = wp.vec2(a[j], b[j])
                    features[start + j, level] = wp.where(inside[j] == 1.0, value, wp.vec2(0.0))

    return forward
