"""Fused: rays through a baked field of two grids, and pixels of an image, each in one pass.

Sixteen rays or pixels go through all networks and grids side by side, and their numbers stay in a
core's cache. For pictures on a CPU: the grids and networks one after the other, as `GridField.at`
and `TorsoField.forward` ask them, are the specification, and what CUDA uses. The kernels are
`fused_rays.h` and `fused_image.h`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch.profiler import record_function

from geneface_kit.render.grid import GridEncoding
from geneface_kit.render.kernels import LANES, launch_blocks, once
from geneface_kit.render.mlp import sh_encode
from geneface_kit.render.occupancy import Occupancy

RAYS = PIXELS = 256  # that a thread takes at a time
BLOCK = 8  # neurons that are summed up together, without AMX
BENT = 32  # numbers that may displace a pixel: x and y of 16 patterns
TILE = 16, 32  # neurons and inputs of an AMX tile
FAINT = 1 / 64  # share of its ray's opacity up to which a sample gets the colour of the others
LEAST = 1 / 16  # opacity from which on that share counts; of thinner rays, 1/16 of it does


@once
def has_amx() -> bool:
    """Whether this processor multiplies tiles of bfloat16 (AMX) and the system lets us."""
    return bool(getattr(torch.cpu, "_init_amx", lambda: False)())


@dataclass(frozen=True)
class Space:
    """What the learned numbers of a field do not change: how its points are moved, and its unit.

    lines: (k, m, 13), sets of `line_warp.line_table`, m = 0 where nothing is moved; far, fade: as
    in `line_warp`; scale: of exp(output), per box length; amx: whether networks are of bfloat16,
    in tiles; float32 else.
    """

    lines: Float[Tensor, "k m 13"]
    far: float
    fade: tuple[float, float]
    scale: float
    amx: bool = False

    def given(self) -> dict[str, Any]:
        """As the kernels read it."""
        return {
            "lines": self.lines,
            "far": float(self.far),
            "fade_start": float(self.fade[0]),
            "fade_slope": 1.0 / (self.fade[1] - self.fade[0]),
            "density_scale": float(self.scale),
        }


@dataclass(frozen=True)
class FusedField:
    """A finished field of two grids as the kernel reads it; constant for differentiation.

    position -> (warp) -> 3D grid -> ambient network -> tanh -> 2D grid; both grids' features ->
    density network -> density; its last hidden layer -> colour network -> sigmoid -> colour. Made
    by `of`, and for each frame by `under`.

    tables, levels: of both grids; weights: of all layers in the order of their use; biases: of the
    networks' first layers; of_direction: what a direction's harmonics add to the first layer of the
    colour network.
    """

    tables: tuple[Tensor, Tensor]
    levels: Int[Tensor, "levels 6"]
    weights: Tensor
    biases: Float[Tensor, "3 h"]
    space: Space
    of_direction: Float[Tensor, "_ 16"] | None = None

    @staticmethod
    def of(
        position_grid: GridEncoding,
        ambient_grid: GridEncoding,
        networks: Sequence[Sequence[Tensor]],
        space: Space,
    ) -> "FusedField":
        """The field of two grids of equally many levels and three networks; tables are of bfloat16
        where the networks are.

        networks: the weights of ambient (3 layers), density (3) and colour (2), first layers
        without the inputs that all points share; all hidden layers equally wide.
        """
        shapes = [len(network) for network in networks]
        wide = {len(weight) for net in networks for weight in net[:-1]}
        n_levels = len(position_grid.layout.levels)
        if shapes != [3, 3, 2] or len(wide) != 1 or len(ambient_grid.layout.levels) != n_levels:
            raise ValueError("the fused field has networks of 3, 3 and 2 layers of one width")
        layers, width = field_layers(networks, n_levels, space.amx)
        return FusedField(
            tables=(grid_rows(position_grid, space.amx), grid_rows(ambient_grid, space.amx)),
            levels=torch.cat([position_grid.layout.levels, ambient_grid.layout.levels]),
            weights=packed(layers, space.amx),
            biases=torch.zeros(3, width),
            space=space,
        )

    def under(self, biases: Sequence[Float[Tensor, "1 h"]], space: Space) -> "FusedField":
        """The field under one condition: what the inputs that all points share add to the first
        layers of the ambient, the density and the colour network, and how its points are moved."""
        width = self.biases.shape[1]
        padded = [functional.pad(bias.float(), (0, width - bias.shape[1])) for bias in biases]
        return replace(self, biases=torch.cat(padded), space=space)


def render_fused(
    field: FusedField,
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    ranges: Float[Tensor, "r 2"],
    occupancy: Occupancy,
    *,
    step: float,
    stop: float,
    faint: float = FAINT,
    least: float = LEAST,
) -> Float[Tensor, "r 7"]:
    """Colour (3) times opacity, opacity, depth, depth variance, number of samples of each ray.

    As `render_rays`. Neighbours on the screen should be neighbours here: they look at the same
    rows. Samples are asked for their colour where they weigh more than `faint` times the larger of
    `least` and the ray's opacity so far; others get the mean of those.
    """
    with record_function("fused"):
        sums, by_ray = origins.new_empty(len(origins), 7), origins.new_empty(0)
        hidden, amx = field.biases.shape[1], int(field.space.amx)
        if field.of_direction is not None:
            by_ray = sh_encode(directions) @ field.of_direction.T
            by_ray = functional.pad(by_ray, (0, hidden - by_ray.shape[1]))
        launch_blocks(
            "fused_rays.h",
            -(-len(origins) // RAYS),
            {"LEVELS": len(field.levels) // 2, "HIDDEN": hidden, "RAYS": RAYS, "AMX": amx},
            origins=origins,
            directions=directions,
            ranges=ranges,
            bits=occupancy.bits.view(torch.uint8),
            resolution=occupancy.resolution,
            step=float(step),
            stop=float(stop),
            faint=float(faint),
            least=float(least),
            position_table=field.tables[0],
            ambient_table=field.tables[1],
            levels=field.levels,
            weights=field.weights,
            biases=field.biases,
            ray_biases=by_ray,
            sums=sums,
            **field.space.given(),
        )
        return sums


class FusedImage:
    """A finished canonical image that networks bend, as the kernel reads it.

    Encoded place and what is seen before it -> deformation network -> 2D grid -> colour network.
    Of a 2D grid and the weights of three networks of three layers: seen (4) -> s; (encoded place,
    s) -> x and y of each pattern of displacement; (grid, encoded place, s) -> opacity and colour;
    weights of inputs that all pixels share left out. amx: bfloat16 tables and tiles, else float32.
    """

    def __init__(self, grid: GridEncoding, networks: Sequence[Sequence[Tensor]], amx: bool):
        seen, bend, colour = networks
        encoded = bend[0].shape[1] - len(seen[-1])
        if [len(net) for net in networks] != [3, 3, 3] or encoded % 2 or len(bend[-1]) > BENT:
            raise ValueError(f"the fused image has networks of 3 layers, {BENT // 2} patterns")
        groups = [[4], [encoded, len(seen[-1])], [grid.n_features, encoded, len(seen[-1])]]
        layers = padded(networks, groups, amx)
        seen_out, bend_out, colour_out = ([len(weight) for weight in net] for net in layers)
        self.sizes = {  # of the layers, by the names of `fused_image.h`
            "LEVELS": len(grid.layout.levels),
            "HIDDEN": max(*seen_out, *bend_out, *colour_out),
            "ENCODED": encoded,
            "BEND": bend_out[0],
            "PATTERNS": bend_out[2] // 2,
            "COLOUR": colour_out[0],
            "PIXELS": PIXELS,
            "AMX": int(amx),
        }
        self.sizes |= {f"SEEN_{number}": width for number, width in enumerate(seen_out, 1)}
        self.table, self.levels = grid_rows(grid, amx), grid.layout.levels
        self.weights = packed(sum(layers, []), amx)

    def __call__(
        self,
        pixels: Int[Tensor, "k 2"],
        columns: Float[Tensor, "w e"],
        rows: Float[Tensor, "h e"],
        strengths: Float[Tensor, " p"],
        biases: Sequence[Float[Tensor, " _"]],
        seen_colour: Float[Tensor, "h w 3"],
        seen_alpha: Float[Tensor, "h w"],
    ) -> Float[Tensor, "k 4"]:
        """Colour times opacity, and opacity, of pixels (columns and rows).

        columns, rows: the encodings of x of each column and y of each row, x and y first;
        strengths: of the patterns; biases: what inputs that all pixels share add to the first
        layers of deformation and colour network; seen_colour, seen_alpha: before the image.
        """
        values, hidden = torch.empty(len(pixels), 4), self.sizes["HIDDEN"]
        shared = [functional.pad(bias.float(), (0, hidden - len(bias))) for bias in biases]
        launch_blocks(
            "fused_image.h",
            -(-len(pixels) // PIXELS),
            self.sizes,
            pixels=pixels.int(),
            width=seen_alpha.shape[1],
            columns=columns,
            rows=rows,
            strengths=strengths,
            seen_colour=seen_colour,
            seen_alpha=seen_alpha,
            table=self.table,
            levels=self.levels,
            weights=self.weights,
            biases=torch.stack(shared),
            values=values,
        )
        return values


def field_layers(
    networks: Sequence[Sequence[Tensor]], n_levels: int, amx: bool
) -> tuple[list[Tensor], int]:
    """The eight layers of a field of two grids, `padded`, and how wide the hidden ones are then."""
    ambient, density, (first, last) = networks
    place, width = 2 * n_levels, padded_width(len(first), amx)
    colour = [functional.pad(first, (0, width - first.shape[1])), last]
    blocks = [[place], [place, place], [width]]
    return sum(padded((ambient, density, colour), blocks, amx), []), width


def padded(
    networks: Sequence[Sequence[Tensor]], blocks: Sequence[Sequence[int]], amx: bool
) -> list[list[Tensor]]:
    """The weights of networks with zeros where a kernel has more rows and columns than they.

    networks: the weights (out, in) of each network's layers; blocks: for each network how the
    inputs of its first layer are grouped; each group has its own rows in the kernel.
    """
    columns, found = TILE[1] if amx else 1, []
    for layers, groups in zip(networks, blocks, strict=True):
        parts = layers[0].float().split(list(groups), dim=1)
        parts = [functional.pad(part, (0, -part.shape[1] % columns)) for part in parts]
        n_in, wide = sum(part.shape[1] for part in parts), []
        for weight in (torch.cat(parts, 1), *layers[1:]):
            n_out = len(weight) if weight is layers[-1] else padded_width(len(weight), amx)
            sides = (0, n_in - weight.shape[1], 0, n_out - len(weight))
            wide.append(functional.pad(weight.float(), sides))
            n_in = n_out
        found.append(wide)
    return found


def packed(layers: Sequence[Tensor], amx: bool) -> Int[Tensor, " numbers"]:
    """Padded weights in the order in which a kernel goes through them, by tiles: TILE of bfloat16
    with AMX, else BLOCK neurons and one input."""
    (rows, columns), found = TILE if amx else (BLOCK, 1), []
    for weight in layers:
        weight = functional.pad(weight, (0, -weight.shape[1] % columns, 0, -len(weight) % rows))
        tiles = weight.unflatten(1, (-1, columns)).unflatten(0, (-1, rows)).transpose(1, 2)
        found.append(tiles.flatten().to(torch.bfloat16 if amx else torch.float32))
    return torch.cat(found).view(torch.int32)


def padded_width(n: int, amx: bool) -> int:
    """How wide a hidden layer of n neurons is in a kernel."""
    if not amx:
        return -(-n // LANES) * LANES
    return 32 if n <= 32 else -(-n // 64) * 64


def grid_rows(grid: GridEncoding, amx: bool) -> Int[Tensor, " numbers"]:
    """A grid's table as kernels read it: pairs of bfloat16 beside AMX, else of float32."""
    dtype = torch.bfloat16 if amx else torch.float32
    return grid.table.detach().to(dtype).contiguous().view(torch.int32).flatten()
