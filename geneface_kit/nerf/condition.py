"""Condition: what drives a few neighbouring frames -> the one vector that moves a field."""

from jaxtyping import Float
from torch import Tensor, nn

STRIDES = {1: 1, 16: 2}
"""Steps of a frame -> stride of the four convolutions over them (official code)."""


class ConditionNet(nn.Module):
    """Normalised vectors of a few neighbouring frames -> one condition vector.

    The official nets (official code): per frame four convolutions over its steps and two
    linear layers; an attention net then weighs the frames. A frame has one step (landmarks) or 16
    (speech, AD-NeRF), which strides of 2 bring to one.
    Differs from the official code: weights start so that inputs reach the condition at full
    strength, and the middle frame leads. With the usual start they arrive 200 times weaker, and
    in short trainings the mouth may never begin to move.
    """

    def __init__(self, n_inputs: int, n_channels: int, n_frames: int, n_steps: int = 1):
        super().__init__()
        if n_steps not in STRIDES:
            raise ValueError(
                f"n_steps must be one of {', '.join(map(str, STRIDES))}, got {n_steps}"
            )
        self.n_steps, stride = n_steps, STRIDES[n_steps]
        leaky = lambda: nn.LeakyReLU(0.02)  # noqa: E731
        sizes = (n_inputs, 32, 32, 64, 64)
        convolutions = [
            layer
            for a, b in zip(sizes[:-1], sizes[1:], strict=True)
            for layer in (nn.Conv1d(a, b, 3, stride, padding=1), leaky())
        ]
        self.encode = nn.Sequential(*convolutions)
        self.project = nn.Sequential(nn.Linear(64, 64), leaky(), nn.Linear(64, n_channels))
        self.attend = None
        if n_frames > 1:
            widths = (n_channels, 16, 8, 4, 2, 1)
            layers = [
                layer
                for a, b in zip(widths[:-1], widths[1:], strict=True)
                for layer in (nn.Conv1d(a, b, 3, padding=1), leaky())
            ]
            self.attend = nn.Sequential(*layers)
            self.weigh = nn.Linear(n_frames, n_frames)
        self._start()

    def forward(self, windows: Float[Tensor, "b w ..."]) -> Float[Tensor, "b c"]:
        """The condition of windows (b, w, n_inputs), or (b, w, n_steps, n_inputs)."""
        n, width = windows.shape[:2]
        steps = windows.reshape(n * width, self.n_steps, -1)
        encoded = self.encode(steps.transpose(1, 2))[..., 0]
        each = self.project(encoded).view(n, width, -1)  # (b, w, c)
        if self.attend is None:
            return each[:, width // 2]
        weights = self.weigh(self.attend(each.transpose(1, 2))[:, 0]).softmax(-1)
        return (weights[..., None] * each).sum(1)

    def _start(self) -> None:
        for layer in (*self.encode, *self.project):
            if isinstance(layer, (nn.Conv1d, nn.Linear)):
                seen = layer.weight
                if isinstance(layer, nn.Conv1d) and self.n_steps == 1:
                    seen = layer.weight[:, :, 1]  # around one step there is only padding
                nn.init.kaiming_normal_(seen.data, a=0.02, nonlinearity="leaky_relu")
                nn.init.zeros_(layer.bias)
        if self.attend is not None:
            nn.init.zeros_(self.weigh.bias)
            self.weigh.bias.data[self.weigh.out_features // 2] = 2.0
