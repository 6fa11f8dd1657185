"""Rendering: rays through a field -> colour, opacity and depth of each ray.

Everything happens in the unit box: positions are in [0, 1]^3, lengths in edges of the box. A field
is a function (positions, directions, ray_index) -> FieldSamples, or two such functions, a
`TwoPassField`: densities first, then colours of what is seen (half of the samples of a ray lie
before its surface or behind it, and their colour is never seen).

Cells that no camera ever sees are pruned. While a field learns, those that no light reaches are
left out (`mark_visible`). Once it is finished, its occupancy grid is still loose: it must not have
missed what still changed. Looking at the field from its cameras shows which cells contribute to
pictures (`max_cell_weights`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from geneface_kit.render.composite import Composite, composite, segment_sum, transmittance
from geneface_kit.render.fused import FusedField, render_fused
from geneface_kit.render.march import Samples, Vectors, box_range, march
from geneface_kit.render.mlp import padded_rows
from geneface_kit.render.occupancy import Cells, Occupancy, cell_index

FAINT = 1 / 64  # share of its ray's opacity up to which a sample gets the colour of the others
LEAST = 1 / 16  # opacity from which on that share counts; of thinner rays, 1/16 of it does
DARK = 0.01  # transmittance up to which a cell counts as not reached by light


@dataclass(frozen=True)
class FieldSamples:
    """What a field says of n points: density per box length, colour in [0, 1], and a number that is
    summed along the ray unweighted (for a penalty on ambient coordinates; zeros if none)."""

    density: Float[Tensor, " n"]
    colour: Float[Tensor, "n 3"]
    ambient: Float[Tensor, " n"]


Field = Callable[[Tensor, Tensor, Tensor], FieldSamples]
"""(positions (n, 3), directions (r, 3) of the rays, ray_index (n,)) -> FieldSamples."""


@dataclass(frozen=True)
class TwoPassField:
    """A field under one condition, in two steps; constant with respect to differentiation.

    density: positions (n, 3) of the unit box -> density per box length (n,), and features (n, c)
    of the same points; colour: (features (k, c), directions (k, 3)) -> colours (k, 3) in [0, 1];
    fused: the same field for a CPU in one pass, where there is one.
    """

    density: Callable[[Tensor], tuple[Tensor, Tensor]]
    colour: Callable[[Tensor, Tensor], Tensor]
    fused: FusedField | None = None


@dataclass(frozen=True)
class Rendering:
    """Rays rendered: as in `Composite` (depth_variance within rounds), lengths those of the box;
    ambient: summed over samples; n_samples: evaluated per ray."""

    colour: Float[Tensor, "r 3"]
    alpha: Float[Tensor, " r"]
    depth: Float[Tensor, " r"]
    depth_variance: Float[Tensor, " r"]
    ambient: Float[Tensor, " r"]
    n_samples: Int[Tensor, " r"]

    def over(self, background: Float[Tensor, "r 3"]) -> Float[Tensor, "r 3"]:
        """The rays' colour with a background behind them: C + (1 - alpha) * background."""
        return self.colour + (1 - self.alpha)[:, None] * background


