"""Line warp: points of a moved shape -> where they were at rest, led by line segments on it."""

from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from geneface_kit.render.kernels import LANES, launch, once

SHORTEST = 1e-12  # squared length below which a line is a point


def line_warp(
    positions: Float[Tensor, "n 3"],
    lines: Float[Tensor, "k m 2 2"],
    rest: Float[Tensor, "m 2 2"],
    softness: Float[Tensor, " m"],
    inside: Float[Tensor, " m"],
    set_of_point: Int[Tensor, " n"] | None,
    *,
    reach: float,
    fade: tuple[float, float],
) -> Float[Tensor, "n 3"]:
    """Points moved back, x and y only: p - s(z) sum_i w_i u_i / (sum_i w_i + w_0).

    u_i is the movement of line i at its point nearest to p, q_i, interpolated between its ends;
    w_i = (|p - q_i|^2 + softness_i^2)^-2 and w_0 = reach^-4 (lines lead as in Beier and Neely
    1992, by the weights of Shepard 1968, power 4): on a line the movement is that line's own, and
    it dies away beyond `reach`. To the right of line i (from start to end, y up) the distance
    across it counts inside_i times: where two edges of an opening meet, a point on one side
    follows the edge of that side, not both. s rises from 0 at z = fade[0] to 1 at fade[1].
    Constant with respect to differentiation: nothing here is learned.

    lines: (k, m, 2, 2) sets of moved lines, the two ends of each (equal: a point), x and y;
    set_of_point: (n,) whose lines lead each point, None for one set; rest: (m, 2, 2) the lines at
    rest. All lengths in the unit of the positions.
    """
    warped = torch.empty_like(positions)
    sets = positions.new_zeros(1) if set_of_point is None else set_of_point
    inputs = [
        positions.contiguous(),
        line_table(lines, rest, softness, inside),
        sets.int().contiguous(),
        reach**-4.0,
        fade[0],
        1.0 / (fade[1] - fade[0]),
        warped,
    ]
    lanes = LANES if positions.device.type == "cpu" and set_of_point is None else 1
    launch(warp_kernel(lanes), len(positions), inputs, positions.device, lanes=lanes)
    return warped


def line_table(
    lines: Float[Tensor, "*k m 2 2"],
    rest: Float[Tensor, "m 2 2"],
    softness: Float[Tensor, " m"],
    inside: Float[Tensor, " m"],
) -> Float[Tensor, "*k m 13"]:
    """What the kernels read of lines: start, vector to the end, that over its squared length,
    movement of the start, change of movement towards the end, what a vector to the right gains in
    length (x and y each), squared softness."""
    start, along = lines[..., 0, :], lines[..., 1, :] - lines[..., 0, :]
    length = along.square().sum(-1, keepdim=True).clamp(min=SHORTEST)
    right = torch.stack([along[..., 1], -along[..., 0]], dim=-1) / length.sqrt()
    right = right * (inside.square() - 1).sqrt()[:, None]
    moved = lines - rest
    change = moved[..., 1, :] - moved[..., 0, :]
    squared = softness.square()[:, None].expand(*lines.shape[:-2], 1)
    parts = (start, along, along / length, moved[..., 0, :], change, right, squared)
    return torch.cat(parts, dim=-1)


@once
def warp_kernel(lanes: int) -> wp.Kernel:
    """The kernel: a thread moves `lanes` points, all by the lines of the first one's set."""
    floats = wp.types.vector(lanes, wp.float32)

    @no_type_check
    @wp.kernel(name="line_warp", enable_backward=False, module="unique")
    def warp_points(
        positions: wp.array(dtype=wp.vec3),
        table: wp.array3d(dtype=float),
        sets: wp.array(dtype=wp.int32),
        far: float,
        fade_start: float,
        fade_slope: float,
        warped: wp.array(dtype=wp.vec3),
        first: int,
    ):
        start, last = (first + wp.tid()) * lanes, positions.shape[0] - 1
        chosen = sets[wp.min(start, sets.shape[0] - 1)]
        x, y = floats(), floats()
        for j in range(lanes):
            p = positions[wp.min(start + j, last)]
            x[j] = p[0]
            y[j] = p[1]
        total_x, total_y, weights = floats(), floats(), floats(far)
        zero, one = floats(0.0), floats(1.0)
        for m in range(table.shape[1]):
            line = table[chosen, m]
            away_x, away_y = x - floats(line[0]), y - floats(line[1])
            t = wp.min(wp.max(away_x * line[4] + away_y * line[5], zero), one)
            right = wp.max(away_x * line[10] + away_y * line[11], zero)
            away_x, away_y = away_x - t * line[2], away_y - t * line[3]
            near = wp.cw_mul(away_x, away_x) + wp.cw_mul(away_y, away_y) + floats(line[12])
            near += wp.cw_mul(right, right)
            w = wp.cw_div(one, wp.cw_mul(near, near))
            weights += w
            total_x += wp.cw_mul(w, floats(line[6]) + t * line[8])
            total_y += wp.cw_mul(w, floats(line[7]) + t * line[9])
        for j in range(lanes):
            if start + j <= last:
                p = positions[start + j]
                share = wp.clamp((p[2] - fade_start) * fade_slope, 0.0, 1.0) / weights[j]
                x_now, y_now = p[0] - share * total_x[j], p[1] - share * total_y[j]
                warped[start + j] = wp.vec3(x_now, y_now, p[2])

    return warp_points
