"""Toys: small stand-ins for networks, and parts that a user of the kit would bring."""

import torch
from torch import nn

from geneface_kit.nerf.head import LANDMARKS, HeadField
from geneface_kit.render.rendering import FieldSamples


class ToyVgg(torch.nn.Module):
    """One feature per picture: its mean over 255."""

    def forward(
        self, pictures: torch.Tensor, resize_images: bool = True, return_lpips: bool = False
    ) -> torch.Tensor:
        assert return_lpips and not resize_images
        return pictures.mean(dim=[1, 2, 3])[:, None] / 255.0


class FirstLandmarks(nn.Module):
    """A condition: a linear map of the middle frame."""

    def __init__(self, n_channels: int):
        super().__init__()
        self.map = nn.Linear(LANDMARKS, n_channels)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return self.map(windows[:, windows.shape[1] // 2])


class HalfField(HeadField):
    """No head field yet."""

    def density(self, positions, condition):
        return positions[:, 0]


class ToyField(HeadField):
    """A head field of a user: a ball of one colour, which the condition shades."""

    def __init__(self, config, n_frames):
        super().__init__(config, n_frames)
        self.condition_net = FirstLandmarks(config.condition)
        self.shade = nn.Linear(config.condition + config.lip_modes, 3)
        self.sharpness = nn.Parameter(torch.tensor(20.0))

    def parameter_groups(self):
        return [], [*self.shade.parameters(), self.sharpness], [*self.condition_net.parameters()]

    def density(self, positions, condition):
        inside = 0.3 - (positions - 0.5).norm(dim=-1)
        return 30 * torch.sigmoid(self.sharpness * inside)

    def at(self, conditions, appearance, frame_of_ray):
        def field(positions, directions, ray_index):
            colour = torch.sigmoid(self.shade(conditions[:, : self.n_condition]))
            row = torch.zeros_like(ray_index) if frame_of_ray is None else frame_of_ray[ray_index]
            density = self.density(positions, conditions)
            return FieldSamples(density, colour[row], torch.zeros_like(density))

        return field