def render_rays(
    field: Field | TwoPassField,
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
    field: of a TwoPassField, samples that hardly show are not asked for their colour.
    stop: 0 evaluates every sample at once (training). Otherwise samples are evaluated from near
    to far, `round_size` per ray and round, and a ray ends when its transmittance is below `stop`;
    where the field has a fused pass for this device it is taken, and looks after each sample.
    """
    fused = field.fused if isinstance(field, TwoPassField) else None
    is_cpu = origins.device.type == "cpu" and backend == "auto"
    if fused is not None and stop and is_cpu and offsets is None and not max_samples:
        if ranges is None:
            ranges = box_range(origins, directions, occupancy.bounds())
        limits = {"step": step, "stop": stop, "faint": FAINT, "least": LEAST}
        sums = render_fused(fused, origins, directions, ranges, occupancy, **limits)
        colour, alpha, depth, depth_variance, n_samples = sums.split([3, 1, 1, 1, 1], dim=1)
        one = [values[:, 0] for values in (alpha, depth, depth_variance)]
        return Rendering(colour, *one, torch.zeros_like(one[0]), n_samples[:, 0].long())
    how = {"offsets": offsets, "max_samples": max_samples, "ranges": ranges, "backend": backend}
    samples = march(origins, directions, occupancy, step=step, **how)
    n_rays = len(origins)
    if not stop:
        return _render_samples(field, directions, samples, n_rays, backend)
    light = torch.ones(n_rays, device=origins.device)
    rounds: list[tuple[Rendering, Tensor]] = []
    n_rounds = -(-(int(samples.rank.max()) + 1) // round_size) if len(samples) else 0
    for number in range(n_rounds):
        now = (samples.rank // round_size == number) & (light > stop)[samples.ray_index]
        part = samples.taken(now.nonzero()[:, 0])
        if not len(part):
            break
        rendering = _render_samples(field, directions, part, n_rays, backend)
        rounds.append((rendering, light))
        light = light * (1 - rendering.alpha)
    return _joined(rounds, origins)


@torch.no_grad()
def mark_visible(
    occupancy: Occupancy, origins: Vectors, directions: Vectors, *, step: float, decay: float = 0.9
) -> None:
    """Marks cells that light reaches along some rays, through the cells' own densities.

    Costs no evaluation of the field. A cell stays visible for about log(0.1) / log(decay) calls
    (22 by default) after the last ray that saw it with a transmittance above `DARK`.
    """
    samples = march(origins, directions, occupancy, step=step)
    cells = cell_index(samples.positions, occupancy.resolution)
    density = occupancy.density.view(-1)[cells]
    lengths = torch.full_like(density, step)
    light = transmittance(density, lengths, samples.ray_index, len(origins))
    visible = occupancy.visible.view(-1)
    visible.mul_(decay)
    visible[cells[light > DARK]] = 1.0


@torch.no_grad()
def max_cell_weights(
    weights: Cells,
    field: Field,
    origins: Vectors,
    directions: Vectors,
    occupancy: Occupancy,
    *,
    step: float,
) -> Cells:
    """The largest weight that some ray gathers in each cell, `weights` of earlier calls included.

    occupancy: the loose grid that the field was trained with. A picture through the cells above a
    threshold differs by at most the weights left out. Rays step over cells much smaller than one.
    """
    samples = march(origins, directions, occupancy, step=step)
    found = field(samples.positions, directions, samples.ray_index)
    gathered = _composite(samples, len(origins), found.density, found.colour).weights
    cells = cell_index(samples.positions, len(weights))
    return weights.flatten().scatter_reduce(0, cells, gathered, "amax").view_as(weights)


def _render_samples(
    field: Field | TwoPassField, directions: Tensor, samples: Samples, n_rays: int, backend: str
) -> Rendering:
    """The samples' densities and colours, asked of the field and composited."""
    if isinstance(field, TwoPassField):
        found = _composite_two_pass(field, directions, samples, n_rays, backend)
        ambient = torch.zeros_like(found.alpha)
    else:
        said = field(samples.positions, directions, samples.ray_index)
        found = _composite(samples, n_rays, said.density, said.colour, backend)
        ambient = segment_sum(said.ambient[:, None], samples.ray_index, n_rays)[:, 0]
    n_samples = torch.bincount(samples.ray_index, minlength=n_rays)
    sums = (found.colour, found.alpha, found.depth, found.depth_variance)
    return Rendering(*sums, ambient, n_samples)


def _composite(
    samples: Samples, n_rays: int, density: Tensor, colour: Tensor, backend: str = "auto"
) -> Composite:
    """`composite` of samples, each of which stands for a step."""
    lengths = torch.full_like(samples.distances, samples.step)
    rest = (lengths, samples.distances, samples.ray_index, n_rays)
    return composite(density, colour, *rest, backend=backend)


def _composite_two_pass(
    field: TwoPassField, directions: Tensor, samples: Samples, n_rays: int, backend: str
) -> Composite:
    """`composite` of samples that are asked for their colour only where they weigh something; the
    others are given the mean of those on their ray."""
    ray_index = samples.ray_index
    density, features = field.density(samples.positions)
    colours = torch.zeros_like(samples.positions)
    found = _composite(samples, n_rays, density, colours, backend)
    least = FAINT * found.alpha.clamp(min=LEAST)
    seen = (found.weights > least[ray_index]).nonzero()[:, 0]
    rows = functional.pad(seen, (0, padded_rows(len(seen)) - len(seen)))
    colours[seen] = field.colour(features[rows], directions[ray_index[rows]])[: len(seen)]
    shown = _composite(samples, n_rays, density, colours, backend).colour
    weight = torch.zeros_like(found.alpha).index_add_(0, ray_index[seen], found.weights[seen])
    shown = shown * (found.alpha / weight.clamp(min=FAINT * LEAST))[:, None]
    return replace(found, colour=shown)


def _joined(rounds: list[tuple[Rendering, Tensor]], origins: Tensor) -> Rendering:
    """Rounds of the same rays, near to far, each dimmed by what lies before it."""
    zeros = origins.new_zeros(len(origins))
    sums = [torch.zeros_like(origins), zeros, zeros, zeros, zeros, zeros.long()]
    for part, light in rounds:
        seen = (part.alpha, part.depth, part.depth_variance)
        parts = [light[:, None] * part.colour, *(light * values for values in seen)]
        parts += [part.ambient, part.n_samples]
        sums = [total + values for total, values in zip(sums, parts, strict=True)]
    return Rendering(*sums)
