"""Vanilla: the paper's own renderer as a head field, on the same rays (GeneFace, sec. 3.4).

Positions and directions in sines, one wide network; no grids. Slow by design: it is what the
grid field is compared with.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from geneface_kit.nerf.config import HeadConfig
from geneface_kit.nerf.dataset import BOX
from geneface_kit.nerf.head import (
    LANDMARKS,
    Appearance,
    Condition,
    ConditionNet,
    Conditions,
    FrameOfRay,
    HeadField,
    Positions,
)
from geneface_kit.render.rendering import Field, FieldSamples

POSITION_WAVES, DIRECTION_WAVES = 10, 4  # frequencies 2^0 ... of each coordinate (official code)
DEPTH, SKIP, COLOUR_LAYERS = 8, 4, 3  # layers; the one after which the input comes again


class VanillaField(HeadField):
    """A head field of one wide network: (position, condition, direction) -> density and colour.

    config.hidden: its width, 256 in the paper; half of it for the colour. Layers have biases.
    Differs from the paper: samples are those of `render_rays` (occupied cells, equal steps), not
    64 coarse and 128 fine ones; softplus instead of ReLU on densities, because a ReLU that starts
    at zero everywhere never learns (the official guide advises to restart until it does); the
    attention over frames is on from the start. No appearance embedding and no deformation, as in
    the paper.
    """

    def __init__(self, config: HeadConfig, n_frames: int):
        super().__init__(replace(config, warp_reach=0.0), n_frames)
        self.condition_net = ConditionNet(LANDMARKS, config.condition, config.attention_frames)
        width, n_place = config.hidden, 3 * (1 + 2 * POSITION_WAVES) + self.n_condition
        sizes = [n_place if k == 0 else width + n_place * (k == SKIP + 1) for k in range(DEPTH)]
        trunk = [nn.Linear(size, width) for size in sizes]
        density = nn.Linear(width, 1)
        sizes = [width + 3 * (1 + 2 * DIRECTION_WAVES)] + (COLOUR_LAYERS - 1) * [width // 2]
        colour = [nn.Linear(size, width // 2) for size in sizes]
        parts = {"trunk": nn.ModuleList(trunk), "density": density}
        parts |= {"colour": nn.ModuleList(colour), "shade": nn.Linear(width // 2, 3)}
        self.net = nn.ModuleDict(parts)

    def parameter_groups(self) -> tuple[list[nn.Parameter], ...]:
        return [], list(self.net.parameters()), list(self.condition_net.parameters())

    def density(self, positions: Positions, condition: Condition) -> Float[Tensor, " n"]:
        return self._density(positions, condition.expand(len(positions), -1))[0]

    def at(self, conditions: Conditions, appearance: Appearance, frame_of_ray: FrameOfRay) -> Field:
        def field(positions: Tensor, directions: Tensor, ray_index: Tensor) -> FieldSamples:
            if frame_of_ray is None:
                condition = conditions.expand(len(positions), -1)
            else:
                condition = conditions[frame_of_ray[ray_index]]
            density, x = self._density(positions, condition)
            waves = positional_encoding(directions[ray_index], DIRECTION_WAVES)
            x = torch.cat([x, waves.to(self.dtype)], -1)
            for layer in self.net["colour"]:
                x = functional.relu(_linear(x, layer))
            colour = torch.sigmoid(_linear(x, self.net["shade"]).float())
            return FieldSamples(density, colour, torch.zeros_like(density))

        return field

    def _density(self, positions: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Density per box length (n,), and the features (n, hidden) that colours are made of."""
        waves = positional_encoding(2 * positions - 1, POSITION_WAVES)
        x = place = torch.cat([waves, condition], -1).to(self.dtype)
        for number, layer in enumerate(self.net["trunk"]):
            if number == SKIP + 1:
                x = torch.cat([place, x], -1)
            x = functional.relu(_linear(x, layer))
        raw = _linear(x, self.net["density"])[:, 0].float()
        return BOX * functional.softplus(raw), x


def positional_encoding(x: Float[Tensor, "n c"], n_frequencies: int) -> Float[Tensor, "n d"]:
    """x, then sin(2^l x) and cos(2^l x) for each l: (n, c (1 + 2 n_frequencies)).

    The positional encoding of NeRF (Mildenhall et al. 2020, eq. 4; as in its code without pi).
    """
    scaled = x[:, None] * 2.0 ** torch.arange(n_frequencies, device=x.device)[:, None]
    waves = torch.stack([scaled.sin(), scaled.cos()], 2)  # (n, frequencies, 2, c)
    return torch.cat([x, waves.flatten(1)], -1)


def _linear(x: Tensor, layer: nn.Linear) -> Tensor:
    return functional.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))
