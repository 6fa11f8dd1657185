"""Baked: a head field under one condition -> a `TwoPassField`, what a frame shares worked out once.

The networks of `HeadField.at`, to rounding: the condition, the code and the direction that stands
for all become biases, and two linear maps with nothing between them become one.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from geneface_kit.nerf.head.field import FRONT, HeadField
from geneface_kit.render.mlp import MLP, BakedMLP, padded_rows, trunc_exp
from geneface_kit.render.rendering import TwoPassField
from geneface_kit.render.sh_encoding import sh_encode

__all__ = ["bake"]

N_HARMONICS = 16
"""Numbers that stand for a direction of view."""


@torch.no_grad()
def bake(
    head: HeadField, condition: Float[Tensor, "1 c"], code: Float[Tensor, "1 d"]
) -> TwoPassField:
    """The head under one condition and one code, for `render_rays`.

    The features of a point are the last hidden layer of the density network.
    """
    condition, marks = condition.tensor_split([head.n_condition], dim=1)
    place = head.position_grid.n_features
    ambient_net = _baked(head.ambient_net, place, condition, head.dtype)
    direct = condition if head.config.direct_condition else condition[:, :0]
    density_net = _baked(head.density_net, 2 * place, direct, head.dtype)
    density_net.weights[-1] = density_net.weights[-1][:1]  # of the geometry, see _colour

    def density(positions: Tensor) -> tuple[Tensor, Tensor]:
        if head.config.carry_reach:
            positions = head.carried(positions, marks, None)
        n = len(positions)
        inputs = positions.new_zeros(padded_rows(n), 2 * place, dtype=head.dtype)
        inputs[:n, :place] = head.position_grid(positions)
        ambient = torch.tanh(ambient_net(inputs[:, :place])[:n].float())
        inputs[:n, place:] = head.ambient_grid(0.5 * ambient + 0.5)
        hidden = density_net.hidden(inputs)
        raw = density_net.output(hidden)[:n, 0].float()
        return head.edge * trunc_exp(raw), hidden[:n]

    return TwoPassField(density, _colour(head, code))


def _colour(head: HeadField, code: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Colours of (features, directions). The geometry features are linear in the features, and
    what the colour network first does is linear in them: both at once."""
    geometry = head.density_net.layers[-1].weight[1:]
    first, *rest = (layer.weight for layer in head.colour_net.layers)
    of_direction, of_geometry, of_code = first.tensor_split(
        [N_HARMONICS, N_HARMONICS + len(geometry)], dim=1
    )
    merged, shared = of_geometry @ geometry, of_code @ code[0]
    if head.config.view_dependent:
        merged = torch.cat([merged, of_direction], dim=1)
    else:
        shared = shared + of_direction @ sh_encode(FRONT.to(code))[0]
    net = BakedMLP([merged, *rest], shared, head.dtype)

    def colour(features: Tensor, directions: Tensor) -> Tensor:
        if head.config.view_dependent:
            features = torch.cat([features, sh_encode(directions).to(features)], dim=1)
        return torch.sigmoid(net(features).float())

    return colour


def _baked(net: MLP, n_own: int, shared: Tensor, dtype: torch.dtype) -> BakedMLP:
    """A network whose first n_own inputs are a point's own, and the others are shared, (1, c)."""
    first, *rest = (layer.weight for layer in net.layers)
    return BakedMLP([first[:, :n_own], *rest], first[:, n_own:] @ shared[0], dtype)
