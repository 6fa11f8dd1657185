"""Composite: densities and colours along rays -> one colour, opacity and depth per ray."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["Composite", "composite", "segment_sum", "transmittance"]


@dataclass(frozen=True)
class Composite:
    """What the samples of each ray add up to.

    colour: (r, 3) already multiplied by opacity; alpha: (r,) opacity in [0, 1];
    depth: (r,) sum of weight * distance, not divided by opacity; spread: (r,) sum of weight *
    (distance - mean distance)^2, 0 for a sharp surface; weights: (n,) of the samples.
    """

    colour: Float[Tensor, "r 3"]
    alpha: Float[Tensor, " r"]
    depth: Float[Tensor, " r"]
    spread: Float[Tensor, " r"]
    weights: Float[Tensor, " n"]


def composite(
    densities: Float[Tensor, " n"],
    colours: Float[Tensor, "n 3"],
    lengths: Float[Tensor, " n"],
    distances: Float[Tensor, " n"],
    ray_index: Int[Tensor, " n"],
    n_rays: int,
) -> Composite:
    """Volume rendering of packed samples (Max 1995; eq. 3 of NeRF).

    w_i = T_i (1 - exp(-sigma_i d_i)),  T_i = exp(-sum_{j<i} sigma_j d_j).
    densities: (n,) sigma >= 0; lengths: (n,) d; distances: (n,) from the origin, for the depth;
    ray_index: (n,) ascending, samples of one ray from near to far. A ray without samples has
    colour, opacity and depth 0.
    Example: sigma d = ln 2 twice gives weights 1/2 and 1/4 and opacity 3/4.
    """
    before = transmittance(densities, lengths, ray_index, n_rays)
    weights = before * -torch.expm1(-densities * lengths)
    values = torch.cat([colours, torch.ones_like(weights)[:, None], distances[:, None]], dim=-1)
    sums = segment_sum(weights[:, None] * values, ray_index, n_rays)
    middle = (sums[:, 4] / sums[:, 3].clamp(min=1e-6)).detach()
    squared = weights * (distances - middle[ray_index]).square()
    spread = segment_sum(squared[:, None], ray_index, n_rays)[:, 0]
    return Composite(sums[:, :3], sums[:, 3], sums[:, 4], spread, weights)


def transmittance(
    densities: Float[Tensor, " n"],
    lengths: Float[Tensor, " n"],
    ray_index: Int[Tensor, " n"],
    n_rays: int,
) -> Float[Tensor, " n"]:
    """The share of light that reaches each sample: T_i = exp(-sum_{j<i} sigma_j d_j).

    One running sum over all rays in float64, from which each ray's start is taken off: float32
    would lose the faint samples of late rays.
    """
    optical = (densities * lengths).double()
    running = torch.cumsum(optical, 0) - optical
    counts = torch.bincount(ray_index, minlength=n_rays)
    starts = (torch.cumsum(counts, 0) - counts)[ray_index]
    return torch.exp(running[starts] - running).to(densities.dtype)


def segment_sum(
    values: Float[Tensor, "n c"], ray_index: Int[Tensor, " n"], n_rays: int
) -> Float[Tensor, "r c"]:
    """Sums the rows of each ray; rays without rows get zeros."""
    return values.new_zeros(n_rays, values.shape[1]).index_add(0, ray_index, values)
