"""FID: frames through a network -> the Frechet distance of the Gaussians of their features.

FID is the name of one network's distance, Inception-v3 of 2015; any other network gives a metric
of another name, as MobileNetV2 does (Sandler et al. 2018; torchvision's weights: the network is
written out here because torchvision is no part of the kit).
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from geneface_kit.metrics.formulas import Frames, frechet_distance
from geneface_kit.metrics.networks import NotMeasured, network
from geneface_kit.metrics.perceptual import channels_first, scripted

BATCH = 16  # frames that go through a network at once (ours: memory)
BLOCKS = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)
"""Widening, channels, repeats, first stride: table 2 of the paper."""
SIZE = 224
MEAN = (0.485, 0.456, 0.406)
SPREAD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's colours, which the network was trained with."""


def fid(predicted: Frames, truth: Frames) -> float | NotMeasured:
    """FID (Heusel et al. 2017): Frechet distance of the public Inception-v3 of 2015-12-05 (2048-d).

    Frames go in as they are, 0..255: the published TorchScript resizes to 299 x 299 itself, as
    TensorFlow 1 did (bilinear, corners at corner, no smoothing), and scales to [-1, 1]. Any
    resize before it gives another number.
    """
    path = network("inception")
    if isinstance(path, NotMeasured):
        return path
    model = scripted(path)
    features = lambda frames: model(channels_first(frames), return_features=True)  # noqa: E731
    return _distance(features, predicted, truth)


def fd_mobilenet(predicted: Frames, truth: Frames) -> float | NotMeasured:
    """FD-MobileNetV2: Frechet distance of pooled ImageNet MobileNetV2 features (1280-d).

    Not FID: another network, another scale. Frames are resized to 224 x 224 (bilinear,
    antialiased) and normalised as in the network's training.
    """
    path = network("mobilenet")
    if isinstance(path, NotMeasured):
        return path
    model = MobileNetV2().eval()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return _distance(lambda frames: model(prepared(frames)), predicted, truth)


@torch.no_grad()
def _distance(
    features: Callable[[np.ndarray], Tensor], predicted: np.ndarray, truth: np.ndarray
) -> float | NotMeasured:
    """Of the features of every frame, BATCH frames at a time."""
    if min(len(predicted), len(truth)) < 2:
        return NotMeasured("a Frechet distance needs at least two frames")
    found = [
        torch.cat([features(frames[k : k + BATCH]) for k in range(0, len(frames), BATCH)])
        for frames in (predicted, truth)
    ]
    return frechet_distance(*(one.float().numpy() for one in found))


class MobileNetV2(nn.Module):
    """(n, 3, 224, 224) normalised pictures -> (n, 1280) pooled features."""

    def __init__(self):
        super().__init__()
        layers, c_in = [_unit(3, 32, 3, stride=2)], 32
        for widening, c_out, n_repeats, stride in BLOCKS:
            for repeat in range(n_repeats):
                layers.append(_Residual(c_in, c_out, widening, stride if repeat == 0 else 1))
                c_in = c_out
        layers.append(_unit(c_in, 1280, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1280"]:
        """Mean over the places of the last layer before the classifier."""
        return self.features(pictures).mean(dim=(2, 3))


def prepared(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[Tensor, "t 3 224 224"]:
    """Pictures as the network was trained on: 224 px (bilinear, antialiased), normalised."""
    pictures = channels_first(frames).float() / 255
    sized = nn.functional.interpolate(
        pictures, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False
    )
    return (sized - torch.tensor(MEAN)[:, None, None]) / torch.tensor(SPREAD)[:, None, None]


def _unit(c_in: int, c_out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Module:
    convolution = nn.Conv2d(
        c_in, c_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(c_out), nn.ReLU6())


class _Residual(nn.Module):
    """Inverted residual: widen, filter each channel, narrow; added to the input if it fits."""

    def __init__(self, c_in: int, c_out: int, widening: int, stride: int):
        super().__init__()
        wide = c_in * widening
        layers = [] if widening == 1 else [_unit(c_in, wide, 1)]
        layers += [_unit(wide, wide, 3, stride=stride, groups=wide)]
        layers += [nn.Conv2d(wide, c_out, 1, bias=False), nn.BatchNorm2d(c_out)]
        self.conv = nn.Sequential(*layers)
        self.adds = stride == 1 and c_in == c_out

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        return x + self.conv(x) if self.adds else self.conv(x)
