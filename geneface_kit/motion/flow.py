"""Flow: the prior of the generator (arXiv:2301.13430, sec. 3.2): couplings made of WaveNet blocks.

Tensors are channels first, (b, c, t); masks are (b, 1, t) with 1 on frames that exist.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

Frames = Float[Tensor, "b c t"]
Mask = Float[Tensor, "b 1 t"]
Given = Float[Tensor, "b g t"]  # the condition
Conv = nn.Conv1d | nn.ConvTranspose1d


class WaveNet(nn.Module):
    """A stack of gated convolutions, each seeing the condition (van den Oord et al., 2016).

    Layer i: h = tanh(a) * sigmoid(b) with (a, b) = gate_i(x) + condition_i; (r, s) = exit_i(h);
    x = (x + r) * mask; the output is the sum of all s. The last layer has no r.

    channels: of x; kernel: odd, frames. Dilation is 1, there is no dropout (official code).
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
            output = output + kept[:, -self.channels :]
            if kept.shape[1] > self.channels:  # not the last layer
                x = (x + kept[:, : self.channels]) * mask
        return output * mask


class ProjectedWaveNet(nn.Module):
    """A WaveNet between a convolution, which may change the rate, and a 1x1 convolution."""

    def __init__(self, enter: Conv, leave: int, *, kernel: int, layers: int, condition: int):
        super().__init__()
        hidden = enter.out_channels
        self.enter = enter
        self.wavenet = WaveNet(hidden, kernel=kernel, layers=layers, condition=condition)
        self.leave = nn.Conv1d(hidden, leave, 1)

    def forward(self, x: Float[Tensor, "b i _"], mask: Mask, condition: Given) -> Frames:
        """What comes out at the rate of mask and condition; anything where the mask is zero."""
        return self.leave(self.wavenet(self.enter(x) * mask, mask, condition))


class Coupling(ProjectedWaveNet):
    """One mean-only residual coupling: y = (x_0, x_1 + m(x_0, condition)). The shift m starts at
    zero, so a fresh flow is the identity. No scale: log-determinant 0."""

    def __init__(self, channels: int, *, hidden: int, condition: int) -> None:
        half = channels // 2
        enter = nn.Conv1d(half, hidden, 1)
        super().__init__(enter, half, kernel=3, layers=4, condition=condition)  # (code)
        self.half = half
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Frames, mask: Mask, condition: Given, sign: int = 1) -> Frames:
        """The second half of the channels shifted by what the first half says; sign -1 gives the
        input that this made x from."""
        first, second = x.split(self.half, dim=1)
        shift = super().forward(first, mask, condition) * mask
        return torch.cat([first, (second + sign * shift) * mask], dim=1)


class CouplingFlow(nn.Module):
    """The flow prior: couplings, each followed by a reversal of the channels, turn the posterior's
    latents z into N(0, 1) given the speech (sec. 3.2); run backwards, noise into latents.

    steps: number of couplings; 0 makes the flow the identity, that is a Gaussian prior.
    hidden: channels inside a coupling; condition: channels of the speech condition.
    """

    def __init__(self, channels: int, *, steps: int, hidden: int, condition: int) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(
            Coupling(channels, hidden=hidden, condition=condition) for _ in range(steps)
        )

    def forward(self, z: Frames, mask: Mask, condition: Given) -> Frames:
        """Latents of the motion -> latents of the prior (log-determinant 0)."""
        for coupling in self.couplings:
            z = coupling(z, mask, condition).flip(1)
        return z

    def inverse(self, p: Frames, mask: Mask, condition: Given) -> Frames:
        """Latents of the prior -> latents of the motion."""
        for coupling in reversed(self.couplings):
            p = coupling(p.flip(1), mask, condition, sign=-1)
        return p
