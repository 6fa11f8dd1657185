"""Fused: rays through a baked field of two grids, in one pass without tensors between.

Deformation, grids, networks and compositing of sixteen rays side by side, whose numbers stay in a
core's cache; a ray ends where its light has. For pictures on a CPU. `render_rays` with a
`TwoPassField` is the specification, and what CUDA uses; the kernel is `fused.h`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch.profiler import record_function

from geneface_kit.render.grid import GridEncoding, grid_levels
from geneface_kit.render.kernels import launch_blocks, once, vectors
from geneface_kit.render.line_warp import line_table
from geneface_kit.render.mlp import sh_encode
from geneface_kit.render.occupancy import Occupancy

RAYS = 256  # rays that a thread takes at a time
BLOCK = 8  # neurons that are summed up together, without AMX
TILE = 16, 32  # neurons and inputs of an AMX tile
LINE = 11  # numbers of a line, see `line_warp.line_table`


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

    tables, levels: of both grids; weights: of all layers in the order of their use; biases: of the
    networks' first layers; lines: none where nothing is warped; far, fade: as in `line_warp`;
    scale: of exp(output), per box length; of_direction: what a direction's harmonics add to the
    first layer of the colour network.
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
    of_direction: Float[Tensor, "_ 16"] | None = None

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
        place, width = 2 * n_levels, padded_width(hidden, amx)
        colour = [functional.pad(colour[0], (0, width - hidden)), *colour[1:]]
        networks = (ambient, density, colour)
        weights, _ = packed(networks, [[place], [place, place], [width]], amx)
        return FusedField(
            tables=(grid_rows(position_grid, amx), grid_rows(ambient_grid, amx)),
            levels=torch.cat([grid_levels(grid.layout) for grid in (position_grid, ambient_grid)]),
            weights=weights,
            hidden=width,
            amx=amx,
            biases=torch.zeros(3, width),
            lines=torch.zeros(0, LINE),
            scale=scale,
        )

    def under(self, biases: Sequence[Float[Tensor, " h"]]) -> "FusedField":
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
    rows. Samples are asked for their colour where they weigh more than `faint` times the larger of
    `least` and the ray's opacity so far; others get the mean of those.
    """
    with record_function("fused"):
        sums, by_ray = origins.new_empty(len(origins), 7), origins.new_empty(0)
        if field.of_direction is not None:
            by_ray = sh_encode(directions) @ field.of_direction.T
            by_ray = functional.pad(by_ray, (0, field.hidden - by_ray.shape[1])).flatten()
        sizes = {"LEVELS": len(field.levels) // 12, "HIDDEN": field.hidden, "RAYS": RAYS}
        launch_blocks(
            "fused_rays.h",
            -(-len(origins) // RAYS),
            sizes | {"AMX": int(field.amx)},
            origins=vectors(origins),
            directions=vectors(directions),
            ranges=vectors(ranges),
            bits=occupancy.bits.view(-1).view(torch.uint8),
            resolution=occupancy.resolution,
            step=float(step),
            stop=float(stop),
            faint=float(faint),
            least=float(least),
            position_table=field.tables[0],
            ambient_table=field.tables[1],
            levels=field.levels,
            weights=field.weights,
            biases=field.biases.flatten(),
            ray_biases=by_ray,
            lines=field.lines.flatten(),
            far=float(field.far),
            fade_start=float(field.fade[0]),
            fade_slope=1.0 / (field.fade[1] - field.fade[0]),
            density_scale=float(field.scale),
            sums=sums.view(-1),
        )
        return sums


def packed(
    networks: Sequence[Sequence[Tensor]], blocks: Sequence[Sequence[int]], amx: bool
) -> tuple[Int[Tensor, " numbers"], list[list[int]]]:
    """The weights of networks in the order in which a kernel goes through them, and the widths of
    their layers there: what a layer gives the next one is padded with zeros.

    networks: the weights (out, in) of each network's layers; blocks: for each network how the
    inputs of its first layer are grouped; each group has its own rows in the kernel.
    """
    columns = TILE[1] if amx else 1
    numbers, widths = [], []
    for layers, groups in zip(networks, blocks, strict=True):
        first, *rest = (weight.detach().float() for weight in layers)
        parts = first.split(list(groups), dim=1)
        parts = [functional.pad(part, (0, -part.shape[1] % columns)) for part in parts]
        first = torch.cat(parts, 1)
        outs = [padded_width(len(weight), amx) for weight in layers[:-1]] + [len(layers[-1])]
        widths.append(outs)
        for weight, n_out, n_in in zip([first, *rest], outs, [first.shape[1], *outs], strict=False):
            weight = functional.pad(weight, (0, n_in - weight.shape[1], 0, n_out - len(weight)))
            numbers.append(tiles(weight, amx))
    return torch.cat(numbers).view(torch.int32), widths


def padded_width(n: int, amx: bool) -> int:
    """How wide a hidden layer of n neurons is in a kernel."""
    if not amx:
        return -(-n // BLOCK) * BLOCK
    return 32 if n <= 32 else -(-n // 64) * 64


def grid_rows(grid: GridEncoding, amx: bool) -> Int[Tensor, " numbers"]:
    """A grid's table as kernels read it: pairs of bfloat16 beside AMX, else of float32."""
    dtype = torch.bfloat16 if amx else torch.float32
    return grid.table.detach().to(dtype).contiguous().view(torch.int32).flatten()


def tiles(weight: Tensor, amx: bool = False) -> Tensor:
    """A layer's weights (out, in) by tiles: TILE with AMX, else BLOCK neurons and one input."""
    rows, columns = TILE if amx else (BLOCK, 1)
    weight = functional.pad(weight, (0, -weight.shape[1] % columns, 0, -len(weight) % rows))
    n_out, n_in = weight.shape
    numbers = weight.view(n_out // rows, rows, n_in // columns, columns).transpose(1, 2).flatten()
    return numbers.bfloat16() if amx else numbers
