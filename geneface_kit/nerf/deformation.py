"""Deformation: landmarks -> where points of the head would be on the mean face.

The lines between neighbouring landmarks move the field with them. Landmarks alone lie too far apart
on lids and lips: half-way between two of them the other lid pulls as strongly as the own one.
"""

import torch
from jaxtyping import Float
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


LINES = torch.tensor(
    [(k, k + 1) for start, end in OPEN for k in range(start, end - 1)]
    + [(k, k + 1 if k + 1 < end else start) for start, end in CLOSED for k in range(start, end)]
)
"""(m, 2) the two landmarks of each line."""
SOFTNESS = torch.where((LINES >= CLOSED[0][0]).all(dim=1), FINE, COARSE) / BOX  # in the box
EDGES = sum(
    ((LINES >= start) & (LINES < end)).all(dim=1).float() for start, end in CLOSED if start != 48
)
"""(m,) 1 for the edges of eyes and mouth, which run clockwise about what opens, else 0."""
BOX_FADE = tuple((z - camera.BOX_CENTRE[2]) / BOX + 0.5 for z in FADE)  # FADE in the box

MEETING = torch.tensor([(61, 67), (62, 66), (63, 65), (37, 41), (38, 40), (43, 47), (44, 46)])
"""(n, 2) landmarks of upper and lower edges of mouth and eyes that meet when these shut."""


def landmarks_in_box(landmarks: Float[Tensor, "b 68 3"]) -> Float[Tensor, "b 136"]:
    """x and y of landmarks of the head frame, in the coordinates of the box."""
    return camera.to_box(landmarks)[..., :2].flatten(1)


def moved_lines(
    landmarks: Float[Tensor, "k 136"], mean: Float[Tensor, "68 3"]
) -> tuple[Float[Tensor, "k m 2 2"], Float[Tensor, "m 2 2"]]:
    """The ends of the lines by the landmarks of k frames, and on the mean face; box units. Lips and
    lids that would pass through each other meet half-way: predicted mouths shut too far."""
    rest, moved = landmarks_in_box(mean[None]).view(68, 2), landmarks.detach().unflatten(1, (68, 2))
    upper, lower = moved[:, MEETING].unbind(2)
    crossed = (upper[..., 1:] < lower[..., 1:])[:, :, None]
    met = torch.where(crossed, ((upper + lower) / 2)[:, :, None], moved[:, MEETING])
    moved = moved.index_copy(1, MEETING.flatten().to(moved.device), met.flatten(1, 2))
    return moved[:, LINES], rest[LINES]
