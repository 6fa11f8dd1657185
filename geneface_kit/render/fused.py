"""Fused: rays through a baked field of two grids, in one pass without tensors between.

Deformation, both grids, the networks and compositing of sixteen rays side by side, whose numbers
stay in a core's cache; a ray ends where its light has. For pictures on a CPU. `render_rays` with a
`TwoPassField` is the specification, and what CUDA uses; the kernel is `fused.h`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch.profiler import record_function

from geneface_kit.render.grid import GridEncoding
from geneface_kit.render.kernels import array, loaded, on_threads, once
from geneface_kit.render.line_warp import line_table
from geneface_kit.render.occupancy import Occupancy

__all__ = ["FusedField", "has_amx", "render_fused"]

RAYS = 256
"""Rays that a thread takes at a time."""
BLOCK = 8
"""Neurons that are summed up together, without AMX."""
TILE = 16, 32
"""Neurons and inputs of an AMX tile."""
LINE = 11
"""Numbers of a line, see `line_warp.line_table`."""


@once
def has_amx() -> bool:
    """Whether this processor multiplies tiles of bfloat16 (AMX) and the system lets us."""
    return bool(getattr(torch.cpu, "_init_amx", lambda: False)())


@dataclass(frozen=True)
class FusedField:
    """A finished field of two grids as the kernel reads it; constant for differentiation.

    position -> (warp) -> 3D grid -> ambient network -> tanh -> 2D grid; both grids' features ->
    density network -> density; its last hidden layer -> colour network -> sigmoid -> colour. Made
    by `of`, and for each frame by `under` and `warped`.

    tables: rows of both grids; levels: of both, six numbers each; weights: of all layers in the
    order of their use; biases: (3, hidden) of the networks' first layers; lines: (m, 11), none
    where nothing is warped; far, fade: as in `line_warp`; scale: of exp(output), per box length.
    """

    tables: tuple[Tensor, Tensor]
    levels: Int[Tensor, " numbers"]
    weights: Tensor
    hidden: int
    amx: bool
    biases: Float[Tensor, "3 h"]
    lines: Float[Tensor, "m 11"]
    far: float = 1.0
    fade: tuple[float, float] = (0.0, 1.0)
    scale: float = 1.0

    @staticmethod
    def of(
        position_grid: GridEncoding,
        ambient_grid: GridEncoding,
        networks: Sequence[Sequence[Tensor]],
        scale: float,
        *,
        amx: bool | None = None,
    ) -> "FusedField":
        """The field of two grids of equally many levels and three networks.

        networks: the weights of ambient (3 layers), density (3) and colour (2), first layers
        without the inputs that all points share; all hidden layers equally wide. amx: bfloat16
        tables and tiles, else float32; where the processor has it if not given.
        """
        amx = has_amx() if amx is None else amx
        ambient, density, colour = networks
        shapes = [len(ambient), len(density), len(colour)]
        wide = {len(weight) for net in networks for weight in net[:-1]}
        n_levels = position_grid.layout.n_levels
        if shapes != [3, 3, 2] or len(wide) != 1 or ambient_grid.layout.n_levels != n_levels:
            raise ValueError("the fused field has networks of 3, 3 and 2 layers of one width")
        (hidden,) = wide
        hidden = -(-hidden // BLOCK) * BLOCK
        if amx:
            hidden = 32 if hidden <= 32 else -(-hidden // 64) * 64
        place = -(-n_levels // 16) * 32 if amx else 2 * n_levels
        pad = lambda weight: functional.pad(weight, (0, place - 2 * n_levels))  # noqa: E731
        first, *rest = density
        ambient = [pad(ambient[0]), *ambient[1:]]
        density = [torch.cat([pad(part) for part in first.split(2 * n_levels, 1)], 1), *rest]
        packed = [
            _packed(weight, 0 if k == 0 and net is not colour else hidden, out, amx)
            for net in (ambient, density, colour)
            for k, (weight, out) in enumerate(
                zip(net, [hidden] * (len(net) - 1) + [0], strict=True)
            )
        ]
        grids = (position_grid, ambient_grid)
        dtype = torch.bfloat16 if amx else torch.float32
        tables = [grid.table.detach().to(dtype).contiguous().view(torch.int32) for grid in grids]
        return FusedField(
            tables=(tables[0].flatten(), tables[1].flatten()),
            levels=torch.cat([_levels(grid) for grid in grids]),
            weights=torch.cat(packed).view(torch.int32),
            hidden=hidden,
            amx=amx,
            biases=torch.zeros(3, hidden),
            lines=torch.zeros(0, LINE),
            scale=scale,
        )

    def under(
        self,
        biases: Sequence[Float[Tensor, " h"]],
    ) -> "FusedField":
        """The field under one condition: what the inputs that all points share add to the first
        layers of the ambient, the density and the colour network."""
        padded = [functional.pad(b.float(), (0, self.hidden - len(b))) for b in biases]
        return replace(self, biases=torch.stack(padded))

    def warped(
        self,
        lines: Float[Tensor, "m 2 2"],
        rest: Float[Tensor, "m 2 2"],
        softness: Float[Tensor, " m"],
        reach: float,
        fade: tuple[float, float],
    ) -> "FusedField":
        """The field of points moved by lines, see `line_warp.line_warp`."""
        table = line_table(lines, rest, softness).contiguous()
        return replace(self, lines=table, far=reach**-4.0, fade=fade)


def render_fused(
    field: FusedField,
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    ranges: Float[Tensor, "r 2"],
    occupancy: Occupancy,
    *,
    step: float,
    stop: float,
    faint: float,
    least: float,
) -> Float[Tensor, "r 7"]:
    """Colour (3) times opacity, opacity, depth, depth variance, number of samples of each ray.

    As `render_rays`. Neighbours on the screen should be neighbours here: they look at the same
    rows. A sample is asked for its colour where its weight is above `faint` times the larger of
    `least` and the ray's opacity so far; others get the mean of those.
    """
    with record_function("fused"):
        sums = origins.new_empty(len(origins), 7)
        if not len(origins):
            return sums
        inputs = [
            array(origins.contiguous(), wp.vec3),
            array(directions.contiguous(), wp.vec3),
            array(ranges.contiguous(), wp.vec2),
            array(occupancy.bits.view(-1).view(torch.uint8)),
            occupancy.resolution,
            *(float(number) for number in (step, stop, faint, least)),
            *(array(table) for table in field.tables),
            array(field.levels),
            array(field.weights),
            array(field.biases.flatten()),
            array(field.lines.flatten()),
            field.far,
            field.fade[0],
            1.0 / (field.fade[1] - field.fade[0]),
            field.scale,
            array(sums),
        ]
        n_levels = len(field.levels) // 12
        kernel = loaded(_kernel(n_levels, field.hidden, field.amx), origins.device)
        n_blocks = -(-len(origins) // RAYS)
        n_parts = min(torch.get_num_threads(), n_blocks)

        def part(number: int) -> None:  # every n_parts-th block: heavy ones lie side by side
            n = len(range(number, n_blocks, n_parts))
            wp.launch(kernel, dim=n, inputs=[*inputs, number, n_parts], device="cpu")

        on_threads(part, n_parts)
        return sums


def _packed(weight: Tensor, least_in: int, least_out: int, amx: bool) -> Tensor:
    """A layer's weights (out, in) in the order in which the kernel goes through them."""
    weight = weight.detach().float()
    rows, columns = TILE if amx else (BLOCK, 1)
    n_out, n_in = max(len(weight), least_out), max(weight.shape[1], least_in)
    n_out, n_in = -(-n_out // rows) * rows, -(-n_in // columns) * columns
    weight = functional.pad(weight, (0, n_in - weight.shape[1], 0, n_out - len(weight)))
    tiles = weight.view(n_out // rows, rows, n_in // columns, columns)
    if amx:
        return tiles.transpose(1, 2).flatten().bfloat16()
    return tiles.transpose(1, 2).flatten()


def _levels(grid: GridEncoding) -> Int[Tensor, " numbers"]:
    """Six numbers a level: its scale's bits, offset, two strides, mask, and 1 where hashed."""
    layout = grid.layout
    columns = [layout.scales.view(torch.int32), layout.offsets[:-1], *layout.rows.unbind(1)]
    return torch.stack([column.cpu() for column in columns], 1).flatten().contiguous()


@once
def _kernel(n_levels: int, hidden: int, amx: bool) -> wp.Kernel:
    """The kernel for a shape of field; a thread renders RAYS rays."""
    sizes = f"enum {{ LEVELS = {n_levels}, HIDDEN = {hidden}, RAYS = {RAYS} }};"
    source = Path(__file__).with_name("fused.h").read_text()

    @no_type_check
    @wp.func_native(f"#define AMX {int(amx)}\n{sizes}\n{source}")
    def render(
        origins: wp.array(dtype=wp.vec3),
        directions: wp.array(dtype=wp.vec3),
        ranges: wp.array(dtype=wp.vec2),
        bits: wp.array(dtype=wp.uint8),
        resolution: int,
        step: float,
        stop: float,
        faint: float,
        least: float,
        position_table: wp.array(dtype=int),
        ambient_table: wp.array(dtype=int),
        levels: wp.array(dtype=int),
        weights: wp.array(dtype=int),
        biases: wp.array(dtype=float),
        lines: wp.array(dtype=float),
        far: float,
        fade_start: float,
        fade_slope: float,
        density_scale: float,
        sums: wp.array(dtype=float),
        block: int,
    ): ...

    @no_type_check
    @wp.kernel(name="fused", enable_backward=False, module="unique")
    def fused(
        origins: wp.array(dtype=wp.vec3),
        directions: wp.array(dtype=wp.vec3),
        ranges: wp.array(dtype=wp.vec2),
        bits: wp.array(dtype=wp.uint8),
        resolution: int,
        step: float,
        stop: float,
        faint: float,
        least: float,
        position_table: wp.array(dtype=int),
        ambient_table: wp.array(dtype=int),
        levels: wp.array(dtype=int),
        weights: wp.array(dtype=int),
        biases: wp.array(dtype=float),
        lines: wp.array(dtype=float),
        far: float,
        fade_start: float,
        fade_slope: float,
        density_scale: float,
        sums: wp.array(dtype=float),
        first: int,
        stride: int,
    ):
        render(
            origins,
            directions,
            ranges,
            bits,
            resolution,
            step,
            stop,
            faint,
            least,
            position_table,
            ambient_table,
            levels,
            weights,
            biases,
            lines,
            far,
            fade_start,
            fade_slope,
            density_scale,
            sums,
            first + stride * wp.tid(),
        )

    return fused
