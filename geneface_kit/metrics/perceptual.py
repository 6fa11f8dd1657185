"""Perceptual: rendered and true frames -> LPIPS, VGG-HED distance, both by features of VGG-16.

LPIPS is the name of one network with its learned weights; the edge network's VGG-16 has others.
"""

import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from geneface_kit.metrics.formulas import Frames, same_frames
from geneface_kit.metrics.networks import NotMeasured, network

BLOCKS = (2, 2, 3, 3, 3)  # convolutions of each block of VGG-16; the last of each block is compared
MEAN_BGR = (104.00699, 116.66877, 122.67892)  # of 0..255, as in the edge network's training

Weights = list[list[tuple[Tensor, Tensor]]]


@torch.no_grad()
def lpips(predicted: Frames, truth: Frames) -> float | NotMeasured:
    """LPIPS distance with VGG-16 (Zhang et al. 2018), mean over frames; 0 for equal frames.

    Frames go in as they are, not resized. Published numbers are mostly those of AlexNet's LPIPS,
    which has another scale.
    """
    same_frames(predicted, truth)
    path = network("vgg16")
    if isinstance(path, NotMeasured):
        return path
    model = scripted(path)
    distances = []
    for pair in zip(predicted, truth, strict=True):
        batch = channels_first(np.stack(pair)).float()
        a, b = model(batch, resize_images=False, return_lpips=True)
        distances.append(float((a - b).square().sum()))
    return float(np.mean(distances))


@torch.no_grad()
def vgg_hed(predicted: Frames, truth: Frames) -> float | NotMeasured:
    """VGG-HED distance, mean over frames; 0 for equal frames. Not LPIPS.

    VGG-16 as fine-tuned for edges (HED, Xie and Tu 2015); the sum over the last layer of its five
    blocks of the mean `layer_distances`. No learned weights, nothing resized.
    """
    same_frames(predicted, truth)
    path = network("vgg_hed")
    if isinstance(path, NotMeasured):
        return path
    weights = edge_weights(path)
    distances = []
    for pair in zip(predicted, truth, strict=True):
        layers = edge_layers(weights, channels_first(np.stack(pair)).float())
        distances.append(sum(float(layer_distances(one[:1], one[1:]).mean()) for one in layers))
    return float(np.mean(distances))


def layer_distances(
    a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]
) -> Float[Tensor, "n h w"]:
    """|a / |a| - b / |b||^2 over channels, at every place: 0 if equal, 2 if orthogonal."""
    units = [features / (features.norm(dim=1, keepdim=True) + 1e-8) for features in (a, b)]
    return (units[0] - units[1]).square().sum(dim=1)


def edge_weights(path: Path) -> Weights:
    """Kernels and biases of the edge network's thirteen convolutions, block by block."""
    import h5py

    blocks = []
    with h5py.File(path, "r") as file:
        for block, n_layers in enumerate(BLOCKS, 1):
            blocks.append([])
            for layer in range(n_layers):
                place = f"block{block}/layers/conv2d{f'_{layer}' if layer else ''}/vars"
                kernel = torch.from_numpy(file[f"{place}/0"][:])  # (3, 3, c_in, c_out)
                bias = torch.from_numpy(file[f"{place}/1"][:])
                blocks[-1].append((kernel.permute(3, 2, 0, 1).contiguous(), bias))
    return blocks


def edge_layers(weights: Weights, pictures: Float[Tensor, "n 3 h w"]) -> list[Tensor]:
    """The last layer of each block; pictures: red, green, blue in 0..255."""
    x = pictures.flip(1) - pictures.new_tensor(MEAN_BGR)[:, None, None]
    layers = []
    for index, block in enumerate(weights):
        if index:
            x = functional.max_pool2d(x, 2, ceil_mode=True)
        for kernel, bias in block:
            x = functional.relu(functional.conv2d(x, kernel, bias, padding=1))
        layers.append(x)
    return layers


def scripted(path: Path) -> torch.jit.ScriptModule:
    """A network as its authors published it; torch announces the end of this format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(str(path), map_location="cpu").eval()


def channels_first(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[Tensor, "t 3 h w"]:
    """A stack of pictures as torch wants it."""
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
