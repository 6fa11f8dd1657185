"""Vanilla: the paper's own renderer (method.md 5a) as a head field, on the same rays.

Positions and directions in sines, one wide network; no grids. Slow by design: it is what the
grid field is compared with.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from geneface_kit.nerf.condition import ConditionNet
from geneface_kit.nerf.head.config import HeadConfig
from geneface_kit.nerf.head.field import BOX, HeadField
from geneface_kit.render.mlp import precision
from geneface_kit.render.occupancy import Occupancy
from geneface_kit.render.rendering import FieldSamples

__all__ = ["VanillaField", "VanillaNet", "sines"]

POSITION_WAVES, DIRECTION_WAVES = 10, 4
"""Frequencies 2^0 ... of each coordinate (geneface-spec.md 4a)."""
DEPTH, SKIP, COLOUR_LAYERS = 8, 4, 3
"""Layers of the network; the input comes in again after layer SKIP; layers of the colour."""


class VanillaNet(nn.Module):
    """(position, condition, direction) -> density and colour, before their last functions.

    width 256 is the paper's. Layers with biases; half the width for the colour.
    """

    def __init__(self, n_condition: int, width: int):
        super().__init__()
        n_place = 3 * (1 + 2 * POSITION_WAVES) + n_condition
        sizes = [n_place if k == 0 else width + n_place * (k == SKIP + 1) for k in range(DEPTH)]
        self.trunk = nn.ModuleList(nn.Linear(size, width) for size in sizes)
        self.density = nn.Linear(width, 1)
        sizes = [width + 3 * (1 + 2 * DIRECTION_WAVES)] + (COLOUR_LAYERS - 1) * [width // 2]
        self.colour = nn.ModuleList(nn.Linear(size, width // 2) for size in sizes)
        self.shade = nn.Linear(width // 2, 3)

    def forward(
        self,
        positions: Float[Tensor, "n 3"],
        condition: Float[Tensor, "n c"],
        directions: Float[Tensor, "n 3"] | None,
        dtype: torch.dtype = torch.float32,
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]:
        """Density (n,) and colour (n, 3), raw; without directions no colour is computed: zeros."""
        place = torch.cat([sines(positions, POSITION_WAVES), condition], -1).to(dtype)
        x = place
        for number, layer in enumerate(self.trunk):
            if number == SKIP + 1:
                x = torch.cat([place, x], -1)
            x = functional.relu(_linear(x, layer))
        density = _linear(x, self.density)[:, 0].float()
        if directions is None:
            return density, torch.zeros_like(positions)
        x = torch.cat([x, sines(directions, DIRECTION_WAVES).to(dtype)], -1)
        for layer in self.colour:
            x = functional.relu(_linear(x, layer))
        return density, _linear(x, self.shade).float()


class VanillaField(HeadField):
    """A head field whose density and colour come from a `VanillaNet`.

    Differs from the paper: samples are those of `render_rays` (occupied cells, equal steps), not
    64 coarse and 128 fine ones; softplus instead of ReLU on densities, because a ReLU that starts
    at zero everywhere never learns (the official guide advises to restart until it does); the
    attention over frames is on from the start. There is no per-frame code, as in the paper.
    """

    def __init__(self, config: HeadConfig, n_frames: int):
        nn.Module.__init__(self)
        self.config = config = replace(config, carry_reach=0.0)  # the paper's face is not carried
        self.condition_net = ConditionNet(204, config.condition, config.attention_frames)
        self.net = VanillaNet(config.condition + config.lip_modes, config.hidden)
        self.codes = nn.Parameter(torch.zeros(n_frames, 0), requires_grad=False)
        self.occupancy = Occupancy(config.occupancy)
        self.register_buffer("landmark_mean", torch.zeros(204))
        self.register_buffer("landmark_std", torch.ones(204))
        self.register_buffer("lip_modes", torch.zeros(204, config.lip_modes))
        self.dtype = precision(config.precision, torch.device("cpu"))

    def parameter_groups(self) -> tuple[list[nn.Parameter], ...]:
        """No tables; the network; the condition net."""
        return [], list(self.net.parameters()), list(self.condition_net.parameters())

    def density(
        self, positions: Float[Tensor, "n 3"], condition: Float[Tensor, "1 c"]
    ) -> Float[Tensor, " n"]:
        """Density per box length at positions of the unit box, under one condition."""
        condition = condition.expand(len(positions), -1)
        return _positive(self.net(2 * positions - 1, condition, None, self.dtype)[0])

    def at(
        self,
        conditions: Float[Tensor, "k c"],
        codes: Float[Tensor, "m d"],
        frame_of_ray: Tensor | None,
    ) -> Callable[[Tensor, Tensor, Tensor], FieldSamples]:
        """The field under given conditions, as `render_rays` wants it; codes are not used."""

        def field(positions: Tensor, directions: Tensor, ray_index: Tensor) -> FieldSamples:
            if frame_of_ray is None:
                condition = conditions.expand(len(positions), -1)
            else:
                condition = conditions[frame_of_ray[ray_index]]
            density, colour = self.net(
                2 * positions - 1, condition, directions[ray_index], self.dtype
            )
            return FieldSamples(
                _positive(density), torch.sigmoid(colour), torch.zeros_like(density)
            )

        return field

    def baked(self, condition: Float[Tensor, "1 c"]) -> Callable:
        """The field under one condition, as pictures ask it: as `at` gives it."""
        return self.at(condition, self.mean_code(), None)


def sines(x: Float[Tensor, "n c"], n_frequencies: int) -> Float[Tensor, "n d"]:
    """x, then sin(2^l x) and cos(2^l x) for each l: (n, c (1 + 2 n_frequencies))."""
    scaled = x[:, None] * 2.0 ** torch.arange(n_frequencies, device=x.device)[:, None]
    waves = torch.stack([scaled.sin(), scaled.cos()], 2)  # (n, frequencies, 2, c)
    return torch.cat([x, waves.flatten(1)], -1)


def _positive(raw: Tensor) -> Tensor:
    """Density per box length."""
    return BOX * functional.softplus(raw)


def _linear(x: Tensor, layer: nn.Linear) -> Tensor:
    return functional.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))
