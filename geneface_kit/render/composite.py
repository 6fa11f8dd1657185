"""Composite: volume rendering of densities and colours along rays -> colour, opacity, depth."""

from dataclasses import dataclass
from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor
from torch.profiler import record_function

from geneface_kit.render.kernels import launch
from geneface_kit.render.march import Samples

PerSample = Float[Tensor, " n"]
Colours = Float[Tensor, "n 3"]


@dataclass(frozen=True)
class Composite:
    """What the samples of each ray add up to.

    colour: already multiplied by opacity; alpha: opacity in [0, 1];
    depth: sum of weight * distance, not divided by opacity; depth_variance: sum of
    weight * (distance - mean distance)^2, 0 for a sharp surface; weights: of the samples.
    """

    colour: Float[Tensor, "r 3"]
    alpha: Float[Tensor, " r"]
    depth: Float[Tensor, " r"]
    depth_variance: Float[Tensor, " r"]
    weights: Float[Tensor, " n"]


def composite(densities: PerSample, colours: Colours, samples: Samples) -> Composite:
    """Volume rendering of packed samples: C = sum_i w_i c_i over the samples i of a ray, where

    w_i = T_i (1 - exp(-sigma_i d)),  T_i = exp(-sum_{j<i} sigma_j d).

    NeRF (Mildenhall et al. 2020, Eq. 3, after Max 1995), as GeneFace renders its head (sec. 3.4).
    densities: sigma >= 0; d is the samples' step. A ray without samples has colour, opacity and
    depth 0. Gradients flow to densities and colours. Other types than float32 go to the twin.
    Example: sigma d = ln 2 twice gives weights 1/2 and 1/4 and opacity 3/4.
    """
    with record_function("composite"):
        parts = [part.contiguous() for part in (densities, colours, samples.distances)]
        if any(part.dtype != torch.float32 for part in parts):
            return composite_torch(densities, colours, samples)
        counts = torch.bincount(samples.ray_index, minlength=samples.n_rays)
        bounds = torch.nn.functional.pad(torch.cumsum(counts, 0), (1, 0)).int()
        sums, weights = _Composite.apply(*parts, float(samples.step), bounds)
    return Composite(sums[:, :3], sums[:, 3], sums[:, 4], sums[:, 5], weights)


class _Composite(torch.autograd.Function):
    """composite through the kernels -> the sums (r, 6), in the order of Composite; weights."""

    @staticmethod
    def forward(ctx, densities, colours, distances, step, bounds):
        n_rays = len(bounds) - 1
        sums = densities.new_zeros(n_rays, 6)
        weights = torch.empty_like(densities)
        ctx.save_for_backward(densities, colours, distances, bounds, sums, weights)
        ctx.step = step
        inputs = [densities, colours, distances, step, bounds, sums, weights]
        launch(_forward, n_rays, inputs, densities.device)
        ctx.mark_non_differentiable(weights)
        return sums, weights

    @staticmethod
    def backward(ctx, gradient, _):
        *values, bounds, sums, weights = ctx.saved_tensors
        gradients = [torch.zeros_like(value) for value in values[:2]]
        outputs = [bounds, sums, weights, gradient.contiguous(), *gradients]
        launch(_backward, len(bounds) - 1, [*values, ctx.step, *outputs], bounds.device)
        return *gradients, None, None, None


@no_type_check
@wp.kernel(enable_backward=False)
def _forward(
    densities: wp.array(dtype=float),
    colours: wp.array(dtype=wp.vec3),
    distances: wp.array(dtype=float),
    step: float,
    bounds: wp.array(dtype=int),
    sums: wp.array2d(dtype=float),
    weights: wp.array(dtype=float),
    first: int,
):
    ray = first + wp.tid()
    optical = float(0.0)  # noqa: UP018  (variables, in Warp)
    colour = wp.vec3(0.0, 0.0, 0.0)
    alpha, depth, depth_variance = float(0.0), float(0.0), float(0.0)  # noqa: UP018
    for k in range(bounds[ray], bounds[ray + 1]):
        thickness = densities[k] * step
        clear = wp.exp(-thickness)
        opacity = 1.0 - clear
        if thickness < 1.0e-3:  # 1 - exp(-x) loses its digits here
            opacity = thickness * (1.0 - 0.5 * thickness)
        w = wp.exp(-optical) * opacity
        optical += thickness
        weights[k] = w
        colour += w * colours[k]
        alpha += w
        depth += w * distances[k]
    middle = depth / wp.max(alpha, 1.0e-6)
    for k in range(bounds[ray], bounds[ray + 1]):
        away = distances[k] - middle
        depth_variance += weights[k] * away * away
    for c in range(3):
        sums[ray, c] = colour[c]
    sums[ray, 3] = alpha
    sums[ray, 4] = depth
    sums[ray, 5] = depth_variance


