"""Domain: the shortest way from some motion to a person's own, and how much the two overlap.

Motion is (n, 204): displacements from a mean face, frames in any order.
"""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

NEIGHBOURS = 5
"""Whose distance is the reach of a tracked frame in `domain_overlap` (ours)."""


class Transport(nn.Module):
    """x -> mean_b + M (x - mean_a): the map that turns one Gaussian into another with the least
    movement, M = A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2 for covariances A and B (Gelbrich 1990).

    A fresh one changes nothing. Ours, not the paper's: the post-net starts where mean and
    covariance agree already; its discriminator has only the rest to teach.
    """

    def __init__(self, *, motion: int = 204) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.eye(motion))
        self.register_buffer("mean_from", torch.zeros(motion))
        self.register_buffer("mean_to", torch.zeros(motion))

    def fit(
        self,
        source: Iterable[Float[Tensor, "_ m"]],
        target: Float[Tensor, "k m"],
        *,
        noise: float,
    ) -> "Transport":
        """Fits the map to samples of both sides; of the source one piece is in memory at a time.

        noise: motion of this standard deviation is added to the source's covariance, so that
        directions in which it hardly moves are not blown up. Units of the motion.
        """
        mean_a, covariance_a = _pooled(source)
        b = target.detach().double()
        covariance_a = covariance_a + noise**2 * torch.eye(len(mean_a), dtype=mean_a.dtype)
        root, inverse = _roots(covariance_a)
        middle, _ = _roots(root @ torch.cov(b.T) @ root)
        self.matrix.copy_(inverse @ middle @ inverse)
        self.mean_from.copy_(mean_a)
        self.mean_to.copy_(b.mean(0))
        return self

    def forward(self, motion: Float[Tensor, "*b m"]) -> Float[Tensor, "*b m"]:
        """The moved motion; every frame on its own."""
        return self.mean_to + (motion - self.mean_from) @ self.matrix.T


def domain_overlap(predicted: Float[np.ndarray, "n m"], own: Float[np.ndarray, "k m"]) -> float:
    """Share of predicted frames that lie among the person's own: inside the sphere that reaches
    from some tracked frame to its fifth nearest neighbour (the precision of Kynkaanniemi 2019).
    """
    own, predicted = (torch.from_numpy(np.asarray(v, np.float32)) for v in (own, predicted))
    if len(own) <= NEIGHBOURS:
        raise ValueError(f"own must hold more than {NEIGHBOURS} frames, got {len(own)}")
    reach = torch.cdist(own, own).kthvalue(NEIGHBOURS + 1, dim=1).values  # itself is the first
    return float((torch.cdist(predicted, own) <= reach).any(1).float().mean())


def _pooled(pieces: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and covariance of all rows, by Chan's formula (see `corpus.feature_statistics`)."""
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for piece in pieces:
        rows = piece.detach().double()
        n, centre = len(rows), rows.mean(0)
        apart, centred = centre - mean, rows - centre
        squares = squares + centred.T @ centred
        squares = squares + torch.outer(apart, apart) * (count * n / (count + n))
        mean = mean + apart * (n / (count + n))
        count += n
    return mean, squares / (count - 1)


def _roots(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """C^1/2 and C^-1/2 (0 along directions without variance)."""
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp(min=0)
    large = values > 1e-12 * values.max().clamp(min=1e-30)
    inverse = torch.where(large, values.clamp(min=1e-30).rsqrt(), torch.zeros_like(values))
    return (vectors * values.sqrt()) @ vectors.T, (vectors * inverse) @ vectors.T
