"""VAE: the variational motion generator (arXiv:2301.13430, sec. 3.2), and its motion for speech."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from geneface_kit.motion.flow import CouplingFlow, Given, ProjectedWaveNet
from geneface_kit.motion.losses import Latents, Mask, Motion
from geneface_kit.motion.sync_expert import Standardise
from geneface_kit.person.speech import Speech, coarse_pitch
from geneface_kit.runs.ranges import Count, Natural, Range, Share

Heard = Float[Tensor, "b s c"]
Pitch = Float[Tensor, "b s"]
STRIDE = 4  # frames per latent step (code)
KERNEL = 5  # frames that a WaveNet layer of encoder and decoder sees (code)


@dataclass(frozen=True)
class VAESizes:
    """Sizes of the generator; the defaults are those of the shipped weights."""

    hidden: Count = 96  # channels of encoder and decoder; official 256
    latent: Annotated[int, Range(2, step=2)] = 16  # channels of z (code)
    encoder_layers: Count = 3  # WaveNet layers; official 8
    decoder_layers: Count = 4  # WaveNet layers (code)
    flow_steps: Natural = 4  # couplings of the prior (code); 0 is a Gaussian prior
    flow_hidden: Count = 32  # channels of a coupling; official 64
    condition: Count = 64  # channels of the speech condition (code)
    both_steps: bool = True  # see both speech steps of a frame; ours, the code keeps even ones
    pitch: bool = False  # the pitch variant: f0 as a second condition (official option)
    dropout: Share = 0.3  # of speech channels while training; ours, official 0


class SpeechCondition(nn.Module):
    """Speech features at 50 Hz -> the condition at 25 Hz: conv, batch norm, GELU, conv; of even
    steps (code), or with `both_steps` of both steps of a frame as one of twice the channels."""

    def __init__(self, speech: int, hidden: int, condition: int, *, both_steps: bool) -> None:
        super().__init__()
        self.both_steps = both_steps
        self.enter = nn.Conv1d(speech * (2 if both_steps else 1), hidden, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.leave = nn.Conv1d(hidden, condition, 3, padding=1, bias=False)

    def forward(self, speech: Float[Tensor, "b s c"]) -> Given:
        """The condition, channels first."""
        x = speech.unflatten(1, (-1, 2)).flatten(2) if self.both_steps else speech[:, ::2]
        x = self.norm(self.enter(x.transpose(1, 2)))
        return self.leave(nn.functional.gelu(x))


class PitchCondition(nn.Module):
    """f0 at 50 Hz -> 32 more condition channels at 25 Hz: bins, embedding, conv, norm, conv."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(300, 64)
        self.condition = SpeechCondition(64, 64, 32, both_steps=False)

    def forward(self, f0: Float[Tensor, "b s"]) -> Float[Tensor, "b 32 t"]:
        return self.condition(embed_pitch(self.embedding, f0).repeat_interleave(2, dim=1))


def embed_pitch(embedding: nn.Embedding, f0: Float[Tensor, "b s"]) -> Float[Tensor, "b t e"]:
    """The embedded pitch at 25 Hz: even steps, in bins (the pitch post-net hears it too)."""
    even = f0[:, ::2]
    bins = torch.from_numpy(coarse_pitch(even.flatten().cpu().numpy())).reshape(even.shape)
    return embedding(bins.to(f0.device))


