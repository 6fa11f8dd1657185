"""MLP: small networks on many points, in the number type the machine is fast at; and how they are
told a direction."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import record_function

Part = tuple[Tensor, Tensor | None]
"""(values (k, c), index (n,) or None): row i of an input holds values[index[i]]."""
C0, C1 = 0.28209479177387814, 0.4886025119029199
C2A, C2B, C2C = 1.0925484305920792, 0.31539156525252005, 0.5462742152960396
C3A, C3B, C3C = 0.5900435899266435, 2.890611442640554, 0.4570457994644657
C3D, C3E = 0.3731763325901154, 1.445305721320277
"""Constants of spherical harmonics of the degrees 0 to 3."""


class MLP(nn.Module):
    """Linear layers without bias, ReLU between. The input may come in parts (see `forward`)."""

    def __init__(self, *sizes: int):
        super().__init__()
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairs)

    def forward(self, parts: list[Part], dtype: torch.dtype = torch.float32) -> Tensor:
        """Applies the network to the parts side by side, without building that wide matrix.

        A part of one row holds for all points. What belongs to a ray is so multiplied once a ray.
        """
        with record_function("mlp"):
            weight, column = self.layers[0].weight.to(dtype), 0
            rows, wide = [], []  # what holds for all points, and what each has of its own
            for values, index in parts:
                columns = weight[:, column : column + values.shape[1]]
                column += values.shape[1]
                for_all = index is None and len(values) == 1
                (rows if for_all else wide).append((values.to(dtype), columns, index))
            bias = sum(functional.linear(values, columns)[0] for values, columns, _ in rows)
            x = None
            for values, columns, index in wide:
                y = _linear(values, columns, bias if x is None and rows else None)
                y = y if index is None else y.index_select(0, index)
                x = y if x is None else x + y
            if x is None:
                x = bias[None]
            for layer in self.layers[1:]:
                x = functional.relu(x, inplace=not torch.is_grad_enabled())
                x = _linear(x, layer.weight.to(dtype))
            return x


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


def precision(name: str) -> torch.dtype:
    """The networks' number type; "auto" is bfloat16 where the processor multiplies it natively."""
    if name != "auto":
        return getattr(torch, name)
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if native else torch.float32


def trunc_exp(x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """exp(x) for densities, at most exp(20); its gradient at most exp(15). Official code: and at
    least exp(-15), so that Adam, to which any size is alike, pushes empty space on for ever."""
    slope = torch.exp(x.detach().clamp(max=15.0))
    return torch.exp(x.detach().clamp(max=20.0)) + slope * (x - x.detach())


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias. float32 on a CPU goes in blocks of 4,096 rows, which is much faster."""
    if x.dtype != torch.float32 or x.device.type != "cpu" or len(x) <= 4096:
        return functional.linear(x, weight, bias)
    return torch.cat([functional.linear(block, weight, bias) for block in x.split(4096)])
