"""Marks: the lines of a face that move the head field with them, and how closely.

They run between neighbouring landmarks. Landmarks alone lie too far apart on lids and lips:
half-way between two of them the other lid pulls as strongly as the own one, and a closing eye
stays open there, its lid line wavy.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["line_ends", "softness"]

OPEN = ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36))
"""Jaw, brows, ridge and base of the nose among the 68: first landmark and end."""
CLOSED = ((36, 42), (42, 48), (48, 60), (60, 68))
"""Lids, outer and inner lip line: the last landmark joins the first."""
FINE, COARSE = 0.005, 0.05
"""How softly a line carries, inter-ocular distances: on lids and lips, whose edges are sharp and
come close to each other, and elsewhere."""


def line_ends() -> Int[Tensor, "m 2"]:
    """The two landmarks of each line."""
    ends = [(k, k + 1) for start, end in OPEN for k in range(start, end - 1)]
    for start, end in CLOSED:
        ends += [(k, k + 1 if k + 1 < end else start) for k in range(start, end)]
    return torch.tensor(ends)


def softness() -> Float[Tensor, " m"]:
    """How softly each line carries, inter-ocular distances."""
    is_fine = (line_ends() >= CLOSED[0][0]).all(dim=1)
    return torch.where(is_fine, FINE, COARSE)
