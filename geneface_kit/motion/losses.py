"""Losses of stage 1: the objective of the variational motion generator and of its sync expert.

GeneFace (arXiv:2301.13430), sec. 3.2: L_VAE = E[ |l - l'|^2 + KL(z || z') + L_sync(a, l') ], with
the true motion l, the generated motion l', the posterior's latent z, the flow prior's z' and the
speech a. The continuity loss, the weights and the masks are the official code's. Motion is in
network units (`corpus.unit` inter-ocular distances); every loss is a scalar.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Motion = Float[Tensor, "b t m"]
Mask = Bool[Tensor, "b t"]
Latents = Float[Tensor, "b z u"]
PerAxis = Float[Tensor, " m"]
Loss = Float[Tensor, ""]


def reconstruction_loss(predicted: Motion, true: Motion, mask: Mask, weight: PerAxis) -> Loss:
    """|l - l'|^2 of L_VAE: squared error over unmasked frames, sum / (frames * channels).

    weight: of each coordinate; ours, 1 everywhere in the official code.
    """
    error = weight * (predicted - true) ** 2 * mask[..., None]
    return error.sum() / (mask.sum() * predicted.shape[2])


def continuity_loss(predicted: Motion, true: Motion, mask: Mask, weight: PerAxis) -> Loss:
    """Squared error of frame differences, plus that of frame 0, normalised like
    `reconstruction_loss` (official code, no part of the paper's L_VAE)."""
    start = torch.zeros_like(true[:, :1])
    difference = torch.diff(predicted, dim=1, prepend=start)
    wanted = torch.diff(true, dim=1, prepend=start)
    return reconstruction_loss(difference, wanted, mask, weight)


def kl_divergence(
    z: Latents, prior: Latents, mean: Latents, log_std: Latents, mask: Float[Tensor, "b 1 u"]
) -> Loss:
    """KL(z || z') of L_VAE with the flow prior, in nats per latent step and channel.

    One draw stands for the expectation: log q(z) - log N(f(z); 0, 1), where z is drawn from
    q = N(mean, exp(log_std)) and prior = f(z) is the flow's image of it (log-determinant 0).
    mask: 1 on latent steps that exist.
    """
    posterior_log = -log_std - 0.5 * ((z - mean) * torch.exp(-log_std)) ** 2
    prior_log = -0.5 * prior**2
    return ((posterior_log - prior_log) * mask).sum() / mask.sum() / z.shape[1]


def sync_expert_loss(cosine: Float[Tensor, " n"], label: Float[Tensor, " n"]) -> Loss:
    """What the sync expert is trained on: binary cross-entropy of its cosine, kept 1e-6 off 0 and
    1, against 1 (in sync) or 0 (sec. 3.2, after Prajwal et al., 2020): mean of -y ln c - (1 - y)
    ln(1 - c)."""
    return torch.nn.functional.binary_cross_entropy(cosine.clamp(1e-6, 1 - 1e-6), label)


def sync_loss(cosine: Float[Tensor, " n"]) -> Loss:
    """L_sync(a, l'): the frozen expert's cross-entropy towards "in sync", mean of -ln c, of its
    cosine of generated lips and their speech (`SyncExpert.sync_loss`)."""
    return sync_expert_loss(cosine, torch.ones_like(cosine))
