"""Sight: a finished field, asked as pictures ask it: densities first, then colours of what is seen.

Half of the samples of a ray lie before its surface or behind it. Their colour is never seen.
"""

from collections.abc import Callable, Iterator
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
PIECE = 8192
"""Samples handled at a time on a CPU: what is computed of them stays in its cache (2 MB a core)."""


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

    Samples that weigh less than FAINT are not asked for their colour: they are given the mean of
    the others on their ray. On a CPU the rays are handled in pieces of about PIECE samples.
    """
    parts = [_seen(sight, *piece, backend) for piece in _pieces(directions, samples)]
    if len(parts) == 1:
        return parts[0]
    names = ("colour", "alpha", "depth", "spread", "weights")
    return Composite(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def _seen(sight: Sight, directions: Tensor, samples: Samples, backend: str) -> Composite:
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


def _pieces(directions: Tensor, samples: Samples) -> Iterator[tuple[Tensor, Samples]]:
    """Consecutive rays with their samples: views, cut where a ray ends."""
    n, n_rays = len(samples), len(directions)
    if directions.device.type != "cpu" or n <= PIECE:
        yield directions, samples
        return
    ends = torch.bincount(samples.ray_index, minlength=n_rays).cumsum(0)
    first = start = 0
    while first < n_rays:
        last = int(torch.searchsorted(ends, start + PIECE, right=True))
        last = min(max(last, first + 1), n_rays)
        end = int(ends[last - 1])
        part = slice(start, end)
        yield (
            directions[first:last],
            Samples(
                samples.positions[part],
                samples.distances[part],
                samples.ray_index[part] - first,
                samples.rank[part],
                samples.step,
            ),
        )
        first, start = last, end