class MotionVAE(nn.Module):
    """GeneFace's generator: posterior encoder, coupling-flow prior, decoder, all seeing speech.

    speech: channels of the features; motion: 204, that is 68 points of 3 coordinates.
    posterior: the encoder, motion at t -> mean and log standard deviation of z, one above the
    other, at t / STRIDE; decoder: z at t / STRIDE -> motion at t.
    amplitude: factor on sampled motion, measured after training. Ours: a network that averages
    over what speech cannot tell moves too little on new speakers; 1 is the official code.
    """

    def __init__(self, speech: int, sizes: VAESizes, *, motion: int = 204) -> None:
        super().__init__()
        self.sizes, self.latent = sizes, sizes.latent
        width = sizes.condition + (32 if sizes.pitch else 0)
        self.standardise = Standardise(speech)
        self.dropout = nn.Dropout1d(sizes.dropout)
        self.register_buffer("amplitude", torch.ones(()))
        narrow, both = sizes.condition, sizes.both_steps
        self.speech = SpeechCondition(speech, narrow, narrow, both_steps=both)
        self.pitch = PitchCondition() if sizes.pitch else None
        self.to_latent_rate = nn.Conv1d(width, width, 2 * STRIDE, STRIDE, padding=STRIDE // 2)
        shared, layers = {"kernel": KERNEL, "condition": width}, sizes.encoder_layers
        enter = nn.Conv1d(motion, sizes.hidden, 2 * STRIDE, STRIDE, padding=STRIDE // 2)
        self.posterior = ProjectedWaveNet(enter, 2 * sizes.latent, layers=layers, **shared)
        self.flow = CouplingFlow(
            sizes.latent, steps=sizes.flow_steps, hidden=sizes.flow_hidden, condition=width
        )
        enter = nn.ConvTranspose1d(sizes.latent, sizes.hidden, STRIDE, STRIDE)
        self.decoder = ProjectedWaveNet(enter, motion, layers=sizes.decoder_layers, **shared)

    def condition(self, speech: Heard, f0: Pitch) -> tuple[Given, Float[Tensor, "b g u"]]:
        """What encoder, prior and decoder see: at 25 Hz, and at the latent rate."""
        speech = self.dropout(self.standardise(speech).transpose(1, 2)).transpose(1, 2)
        condition = self.speech(speech)
        if self.pitch is not None:
            condition = torch.cat([condition, self.pitch(f0)], dim=1)
        return condition, self.to_latent_rate(condition)

    def decode(self, z: Latents, mask: Mask, condition: Given) -> Motion:
        """Latents and the 25 Hz condition -> motion, zero where the mask is False."""
        frames = mask[:, None].float()
        return (self.decoder(z, frames, condition) * frames).transpose(1, 2)

    def forward(
        self, speech: Heard, f0: Pitch, motion: Motion, mask: Mask, noise: Latents
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The training pass: motion (b, t, m), then at the latent rate, (b, z, u), a draw z of the
        posterior, its mean and log standard deviation, and the flow's image of z.

        noise: N(0, 1), what z is drawn with.
        """
        condition, slow = self.condition(speech, f0)
        slow_mask = mask[:, None, ::STRIDE].float()
        mean, log_std = self.posterior(motion.transpose(1, 2), slow_mask, slow).chunk(2, dim=1)
        z = mean + noise * torch.exp(log_std)
        predicted = self.decode(z, mask, condition)
        return predicted, z, mean, log_std, self.flow(z, slow_mask, slow)

    def sample(self, speech: Heard, f0: Pitch, noise: Latents) -> Motion:
        """Motion for speech from prior noise (temperature times N(0, 1)): inverse flow, decode,
        times the amplitude."""
        condition, slow = self.condition(speech, f0)
        z = self.flow.inverse(noise, torch.ones_like(noise[:, :1]), slow)
        mask = torch.ones_like(condition[:, 0], dtype=torch.bool)
        return self.amplitude * self.decode(z, mask, condition)

    @torch.no_grad()
    def generate(
        self, speech: Speech, *, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> Float[np.ndarray, "t 204"]:
        """Motion in network units for speech of any length, s // 2 frames. Temperature 0 takes the
        prior's mode and draws nothing."""
        n_frames = len(speech.features) // 2
        n_latents = -(-n_frames // STRIDE)
        padded = speech.cut(n_latents * STRIDE)
        noise = torch.zeros(1, self.latent, n_latents)
        if temperature > 0:
            if generator is None:
                raise ValueError("a temperature above 0 needs a generator")
            noise = temperature * torch.randn(noise.shape, generator=generator)
        heard = (torch.from_numpy(part).float()[None] for part in (padded.features, padded.f0))
        motion = self.sample(*(part.to(self.amplitude.device) for part in (*heard, noise)))
        return motion[0, :n_frames].cpu().numpy()
