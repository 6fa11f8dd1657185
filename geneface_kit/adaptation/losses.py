"""Losses of stage 2: the adversarial post-net and its discriminator.

GeneFace (arXiv:2301.13430), sec. 3.3: the post-net P maps the generator's motion, here scaled to
the person's amplitude, to their domain. It is trained with L = L_adv + L_sync + L_mse, each with
its weight: a least-squares GAN loss (LSGAN, Mao et al., 2017) and the sync expert's loss on foreign
speech, and a squared error on the person's own speech. L_sync is `motion.losses.sync_loss`. Motion
is in network units (`corpus.unit` inter-ocular distances); every loss is a scalar.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geneface_kit.metrics.formulas import frechet_distance

MOUTH = torch.tensor([*range(17), *range(48, 68)])  # jaw and lips among the 68 points
N_AXES = 12  # directions in which motion is compared (ours)
Scores = Float[Tensor, "n 1"]
Loss = Float[Tensor, ""]


def adversarial_loss(score_fake: Scores) -> Loss:
    """L_adv of the post-net, LSGAN's of a generator: mean of (1 - D(P(l)))^2, of the
    discriminator's scores of adapted frames. Scores of 0.25 give 0.5625."""
    return ((1 - score_fake) ** 2).mean()


def discriminator_loss(score_fake: Scores, score_real: Float[Tensor, "k 1"]) -> Loss:
    """LSGAN's loss of the discriminator: mean of D(P(l))^2 plus mean of (1 - D(l_person))^2. Scores
    of 0.25 for both give 0.0625 + 0.5625."""
    return (score_fake**2).mean() + ((1 - score_real) ** 2).mean()


def gradient_penalty(score_real: Float[Tensor, "k 1"], real: Float[Tensor, "k m"]) -> Loss:
    """R1 (Mescheder et al., 2018): mean squared slope of D at the person's own frames, which must
    ask for a gradient. Ours: a steep discriminator drives the post-net to and fro."""
    (slope,) = torch.autograd.grad(score_real.sum(), real, create_graph=True)
    return (slope**2).sum(1).mean()


def mse_loss(adapted: Float[Tensor, "t m"], own: Float[Tensor, "t m"]) -> Loss:
    """L_mse: mean squared error of motion for the person's own speech from the tracked motion."""
    return ((adapted - own) ** 2).mean()


class MouthAxes(nn.Module):
    """Jaw and lips of some motion in the person's N_AXES main directions of them, each over the
    person's standard deviation: own motion has mean 0 and covariance 1. Ours: eyes and brows are
    replayed, and what hardly moves is noise of the tracking. sizes: the deviations."""

    def __init__(self, own: Float[Tensor, "k 204"]) -> None:
        super().__init__()
        mouth = self.points(own)
        values, vectors = torch.linalg.eigh(torch.cov(mouth.double().T))
        self.register_buffer("mean", mouth.mean(0))
        self.register_buffer("axes", vectors[:, -N_AXES:].float())
        self.register_buffer("sizes", values[-N_AXES:].clamp(min=1e-4).sqrt().float())

    def forward(self, motion: Float[Tensor, "*b 204"]) -> Float[Tensor, "*b k"]:
        return (self.points(motion) - self.mean) @ self.axes / self.sizes

    @staticmethod
    def points(motion: Float[Tensor, "*b 204"]) -> Float[Tensor, "*b 111"]:
        """The coordinates of jaw and lips alone."""
        return motion.unflatten(-1, (68, 3))[..., MOUTH, :].flatten(-2)

    def distance(self, one: Float[Tensor, "n 204"], other: Float[Tensor, "k 204"]) -> float:
        """Frechet distance of two sets of frames in these directions, squared units of motion."""
        return frechet_distance(*((self(each) * self.sizes).numpy() for each in (one, other)))
