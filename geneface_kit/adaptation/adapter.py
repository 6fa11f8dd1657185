"""Adapter: what an adaptation keeps of a person; it makes motion of any face this person's."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from geneface_kit.adaptation.domain import Transport
from geneface_kit.adaptation.postnet import BUILT_IN, postnet_class
from geneface_kit.person.speech import Speech, coarse_pitch
from geneface_kit.runs.weights import load_weights, read_metadata


class Adapter(nn.Module):
    """Transport, post-net, the pitch embedding it hears (None: the plain post-net), and the
    person's mean landmarks."""

    def __init__(self, postnet: nn.Module, pitch: nn.Embedding | None = None) -> None:
        super().__init__()
        self.transport = Transport()
        self.postnet = postnet
        self.pitch = pitch
        self.register_buffer("mean", torch.zeros(68, 3))

    def forward(
        self, motion: Float[Tensor, "b t 204"], f0: Float[Tensor, "b _"] | None = None
    ) -> Float[Tensor, "b t 204"]:
        """Adapted displacements, network units. f0: Hz at 50 a second, for the pitch variant."""
        extra = None
        if self.pitch is not None:
            even = f0[:, : 2 * motion.shape[1] : 2]
            bins = torch.from_numpy(coarse_pitch(even.flatten().numpy())).reshape(even.shape)
            extra = self.pitch(bins)
        return self.postnet(self.transport(motion), extra)


@dataclass(frozen=True)
class Adaptation:
    """A person's post-net, ready to use. unit: see `motion.Motion`."""

    adapter: Adapter
    unit: float

    @torch.no_grad()
    def apply(
        self, displacements: Float[np.ndarray, "t 68 3"], speech: Speech | None = None
    ) -> Float[np.ndarray, "t 68 3"]:
        """This person's canonical landmarks for the generator's displacements.

        speech: only the pitch variant hears it (its f0).
        """
        if displacements.ndim != 3 or displacements.shape[1:] != (68, 3):
            raise ValueError(f"displacements must be (t, 68, 3), got {displacements.shape}")
        if self.adapter.pitch is not None and speech is None:
            raise ValueError("this post-net hears pitch: give the speech of the displacements")
        flat = torch.from_numpy(np.ascontiguousarray(displacements / self.unit)).float()
        f0 = None if speech is None else torch.from_numpy(np.asarray(speech.f0, np.float32))[None]
        adapted = self.adapter(flat.reshape(1, -1, 204), f0)[0].numpy()
        return self.adapter.mean.numpy() + self.unit * adapted.reshape(-1, 68, 3)


def load(folder: Path) -> Adaptation:
    """The post-net of an adaptation run, with the person's mean landmarks."""
    path = folder / "adaptation.safetensors"
    about = read_metadata(path)
    channels = int(about.get("pitch", 0))
    postnet = postnet_class(about.get("postnet", BUILT_IN))(motion=204, extra=channels)
    adapter = Adapter(postnet, nn.Embedding(300, channels) if channels else None)
    about = load_weights(path, adapter, kind="adaptation")
    adapter.eval().requires_grad_(False)
    return Adaptation(adapter, float(about["unit"]))
