"""WaveNet: the generator's building blocks: gated stack, coupling flow, encoder, decoder.

Reads and writes nothing; `vae` assembles them (GeneFace, sec. 3.2; method.md 3).
Tensors are channels first, (b, c, t); masks are (b, 1, t) with 1 on frames that exist.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

__all__ = [
    "STRIDE",
    "Coupling",
    "CouplingFlow",
    "Decoder",
    "Posterior",
    "Standardise",
    "WaveNet",
]


STRIDE = 4
"""Frames per latent step (code)."""
Frames = Float[Tensor, "b c t"]
Mask = Float[Tensor, "b 1 t"]
Given = Float[Tensor, "b g t"]
"""Channels, mask and condition on one clock."""


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

    def forward(self, x: Frames, mask: Mask, condition: Given) -> Frames:
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

    def forward(self, x: Frames, mask: Mask, condition: Given) -> Frames:
        """The second half of the channels shifted by what the first half says."""
        first, second = x.split(self.half, dim=1)
        return torch.cat([first, (second + self._shift(first, mask, condition)) * mask], dim=1)

    def inverse(self, y: Frames, mask: Mask, condition: Given) -> Frames:
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

    def forward(self, z: Frames, mask: Mask, condition: Given) -> Frames:
        """Latents of the motion -> latents of the prior (log-determinant 0)."""
        for coupling in self.couplings:
            z = coupling(z, mask, condition).flip(1)
        return z

    def inverse(self, p: Frames, mask: Mask, condition: Given) -> Frames:
        """Latents of the prior -> latents of the motion."""
        for coupling in reversed(self.couplings):
            p = coupling.inverse(p.flip(1), mask, condition)
        return p


class Posterior(nn.Module):
    """The VAE's encoder: motion (b, motion, t) -> mean and log standard deviation at t / stride."""

    def __init__(
        self,
        motion: int,
        latent: int,
        *,
        hidden: int,
        kernel: int,
        layers: int,
        condition: int,
    ) -> None:
        super().__init__()
        self.enter = nn.Conv1d(motion, hidden, 2 * STRIDE, STRIDE, padding=STRIDE // 2)
        self.wavenet = WaveNet(hidden, kernel=kernel, layers=layers, condition=condition)
        self.leave = nn.Conv1d(hidden, 2 * latent, 1)

    def forward(
        self,
        motion: Float[Tensor, "b m t"],
        mask: Float[Tensor, "b 1 u"],
        condition: Float[Tensor, "b g u"],
    ) -> tuple[Float[Tensor, "b z u"], Float[Tensor, "b z u"]]:
        """Mean and log standard deviation of q(z | motion, condition); mask at the latent rate."""
        hidden = self.enter(motion) * mask
        mean, log_std = self.leave(self.wavenet(hidden, mask, condition)).chunk(2, dim=1)
        return mean, log_std


class Decoder(nn.Module):
    """The VAE's decoder: latents at t / stride and the condition at t -> motion at t."""

    def __init__(
        self,
        latent: int,
        motion: int,
        *,
        hidden: int,
        kernel: int,
        layers: int,
        condition: int,
    ) -> None:
        super().__init__()
        self.enter = nn.ConvTranspose1d(latent, hidden, STRIDE, STRIDE)
        self.wavenet = WaveNet(hidden, kernel=kernel, layers=layers, condition=condition)
        self.leave = nn.Conv1d(hidden, motion, 1)

    def forward(
        self,
        z: Float[Tensor, "b z u"],
        mask: Float[Tensor, "b 1 t"],
        condition: Float[Tensor, "b g t"],
    ) -> Float[Tensor, "b m t"]:
        """Motion, zero where the mask is zero."""
        hidden = self.enter(z) * mask
        return self.leave(self.wavenet(hidden, mask, condition)) * mask


class Standardise(nn.Module):
    """Features minus their mean, over their standard deviation, both of a corpus.

    Ours: the official code feeds HuBERT as it is, which mean 0 and std 1 reproduce.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def take(self, mean: Float[Tensor, " c"], std: Float[Tensor, " c"]) -> None:
        """Takes mean and standard deviation; a channel that never changes is not blown up."""
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=1e-3))

    def forward(self, features: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        """The same shape, standardised."""
        return (features - self.mean) / self.std
