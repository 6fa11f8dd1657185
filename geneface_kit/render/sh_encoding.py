"""SH encoding: unit directions -> real spherical harmonics up to degree 3 (16 numbers)."""

import torch
from jaxtyping import Float
from torch import Tensor

C0, C1 = 0.28209479177387814, 0.4886025119029199
C2A, C2B, C2C = 1.0925484305920792, 0.31539156525252005, 0.5462742152960396
C3A, C3B, C3C = 0.5900435899266435, 2.890611442640554, 0.4570457994644657
C3D, C3E = 0.3731763325901154, 1.445305721320277
"""Constants of the degrees 0 to 3."""


def sh_encode(directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 16"]:
    """The 16 real spherical harmonics of degree 0 to 3, in the order of instant-ngp.

    directions: (n, 3) of unit length. They are orthonormal over the sphere; the first is the
    constant 0.28209 = 1 / (2 sqrt(pi)).
    """
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    degrees = [
        (torch.full_like(x, C0),),
        (-C1 * y, C1 * z, -C1 * x),
        (C2A * x * y, -C2A * y * z, C2B * (3 * zz - 1), -C2A * x * z, C2C * (xx - yy)),
        (C3A * y * (yy - 3 * xx), C3B * x * y * z, C3C * y * (1 - 5 * zz)),
        (C3D * z * (5 * zz - 3), C3C * x * (1 - 5 * zz)),
        (C3E * z * (xx - yy), C3A * x * (3 * yy - xx)),
    ]
    return torch.stack([one for degree in degrees for one in degree], dim=-1)
