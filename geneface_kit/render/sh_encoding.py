"""SH encoding: unit directions -> real spherical harmonics up to degree 3 (16 numbers).

The public function, its Warp kernel, and below it the torch twin, which is its specification.
"""

from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor

from geneface_kit.render.kernels import array, backend_for, launch

C0 = wp.constant(0.28209479177387814)
C1 = wp.constant(0.4886025119029199)
C2A = wp.constant(1.0925484305920792)
C2B = wp.constant(0.31539156525252005)
C2C = wp.constant(0.5462742152960396)
C3A = wp.constant(0.5900435899266435)
C3B = wp.constant(2.890611442640554)
C3C = wp.constant(0.4570457994644657)
C3D = wp.constant(0.3731763325901154)
C3E = wp.constant(1.445305721320277)
"""Constants of the degrees 0 to 3; numbers to Python, compiled into the kernel."""


def sh_encode(directions: Float[Tensor, "n 3"], *, backend: str = "auto") -> Float[Tensor, "n 16"]:
    """The 16 real spherical harmonics of degree 0 to 3, in the order of instant-ngp.

    directions: (n, 3) of unit length. They are orthonormal over the sphere; the first is the
    constant 0.28209 = 1 / (2 sqrt(pi)). The kernel is of float32 and has no gradient: other types,
    and directions that are learned (with their camera, say), go to the twin.
    """
    on_torch = backend_for(backend, directions.device) == "torch"
    is_learned = directions.requires_grad and torch.is_grad_enabled()
    if on_torch or is_learned or directions.dtype != torch.float32:
        return sh_encode_torch(directions)
    values = directions.new_empty(len(directions), 16)
    inputs = [array(directions.contiguous(), wp.vec3), array(values)]
    launch(_encode, len(directions), inputs, directions.device)
    return values


@no_type_check
@wp.kernel(enable_backward=False)
def _encode(directions: wp.array(dtype=wp.vec3), values: wp.array2d(dtype=float), first: int):
    i = first + wp.tid()
    d = directions[i]
    x, y, z = d[0], d[1], d[2]
    xx, yy, zz = x * x, y * y, z * z
    values[i, 0] = C0
    values[i, 1] = -C1 * y
    values[i, 2] = C1 * z
    values[i, 3] = -C1 * x
    values[i, 4] = C2A * x * y
    values[i, 5] = -C2A * y * z
    values[i, 6] = C2B * (3.0 * zz - 1.0)
    values[i, 7] = -C2A * x * z
    values[i, 8] = C2C * (xx - yy)
    values[i, 9] = C3A * y * (yy - 3.0 * xx)
    values[i, 10] = C3B * x * y * z
    values[i, 11] = C3C * y * (1.0 - 5.0 * zz)
    values[i, 12] = C3D * z * (5.0 * zz - 3.0)
    values[i, 13] = C3C * x * (1.0 - 5.0 * zz)
    values[i, 14] = C3E * z * (xx - yy)
    values[i, 15] = C3A * x * (3.0 * yy - xx)


def sh_encode_torch(directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 16"]:
    """The torch twin of `sh_encode`."""
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    return torch.stack(
        [
            torch.full_like(x, C0),
            -C1 * y,
            C1 * z,
            -C1 * x,
            C2A * x * y,
            -C2A * y * z,
            C2B * (3 * zz - 1),
            -C2A * x * z,
            C2C * (xx - yy),
            C3A * y * (yy - 3 * xx),
            C3B * x * y * z,
            C3C * y * (1 - 5 * zz),
            C3D * z * (5 * zz - 3),
            C3C * x * (1 - 5 * zz),
            C3E * z * (xx - yy),
            C3A * x * (3 * yy - xx),
        ],
        dim=-1,
    )
