"""Harmonics: unit directions -> real spherical harmonics up to degree 3 (16 numbers)."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["harmonics"]


def harmonics(directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 16"]:
    """The 16 real spherical harmonics of degree 0 to 3, in the order of instant-ngp.

    directions: (n, 3) of unit length. They are orthonormal over the sphere; the first is the
    constant 0.28209 = 1 / (2 sqrt(pi)).
    """
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    return torch.stack(
        [
            torch.full_like(x, 0.28209479177387814),
            -0.4886025119029199 * y,
            0.4886025119029199 * z,
            -0.4886025119029199 * x,
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (3 * zz - 1),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (xx - yy),
            0.5900435899266435 * y * (yy - 3 * xx),
            2.890611442640554 * x * y * z,
            0.4570457994644657 * y * (1 - 5 * zz),
            0.3731763325901154 * z * (5 * zz - 3),
            0.4570457994644657 * x * (1 - 5 * zz),
            1.445305721320277 * z * (xx - yy),
            0.5900435899266435 * x * (3 * yy - xx),
        ],
        dim=-1,
    )
