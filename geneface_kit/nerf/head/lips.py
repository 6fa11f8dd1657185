"""Lips: two pictures of the same lips -> how unlike they look, which single pixels do not tell.

The official code compares the lip rectangle by LPIPS in the last part of its training. Here the
network is taken where it is at hand, and what stands in for it is named.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from geneface_kit.metrics.networks import NotMeasured, network
from geneface_kit.metrics.perceptual import (
    edge_layers,
    edge_weights,
    layer_distances,
    scripted,
)

__all__ = ["LOSSES", "Compare", "chosen", "comparison", "unlikeness"]

Compare = Callable[[Tensor, Tensor], Tensor]
"""(pictures (n, 3, h, w) in [0, 1], true ones) -> one number that has a gradient; 0 if equal."""
LOSSES = ("pixels", "structure", "vgg-hed", "lpips")
"""What can be compared: single pixels alone, or beside them one of the others."""
NETWORKS = {"lpips": "vgg16", "vgg-hed": "vgg_hed"}
WINDOW = 7
"""Edge of the windows whose structure is compared, pixels (Wang et al. 2004, uniform)."""
C1, C2 = 0.01**2, 0.03**2
"""Constants of SSIM for pictures in [0, 1] (Wang et al. 2004)."""
BLOCKS = 3
"""Blocks of VGG-16 that are compared; the deeper ones see more than the lips."""


def chosen(name: str) -> str:
    """The loss that a setting means: itself, or for "auto" the first of LPIPS, VGG-HED distance
    and structure whose network is at hand.

    Raises: ValueError for an unknown name, or one whose network is not there.
    """
    if name == "auto":
        found = (
            loss for loss, net in NETWORKS.items() if not isinstance(network(net), NotMeasured)
        )
        return next(found, "structure")
    if name not in LOSSES:
        raise ValueError(f"head.lips_loss must be auto or one of {', '.join(LOSSES)}, got {name!r}")
    if name in NETWORKS and isinstance(found := network(NETWORKS[name]), NotMeasured):
        raise ValueError(f"head.lips_loss={name} cannot be had: {found.reason}")
    return name


def comparison(name: str, device: torch.device) -> Compare | None:
    """The comparison of a loss in LOSSES; None for single pixels."""
    if name == "pixels":
        return None
    if name == "structure":
        return unlikeness
    if name == "lpips":
        model = scripted(network("vgg16")).to(device)
        return lambda drawn, true: _lpips(model, drawn, true)
    weights = [
        [(kernel.to(device), bias.to(device)) for kernel, bias in block]
        for block in edge_weights(network("vgg_hed"))[:BLOCKS]
    ]

    def by_edges(drawn: Tensor, true: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = edge_layers(weights, 255 * true)
        pairs = zip(edge_layers(weights, 255 * drawn), wanted, strict=True)
        return sum(layer_distances(*pair).mean() for pair in pairs)

    return by_edges


def unlikeness(drawn: Float[Tensor, "n 3 h w"], true: Float[Tensor, "n 3 h w"]) -> Tensor:
    """1 - SSIM, the mean over channels and windows (Wang et al. 2004); 0 if equal, at most 2."""
    mean = lambda x: functional.avg_pool2d(x, WINDOW, 1)  # noqa: E731
    a, b = mean(drawn), mean(true)
    var_a = mean(drawn * drawn) - a * a
    var_b = mean(true * true) - b * b
    both = mean(drawn * true) - a * b
    alike = (2 * a * b + C1) * (2 * both + C2)
    return 1 - (alike / ((a * a + b * b + C1) * (var_a + var_b + C2))).mean()


def _lpips(model: torch.nn.Module, drawn: Tensor, true: Tensor) -> Tensor:
    a = model(255 * drawn, resize_images=False, return_lpips=True)
    with torch.no_grad():
        b = model(255 * true, resize_images=False, return_lpips=True)
    return (a - b).square().sum(-1).mean()
