"""Turned lips: a mouth looks alike in poses of the head that never went with it.

A clip shows few mouths in few poses. Where a mouth was seen from one side only, what lies between
the lips may be anything that looks right from there: seen from above, a gap full of teeth becomes a
white blob. So some frames' lips are also learned along rays of other frames' cameras (ours).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from geneface_kit.nerf.dataset import RayBatch, RayDataset
from geneface_kit.person.camera import Rays
from geneface_kit.person.mouth import LIPS

REACH, ROUNDS = 0.2, 3  # farthest turn about lips, radians; rounds to find where a ray meets them


def turned(
    rays: Rays, pixels: RayBatch, dataset: RayDataset, share: float, generator: torch.Generator
) -> Rays:
    """The rays of pixels, those to the lips of a share of the frames sent to the same points by the
    cameras of other frames. The lips' surface is smooth, fitted to the frame's landmarks."""
    n = len(pixels.frames)
    others = dataset.drawn[torch.randint(len(dataset.drawn), (n,), generator=generator)]
    chosen = torch.rand(n, generator=generator).to(pixels.in_lips.device) < share
    which = pixels.in_lips & chosen[pixels.frame_of_pixel]
    frame = pixels.frame_of_pixel[which]
    lips = dataset.landmarks[pixels.frames][:, LIPS].double()  # a fit in float32 would not repeat
    surface = torch.linalg.lstsq(_relief(lips), lips[..., 2:]).solution.float()[frame]
    origins, directions = rays.origins[which], rays.directions[which]
    points = lips.mean(1).float()[frame]
    for _ in range(ROUNDS):
        depth = (_relief(points)[:, None] @ surface)[:, 0]
        points = origins + (depth - origins[:, 2:]) / directions[:, 2:] * directions
    shift = dataset.poses[others, :3, 3][frame] - origins
    farthest = REACH * (points - origins).norm(dim=1, keepdim=True)
    shift = shift * (farthest / shift.norm(dim=1, keepdim=True).clamp(min=1e-6)).clamp(max=1)
    made = Rays(rays.origins.clone(), rays.directions.clone())
    made.origins[which] = origins + shift
    made.directions[which] = functional.normalize(points - origins - shift, dim=1)
    return made


def _relief(points: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 4"]:
    """What the depth z of lips is linear in: 1, x, y and x^2 (they bend round the teeth)."""
    x, y, _ = points.unbind(-1)
    return torch.stack([torch.ones_like(x), x, y, x**2], -1)
