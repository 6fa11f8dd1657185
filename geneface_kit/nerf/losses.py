"""Losses: what head and torso are trained to make small, one function each.

GeneFace (arXiv:2301.13430), sec. 3.4: the squared error of colours; the rest is of RAD-NeRF (Tang
et al. 2022), which the official code renders with, or ours, as each says.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from geneface_kit.metrics.networks import NotMeasured, network
from geneface_kit.metrics.perceptual import edge_layers, edge_weights, layer_distances, scripted

PatchLoss = Callable[[Tensor, Tensor], Tensor]
"""(pictures (n, 3, h, w) in [0, 1], true ones) -> one number that has a gradient; 0 if equal."""
Colours = Float[Tensor, "r 3"]
NETWORKS = {"lpips": "vgg16", "vgg-hed": "vgg_hed"}
WINDOW = 7  # edge of the windows whose structure is compared, pixels (Wang et al. 2004, uniform)
C1, C2 = 0.01**2, 0.03**2  # constants of SSIM for pictures in [0, 1] (Wang et al. 2004)
ADAM = {"betas": (0.9, 0.99), "eps": 1e-10, "fused": True}
"""Of all optimizers. By eps 1e-15 (official code) table rows of next to no gradient drift away."""
FAINT = 0.5 / 255  # strength of detail, of 1, below which differences count less and less
BLOCKS = 3  # blocks of VGG-16 that are compared; the deeper ones see more than the lips


def photometric_loss(rendered: Colours, true: Colours) -> Float[Tensor, ""]:
    """Mean squared error of colours in [0, 1] (GeneFace, sec. 3.4; mean, not sum)."""
    return functional.mse_loss(rendered, true)


def masked_error(rendered: Colours, true: Colours, mask: Bool[Tensor, " r"]) -> Float[Tensor, ""]:
    """`photometric_loss` of the rays of a mask, the others counted as right (ours)."""
    return ((rendered - true).square().mean(-1) * mask).mean()


def opacity_entropy(alpha: Float[Tensor, " r"]) -> Float[Tensor, ""]:
    """Mean binary entropy of opacities, bits: 0 for clear or solid, 1 for half (RAD-NeRF)."""
    p = alpha.clamp(1e-5, 1 - 1e-5)
    return -(p * torch.log2(p) + (1 - p) * torch.log2(1 - p)).mean()


def ambient_loss(ambient: Float[Tensor, " r"], in_face: Bool[Tensor, " r"]) -> Float[Tensor, ""]:
    """Mean over rays of the ambient coordinates, outside the face: what is not face is still.

    ambient: sum over a ray's samples of |x| + |y| of the ambient point (RAD-NeRF, official code).
    """
    return (ambient * ~in_face).mean()


def depth_variance_loss(depth_variance: Float[Tensor, " r"], edge: float) -> Float[Tensor, ""]:
    """Mean variance of the depth along a ray, iod^2: how thick a surface is.

    A form of the distortion loss (Barron et al. 2022); ours, sharp surfaces render fast.
    depth_variance: squared edges of the box; edge: of the box, iod.
    """
    return edge**2 * depth_variance.mean()


def structure_loss(
    rendered: Float[Tensor, "n 3 h w"], true: Float[Tensor, "n 3 h w"]
) -> Float[Tensor, ""]:
    """1 - SSIM, the mean over channels and windows (Wang et al. 2004); 0 if equal, at most 2."""
    mean = lambda x: functional.avg_pool2d(x, WINDOW, 1)  # noqa: E731
    a, b = mean(rendered), mean(true)
    var_a = mean(rendered * rendered) - a * a
    var_b = mean(true * true) - b * b
    both = mean(rendered * true) - a * b
    alike = (2 * a * b + C1) * (2 * both + C2)
    return 1 - (alike / ((a * a + b * b + C1) * (var_a + var_b + C2))).mean()


def detail_loss(
    rendered: Float[Tensor, "n 3 h w"], true: Float[Tensor, "n 3 h w"]
) -> Float[Tensor, ""]:
    """Squared difference in strength of fine detail: root mean squares of two octaves of gray in
    windows of 7 pixels, wherever in them it lies. What no two frames agree on fades by the errors
    of pixels alone (ours)."""
    pair, row = torch.stack([rendered, true], 1).mean(2), rendered.new_tensor([[0.25, 0.5, 0.25]])
    kernel, total = (row.T @ row).expand(2, 1, 3, 3), rendered.new_zeros(())
    for apart in (1, 2):  # an octave is what a blur takes; the next blur reaches twice as far
        blurred = functional.conv2d(pair, kernel, dilation=apart, groups=2)
        octave = pair[..., apart:-apart, apart:-apart] - blurred
        energy = functional.avg_pool2d(octave.square(), WINDOW, WINDOW // 2)
        ours, theirs = (energy + FAINT**2).sqrt().unbind(1)
        total, pair = total + (ours - theirs).square().mean(), blurred
    return total


def lips_loss(name: str, device: torch.device) -> PatchLoss | None:
    """The loss of patches of lips, by its name; None for single pixels, "pixels". The official code
    compares the lip rectangle by LPIPS in the last part of its training."""
    if name == "pixels":
        return None
    if name == "structure":
        return structure_loss
    if name == "lpips":
        model, how = scripted(network("vgg16")).to(device), {"resize_images": False}

        def lpips(rendered: Tensor, true: Tensor) -> Tensor:
            a = model(255 * rendered, return_lpips=True, **how)
            with torch.no_grad():
                b = model(255 * true, return_lpips=True, **how)
            return (a - b).square().sum(-1).mean()

        return lpips
    weights = [
        [(kernel.to(device), bias.to(device)) for kernel, bias in block]
        for block in edge_weights(network("vgg_hed"))[:BLOCKS]
    ]

    def by_edges(rendered: Tensor, true: Tensor) -> Tensor:
        layers = (edge_layers(weights, 255 * pictures) for pictures in (rendered, true))
        return sum(layer_distances(*pair).mean() for pair in zip(*layers, strict=True))

    return by_edges


def chosen_lips_loss(name: str) -> str:
    """The loss that a setting means: itself, or for "auto" the first of LPIPS, VGG-HED distance
    and structure whose network is at hand.

    Raises: ValueError for one whose network is not there.
    """
    if name == "auto":
        found = (loss for loss, net in NETWORKS.items() if isinstance(network(net), Path))
        return next(found, "structure")
    if name in NETWORKS and isinstance(found := network(NETWORKS[name]), NotMeasured):
        raise ValueError(f"head.lips_loss={name} cannot be had: {found.reason}")
    return name


def over(
    colour: Float[Tensor, "n 3"], alpha: Float[Tensor, " n"], behind: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 3"]:
    """A colour of some opacity over what is behind it."""
    return alpha[:, None] * colour + (1 - alpha)[:, None] * behind
