"""The torso field: a canonical picture of neck and shoulders, moved and bent by the head's pose."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geneface_kit.nerf.head import HeadImage
from geneface_kit.nerf.torso import sway
from geneface_kit.nerf.torso.config import TorsoConfig
from geneface_kit.render.grid import GridEncoding, GridLayout
from geneface_kit.render.mlp import MLP, precision

__all__ = ["TorsoField", "euler", "unit_pixels", "waves"]

SHRINK = 0.8
"""Pixel coordinates in [-1, 1] are scaled by this, so that deformed points stay on the grid."""


class TorsoField(nn.Module):
    """A canonical picture of the torso, moved by the head's pose.

    (pixel, pose, code, head) -> shift of the pixel -> 2D grid -> opacity and colour.

    Differs from the paper code when config.sway: pose and code only shift pixels, as strengths of
    smooth patterns of displacement, on top of one measured shift of the whole. Seen by the
    networks themselves, a pose is a frame's name: a short clip is then learned by heart.
    """

    def __init__(self, config: TorsoConfig, n_frames: int, size: int):
        super().__init__()
        self.config = config
        n_inputs = 2 * (1 + 2 * config.pixel_frequencies)
        if not config.sway:
            n_inputs += 6 * (1 + 2 * config.pose_frequencies) + config.code_channels
        self.head_net = MLP(4, 16, 32, 16) if config.head_aware else None
        n_inputs += 16 if config.head_aware else 0
        hidden = config.hidden
        n_patterns = 6 + config.code_channels if config.sway else 1
        self.deform_net = MLP(n_inputs, hidden, hidden, 2 * n_patterns)
        if config.sway:
            self.deform_net.layers[-1].weight.data *= 0.01  # the measured shift comes first
        layout = GridLayout.make(
            2,
            n_levels=config.n_levels,
            finest=config.finest,
            log2_rows=config.log2_rows,
            kind=config.grid_kind,
        )
        self.grid = GridEncoding(layout)
        n_features = self.grid.n_features + n_inputs
        self.colour_net = MLP(n_features, hidden // 2, hidden // 2, 4)
        self.codes = nn.Parameter(0.1 * torch.randn(n_frames, config.code_channels))
        self.register_buffer("pose_mean", torch.zeros(6))
        self.register_buffer("pose_std", torch.ones(6))
        self.register_buffer("sway_map", torch.zeros(7, 2))
        self.register_buffer("sway_limit", torch.zeros(2))
        self.register_buffer("occupied", torch.ones(size, size, dtype=torch.bool))
        self.dtype = precision(config.precision, torch.device("cpu"))

    def raw_pose(self, poses: Float[Tensor, "k 4 4"]) -> Float[Tensor, "k 6"]:
        """A pose in six numbers: `sway.pose_features`, or the official Euler angles and place."""
        return sway.pose_features(poses) if self.config.sway else euler(poses)

    def pose_numbers(self, poses: Float[Tensor, "k 4 4"]) -> Float[Tensor, "k 6"]:
        """`raw_pose`, standardised over the training frames, within 3 standard deviations.

        Differs from the official code, which feeds them raw: only their changes matter here.
        """
        return ((self.raw_pose(poses) - self.pose_mean) / self.pose_std).clamp(-3, 3)

    def predicted_shift(self, poses: Float[Tensor, "k 4 4"]) -> Float[Tensor, "k 2"]:
        """Predicted shift of the whole torso, in pixel coordinates; zero without config.sway.

        At most twice the largest one seen in training: a viewpoint may be anywhere.
        """
        shift = sway.pose_features(poses) @ self.sway_map[:6] + self.sway_map[6]
        return shift.clamp(-self.sway_limit, self.sway_limit)

    def forward(
        self,
        pixels: Float[Tensor, "n 2"],
        poses: Float[Tensor, "k 4 4"],
        codes: Float[Tensor, "k d"],
        head: Float[Tensor, "n 4"],
        frame_of_pixel: Int[Tensor, " n"] | None,
        shifts: Float[Tensor, "k 2"] | None = None,
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
        """Colour (not multiplied) and opacity.

        pixels: (n, 2) in [-1, 1], x then y; head: (n, 4) the head's colour (times opacity) and
        opacity there; frame_of_pixel: row of `poses` and `codes` of each pixel, None for one row.
        shifts: of the whole torso, where they are known; None predicts them from the poses.
        """
        frame = torch.zeros_like(pixels[:, 0]).long() if frame_of_pixel is None else frame_of_pixel
        moved = self.predicted_shift(poses) if shifts is None else shifts
        place = SHRINK * (pixels - moved[frame])
        parts = [(waves(place, self.config.pixel_frequencies), None)]
        numbers = self.pose_numbers(poses)
        if not self.config.sway:
            of_frame = torch.cat([waves(numbers, self.config.pose_frequencies), codes], dim=-1)
            parts.append((of_frame, frame_of_pixel))
        if self.head_net is not None:
            parts.append((self.head_net([(head, None)], self.dtype), None))
        shift = self.deform_net(parts, self.dtype).float()
        if self.config.sway:
            strengths = torch.cat([numbers, codes], dim=-1)[frame]  # (n, patterns)
            shift = (shift.view(len(shift), 2, -1) * strengths[:, None]).sum(-1)
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
