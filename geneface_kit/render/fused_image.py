"""Fused image: pixels of a canonical image that networks bend, in one pass on a CPU.

Encoded place and what is seen before it -> deformation network -> 2D grid -> colour network. The
networks one after the other in torch are the specification.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from geneface_kit.render.fused import grid_rows, has_amx, packed, padded
from geneface_kit.render.grid import GridEncoding, grid_levels
from geneface_kit.render.kernels import launch_blocks, vectors

PIXELS = 256  # pixels that a thread takes at a time


@dataclass(frozen=True)
class FusedImage:
    """A finished canonical image as the kernel reads it; made by `of`.

    sizes: of its layers, by the names of `fused_image.h`.
    """

    table: Tensor
    levels: Int[Tensor, " numbers"]
    weights: Tensor
    sizes: tuple[tuple[str, int], ...]

    @staticmethod
    def of(
        grid: GridEncoding, networks: Sequence[Sequence[Tensor]], *, amx: bool | None = None
    ) -> "FusedImage":
        """The image of a 2D grid and the weights of three networks of three layers.

        seen (4) -> s; (encoded place, s) -> x and y of each pattern of displacement; (grid,
        encoded place, s) -> opacity and colour; weights of inputs that all pixels share left out.
        amx: as in `fused.FusedField.of`.
        """
        amx = has_amx() if amx is None else amx
        seen, bend, colour = networks
        encoded = bend[0].shape[1] - len(seen[-1])
        features = grid.n_features
        if [len(net) for net in networks] != [3, 3, 3] or encoded % 2 or len(bend[-1]) > 32:
            raise ValueError("the fused image has three networks of three layers, 16 patterns")
        groups = [[4], [encoded, len(seen[-1])], [features, encoded, len(seen[-1])]]
        layers = padded(networks, groups, amx)
        seen_out, bend_out, colour_out = ([len(weight) for weight in net] for net in layers)
        sizes = {
            "LEVELS": grid.layout.n_levels,
            "HIDDEN": max(*seen_out, *bend_out, *colour_out),
            "ENCODED": encoded,
            "BEND": bend_out[0],
            "PATTERNS": bend_out[2] // 2,
            "COLOUR": colour_out[0],
            "PIXELS": PIXELS,
            "AMX": int(amx),
        }
        sizes |= {f"SEEN_{number}": width for number, width in enumerate(seen_out, 1)}
        table, weights = grid_rows(grid, amx), packed(sum(layers, []), amx)
        return FusedImage(table, grid_levels(grid.layout), weights, tuple(sizes.items()))

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
        values, hidden = torch.empty(len(pixels), 4), dict(self.sizes)["HIDDEN"]
        shared = [functional.pad(bias.float(), (0, hidden - len(bias))) for bias in biases]
        launch_blocks(
            "fused_image.h",
            -(-len(pixels) // PIXELS),
            dict(self.sizes),
            pixels=vectors(pixels.int()),
            columns=columns,
            rows=rows,
            strengths=strengths,
            seen_colour=seen_colour,
            seen_alpha=seen_alpha,
            table=self.table,
            levels=self.levels,
            weights=self.weights,
            biases=torch.stack(shared).flatten(),
            values=values.view(-1),
        )
        return values
