"""Postnet: the networks that make any face's motion one person's (arXiv:2301.13430, sec. 3.3).

Motion is displacements from a mean face. What an adaptation keeps of a person is the `Adapter`.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from geneface_kit.motion.sync_expert import ConvBlock
from geneface_kit.motion.vae import embed_pitch
from geneface_kit.person.speech import Speech
from geneface_kit.runs.files import readable
from geneface_kit.runs.ranges import imported
from geneface_kit.runs.weights import load_weights, read_metadata

Motion = Float[Tensor, "b t m"]
Landmarks = Float[np.ndarray, "t 68 3"]
BUILT_IN = "geneface_kit.adaptation.postnet:PostNet"  # import path of the paper's post-net


class PostNet(nn.Module):
    """x + f(x): motion of any face -> motion of one person; f sees 7 frames on both sides.

    extra: channels appended to the motion, 64 of pitch in the pitch variant (code), else 0. f's
    last layer starts at zero, so a fresh post-net changes nothing (ours; at random in the code).
    """

    def __init__(self, *, motion: int = 204, extra: int = 0) -> None:
        super().__init__()
        self.first = nn.Sequential(_unit(motion + extra, 128), _unit(128, 128), _unit(128, 128))
        self.second = nn.Sequential(_unit(128, 256), _unit(256, 256), _unit(256, 256))
        self.third = nn.Sequential(_unit(256, 128), nn.Conv1d(128, motion, 1))
        nn.init.zeros_(self.third[1].weight)
        nn.init.zeros_(self.third[1].bias)

    def forward(self, motion: Motion, extra: Float[Tensor, "b t e"] | None = None) -> Motion:
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

    Raises: ValueError when there is no such class or it is no torch module.
    """
    return imported(path, "adaptation.postnet_class", nn.Module)


class Discriminator(nn.Module):
    """D, scores single frames: near 1 for the person's own, near 0 for others (LSGAN). motion:
    numbers of a frame; the code shows it all 204, the stage the mouth's `losses.MouthAxes`."""

    def __init__(self, *, motion: int = 204, dropout: float = 0.25) -> None:
        super().__init__()
        layers, sizes = [], (motion, 128, 256, 256, 128)
        for (enter, leave), slope in zip(pairwise(sizes), (0.2, 0.25, 0.25, 0.25), strict=True):
            layers += [nn.Linear(enter, leave), nn.LeakyReLU(slope), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(128, 1, bias=False))

    def forward(self, frames: Float[Tensor, "n m"]) -> Float[Tensor, "n 1"]:
        return self.layers(frames)


class Adapter(nn.Module):
    """What is kept of a person: amplitude, a factor on all motion (ours, 1 in the code), post-net,
    the pitch embedding it hears (None: the plain post-net), and the person's mean landmarks. unit:
    inter-ocular distances per network unit."""

    def __init__(self, postnet: nn.Module, pitch: nn.Embedding | None = None, *, unit: float):
        super().__init__()
        self.register_buffer("amplitude", torch.ones(()))
        self.postnet = postnet
        self.pitch = pitch
        self.register_buffer("mean", torch.zeros(68, 3))
        self.unit = unit

    def forward(self, motion: Motion, f0: Float[Tensor, "b _"] | None = None) -> Motion:
        """Adapted displacements, network units. f0: Hz at 50 a second, for the pitch variant."""
        extra = None
        if self.pitch is not None:
            extra = embed_pitch(self.pitch, f0[:, : 2 * motion.shape[1]])
        return self.postnet(self.amplitude * motion, extra)

    @torch.no_grad()
    def adapted(self, displacements: Landmarks, speech: Speech) -> Landmarks:
        """This person's canonical landmarks for the generator's displacements; only the pitch
        variant hears the speech (its f0)."""
        flat = torch.from_numpy(np.ascontiguousarray(displacements / self.unit)).float()
        adapted = self(flat.reshape(1, -1, 204), f0_of(speech))[0].numpy()
        return self.mean.numpy() + self.unit * adapted.reshape(-1, 68, 3)


def f0_of(speech: Speech) -> Float[Tensor, "1 s"]:
    """The pitch of some speech, Hz, as a batch of one."""
    return torch.from_numpy(np.asarray(speech.f0, np.float32))[None]


def load(folder: Path) -> Adapter:
    """The adapter of an adaptation run."""
    path = folder / "adaptation.safetensors"
    about = read_metadata(path, kind="adaptation")
    with readable(path):
        channels, unit = int(about["pitch"]), float(about["unit"])
        postnet = postnet_class(about["postnet"])(motion=204, extra=channels)
    pitch = nn.Embedding(300, channels) if channels else None
    adapter = Adapter(postnet, pitch, unit=unit)
    load_weights(path, adapter)
    return adapter.eval().requires_grad_(False)


def project_onto_neighbours(
    frames: Float[Tensor, "t m"],
    database: Float[Tensor, "n m"],
    *,
    neighbours: int = 10,
    share: float = 1.0,
    ridge: float = 0.0,
) -> Float[Tensor, "t m"]:
    """Frames pulled onto the person's own: locally linear embedding (GeneFace++), the affine
    combination of its nearest database frames that is closest to each.

    share: 0 keeps the frame, 1 takes the projection. ridge: relative penalty that keeps weights
    tame when neighbours nearly coincide (ours).
    """
    nearest = torch.cdist(frames, database).topk(neighbours, largest=False).indices
    base = database[nearest[:, 0]]
    edges = database[nearest[:, 1:]] - base[:, None]  # (t, k - 1, m)
    gram = edges @ edges.transpose(1, 2)
    trace = gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    gram = gram + (ridge * trace + 1e-12) * torch.eye(neighbours - 1, dtype=gram.dtype)
    weights = torch.linalg.lstsq(gram, edges @ (frames - base)[:, :, None]).solution
    projected = base + (weights * edges).sum(1)
    return share * projected + (1 - share) * frames


def _unit(enter: int, leave: int) -> ConvBlock:
    return ConvBlock(enter, leave, residual=enter == leave, slope=0.2)
