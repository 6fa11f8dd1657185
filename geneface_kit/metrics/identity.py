"""Identity: rendered and true frames -> how alike the persons in them are, by SFace.

A metric of this kit, with the 8-bit network of the OpenCV zoo: no published table has it.
"""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from geneface_kit.metrics.formulas import Frames, same_frames
from geneface_kit.metrics.networks import NotMeasured, network

Tools = tuple[cv2.FaceDetectorYN, cv2.FaceRecognizerSF]
SCORE = 0.6  # YuNet's confidence from which a box counts as a face (ours)


def identity(predicted: Frames, truth: Frames) -> float | NotMeasured:
    """SFace identity: mean cosine of the faces of the same frame in both sets, in [-1, 1].

    Faces are found by YuNet and turned upright by its five points; frames without a face in
    either set are left out. Two pictures of one person give 0.9, of two persons 0.0 to 0.2.
    """
    same_frames(predicted, truth)
    paths = network("yunet"), network("sface")
    for path in paths:
        if isinstance(path, NotMeasured):
            return path
    tools = _tools(*paths)
    frames = zip(predicted, truth, strict=True)
    pairs = [tuple(_embedding(tools, one) for one in pair) for pair in frames]
    both = [pair for pair in pairs if pair[0] is not None and pair[1] is not None]
    if not both:
        return NotMeasured("YuNet finds no face in any pair of frames")
    return float(np.mean(cosines(*(np.stack(side) for side in zip(*both, strict=True)))))


def cosines(a: Float[np.ndarray, "n c"], b: Float[np.ndarray, "n c"]) -> Float[np.ndarray, " n"]:
    """Cosine of the angle between the vectors of each row: (3, 4) and (4, 3) give 0.96."""
    return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def _tools(yunet: Path, sface: Path) -> Tools:
    if int(cv2.__version__.split(".")[0]) != 4:
        raise ModuleNotFoundError(f"these networks need OpenCV 4, got {cv2.__version__}")
    detector = cv2.FaceDetectorYN.create(str(yunet), "", (320, 320), SCORE)
    return detector, cv2.FaceRecognizerSF.create(str(sface), "")


def _embedding(tools: Tools, frame: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, " 128"] | None:
    detector, recognizer = tools
    bgr = np.ascontiguousarray(frame[..., ::-1])
    detector.setInputSize((bgr.shape[1], bgr.shape[0]))
    faces = detector.detect(bgr)[1]
    if faces is None:
        return None
    best = faces[faces[:, -1].argmax()]
    return recognizer.feature(recognizer.alignCrop(bgr, best)).ravel().astype(np.float32)
