"""Torso: a head pose and the rendered head -> colour and opacity of neck and shoulders.

The 2D field of method.md 5b. Reads a person and a trained head; `portrait` writes the weights.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from geneface_kit import fitting
from geneface_kit.head import HeadField, HeadImage
from geneface_kit.render import GridEncoding, GridLayout, Perceptron, precision
from geneface_kit.views import Views, windows_of

__all__ = ["CPU", "PAPER", "TorsoConfig", "TorsoField", "TorsoTask"]

SHRINK = 0.8
"""Pixel coordinates in [-1, 1] are scaled by this, so that deformed points stay on the grid."""


@dataclass(frozen=True)
class TorsoConfig:
    """The torso field and its training. Defaults: smoke."""

    steps: int = 200  # updates; paper code: 250,000
    n_pixels: int = 8192  # per update; paper code: a whole frame
    n_head_frames: int = 24  # frames whose head is rendered once and trained on; paper code: all
    head_aware: bool = True  # the torso sees the head's colour and opacity at its pixel (paper)
    pixel_frequencies: int = 6  # sines of the pixel position; paper code: 10
    pose_frequencies: int = 1  # sines of the head pose; paper code: 4
    code_channels: int = 4  # per-frame code; paper code: 8
    n_levels: int = 10  # lattices of the canonical grid; paper code: 16
    finest: int = 128  # cells of the finest lattice; paper code: 2048
    log2_rows: int = 14  # table rows per lattice; paper code: 16
    grid_kind: str = "hash"  # "tiled" is the official one
    hidden: int = 64  # width of the deformation network, half of it for colour (paper code)
    entropy_weight: float = 1e-4  # opacity towards 0 or 1 (paper code)
    lr_grid: float = 3e-2  # Adam, table; paper code: 5e-3
    lr_network: float = 5e-3  # Adam, networks; paper code: 5e-4
    lr_final: float = 0.1  # last learning rate over the first (paper code)
    precision: str = "auto"  # as in the head


CPU = {
    "steps": 1500,
    "n_pixels": 16_384,
    "n_head_frames": 64,
    "n_levels": 16,
    "finest": 512,
    "log2_rows": 15,
    "lr_grid": 1e-2,
    "lr_network": 2e-3,
}
"""A real person at 256x256 on two CPU cores."""

PAPER = {
    "steps": 250_000,
    "n_pixels": 262_144,
    "n_head_frames": 1_000_000,
    "pixel_frequencies": 10,
    "pose_frequencies": 4,
    "code_channels": 8,
    "n_levels": 16,
    "finest": 2048,
    "log2_rows": 16,
    "lr_grid": 5e-3,
    "lr_network": 5e-4,
}
"""The official settings (method.md 5b), on a GPU."""


class TorsoField(nn.Module):
    """A canonical picture of the torso, bent by the head's pose.

    (pixel, pose, code, head) -> shift of the pixel -> 2D grid -> opacity and colour.
    """

    def __init__(self, config: TorsoConfig, n_frames: int, size: int):
        super().__init__()
        self.config = config
        n_inputs = 2 * (1 + 2 * config.pixel_frequencies)
        n_inputs += 6 * (1 + 2 * config.pose_frequencies) + config.code_channels
        self.head_net = Perceptron(4, 16, 32, 16) if config.head_aware else None
        n_inputs += 16 if config.head_aware else 0
        hidden = config.hidden
        self.deform_net = Perceptron(n_inputs, hidden, hidden, 2)
        layout = GridLayout.make(
            2,
            n_levels=config.n_levels,
            finest=config.finest,
            log2_rows=config.log2_rows,
            kind=config.grid_kind,
        )
        self.grid = GridEncoding(layout)
        n_features = self.grid.n_features + n_inputs
        self.colour_net = Perceptron(n_features, hidden // 2, hidden // 2, 4)
        self.codes = nn.Parameter(0.1 * torch.randn(n_frames, config.code_channels))
        self.register_buffer("pose_mean", torch.zeros(6))
        self.register_buffer("pose_std", torch.ones(6))
        self.register_buffer("occupied", torch.ones(size, size, dtype=torch.bool))
        self.dtype = precision(config.precision, torch.device("cpu"))

    def pose_numbers(self, poses: Float[Tensor, "k 4 4"]) -> Float[Tensor, "k 6"]:
        """XYZ Euler angles and position of the camera, standardised over the training frames.

        Differs from the official code, which feeds them raw: only their changes matter here.
        """
        numbers = (euler(poses) - self.pose_mean) / self.pose_std
        return numbers.clamp(-3, 3)

    def forward(
        self,
        pixels: Float[Tensor, "n 2"],
        poses: Float[Tensor, "k 4 4"],
        codes: Float[Tensor, "k d"],
        head: Float[Tensor, "n 4"],
        frame_of_pixel: Int[Tensor, " n"] | None,
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
        """Colour (not multiplied) and opacity.

        pixels: (n, 2) in [-1, 1], x then y; head: (n, 4) the head's colour (times opacity) and
        opacity there; frame_of_pixel: row of `poses` and `codes` of each pixel, None for one row.
        """
        place = SHRINK * pixels
        of_frame = torch.cat(
            [waves(self.pose_numbers(poses), self.config.pose_frequencies), codes], dim=-1
        )
        parts = [(waves(place, self.config.pixel_frequencies), None), (of_frame, frame_of_pixel)]
        if self.head_net is not None:
            parts.append((self.head_net([(head, None)], self.dtype), None))
        shift = self.deform_net(parts, self.dtype).float()
        canonical = 0.5 * (place + shift).clamp(-1, 1) + 0.5
        output = torch.sigmoid(
            self.colour_net([(self.grid(canonical), None), *parts], self.dtype).float()
        )
        return output[:, 1:], output[:, 0]

    @torch.no_grad()
    def image(
        self, pose: Float[Tensor, "4 4"], head: HeadImage
    ) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"]]:
        """Colour and opacity of the whole picture; deterministic, with the mean code."""
        size = head.alpha.shape[0]
        at = self.occupied.nonzero()
        seen = torch.cat([head.colour, head.alpha[..., None]], dim=-1)[at[:, 0], at[:, 1]]
        code = self.codes.mean(0, keepdim=True)
        found, opacity = self(unit_pixels(at.flip(-1), size), pose[None], code, seen, None)
        colour, alpha = torch.zeros_like(head.colour), torch.zeros_like(head.alpha)
        colour[at[:, 0], at[:, 1]] = found
        alpha[at[:, 0], at[:, 1]] = opacity
        return colour, alpha


class TorsoTask(fitting.Task):
    """Trains a torso field behind a finished head.

    The head is rendered once for some frames. As in the head's training the background is random;
    the torso pictures of the person (painted over behind the head) are the target.
    """

    def __init__(self, field: TorsoField, views: Views, head: HeadField):
        self.field, self.views, self.config = field, views, field.config
        self.modules = {"torso": field}
        others = [p for p in field.parameters() if p is not field.grid.table]
        groups = [
            {"params": [field.grid.table], "lr": self.config.lr_grid},
            {"params": others, "lr": self.config.lr_network},
        ]
        adam = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15, fused=True)
        self.optimizers = {"adam": adam}
        n = min(self.config.n_head_frames, views.n_train)
        self.frames = torch.linspace(0, views.n_train - 1, n).round().long()
        self.heads = self._heads(head) if self.config.head_aware else None
        self.pixels = field.occupied.nonzero().flip(-1).cpu()

    @staticmethod
    def make(
        config: TorsoConfig, views: Views, head: HeadField, generator: torch.Generator
    ) -> "TorsoTask":
        """A new field: the statistics of the poses, and the pixels where a torso is ever seen."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            field = TorsoField(config, views.n_train, views.size).to(views.device)
        numbers = euler(views.poses[: views.n_train])
        field.pose_mean.copy_(numbers.mean(0))
        field.pose_std.copy_(numbers.std(0, correction=0).clamp(min=1e-3))
        ever = np.zeros((views.size, views.size), bool)
        for frame in range(0, views.n_train, max(1, views.n_train // 100)):
            ever |= np.asarray(views.person.torso[frame][..., 3]) > 0
        reach = 2 * (views.size // 64) + 1
        wide = functional.max_pool2d(torch.from_numpy(ever)[None].float(), reach, 1, reach // 2)
        field.occupied.copy_(wide[0] > 0)
        if not ever.any():
            raise ValueError(f"person {views.person.name} has no torso pixel; prepare it again")
        return TorsoTask(field, views, head)

    def step(self, index: int, generator: torch.Generator) -> dict[str, float]:
        config, views = self.config, self.views
        decay = config.lr_final ** (index / max(1, config.steps))
        rates = (config.lr_grid, config.lr_network)
        for group, rate in zip(self.optimizers["adam"].param_groups, rates, strict=True):
            group["lr"] = rate * decay
        n = config.n_pixels
        slot = torch.randint(len(self.frames), (n,), generator=generator)
        at = self.pixels[torch.randint(len(self.pixels), (n,), generator=generator)]
        rgba = views.person.torso[self.frames[slot].numpy(), at[:, 1].numpy(), at[:, 0].numpy()]
        target = torch.from_numpy(rgba).to(views.device).float() / 255
        told = torch.rand(n, 1, generator=generator) < 0.5  # half learn to do without (official)
        seen = torch.zeros(n, 4)
        if self.heads is not None:
            seen = told * self.heads[slot, at[:, 1], at[:, 0]].float() / 255
        behind = torch.rand(n, 3, generator=generator).to(views.device)
        slot, at, seen = (values.to(views.device) for values in (slot, at, seen))
        codes = self.field.codes[self.frames.to(views.device)]
        found = self.field(
            unit_pixels(at, views.size),
            views.poses[self.frames.to(views.device)],
            codes,
            seen,
            slot,
        )
        image = functional.mse_loss(
            _over(*found, behind), _over(target[:, :3], target[:, 3], behind)
        )
        p = found[1].clamp(1e-5, 1 - 1e-5)
        entropy = -(p * torch.log2(p) + (1 - p) * torch.log2(1 - p)).mean()
        loss = image + config.entropy_weight * entropy
        self.optimizers["adam"].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers["adam"].step()
        return {"loss": float(loss.detach()), "image": float(image.detach())}

    @torch.no_grad()
    def _heads(self, head: HeadField) -> Tensor:
        """The head's colour and opacity in the training frames, (k, h, w, 4) uint8."""
        views, rendered = self.views, []
        head.train(False)
        width = head.config.attention_frames
        for frame in self.frames.tolist():
            window = windows_of(views.landmarks, torch.tensor([frame]), width)[0]
            image = head.image(window, views.poses[frame], views.focal, views.size)
            rgba = torch.cat([image.colour, image.alpha[..., None]], dim=-1)
            rendered.append((rgba * 255).round().clamp(0, 255).to(torch.uint8).cpu())
        return torch.stack(rendered)


def euler(poses: Float[Tensor, "k 4 4"]) -> Float[Tensor, "k 6"]:
    """XYZ Euler angles (R = Rx Ry Rz, radians) and translation of poses."""
    r = poses[:, :3, :3]
    x = torch.atan2(-r[:, 1, 2], r[:, 2, 2])
    y = torch.asin(r[:, 0, 2].clamp(-1, 1))
    z = torch.atan2(-r[:, 0, 1], r[:, 0, 0])
    return torch.cat([torch.stack([x, y, z], dim=-1), poses[:, :3, 3]], dim=-1)


def waves(x: Float[Tensor, "n c"], n_frequencies: int) -> Float[Tensor, "n d"]:
    """x, then sin(2^l x) and cos(2^l x) for each l: (n, c (1 + 2 n_frequencies))."""
    parts = [x]
    for power in range(n_frequencies):
        parts += [torch.sin(2**power * x), torch.cos(2**power * x)]
    return torch.cat(parts, dim=-1)


def unit_pixels(at: Int[Tensor, "n 2"], size: int) -> Float[Tensor, "n 2"]:
    """Columns and rows -> [-1, 1], both ends included (official code)."""
    return at.float() * (2 / max(1, size - 1)) - 1


def _over(colour: Tensor, alpha: Tensor, behind: Tensor) -> Tensor:
    return alpha[:, None] * colour + (1 - alpha)[:, None] * behind
