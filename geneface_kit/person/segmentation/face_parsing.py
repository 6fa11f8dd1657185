"""Face parsing: a network of 19 classes, given its weights, instead of mask and geometry.

The network: a BiSeNet-style parser trained on CelebAMask-HQ, such as
https://github.com/zllrunning/face-parsing.PyTorch, as one exported file; no weights come with the
kit. Its user exports it once: `torch.export.save(torch.export.export(network.eval(),
(torch.zeros(1, 3, 512, 512),)), "parser.pt2")`. It takes pictures of 512 x 512 normalised by
ImageNet's mean and deviation and gives (1, 19, h, w) scores, alone or as the first of several.
"""

import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Int, UInt8

from geneface_kit.person.segmentation.labels import BACKGROUND, HEAD, NECK, TORSO

__all__ = ["PARSER_CLASSES", "load_parser"]

SIDE = 512
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# fmt: off
PARSER_CLASSES: Int[np.ndarray, " 19"] = np.array([
    BACKGROUND,
    HEAD, HEAD, HEAD, HEAD, HEAD, HEAD,    # skin, brows, eyes, glasses
    HEAD, HEAD, HEAD, HEAD,                # ears, ear rings, nose
    HEAD, HEAD, HEAD,                      # mouth, lips
    NECK, NECK, TORSO,                     # neck, necklace, cloth
    HEAD, HEAD,                            # hair, hat
])
"""Label of each CelebAMask-HQ class, in the order of face-parsing.PyTorch (as AD-NeRF has it)."""
# fmt: on


def load_parser(
    path: str | Path,
) -> Callable[[UInt8[np.ndarray, "h w 3"]], UInt8[np.ndarray, "h w"]]:
    """A function from a frame to its labels, by the exported network of a file.

    Raises: FileNotFoundError when there is no such file, ValueError when it is no exported
    network or does not give 19 classes for a picture of 512 x 512.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no parsing network at {path}; set person.parser_weights to the .pt2 file of a "
            "19-class CelebAMask-HQ parser, or leave it empty for the built-in labels"
        )
    network = _exported(path)
    try:
        scores = _scores(network, np.zeros((SIDE, SIDE, 3), np.uint8))
    except (RuntimeError, TypeError, ValueError, AssertionError) as problem:
        raise ValueError(
            f"{path} does not take a (1, 3, {SIDE}, {SIDE}) picture "
            f"({str(problem).strip().splitlines()[0]})"
        ) from None
    if scores.ndim != 3 or len(scores) != len(PARSER_CLASSES):
        raise ValueError(
            f"{path} gives scores of shape {tuple(scores.shape)}; a CelebAMask-HQ parser gives "
            f"({len(PARSER_CLASSES)}, h, w)"
        )

    def parse(frame: np.ndarray) -> np.ndarray:
        classes = _scores(network, frame).argmax(0).to(torch.uint8).numpy()
        size = (frame.shape[1], frame.shape[0])
        classes = cv2.resize(classes, size, interpolation=cv2.INTER_NEAREST)
        return PARSER_CLASSES[classes].astype(np.uint8)

    return parse


def _exported(path: Path) -> torch.nn.Module:
    """The network of a file of `torch.export.save`."""
    names = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    if not any(name.endswith("archive_format") for name in names):
        raise ValueError(
            f"{path} is no exported network (weights alone do not suffice): export the parser with "
            "torch.export.save"
        )
    try:
        return torch.export.load(path).module()
    except (RuntimeError, ValueError, KeyError) as problem:
        raise ValueError(
            f"{path} was exported by another version of torch and cannot be read "
            f"({str(problem).strip().splitlines()[0]}); export the parser again"
        ) from None


@torch.no_grad()
def _scores(network: torch.nn.Module, frame: np.ndarray) -> torch.Tensor:
    """(19, h, w) scores of one picture."""
    square = cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    picture = (square.astype(np.float32) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    batch = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]
    scores = network(batch)
    if isinstance(scores, tuple | list):
        scores = scores[0]
    return scores[0]
