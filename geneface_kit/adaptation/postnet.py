"""Postnet: the networks that make any face's motion one person's (arXiv:2301.13430, sec. 3.3)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geneface_kit.runs.importing import imported

BUILT_IN = "geneface_kit.adaptation.postnet:PostNet"
"""Import path of the paper's post-net."""


class PostUnit(nn.Module):
    """Convolution, batch norm, optionally the input again, LeakyReLU 0.2."""

    def __init__(self, enter: int, leave: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(enter, leave, 3, padding=1)
        self.norm = nn.BatchNorm1d(leave)
        self.residual = enter == leave

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b d t"]:
        """One unit."""
        y = self.norm(self.convolution(x))
        return nn.functional.leaky_relu(y + x if self.residual else y, 0.2)


class PostNet(nn.Module):
    """x + f(x): motion of any face -> motion of one person; f sees 7 frames on both sides.

    extra: channels appended to the motion, 64 of pitch in the pitch variant (code), else 0.
    f's last layer starts at zero, so a fresh post-net changes nothing (ours; the code starts it
    at random).
    """

    def __init__(self, *, motion: int = 204, extra: int = 0) -> None:
        super().__init__()
        self.first = nn.Sequential(
            PostUnit(motion + extra, 128), PostUnit(128, 128), PostUnit(128, 128)
        )
        self.second = nn.Sequential(PostUnit(128, 256), PostUnit(256, 256), PostUnit(256, 256))
        self.third = nn.Sequential(PostUnit(256, 128), nn.Conv1d(128, motion, 1))
        self.silence()

    def silence(self) -> None:
        """Makes f zero, so that the post-net changes nothing."""
        nn.init.zeros_(self.third[1].weight)
        nn.init.zeros_(self.third[1].bias)

    def forward(
        self, motion: Float[Tensor, "b t m"], extra: Float[Tensor, "b t e"] | None = None
    ) -> Float[Tensor, "b t m"]:
        """Adapted motion; frames that are all zero are padding and stay zero (code)."""
        both = motion if extra is None else torch.cat([motion, extra], dim=2)
        exists = (both.abs().sum(2) > 0).float()[:, None]  # (b, 1, t)
        x = both.transpose(1, 2)
        for part in (self.first, self.second, self.third):
            x = part(x) * exists
        return motion + x.transpose(1, 2)


def postnet_class(path: str) -> type[nn.Module]:
    """The class of an import path "package.module:Class", an extension point: a torch module with

    - `Class(motion=204, extra=0)`: channels of the motion, and of the pitch embedding beside it,
      0 without pitch. A fresh one gives the motion back as it is.
    - `forward(motion, extra=None)`: (b, t, 204) and (b, t, extra), network units (`corpus.unit`
      inter-ocular distances), 25 frames a second -> adapted motion, (b, t, 204).
    - `silence()`: makes it give the motion back as it is, for when no training scores better.

    Raises: ValueError when there is no such class or it is no torch module.
    """
    return imported(path, "adaptation.postnet_class", nn.Module)


class Discriminator(nn.Module):
    """D, scores single frames: near 1 for the person's own, near 0 for others (LSGAN)."""

    def __init__(self, *, motion: int = 204) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        sizes = (motion, 128, 256, 256, 128)
        for index, slope in enumerate((0.2, 0.25, 0.25, 0.25)):
            linear = nn.Linear(sizes[index], sizes[index + 1])
            layers += [linear, nn.LeakyReLU(slope), nn.Dropout(0.25)]
        self.layers = nn.Sequential(*layers, nn.Linear(128, 1, bias=False))

    def forward(self, frames: Float[Tensor, "n m"]) -> Float[Tensor, "n 1"]:
        """One score a frame."""
        return self.layers(frames)


def project_onto_neighbours(
    frames: Float[Tensor, "t m"],
    database: Float[Tensor, "n m"],
    *,
    neighbours: int = 10,
    share: float = 1.0,
    ridge: float = 0.0,
) -> Float[Tensor, "t m"]:
    """Frames pulled onto the person's own: locally linear embedding (GeneFace++).

    Each frame is written as the affine combination (weights sum to 1) of its nearest database
    frames that is closest to it. share: 0 keeps the frame, 1 takes the projection.
    ridge: relative penalty that keeps weights tame when neighbours nearly coincide (ours).
    """
    if len(database) < neighbours:
        raise ValueError(f"database must have at least {neighbours} frames, got {len(database)}")
    nearest = torch.cdist(frames, database).topk(neighbours, largest=False).indices
    base = database[nearest[:, 0]]
    edges = database[nearest[:, 1:]] - base[:, None]  # (t, k - 1, m)
    gram = edges @ edges.transpose(1, 2)
    trace = gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    gram = gram + (ridge * trace + 1e-12) * torch.eye(neighbours - 1, dtype=gram.dtype)
    wanted = edges @ (frames - base)[:, :, None]
    weights = torch.linalg.lstsq(gram, wanted).solution  # (t, k - 1, 1)
    projected = base + (weights * edges).sum(1)
    return share * projected + (1 - share) * frames
