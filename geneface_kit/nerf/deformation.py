"""Deformation: landmarks -> where points of the head would be on the mean face.

The lines between neighbouring landmarks move the field with them. Landmarks alone lie too far apart
on lids and lips: half-way between two of them the other lid pulls as strongly as the own one.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geneface_kit.nerf.dataset import BOX
from geneface_kit.person import camera

OPEN = ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36))
"""Jaw, brows, ridge and base of the nose among the 68: first landmark and end."""
CLOSED = ((36, 42), (42, 48), (48, 60), (60, 68))  # lids, lip lines: the last joins the first
FINE, COARSE = 0.005, 0.05
"""How softly a line deforms, inter-ocular distances: on lids and lips, whose edges are sharp and
come close to each other, and elsewhere."""
FADE = (-1.1, -0.6)
"""Depth in the head frame, iod, between which the deformation sets in: the back of the head
stays."""


def landmark_lines() -> Int[Tensor, "m 2"]:
    """The two landmarks of each line."""
    ends = [(k, k + 1) for start, end in OPEN for k in range(start, end - 1)]
    for start, end in CLOSED:
        ends += [(k, k + 1 if k + 1 < end else start) for k in range(start, end)]
    return torch.tensor(ends)


def line_softness() -> Float[Tensor, " m"]:
    """How softly each line deforms, inter-ocular distances."""
    is_fine = (landmark_lines() >= CLOSED[0][0]).all(dim=1)
    return torch.where(is_fine, FINE, COARSE)


def landmarks_in_box(landmarks: Float[Tensor, "b 68 3"]) -> Float[Tensor, "b 136"]:
    """x and y of landmarks of the head frame, in the coordinates of the box."""
    return camera.to_box(landmarks)[..., :2].flatten(1)


def moved_lines(
    landmarks: Float[Tensor, "k 136"], mean: Float[Tensor, "68 3"], lines: Int[Tensor, "m 2"]
) -> tuple[Float[Tensor, "k m 2 2"], Float[Tensor, "m 2 2"]]:
    """The ends of the lines by the landmarks of k frames, and on the mean face; box units."""
    rest = landmarks_in_box(mean[None]).view(68, 2)
    return landmarks.detach().unflatten(1, (68, 2))[:, lines], rest[lines]


def fade() -> tuple[float, float]:
    """FADE in the coordinates of the box."""
    near, far = ((z - camera.BOX_CENTRE[2]) / BOX + 0.5 for z in FADE)
    return near, far
