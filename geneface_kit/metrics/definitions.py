"""Definitions: the name of every metric in a table -> what it is, in one line."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["METRICS", "Definition"]


@dataclass(frozen=True)
class Definition:
    """What a column holds. text: definition, scale and alignment in one line."""

    text: str
    unit: str
    better: Literal["higher", "lower", ""]


METRICS = {
    "PSNR": Definition(
        "10 log10(255² / mean squared error) of the whole frame, mean of the frames", "dB", "higher"
    ),
    "PSNR head": Definition("PSNR of the pixels labelled head in the true frame", "dB", "higher"),
    "SSIM": Definition(
        "structural similarity, Gaussian window of sigma 1.5, whole frame", "", "higher"
    ),
    "SSIM head": Definition(
        "the SSIM map averaged over the pixels labelled head in the true frame", "", "higher"
    ),
    "LPIPS": Definition(
        "Zhang et al. 2018, VGG-16, frames not resized (published: mostly AlexNet)", "", "lower"
    ),
    "VGG-HED distance": Definition(
        "distance of unit-length features of the edge network's VGG-16, five layers; not LPIPS",
        "",
        "lower",
    ),
    "FID": Definition(
        "Fréchet distance of Inception-v3 (2015-12-05) features; falls with the number of frames n",
        "",
        "lower",
    ),
    "FD-MobileNetV2": Definition(
        "Fréchet distance of MobileNetV2 (ImageNet) features; falls with n; not FID", "", "lower"
    ),
    "SFace identity": Definition(
        "cosine of the faces of rendered and true frame by SFace (8 bit)", "cosine", "higher"
    ),
    "LMD": Definition(
        "distance of 68 points found anew in both frames, px of a 512 px picture, not aligned",
        "px",
        "lower",
    ),
    "LMD lips": Definition("LMD of the 20 points of the lips, not aligned", "px", "lower"),
    "LMD lips centred": Definition(
        "LMD of the lips after each frame's mean is taken off, as in RAD-NeRF's evaluation code",
        "px",
        "lower",
    ),
    "faces found": Definition(
        "share of frames with a face in both sets; LMD uses those", "", "higher"
    ),
    "mouth correlation": Definition(
        "Pearson r of the predicted and the tracked mouth opening, all held-out frames",
        "r",
        "higher",
    ),
    "mouth correlation seen": Definition(
        "Pearson r of the mouth openings found anew in rendered and true frames", "r", "higher"
    ),
    "LSE-C": Definition(
        "SyncNet's confidence, faces cut by mediapipe's box (published: S3FD's)", "", "higher"
    ),
    "LSE-D": Definition(
        "SyncNet's distance, faces cut by mediapipe's box (published: S3FD's)", "", "lower"
    ),
    "AUE": Definition("squared error of facial action units by OpenFace", "", "lower"),
    "sync expert": Definition(
        "mean cosine of this kit's own sync expert, 0 to 1; not LSE", "cosine", "higher"
    ),
    "mouth correlation with speech": Definition(
        "Pearson r of the mouth opening and the one a regression hears in the sound; not LSE",
        "r",
        "higher",
    ),
    "mouth motion ratio": Definition(
        "spread of the mouth opening over that of the person's own clip; 1 moves as much", "", ""
    ),
    "lip error": Definition(
        "mean distance of the 20 predicted and tracked lip points, eye distances", "iod", "lower"
    ),
    "domain distance": Definition(
        "Fréchet distance of predicted and tracked landmarks, for speech of others",
        "iod^2",
        "lower",
    ),
    "post-net updates": Definition(
        "updates after which the post-net's weights were kept; 0 keeps the fresh one", "", ""
    ),
    "FPS": Definition("frames rendered in a second of wall time", "1/s", "higher"),
    "training minutes": Definition("wall time of the stage's run", "min", "lower"),
    "parameters": Definition("trained numbers that the stage's files hold", "", "lower"),
    "peak memory": Definition(
        "largest resident memory of the process up to the end of the run", "MB", "lower"
    ),
}
"""Every metric that this kit writes into a table."""
