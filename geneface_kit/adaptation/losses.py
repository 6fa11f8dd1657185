"""Losses of stage 2: the adversarial post-net and its discriminator.

GeneFace (arXiv:2301.13430), sec. 3.3: the post-net P maps the generator's motion to the person's
domain. It is trained with L = L_adv + L_sync + L_mse, each with its weight: a least-squares GAN
loss (LSGAN, Mao et al., 2017) and the sync expert's loss on corpus speech, and a squared error on
the person's own speech. L_sync is `motion.losses.sync_loss`. Motion is in network units
(`corpus.unit` inter-ocular distances); every loss is a scalar.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


def adversarial_loss(score_fake: Float[Tensor, "n 1"]) -> Float[Tensor, ""]:
    """L_adv of the post-net, LSGAN's of a generator: mean of (1 - D(P(l)))^2, of the
    discriminator's scores of adapted frames. Scores of 0.25 give 0.5625."""
    return ((1 - score_fake) ** 2).mean()


def discriminator_loss(
    score_fake: Float[Tensor, "n 1"], score_real: Float[Tensor, "k 1"]
) -> Float[Tensor, ""]:
    """LSGAN's loss of the discriminator: mean of D(P(l))^2 plus mean of (1 - D(l_person))^2.

    Scores of 0.25 for both give 0.0625 + 0.5625.
    """
    return (score_fake**2).mean() + ((1 - score_real) ** 2).mean()


def mse_loss(adapted: Float[Tensor, "t m"], own: Float[Tensor, "t m"]) -> Float[Tensor, ""]:
    """L_mse: mean squared error of motion for the person's own speech from the tracked motion."""
    return ((adapted - own) ** 2).mean()


class MomentsLoss(nn.Module):
    """How far the first two moments of some motion are from a person's own. Ours.

    In the person's `n_axes` main directions, each divided by its standard deviation, own motion
    has mean 0 and covariance 1: the loss is the mean square of what differs from that.
    """

    def __init__(self, own: Float[Tensor, "k m"], *, n_axes: int = 12) -> None:
        super().__init__()
        values, vectors = torch.linalg.eigh(torch.cov(own.double().T))
        scale = values[-n_axes:].clamp(min=1e-12).rsqrt()
        self.register_buffer("axes", (vectors[:, -n_axes:] * scale).float())
        self.register_buffer("mean", own.mean(0))

    def forward(self, motion: Float[Tensor, "n m"]) -> Float[Tensor, ""]:
        """The loss, 0 when the moments agree."""
        z = (motion - self.mean) @ self.axes
        wanted = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        return (z.mean(0) ** 2).mean() + ((torch.cov(z.T) - wanted) ** 2).sum() / z.shape[1]
