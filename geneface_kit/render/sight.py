"""Sight: a finished field, asked as pictures ask it: densities first, then colours of what is seen.

Half of the samples of a ray lie before its surface or behind it. Their colour is never seen.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from geneface_kit.render.composite import Composite, composite
from geneface_kit.render.march import Samples
from geneface_kit.render.perceptron import full_rows

__all__ = ["Sight", "look"]

FAINT = 1 / 64
"""Share of its ray's opacity up to which a sample is given the colour of the others on the ray."""
LEAST = 1 / 16
"""Opacity from which on that share counts; of thinner rays, 1/16 of it does."""


@dataclass(frozen=True)
class Sight:
    """A field under one condition, in two steps; constant with respect to differentiation.

    density: positions (n, 3) of the unit box -> density per box length (n,), and features (n, c)
    of the same points; colour: (features (k, c), directions (k, 3)) -> colours (k, 3) in [0, 1].
    """

    density: Callable[[Tensor], tuple[Tensor, Tensor]]
    colour: Callable[[Tensor, Tensor], Tensor]


def look(
    sight: Sight, directions: Float[Tensor, "r 3"], samples: Samples, *, backend: str = "auto"
) -> Composite:
    """What the samples of each ray add up to, as `composite` gives it.

    Samples that weigh little are not asked for their colour: they are given the mean of the others
    on their ray.
    """
    n_rays, ray_index = len(directions), samples.ray_index
    density, features = sight.density(samples.positions)
    lengths = torch.full_like(density, samples.step)
    colours = torch.zeros_like(samples.positions)
    rest = (lengths, samples.distances, ray_index, n_rays)
    found = composite(density, colours, *rest, backend=backend)
    least = FAINT * found.alpha.clamp(min=LEAST)
    seen = (found.weights > least[ray_index]).nonzero()[:, 0]
    chosen = ray_index[seen]
    rows = functional.pad(seen, (0, full_rows(len(seen)) - len(seen)))
    colours[seen] = sight.colour(features[rows], directions[ray_index[rows]])[: len(seen)]
    shown = composite(density, colours, *rest, backend=backend).colour
    weight = torch.zeros_like(found.alpha).index_add_(0, chosen, found.weights[seen])
    shown = shown * (found.alpha / weight.clamp(min=FAINT * LEAST))[:, None]
    return Composite(shown, found.alpha, found.depth, found.spread, found.weights)
