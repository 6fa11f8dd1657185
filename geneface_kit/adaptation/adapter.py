"""Adapter: what an adaptation keeps of a person; it makes motion of any face this person's.

A linear map comes first, the post-net after it. Motion is displacements from a mean face.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from geneface_kit.adaptation.postnet import BUILT_IN, postnet_class
from geneface_kit.motion.vae import embed_pitch
from geneface_kit.person.speech import Speech
from geneface_kit.runs.weights import load_weights, read_metadata


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
        self, source: Iterable[Float[Tensor, "_ m"]], target: Float[Tensor, "k m"], *, noise: float
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


class Adapter(nn.Module):
    """Transport, post-net, the pitch embedding it hears (None: the plain post-net), and the
    person's mean landmarks. unit: inter-ocular distances per network unit, see `motion.Motion`.
    """

    def __init__(
        self, postnet: nn.Module, pitch: nn.Embedding | None = None, *, unit: float
    ) -> None:
        super().__init__()
        self.transport = Transport()
        self.postnet = postnet
        self.pitch = pitch
        self.register_buffer("mean", torch.zeros(68, 3))
        self.unit = unit

    def forward(
        self, motion: Float[Tensor, "b t 204"], f0: Float[Tensor, "b _"] | None = None
    ) -> Float[Tensor, "b t 204"]:
        """Adapted displacements, network units. f0: Hz at 50 a second, for the pitch variant."""
        extra = None
        if self.pitch is not None:
            extra = embed_pitch(self.pitch, f0[:, : 2 * motion.shape[1]])
        return self.postnet(self.transport(motion), extra)

    @torch.no_grad()
    def apply(
        self, displacements: Float[np.ndarray, "t 68 3"], speech: Speech | None = None
    ) -> Float[np.ndarray, "t 68 3"]:
        """This person's canonical landmarks for the generator's displacements.

        speech: only the pitch variant hears it (its f0).
        """
        if displacements.ndim != 3 or displacements.shape[1:] != (68, 3):
            raise ValueError(f"displacements must be (t, 68, 3), got {displacements.shape}")
        if self.pitch is not None and speech is None:
            raise ValueError("this post-net hears pitch: give the speech of the displacements")
        flat = torch.from_numpy(np.ascontiguousarray(displacements / self.unit)).float()
        f0 = None if speech is None else f0_of(speech)
        adapted = self(flat.reshape(1, -1, 204), f0)[0].numpy()
        return self.mean.numpy() + self.unit * adapted.reshape(-1, 68, 3)


def f0_of(speech: Speech) -> Float[Tensor, "1 s"]:
    """The pitch of some speech, Hz, as a batch of one."""
    return torch.from_numpy(np.asarray(speech.f0, np.float32))[None]


def load(folder: Path) -> Adapter:
    """The adapter of an adaptation run."""
    path = folder / "adaptation.safetensors"
    about = read_metadata(path)
    channels = int(about.get("pitch", 0))
    postnet = postnet_class(about.get("postnet", BUILT_IN))(motion=204, extra=channels)
    pitch = nn.Embedding(300, channels) if channels else None
    adapter = Adapter(postnet, pitch, unit=float(about.get("unit", 1.0)))
    load_weights(path, adapter, kind="adaptation")
    return adapter.eval().requires_grad_(False)


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
