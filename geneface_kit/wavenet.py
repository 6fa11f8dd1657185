"""WaveNet: speech and latents -> motion: the generator's networks, from gated stack to VAE.

Reads and writes nothing; `motion` trains them (GeneFace, sec. 3.2; method.md 3).
Tensors are channels first, (b, c, t); masks are (b, 1, t) with 1 on frames that exist.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from geneface_kit.speech import coarse_pitch

__all__ = [
    "Coupling",
    "CouplingFlow",
    "Decoder",
    "MotionVAE",
    "PitchCondition",
    "Posterior",
    "SpeechCondition",
    "VAESizes",
    "WaveNet",
]


@dataclass(frozen=True)
class VAESizes:
    """Sizes of the generator; the defaults are those of the shipped weights."""

    hidden: int = 96  # channels of encoder and decoder; official 256
    latent: int = 16  # channels of z (code)
    stride: int = 4  # frames per latent step (code)
    encoder_layers: int = 4  # WaveNet layers; official 8
    decoder_layers: int = 4  # WaveNet layers (code)
    flow_steps: int = 4  # couplings of the prior (code); 0 is a Gaussian prior
    flow_hidden: int = 32  # channels of a coupling; official 64
    condition: int = 64  # channels of the speech condition (code)
    both_steps: bool = True  # see both speech steps of a frame; ours, the code keeps even ones
    pitch: bool = False  # the pitch variant: f0 as a second condition (official option)
    dropout: float = 0.3  # of speech channels while training; ours, official 0


class WaveNet(nn.Module):
    """A stack of gated convolutions, each seeing the condition (van den Oord et al., 2016).

    Layer i: h = tanh(a) * sigmoid(b) with (a, b) = gate_i(x) + condition_i; (r, s) = exit_i(h);
    x = (x + r) * mask; the output is the sum of all s. The last layer has no r.

    channels: width of x; kernel: odd, frames; layers: how many; condition: channels of the
    condition. Dilation is 1 and there is no dropout, as in the official code.
    """

    def __init__(self, channels: int, *, kernel: int, layers: int, condition: int) -> None:
        super().__init__()
        self.channels = channels
        self.condition = weight_norm(nn.Conv1d(condition, 2 * channels * layers, 1))
        self.gates = nn.ModuleList()
        self.exits = nn.ModuleList()
        for index in range(layers):
            wide = channels if index == layers - 1 else 2 * channels
            gate = nn.Conv1d(channels, 2 * channels, kernel, padding=kernel // 2)
            self.gates.append(weight_norm(gate))
            self.exits.append(weight_norm(nn.Conv1d(channels, wide, 1)))

    def forward(
        self, x: Float[Tensor, "b c t"], mask: Float[Tensor, "b 1 t"], condition: Float[Tensor, "b g t"]
    ) -> Float[Tensor, "b c t"]:
        """The summed skip outputs, zero where the mask is zero."""
        output = torch.zeros_like(x)
        slices = self.condition(condition).split(2 * self.channels, dim=1)
        for gate, leave, given in zip(self.gates, self.exits, slices, strict=True):
            a, b = (gate(x) + given).chunk(2, dim=1)
            kept = leave(torch.tanh(a) * torch.sigmoid(b))
            if kept.shape[1] == self.channels:  # the last layer
                return (output + kept) * mask
            residual, skip = kept.chunk(2, dim=1)
            x = (x + residual) * mask
            output = output + skip
        return output * mask


class Coupling(nn.Module):
    """One mean-only residual coupling: y = (x_0, x_1 + m(x_0, condition)).

    The shift m starts at zero, so a fresh flow is the identity. No scale: log-determinant 0.
    """

    def __init__(
        self, channels: int, *, hidden: int, kernel: int, layers: int, condition: int
    ) -> None:
        super().__init__()
        self.half = channels // 2
        self.enter = nn.Conv1d(self.half, hidden, 1)
        self.wavenet = WaveNet(hidden, kernel=kernel, layers=layers, condition=condition)
        self.leave = nn.Conv1d(hidden, self.half, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self, x: Float[Tensor, "b c t"], mask: Float[Tensor, "b 1 t"], condition: Float[Tensor, "b g t"]
    ) -> Float[Tensor, "b c t"]:
        """The second half of the channels shifted by what the first half says."""
        first, second = x.split(self.half, dim=1)
        return torch.cat([first, (second + self._shift(first, mask, condition)) * mask], dim=1)

    def inverse(
        self, y: Float[Tensor, "b c t"], mask: Float[Tensor, "b 1 t"], condition: Float[Tensor, "b g t"]
    ) -> Float[Tensor, "b c t"]:
        """The input `forward` made y from."""
        first, second = y.split(self.half, dim=1)
        return torch.cat([first, (second - self._shift(first, mask, condition)) * mask], dim=1)

    def _shift(self, first, mask, condition):
        hidden = self.enter(first) * mask
        return self.leave(self.wavenet(hidden, mask, condition)) * mask


class CouplingFlow(nn.Module):
    """Couplings, each followed by a reversal of the channels: posterior latents -> N(0, 1).

    steps: number of couplings; 0 makes the flow the identity, that is a Gaussian prior.
    """

    def __init__(
        self, channels: int, *, steps: int, hidden: int, kernel: int, layers: int, condition: int
    ) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(
            Coupling(channels, hidden=hidden, kernel=kernel, layers=layers, condition=condition)
            for _ in range(steps)
        )

    def forward(
        self, z: Float[Tensor, "b c t"], mask: Float[Tensor, "b 1 t"], condition: Float[Tensor, "b g t"]
    ) -> Float[Tensor, "b c t"]:
        """Latents of the motion -> latents of the prior (log-determinant 0)."""
        for coupling in self.couplings:
            z = coupling(z, mask, condition).flip(1)
        return z

    def inverse(
        self, p: Float[Tensor, "b c t"], mask: Float[Tensor, "b 1 t"], condition: Float[Tensor, "b g t"]
    ) -> Float[Tensor, "b c t"]:
        """Latents of the prior -> latents of the motion."""
        for coupling in reversed(self.couplings):
            p = coupling.inverse(p.flip(1), mask, condition)
        return p


class Posterior(nn.Module):
    """The VAE's encoder: motion (b, motion, t) -> mean and log standard deviation at t / stride."""

    def __init__(
        self, motion: int, latent: int, *, hidden: int, kernel: int, layers: int, condition: int, stride: int
    ) -> None:
        super().__init__()
        self.enter = nn.Conv1d(motion, hidden, 2 * stride, stride, padding=stride // 2)
        self.wavenet = WaveNet(hidden, kernel=kernel, layers=layers, condition=condition)
        self.leave = nn.Conv1d(hidden, 2 * latent, 1)

    def forward(
        self, motion: Float[Tensor, "b m t"], mask: Float[Tensor, "b 1 u"], condition: Float[Tensor, "b g u"]
    ) -> tuple[Float[Tensor, "b z u"], Float[Tensor, "b z u"]]:
        """Mean and log standard deviation of q(z | motion, condition); mask at the latent rate."""
        hidden = self.enter(motion) * mask
        mean, log_std = self.leave(self.wavenet(hidden, mask, condition)).chunk(2, dim=1)
        return mean, log_std


class Decoder(nn.Module):
    """The VAE's decoder: latents at t / stride and the condition at t -> motion at t."""

    def __init__(
        self, latent: int, motion: int, *, hidden: int, kernel: int, layers: int, condition: int, stride: int
    ) -> None:
        super().__init__()
        self.enter = nn.ConvTranspose1d(latent, hidden, stride, stride)
        self.wavenet = WaveNet(hidden, kernel=kernel, layers=layers, condition=condition)
        self.leave = nn.Conv1d(hidden, motion, 1)

    def forward(
        self, z: Float[Tensor, "b z u"], mask: Float[Tensor, "b 1 t"], condition: Float[Tensor, "b g t"]
    ) -> Float[Tensor, "b m t"]:
        """Motion, zero where the mask is zero."""
        hidden = self.enter(z) * mask
        return self.leave(self.wavenet(hidden, mask, condition)) * mask


class SpeechCondition(nn.Module):
    """Speech features at 50 Hz -> the condition at 25 Hz: conv, batch norm, GELU, conv.

    Even steps are kept (nearest down-sampling, code), or with `both_steps` the two steps of a
    frame become one step with twice the channels.
    """

    def __init__(self, speech: int, hidden: int, condition: int, *, both_steps: bool) -> None:
        super().__init__()
        self.both_steps = both_steps
        self.enter = nn.Conv1d(speech * (2 if both_steps else 1), hidden, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.leave = nn.Conv1d(hidden, condition, 3, padding=1, bias=False)

    def forward(self, speech: Float[Tensor, "b s c"]) -> Float[Tensor, "b g t"]:
        """The condition, channels first."""
        if self.both_steps:
            x = speech.unflatten(1, (-1, 2)).flatten(2)  # (b, t, 2c)
        else:
            x = speech[:, ::2]
        x = self.norm(self.enter(x.transpose(1, 2)))
        return self.leave(nn.functional.gelu(x))


class PitchCondition(nn.Module):
    """f0 at 50 Hz -> 32 more condition channels at 25 Hz: bins, embedding, conv, norm, conv."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(300, 64)
        self.condition = SpeechCondition(64, 64, 32, both_steps=False)

    def forward(self, f0: Float[Tensor, "b s"]) -> Float[Tensor, "b 32 t"]:
        """The pitch channels."""
        bins = coarse_pitch(f0[:, ::2])
        return self.condition(self.embedding(bins).repeat_interleave(2, dim=1))


class MotionVAE(nn.Module):
    """GeneFace's generator: posterior encoder, coupling-flow prior, decoder, all seeing speech.

    speech: channels of the features; motion: 204, that is 68 points of 3 coordinates.
    """

    def __init__(self, speech: int, sizes: VAESizes, *, motion: int = 204) -> None:
        super().__init__()
        self.latent, self.stride = sizes.latent, sizes.stride
        width = sizes.condition + (32 if sizes.pitch else 0)
        self.dropout = nn.Dropout1d(sizes.dropout)
        self.speech = SpeechCondition(
            speech, sizes.condition, sizes.condition, both_steps=sizes.both_steps
        )
        self.pitch = PitchCondition() if sizes.pitch else None
        k = sizes.stride
        self.to_latent_rate = nn.Conv1d(width, width, 2 * k, k, padding=k // 2)
        shared = {"hidden": sizes.hidden, "kernel": 5, "condition": width, "stride": k}
        self.posterior = Posterior(motion, sizes.latent, layers=sizes.encoder_layers, **shared)
        self.flow = CouplingFlow(
            sizes.latent,
            steps=sizes.flow_steps,
            hidden=sizes.flow_hidden,
            kernel=3,
            layers=4,
            condition=width,
        )
        self.decoder = Decoder(sizes.latent, motion, layers=sizes.decoder_layers, **shared)

    def condition(
        self, speech: Float[Tensor, "b s c"], f0: Float[Tensor, "b s"]
    ) -> tuple[Float[Tensor, "b g t"], Float[Tensor, "b g u"]]:
        """What encoder, prior and decoder see: at 25 Hz, and at the latent rate."""
        speech = self.dropout(speech.transpose(1, 2)).transpose(1, 2)
        condition = self.speech(speech)
        if self.pitch is not None:
            condition = torch.cat([condition, self.pitch(f0)], dim=1)
        return condition, self.to_latent_rate(condition)

    def decode(
        self, z: Float[Tensor, "b z u"], mask: Bool[Tensor, "b t"], condition: Float[Tensor, "b g t"]
    ) -> Float[Tensor, "b t m"]:
        """Latents and the 25 Hz condition -> motion."""
        return self.decoder(z, mask[:, None].float(), condition).transpose(1, 2)

    def sample(
        self, speech: Float[Tensor, "b s c"], f0: Float[Tensor, "b s"], noise: Float[Tensor, "b z u"]
    ) -> Float[Tensor, "b t m"]:
        """Motion for speech from prior noise (temperature times N(0, 1)): inverse flow, decode."""
        condition, slow = self.condition(speech, f0)
        ones = torch.ones_like(noise[:, :1])
        z = self.flow.inverse(noise, ones, slow)
        mask = torch.ones(condition.shape[0], condition.shape[2], dtype=torch.bool)
        return self.decode(z, mask.to(z.device), condition)
