"""Fused training: samples through a field of two grids and back, without tensors between.

Sixteen samples side by side; backwards a packet's numbers are made again instead of kept. For
training on a CPU; its specification, and what CUDA uses, are those of `fused`. The kernels are
`fused_training.h` and `grid_gradient.h`. Repeats to the bit for one number of threads.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch.profiler import record_function

from geneface_kit.render.fused import Space, field_layers, packed
from geneface_kit.render.grid import GridEncoding
from geneface_kit.render.kernels import LANES, launch_blocks, n_threads

SAMPLES = 512  # samples of a block, to the next end of a ray
DENSITY = 5  # number of the layer that gives the density, among the eight


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
        levels = torch.cat([grid.layout.levels for grid in grids])
        layers, width = field_layers(networks, len(grids[0].layout.levels), space.amx)
        wide = [functional.pad(bias, (0, width - bias.shape[1])) for bias in biases]
        where = (positions, ray_index.int(), set_of_ray.int(), levels)
        return _Fused.apply(space, *where, *(grid.table for grid in grids), *wide, *layers)


class _Fused(torch.autograd.Function):
    """fused_samples through the kernels; the last eight arguments are the padded layers."""

    @staticmethod
    def forward(ctx, space, *given):
        positions, ctx.space = given[0], space
        n = len(positions)
        outputs = [positions.new_empty(n), torch.empty_like(positions), positions.new_empty(n)]
        points = positions.new_empty(n, 5)  # where they were moved to, and the ambient points
        _launch(space, given, points, *outputs)
        ctx.save_for_backward(points, *given)
        return tuple(outputs)

    @staticmethod
    def backward(ctx, *gradients):
        points, *given = ctx.saved_tensors
        positions, _, _, levels, *learned = given
        tables, biases, layers = learned[:2], learned[2:5], learned[5:][::-1]
        n, n_levels, n_parts = len(positions), len(levels) // 2, n_threads()
        shapes = [[size + -size % LANES for size in layer.shape] for layer in layers]
        counts = [n_out * n_in for n_out, n_in in shapes]
        of_layers = positions.new_zeros(n_parts, sum(counts))
        of_sets = [positions.new_zeros(n_parts, *bias.shape) for bias in biases[:2]]
        of_rays = torch.zeros_like(biases[2])
        of_features = positions.new_empty(2, n_levels, n, 2)
        _launch(
            ctx.space,
            given,
            points,
            *gradients,
            n_parts=n_parts,
            weight_gradient=of_layers,
            ambient_bias_gradient=of_sets[0],
            density_bias_gradient=of_sets[1],
            colour_bias_gradient=of_rays,
            feature_gradient=of_features,
        )
        of_tables = [torch.zeros_like(table) for table in tables]
        for number, gradient in enumerate(of_tables):
            launch_blocks(
                "grid_gradient.h",
                n_levels,
                {"DIMS": 3 - number, "START": 3 * number},
                points=points,
                gradient=of_features[number],
                levels=levels[number * n_levels :],
                table_gradient=gradient,
            )
        found = []
        parts = of_layers.sum(0).split(counts)
        for layer, part, (n_out, n_in) in zip(layers, parts, shapes, strict=True):
            tiled = part.view(n_in // LANES, n_out // LANES, LANES, LANES)
            whole = tiled.permute(1, 3, 0, 2).reshape(n_out, n_in)
            found.insert(0, whole[: len(layer), : layer.shape[1]])
        of_biases = (*(parts.sum(0) for parts in of_sets), of_rays)
        return None, None, None, None, None, *of_tables, *of_biases, *found


def _launch(
    space: Space,
    given: Sequence[Tensor],
    points: Tensor,
    density: Tensor,
    colour: Tensor,
    ambient: Tensor,
    **back: Any,
) -> None:
    """Runs the kernel over what `_Fused` is given: forward, or with what `back` adds backward; then
    density, colour and ambient are the gradients of those."""
    positions, rays, sets, levels, *tables_and_biases = given[:9]
    layers = given[9:]
    sizes = {"LEVELS": len(levels) // 2, "HIDDEN": len(layers[0]), "AMX": int(space.amx)}
    sizes |= {"HALF": 0, "BACKWARD": int(bool(back)), "SAMPLES": SAMPLES}
    if back:
        turned = [w.T for k, w in reversed(list(enumerate(layers))) if k != DENSITY]
        back["transposed_weights"] = packed(turned, space.amx)
        back["density_weights"] = layers[DENSITY]
    names = ("position_table", "ambient_table", "ambient_biases", "density_biases", "colour_biases")
    launch_blocks(
        "fused_training.h",
        -(-len(positions) // SAMPLES),
        sizes,
        positions=positions,
        points=points,
        rays=rays,
        frames=sets,
        levels=levels,
        weights=packed(layers, space.amx),
        n_lines=space.lines.shape[1],
        density=density,
        colour=colour,
        ambient=ambient,
        **dict(zip(names, tables_and_biases, strict=True)),
        **space.given(),
        **back,
    )
