"""Fused training: samples through a field of two grids and back, without tensors between.

Sixteen samples side by side; backwards a packet's numbers are made again instead of kept. For
training on a CPU. The networks and grids one after the other, as `GridField` asks them, are the
specification, and what CUDA uses; the kernels are `fused_training.h` and `grid_gradient.h`. Repeats
to the bit for one number of threads.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch.profiler import record_function

from geneface_kit.render.fused import Space, field_layers, packed
from geneface_kit.render.grid import GridEncoding, grid_levels
from geneface_kit.render.kernels import LANES, launch_blocks, n_threads, vectors

SAMPLES = 512  # samples of a block, to the next end of a ray
FIRST, DENSITY = (0, 3), 5
"""Numbers of the layers whose inputs are features of the grids, and of the one that gives the
density, among the eight."""


def fused_samples(
    positions: Float[Tensor, "n 3"],
    ray_index: Int[Tensor, " n"],
    set_of_ray: Int[Tensor, " r"],
    space: Space,
    grids: tuple[GridEncoding, GridEncoding],
    networks: Sequence[Sequence[Tensor]],
    biases: tuple[Float[Tensor, "k h"], Float[Tensor, "k h"], Float[Tensor, "r h"]],
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"], Float[Tensor, " n"]]:
    """Density per box length, colour, and |x| + |y| of the ambient point of samples.

    ray_index: ascending; set_of_ray: which row of `biases` and set of lines belongs to a ray.
    networks: as in `FusedField.of`; biases: what the inputs that many points share add to the
    first layers of the ambient and density network, by sets, and of the colour network, by rays.
    Gradients flow to the grids' tables, networks and biases; positions must not need one.
    """
    if positions.requires_grad:
        raise ValueError("the fused pass gives no gradient to positions")
    with record_function("fused"):
        tables = [grid.table for grid in grids]
        levels = torch.cat([grid_levels(grid.layout) for grid in grids])
        rays = (ray_index.int(), set_of_ray.int())
        weights = [weight for network in networks for weight in network]
        return _Fused.apply(positions, rays, space, levels, *tables, *biases, *weights)


class _Fused(torch.autograd.Function):
    """fused_samples through the kernels; the last eight arguments are the layers' weights."""

    @staticmethod
    def forward(ctx, positions, rays, space, levels, *learned):
        saved, n, ctx.space = (positions, *rays, levels, *learned), len(positions), space
        outputs = [positions.new_empty(n), torch.empty_like(positions), positions.new_empty(n)]
        points = positions.new_empty(n, 5)  # where they were moved to, and the ambient points
        _launch(saved, space, points, *outputs)
        ctx.save_for_backward(points, *saved)
        return tuple(outputs)

    @staticmethod
    def backward(ctx, *gradients):
        points, *saved = ctx.saved_tensors
        positions, _, _, levels, *learned = saved
        tables, biases, weights = learned[:2], learned[2:5], learned[5:]
        n, n_levels, n_parts = len(positions), len(levels) // 12, n_threads()
        layers, hidden = _layers(weights, n_levels, ctx.space)
        shapes = [
            (n_in + -n_in % LANES, n_out + -n_out % LANES)
            for n_out, n_in in (weight.shape for weight in reversed(layers))
        ]
        counts = [n_in * n_out for n_in, n_out in shapes]
        by_part = positions.new_zeros(n_parts, sum(counts))
        sets = [positions.new_zeros(n_parts, len(biases[0]), hidden) for _ in range(2)]
        by_ray = positions.new_zeros(len(biases[2]), hidden)
        features = positions.new_empty(2 * n_levels, n, 2)
        back = {
            "weight_gradient": by_part,
            "ambient_bias_gradient": sets[0],
            "density_bias_gradient": sets[1],
            "colour_bias_gradient": by_ray,
            "feature_gradient": features,
        }
        back = {name: values.view(-1) for name, values in back.items()}
        _launch(saved, ctx.space, points, *gradients, n_parts=n_parts, **back)
        of_tables = [torch.zeros_like(table) for table in tables]
        for number, gradient in enumerate(of_tables):
            sizes = {"DIMS": 3 - number, "START": 3 * number}
            launch_blocks(
                "grid_gradient.h",
                n_levels,
                sizes,
                points=points.view(-1),
                gradient=features[number * n_levels : (number + 1) * n_levels].view(-1),
                levels=levels[number * 6 * n_levels : (number + 1) * 6 * n_levels],
                table_gradient=gradient.view(-1),
            )
        parts = by_part.sum(0).split(counts)
        of_weights = []
        for number, part, (n_in, n_out) in zip(range(7, -1, -1), parts, shapes, strict=True):
            tiled = part.view(n_in // LANES, n_out // LANES, LANES, LANES)
            part = tiled.permute(1, 3, 0, 2).reshape(n_out, n_in)
            if number in FIRST:
                grids = part.split(layers[0].shape[1], 1)
                part = torch.cat([grid[:, : 2 * n_levels] for grid in grids], 1)
            of_weights.insert(0, part[: len(weights[number]), : weights[number].shape[1]])
        of_biases = [gradient[..., : biases[0].shape[1]] for gradient in (*sets, by_ray)]
        of_biases[:2] = [parts.sum(0) for parts in of_biases[:2]]
        return None, None, None, None, *of_tables, *of_biases, *of_weights


def _launch(
    saved: Sequence[Tensor],
    space: Space,
    points: Tensor,
    density: Tensor,
    colour: Tensor,
    ambient: Tensor,
    **back: Any,
) -> None:
    """Runs the kernel over what is saved: forward, or with what `back` adds backward; then
    density, colour and ambient are the gradients of those."""
    positions, rays, sets, levels, *learned = saved
    amx, n_levels = space.amx, len(levels) // 12
    layers, hidden = _layers(learned[5:], n_levels, space)
    biases = [functional.pad(bias, (0, hidden - bias.shape[1])).flatten() for bias in learned[2:5]]
    if back:
        turned = [w.T for k, w in reversed(list(enumerate(layers))) if k != DENSITY]
        back["transposed_weights"] = packed(turned, amx)
        back["density_weights"] = layers[DENSITY].flatten()
    sizes = {"LEVELS": n_levels, "HIDDEN": hidden, "AMX": int(amx), "HALF": 0}
    sizes |= {"BACKWARD": int(bool(back)), "SAMPLES": SAMPLES}
    values = {
        "positions": vectors(positions),
        "points": points.view(-1),
        "rays": rays,
        "frames": sets,
        "position_table": learned[0].view(torch.int32).view(-1),
        "ambient_table": learned[1].view(torch.int32).view(-1),
        "levels": levels,
        "weights": packed(layers, amx),
        "ambient_biases": biases[0],
        "density_biases": biases[1],
        "colour_biases": biases[2],
        "n_lines": space.lines.shape[1],
        "density": density,
        "colour": vectors(colour),
        "ambient": ambient,
    }
    n_blocks = -(-len(positions) // SAMPLES)
    launch_blocks("fused_training.h", n_blocks, sizes, **values, **space.given(), **back)


def _layers(weights: Sequence[Tensor], n_levels: int, space: Space) -> tuple[list[Tensor], int]:
    return field_layers((weights[:3], weights[3:6], weights[6:]), n_levels, space.amx)
