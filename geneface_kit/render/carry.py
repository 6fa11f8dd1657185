"""Carry: points of a moved shape -> where they were at rest, led by marks on it.

The public function, its Warp kernel, and below it the torch twin, which is its specification.
"""

from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from geneface_kit.render.kernels import array, backend_for, launch

__all__ = ["carry", "carry_torch"]

PIECE = 16_384
"""Points that the twin handles at a time."""


def carry(
    positions: Float[Tensor, "n 3"],
    marks: Float[Tensor, "k m 2"],
    rest: Float[Tensor, "m 2"],
    softness: Float[Tensor, " m"],
    set_of_point: Int[Tensor, " n"] | None,
    *,
    reach: float,
    fade: tuple[float, float],
    backend: str = "auto",
) -> Float[Tensor, "n 3"]:
    """Points carried back, x and y only: p - s(z) sum_i w_i (mark_i - rest_i) / (sum_i w_i + w_0).

    w_i = (|p - mark_i|^2 + softness_i^2)^-2 and w_0 = reach^-4 (Shepard 1968, power 4): at a mark
    the movement is that mark's own, and it dies away beyond `reach`. s rises from 0 at z = fade[0]
    to 1 at fade[1]. Constant with respect to differentiation: nothing here is learned.

    marks: (k, m, 2) sets of moved marks; set_of_point: (n,) whose marks lead each point, None for
    one set; rest: (m, 2) the marks at rest. All lengths in the unit of the positions.
    """
    arguments = (positions, marks, rest, softness, set_of_point)
    if backend_for(backend, positions.device) == "torch" or positions.dtype != torch.float32:
        return carry_torch(*arguments, reach=reach, fade=fade)
    carried = torch.empty_like(positions)
    one = positions.new_zeros(1, dtype=torch.int32)
    sets = one if set_of_point is None else set_of_point.to(torch.int32).contiguous()
    inputs = [
        array(positions.contiguous(), wp.vec3),
        array(marks.contiguous(), wp.vec2),
        array(rest.contiguous(), wp.vec2),
        array(softness.contiguous()),
        array(sets),
        int(set_of_point is not None),
        reach**-4.0,
        fade[0],
        1.0 / (fade[1] - fade[0]),
        array(carried, wp.vec3),
    ]
    launch(_carry, len(positions), inputs, positions.device)
    return carried


@no_type_check
@wp.kernel(enable_backward=False)
def _carry(
    positions: wp.array(dtype=wp.vec3),
    marks: wp.array2d(dtype=wp.vec2),
    rest: wp.array(dtype=wp.vec2),
    softness: wp.array(dtype=float),
    sets: wp.array(dtype=wp.int32),
    many: int,
    far: float,
    fade_start: float,
    fade_slope: float,
    carried: wp.array(dtype=wp.vec3),
    first: int,
):
    i = first + wp.tid()
    p = positions[i]
    chosen = 0
    if many == 1:
        chosen = sets[i]
    place = wp.vec2(p[0], p[1])
    total = wp.vec2(0.0, 0.0)
    weights = far
    for m in range(rest.shape[0]):
        mark = marks[chosen, m]
        away = place - mark
        near = wp.dot(away, away) + softness[m] * softness[m]
        w = 1.0 / (near * near)
        weights += w
        total += w * (mark - rest[m])
    share = wp.clamp((p[2] - fade_start) * fade_slope, 0.0, 1.0) / weights
    carried[i] = wp.vec3(p[0] - share * total[0], p[1] - share * total[1], p[2])


def carry_torch(
    positions: Float[Tensor, "n 3"],
    marks: Float[Tensor, "k m 2"],
    rest: Float[Tensor, "m 2"],
    softness: Float[Tensor, " m"],
    set_of_point: Int[Tensor, " n"] | None,
    *,
    reach: float,
    fade: tuple[float, float],
) -> Float[Tensor, "n 3"]:
    """The torch twin of `carry`."""
    pieces = []
    with torch.no_grad():
        for start in range(0, len(positions), PIECE):
            p = positions[start : start + PIECE]
            lead = marks if set_of_point is None else marks[set_of_point[start : start + PIECE]]
            near = (p[:, None, :2] - lead).square().sum(-1) + softness**2  # (n, m)
            w = near**-2
            moved = (w[..., None] * (lead - rest)).sum(1) / (w.sum(1, keepdim=True) + reach**-4)
            share = ((p[:, 2:] - fade[0]) / (fade[1] - fade[0])).clamp(0, 1)
            pieces.append(torch.cat([p[:, :2] - share * moved, p[:, 2:]], -1))
    return torch.cat(pieces) if pieces else positions.clone()
