"""SH encoding: unit directions -> real spherical harmonics up to degree 3 (16 numbers).

The public function, its Warp kernels forward and backward, and below them the torch twin, which
is their specification.
"""

from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor

from geneface_kit.render.kernels import array, backend_for, launch

__all__ = ["sh_encode", "sh_encode_torch"]

D0 = 0.28209479177387814
D1 = 0.4886025119029199
D2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)
D3 = (
    0.5900435899266435,
    2.890611442640554,
    0.4570457994644657,
    0.3731763325901154,
    1.445305721320277,
)
"""Constants of the degrees 0 to 3."""
A0, A1 = wp.constant(D0), wp.constant(D1)
B0, B1, B2 = wp.constant(D2[0]), wp.constant(D2[1]), wp.constant(D2[2])
C0, C1, C2 = wp.constant(D3[0]), wp.constant(D3[1]), wp.constant(D3[2])
C3, C4 = wp.constant(D3[3]), wp.constant(D3[4])


def sh_encode(directions: Float[Tensor, "n 3"], *, backend: str = "auto") -> Float[Tensor, "n 16"]:
    """The 16 real spherical harmonics of degree 0 to 3, in the order of instant-ngp.

    directions: (n, 3) of unit length. They are orthonormal over the sphere; the first is the
    constant 0.28209 = 1 / (2 sqrt(pi)). The kernels are of float32; other types go to the twin.
    """
    on_torch = backend_for(backend, directions.device) == "torch"
    if on_torch or directions.dtype != torch.float32:
        return sh_encode_torch(directions)
    return _SHEncode.apply(directions.contiguous())


class _SHEncode(torch.autograd.Function):
    """sh_encode through the kernels."""

    @staticmethod
    def forward(ctx, directions):
        ctx.save_for_backward(directions)
        values = directions.new_empty(len(directions), 16)
        inputs = [array(directions, wp.vec3), array(values)]
        launch(_forward, len(directions), inputs, directions.device)
        return values

    @staticmethod
    def backward(ctx, gradient):
        (directions,) = ctx.saved_tensors
        result = torch.empty_like(directions)
        inputs = [array(directions, wp.vec3), array(gradient.contiguous()), array(result, wp.vec3)]
        launch(_backward, len(directions), inputs, directions.device)
        return result


@no_type_check
@wp.kernel(enable_backward=False)
def _forward(directions: wp.array(dtype=wp.vec3), values: wp.array2d(dtype=float), first: int):
    i = first + wp.tid()
    d = directions[i]
    x, y, z = d[0], d[1], d[2]
    xx, yy, zz = x * x, y * y, z * z
    values[i, 0] = A0
    values[i, 1] = -A1 * y
    values[i, 2] = A1 * z
    values[i, 3] = -A1 * x
    values[i, 4] = B0 * x * y
    values[i, 5] = -B0 * y * z
    values[i, 6] = B1 * (3.0 * zz - 1.0)
    values[i, 7] = -B0 * x * z
    values[i, 8] = B2 * (xx - yy)
    values[i, 9] = C0 * y * (yy - 3.0 * xx)
    values[i, 10] = C1 * x * y * z
    values[i, 11] = C2 * y * (1.0 - 5.0 * zz)
    values[i, 12] = C3 * z * (5.0 * zz - 3.0)
    values[i, 13] = C2 * x * (1.0 - 5.0 * zz)
    values[i, 14] = C4 * z * (xx - yy)
    values[i, 15] = C0 * x * (3.0 * yy - xx)


@no_type_check
@wp.kernel(enable_backward=False)
def _backward(
    directions: wp.array(dtype=wp.vec3),
    gradient: wp.array2d(dtype=float),
    result: wp.array(dtype=wp.vec3),
    first: int,
):
    i = first + wp.tid()
    d = directions[i]
    x, y, z = d[0], d[1], d[2]
    xx, yy, zz = x * x, y * y, z * z
    total = wp.vec3(-A1 * gradient[i, 3], -A1 * gradient[i, 1], A1 * gradient[i, 2])
    total += gradient[i, 4] * B0 * wp.vec3(y, x, 0.0)
    total -= gradient[i, 5] * B0 * wp.vec3(0.0, z, y)
    total += gradient[i, 6] * B1 * wp.vec3(0.0, 0.0, 6.0 * z)
    total -= gradient[i, 7] * B0 * wp.vec3(z, 0.0, x)
    total += gradient[i, 8] * B2 * wp.vec3(2.0 * x, -2.0 * y, 0.0)
    total += gradient[i, 9] * C0 * wp.vec3(-6.0 * x * y, 3.0 * (yy - xx), 0.0)
    total += gradient[i, 10] * C1 * wp.vec3(y * z, x * z, x * y)
    total += gradient[i, 11] * C2 * wp.vec3(0.0, 1.0 - 5.0 * zz, -10.0 * y * z)
    total += gradient[i, 12] * C3 * wp.vec3(0.0, 0.0, 15.0 * zz - 3.0)
    total += gradient[i, 13] * C2 * wp.vec3(1.0 - 5.0 * zz, 0.0, -10.0 * x * z)
    total += gradient[i, 14] * C4 * wp.vec3(2.0 * x * z, -2.0 * y * z, xx - yy)
    total += gradient[i, 15] * C0 * wp.vec3(3.0 * (yy - xx), 6.0 * x * y, 0.0)
    result[i] = total


def sh_encode_torch(directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 16"]:
    """The torch twin of `sh_encode`."""
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    return torch.stack(
        [
            torch.full_like(x, D0),
            -D1 * y,
            D1 * z,
            -D1 * x,
            D2[0] * x * y,
            -D2[0] * y * z,
            D2[1] * (3 * zz - 1),
            -D2[0] * x * z,
            D2[2] * (xx - yy),
            D3[0] * y * (yy - 3 * xx),
            D3[1] * x * y * z,
            D3[2] * y * (1 - 5 * zz),
            D3[3] * z * (5 * zz - 3),
            D3[2] * x * (1 - 5 * zz),
            D3[4] * z * (xx - yy),
            D3[0] * x * (3 * yy - xx),
        ],
        dim=-1,
    )
