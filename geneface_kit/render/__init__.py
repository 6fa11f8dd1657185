"""Render: rays through a field -> colour, opacity, depth. Knows nothing of faces.

Everything happens in the unit box: positions are in [0, 1]^3, lengths in edges of the box. The
field is a function (positions, directions, ray_index) -> FieldSamples.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geneface_kit.render.carry import carry
from geneface_kit.render.composite import Composite, composite, segment_sum, transmittance
from geneface_kit.render.condition import ConditionNet
from geneface_kit.render.footprint import footprint
from geneface_kit.render.grid import GridEncoding, grid_encode
from geneface_kit.render.harmonics import harmonics
from geneface_kit.render.kernels import backend_for
from geneface_kit.render.lattice import GridLayout
from geneface_kit.render.march import Samples, box_range, march
from geneface_kit.render.occupancy import Occupancy
from geneface_kit.render.perceptron import Folded, Perceptron, exponential, full_rows, precision
from geneface_kit.render.refine import refined
from geneface_kit.render.shell import look_through, shell_of
from geneface_kit.render.sight import Sight, look

__all__ = [
    "Composite",
    "ConditionNet",
    "FieldSamples",
    "Folded",
    "GridEncoding",
    "GridLayout",
    "Occupancy",
    "Perceptron",
    "Rendering",
    "Samples",
    "Sight",
    "backend_for",
    "box_range",
    "carry",
    "composite",
    "exponential",
    "footprint",
    "full_rows",
    "grid_encode",
    "harmonics",
    "look_through",
    "march",
    "precision",
    "refined",
    "render_rays",
    "segment_sum",
    "shell_of",
    "transmittance",
]


@dataclass(frozen=True)
class FieldSamples:
    """What a field says of n points: density per box length, colour in [0, 1], and one number
    per point that is summed along the ray unweighted (the head's ambient motion; zeros if none).
    """

    density: Float[Tensor, " n"]
    colour: Float[Tensor, "n 3"]
    extra: Float[Tensor, " n"]


Field = Callable[[Tensor, Tensor, Tensor], FieldSamples]
"""(positions (n, 3), directions (r, 3) of the rays, ray_index (n,)) -> FieldSamples."""


@dataclass(frozen=True)
class Rendering:
    """Rays rendered: colour (r, 3) times opacity, alpha (r,), depth (r,) in box lengths (sum of
    weight * distance), spread (r,) of the weights in depth (within rounds), extra (r,) summed over
    samples, n_samples (r,) evaluated per ray.
    """

    colour: Float[Tensor, "r 3"]
    alpha: Float[Tensor, " r"]
    depth: Float[Tensor, " r"]
    spread: Float[Tensor, " r"]
    extra: Float[Tensor, " r"]
    n_samples: Int[Tensor, " r"]

    def over(self, background: Float[Tensor, "r 3"]) -> Float[Tensor, "r 3"]:
        """The rays' colour with a background behind them: C + (1 - alpha) * background."""
        return self.colour + (1 - self.alpha)[:, None] * background


def render_rays(
    field: Field | Sight,
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    occupancy: Occupancy,
    *,
    step: float,
    offsets: Float[Tensor, " r"] | None = None,
    max_samples: int = 0,
    stop: float = 0.0,
    round_size: int = 4,
    ranges: Float[Tensor, "r 2"] | None = None,
    backend: str = "auto",
) -> Rendering:
    """Colour, opacity and depth of rays through a field.

    origins, directions: (r, 3) in the unit box, directions of unit length; step: box lengths.
    offsets: (r,) in [0, 1), training's jitter of the first sample; none at inference.
    field: as a Sight, the colours of samples that do not show are left out (see `look`).
    stop: 0 evaluates every sample at once (training). Otherwise samples are evaluated from near
    to far, `round_size` per ray and round, and a ray ends when its transmittance is below `stop`.
    """
    samples = march(
        origins,
        directions,
        occupancy,
        step=step,
        offsets=offsets,
        max_samples=max_samples,
        ranges=ranges,
        backend=backend,
    )
    n_rays = len(origins)
    if not stop:
        return _render_samples(field, directions, samples, n_rays, backend)
    light = torch.ones(n_rays, device=origins.device)
    parts: list[tuple[Rendering, Tensor]] = []
    n_rounds = -(-(int(samples.rank.max()) + 1) // round_size) if len(samples) else 0
    for number in range(n_rounds):
        now = (samples.rank // round_size == number) & (light > stop)[samples.ray_index]
        part = _take(samples, now)
        if not len(part):
            break
        rendering = _render_samples(field, directions, part, n_rays, backend)
        parts.append((rendering, light))
        light = light * (1 - rendering.alpha)
    return _join(parts, origins)


def _render_samples(
    field: Field | Sight, directions: Tensor, samples: Samples, n_rays: int, backend: str
) -> Rendering:
    n_samples = torch.bincount(samples.ray_index, minlength=n_rays)
    if isinstance(field, Sight):
        seen = look(field, directions, samples, backend=backend)
        extra = torch.zeros_like(seen.alpha)
        return Rendering(seen.colour, seen.alpha, seen.depth, seen.spread, extra, n_samples)
    found = field(samples.positions, directions, samples.ray_index)
    lengths = torch.full_like(samples.distances, samples.step)
    result = composite(
        found.density,
        found.colour,
        lengths,
        samples.distances,
        samples.ray_index,
        n_rays,
        backend=backend,
    )
    extra = segment_sum(found.extra[:, None], samples.ray_index, n_rays)[:, 0]
    return Rendering(result.colour, result.alpha, result.depth, result.spread, extra, n_samples)


def _take(samples: Samples, mask: Tensor) -> Samples:
    index = mask.nonzero()[:, 0]
    return Samples(
        samples.positions[index],
        samples.distances[index],
        samples.ray_index[index],
        samples.rank[index],
        samples.step,
    )


def _join(parts: list[tuple[Rendering, Tensor]], origins: Tensor) -> Rendering:
    """Rounds of the same rays, near to far, each dimmed by what lies before it."""
    zeros = origins.new_zeros(len(origins))
    colour, alpha, depth, spread, extra = torch.zeros_like(origins), zeros, zeros, zeros, zeros
    n_samples = zeros.long()
    for part, light in parts:
        colour = colour + light[:, None] * part.colour
        alpha = alpha + light * part.alpha
        depth = depth + light * part.depth
        spread = spread + light * part.spread
        extra = extra + part.extra
        n_samples = n_samples + part.n_samples
    return Rendering(colour, alpha, depth, spread, extra, n_samples)