@no_type_check
@wp.kernel(enable_backward=False)
def _backward(
    densities: wp.array(dtype=float),
    colours: wp.array(dtype=wp.vec3),
    distances: wp.array(dtype=float),
    step: float,
    bounds: wp.array(dtype=int),
    sums: wp.array2d(dtype=float),
    weights: wp.array(dtype=float),
    sums_gradient: wp.array2d(dtype=float),
    densities_gradient: wp.array(dtype=float),
    colours_gradient: wp.array(dtype=wp.vec3),
    first: int,
):
    """From far to near: dL/dx_i = T_(i+1) g_i - sum_(j>i) w_j g_j, x = density * step, g = dL/dw.

    The mean distance in the depth variance counts as given, as in the twin.
    """
    ray = first + wp.tid()
    start, end = bounds[ray], bounds[ray + 1]
    g_colour = wp.vec3(sums_gradient[ray, 0], sums_gradient[ray, 1], sums_gradient[ray, 2])
    g_alpha, g_depth = sums_gradient[ray, 3], sums_gradient[ray, 4]
    g_variance = sums_gradient[ray, 5]
    middle = sums[ray, 4] / wp.max(sums[ray, 3], 1.0e-6)
    optical = float(0.0)  # noqa: UP018  (variables, in Warp)
    for k in range(start, end):
        optical += densities[k] * step
    behind = float(0.0)  # noqa: UP018
    for m in range(end - start):
        k = end - 1 - m
        w, away = weights[k], distances[k] - middle
        g = wp.dot(g_colour, colours[k]) + g_alpha + g_depth * distances[k]
        g += g_variance * away * away
        slope = wp.exp(-optical) * g - behind
        densities_gradient[k] = slope * step
        colours_gradient[k] = w * g_colour
        behind += w * g
        optical -= densities[k] * step


def composite_torch(densities: PerSample, colours: Colours, samples: Samples) -> Composite:
    """The torch twin of `composite`, which is its specification."""
    ray_index, distances = samples.ray_index, samples.distances
    weights = transmittance(densities, samples) * -torch.expm1(-densities * samples.step)
    values = torch.cat([colours, torch.ones_like(weights)[:, None], distances[:, None]], dim=-1)
    sums = segment_sum(weights[:, None] * values, samples)
    middle = (sums[:, 4] / sums[:, 3].clamp(min=1e-6)).detach()
    squared = weights * (distances - middle[ray_index]).square()
    depth_variance = segment_sum(squared[:, None], samples)[:, 0]
    return Composite(sums[:, :3], sums[:, 3], sums[:, 4], depth_variance, weights)


def transmittance(densities: PerSample, samples: Samples) -> PerSample:
    """The share of light that reaches each sample: T_i = exp(-sum_{j<i} sigma_j d)."""
    # one running sum over all rays: float32 would lose the faint samples of late ones
    optical = (densities * samples.step).double()
    running = torch.cumsum(optical, 0) - optical
    counts = torch.bincount(samples.ray_index, minlength=samples.n_rays)
    starts = (torch.cumsum(counts, 0) - counts)[samples.ray_index]
    return torch.exp(running[starts] - running).to(densities.dtype)


def segment_sum(values: Float[Tensor, "n c"], samples: Samples) -> Float[Tensor, "r c"]:
    """Sums the rows of each ray; rays without rows get zeros."""
    zeros = values.new_zeros(samples.n_rays, values.shape[1])
    return zeros.index_add(0, samples.ray_index, values)
