"""FID: frames through a network -> the Frechet distance of the Gaussians of their features.

FID is the name of one network's distance, Inception-v3 of 2015; any other network gives a metric
of another name, as MobileNetV2 does (Sandler et al. 2018; torchvision's weights).
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from geneface_kit.metrics.formulas import Frames, frechet_distance
from geneface_kit.metrics.networks import NotMeasured, network
from geneface_kit.metrics.perceptual import channels_first, scripted
from geneface_kit.runs.files import readable

BATCH = 16  # frames that go through a network at once (ours: memory)
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
    with readable(path):
        model = mobilenet(torch.load(path, map_location="cpu", weights_only=True))
    features = lambda frames: model(prepared(frames)).pooler_output  # noqa: E731
    return _distance(features, predicted, truth)


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


def mobilenet(weights: dict[str, Tensor]) -> nn.Module:
    """The network of transformers with torchvision's weights, which come in the same order, under
    other names; their last two are a classifier's, which this network does not have."""
    from transformers import MobileNetV2Config, MobileNetV2Model

    model = MobileNetV2Model(MobileNetV2Config(tf_padding=False, layer_norm_eps=1e-5))
    values = list(weights.values())[:-2]
    model.load_state_dict(dict(zip(model.state_dict(), values, strict=True)))
    return model.eval()


def prepared(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[Tensor, "t 3 224 224"]:
    """Pictures as the network was trained on: 224 px (bilinear, antialiased), normalised."""
    pictures = channels_first(frames).float() / 255
    sized = nn.functional.interpolate(
        pictures, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False
    )
    return (sized - torch.tensor(MEAN)[:, None, None]) / torch.tensor(SPREAD)[:, None, None]
