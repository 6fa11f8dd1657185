"""Perceptual: rendered and true frames as networks see them: LPIPS, VGG-HED, identity, FID.

LPIPS is the name of one VGG-16 with its learned weights, FID of one Inception-v3's Frechet
distance; any other network gives a metric of another name. Identity, by the 8-bit SFace of the
OpenCV zoo, is a metric of this kit: no published table has it.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from geneface_kit.metrics.formulas import Frames, frechet_distance
from geneface_kit.metrics.networks import NotMeasured, measured_with
from geneface_kit.runs.files import readable

BLOCKS = (2, 2, 3, 3, 3)  # convolutions of each block of VGG-16; the last of each block is compared
MEAN_BGR = (104.00699, 116.66877, 122.67892)  # of 0..255, as in the edge network's training
SCORE = 0.6  # YuNet's confidence from which a box counts as a face (ours)
Layer = Float[Tensor, "n c h w"]
Weights = list[list[tuple[Tensor, Tensor]]]
BATCH = 16  # frames that go through a network at once (ours: memory)
SIZE = 224
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the colours of ImageNet


@measured_with("vgg16")
@torch.no_grad()
def lpips(path: Path, predicted: Frames, truth: Frames) -> float:
    """LPIPS distance with VGG-16 (Zhang et al. 2018), mean over frames; 0 for equal frames.

    Frames go in as they are, not resized. Published numbers are mostly those of AlexNet's LPIPS,
    which has another scale.
    """
    model = scripted(path)
    distances = []
    for pair in zip(predicted, truth, strict=True):
        batch = channels_first(np.stack(pair)).float()
        a, b = model(batch, resize_images=False, return_lpips=True)
        distances.append(float((a - b).square().sum()))
    return float(np.mean(distances))


@measured_with("vgg_hed")
@torch.no_grad()
def vgg_hed(path: Path, predicted: Frames, truth: Frames) -> float:
    """VGG-HED distance, mean over frames; 0 for equal frames. Not LPIPS.

    VGG-16 as fine-tuned for edges (HED, Xie and Tu 2015); the sum over the last layer of its five
    blocks of the mean `layer_distances`. No learned weights, nothing resized.
    """
    weights = edge_weights(path)
    distances = []
    for pair in zip(predicted, truth, strict=True):
        layers = edge_layers(weights, channels_first(np.stack(pair)).float())
        distances.append(sum(float(layer_distances(one[:1], one[1:]).mean()) for one in layers))
    return float(np.mean(distances))


def layer_distances(a: Layer, b: Layer) -> Float[Tensor, "n h w"]:
    """|a / |a| - b / |b||^2 over channels, at every place: 0 if equal, 2 if orthogonal."""
    units = [features / (features.norm(dim=1, keepdim=True) + 1e-8) for features in (a, b)]
    return (units[0] - units[1]).square().sum(dim=1)


def edge_weights(path: Path) -> Weights:
    """Kernels and biases of the edge network's thirteen convolutions, block by block."""
    import h5py

    blocks = []
    with readable(path), h5py.File(path, "r") as file:
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


@measured_with("yunet", "sface")
def identity(yunet: Path, sface: Path, predicted: Frames, truth: Frames) -> float | NotMeasured:
    """SFace identity: mean cosine of the faces of the same frame in both sets, in [-1, 1].

    Faces are found by YuNet and turned upright by its five points; frames without a face in
    either set are left out. Two pictures of one person give 0.9, of two persons 0.0 to 0.2.
    """
    if int(cv2.__version__.split(".")[0]) != 4:
        raise ModuleNotFoundError(f"these networks need OpenCV 4, got {cv2.__version__}")
    detector = cv2.FaceDetectorYN.create(str(yunet), "", (320, 320), SCORE)
    recognizer = cv2.FaceRecognizerSF.create(str(sface), "")

    def embedding(frame: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, " 128"] | None:
        bgr = np.ascontiguousarray(frame[..., ::-1])
        detector.setInputSize((bgr.shape[1], bgr.shape[0]))
        faces = detector.detect(bgr)[1]
        if faces is None:
            return None
        best = faces[faces[:, -1].argmax()]
        return recognizer.feature(recognizer.alignCrop(bgr, best)).ravel().astype(np.float32)

    pairs = [tuple(map(embedding, pair)) for pair in zip(predicted, truth, strict=True)]
    both = [pair for pair in pairs if pair[0] is not None and pair[1] is not None]
    if not both:
        return NotMeasured("YuNet finds no face in any pair of frames")
    return float(np.mean(cosines(*(np.stack(side) for side in zip(*both, strict=True)))))


def cosines(a: Float[np.ndarray, "n c"], b: Float[np.ndarray, "n c"]) -> Float[np.ndarray, " n"]:
    """Cosine of the angle between the vectors of each row: (3, 4) and (4, 3) give 0.96."""
    return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


@measured_with("inception")
def fid(path: Path, predicted: Frames, truth: Frames) -> float | NotMeasured:
    """FID (Heusel et al. 2017): Frechet distance of the public Inception-v3 of 2015-12-05 (2048-d).

    Frames go in as they are, 0..255: the published TorchScript resizes to 299 x 299 itself, as
    TensorFlow 1 did (bilinear, corners at corner, no smoothing), and scales to [-1, 1]. Any
    resize before it gives another number.
    """
    model = scripted(path)
    return _distance(lambda one: model(channels_first(one), return_features=True), predicted, truth)


@measured_with("mobilenet")
def fd_mobilenet(path: Path, predicted: Frames, truth: Frames) -> float | NotMeasured:
    """FD-MobileNetV2: Frechet distance of pooled ImageNet MobileNetV2 features (1280-d).

    Not FID: another network (Sandler et al. 2018; torchvision's weights), another scale. Frames
    are resized to 224 x 224 (bilinear, antialiased) and normalised as in its training.
    """
    with readable(path):
        model = mobilenet(torch.load(path, map_location="cpu", weights_only=True))
    return _distance(lambda frames: model(prepared(frames)).pooler_output, predicted, truth)


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
    sized = functional.interpolate(
        pictures, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False
    )
    return (sized - torch.tensor(MEAN)[:, None, None]) / torch.tensor(SPREAD)[:, None, None]
