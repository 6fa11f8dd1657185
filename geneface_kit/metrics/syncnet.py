"""SyncNet: frames and sound -> LSE-C and LSE-D (Chung and Zisserman 2016; Prajwal et al. 2020).

The layers carry the names of the published checkpoint, which was never at hand here: layout, sound
features and scores follow the published code's facts and are tested without it.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.fft import dct
from scipy.signal import medfilt
from torch import Tensor, nn

from geneface_kit.metrics.formulas import Frames
from geneface_kit.metrics.networks import NotMeasured, measured_with
from geneface_kit.runs.files import readable

WINDOW = 5  # frames that the network sees at once: 0.2 s
STEPS = 20  # sound features of one window, 100 a second
SHIFT = 15  # frames by which the sound is moved to both sides (the published evaluation)
FPS, SAMPLE_RATE, SIDE = 25, 16_000, 224
MARGIN = 0.4  # added around the face on each side, in its half sides (the published evaluation)
SMOOTH = 13  # frames over which the box is median filtered (the published evaluation)
Pictures = UInt8[np.ndarray, "t h w 3"]
Sound = Float[np.ndarray, " n"]
Boxes = Float[np.ndarray, "t 4"]
Faces, Heard = Float[Tensor, "n 3 5 h w"], Float[Tensor, "n 1 13 20"]
Lse = tuple[float, float]  # LSE-C, LSE-D
FRAME, STEP, N_FFT = 400, 160, 512  # samples: windows of 25 ms, not tapered, every 10 ms
N_FILTERS, N_CEPSTRA, LIFTER, EMPHASIS = 26, 13, 22, 0.97  # python_speech_features' defaults
FULL_SCALE = 32_768  # sound is read as 16-bit numbers


class SyncNet(nn.Module):
    """Two towers: 5 frames of a face, and the sound of the same 0.2 s, to 1024 numbers each."""

    def __init__(self):
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_convolution(2, 1, 64, 3, padding=1),
            nn.MaxPool2d(1, 1),
            *_convolution(2, 64, 192, 3, padding=1),
            nn.MaxPool2d(3, (1, 2)),
            *_convolution(2, 192, 384, 3, padding=1),
            *_convolution(2, 384, 256, 3, padding=1),
            *_convolution(2, 256, 256, 3, padding=1),
            nn.MaxPool2d(3, 2),
            *_convolution(2, 256, 512, (5, 4)),
        )
        self.netcnnlip = nn.Sequential(
            *_convolution(3, 3, 96, (5, 7, 7), stride=(1, 2, 2)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_convolution(3, 96, 256, (1, 5, 5), stride=(1, 2, 2), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), padding=(0, 1, 1)),
            *_convolution(3, 256, 256, (1, 3, 3), padding=(0, 1, 1)),
            *_convolution(3, 256, 256, (1, 3, 3), padding=(0, 1, 1)),
            *_convolution(3, 256, 256, (1, 3, 3), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_convolution(3, 256, 512, (1, 6, 6)),
        )
        self.netfcaud, self.netfclip = (
            nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))
            for _ in range(2)
        )

    def sound(self, cepstra: Float[Tensor, "n 1 13 20"]) -> Float[Tensor, "n 1024"]:
        """What 0.2 s of sound say."""
        return self.netfcaud(self.netcnnaud(cepstra).flatten(1))

    def face(self, pictures: Float[Tensor, "n 3 5 224 224"]) -> Float[Tensor, "n 1024"]:
        """What 5 frames show; blue, green, red in 0..255."""
        return self.netfclip(self.netcnnlip(pictures).flatten(1))


def load(path: Path) -> SyncNet:
    """The network with the weights of the published checkpoint, or one of its layout.

    Raises: ValueError when the file holds anything but tensors, or other layers.
    """
    model = SyncNet()
    with readable(path):
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval()


@measured_with("syncnet")
def lse(path: Path, frames: Frames, audio: Sound, boxes: Boxes) -> Lse | NotMeasured:
    """How well a mouth follows a sound, by the published evaluation of SyncNet, see `scores`.

    frames: consecutive, 25 a second. audio: 16 kHz, from the first frame on. boxes: of the face.
    Differs from the published evaluation: the box is that of mediapipe's face mesh, not of S3FD,
    and nothing goes through a codec.
    """
    n_windows = min(len(frames), len(audio) * FPS // SAMPLE_RATE) - WINDOW
    if n_windows < 1:
        return NotMeasured(f"SyncNet needs more than {WINDOW} frames with sound")
    faces, sound = windows(crops(frames, boxes), cepstra(audio), n_windows)
    return scores(load(path), faces, sound)


@torch.no_grad()
def scores(model: nn.Module, faces: Faces, sound: Heard) -> Lse:
    """LSE-C, higher is better, and LSE-D, lower is better.

    Of the distances of each face window to the sounds around it, averaged over windows, that of the
    best of the 31 shifts is LSE-D; LSE-C is the median over shifts less that. Shifts past the ends
    meet zeros, as published.
    """
    batches = range(0, len(faces), WINDOW)
    seen = torch.cat([model.face(faces[start : start + WINDOW]) for start in batches])
    heard = torch.cat([model.sound(sound[start : start + WINDOW]) for start in batches])
    padded = nn.functional.pad(heard, (0, 0, SHIFT, SHIFT))
    near = padded.unfold(0, 2 * SHIFT + 1, 1).transpose(1, 2)  # (n, shifts, 1024)
    means = nn.functional.pairwise_distance(seen[:, None], near).mean(dim=0)
    return float(means.median() - means.min()), float(means.min())


def windows(pictures: Pictures, cepstra: Float[np.ndarray, "s 13"], n: int) -> tuple[Faces, Heard]:
    """The first n windows: frames k .. k + 4 with the sound features 4 k .. 4 k + 19."""
    turned = torch.from_numpy(np.ascontiguousarray(pictures[..., ::-1].transpose(3, 0, 1, 2)))
    sound = torch.from_numpy(np.ascontiguousarray(cepstra.T)).float()
    sound = nn.functional.pad(sound, (0, max(0, 4 * (n - 1) + STEPS - sound.shape[1])))
    faces = torch.stack([turned[:, k : k + WINDOW] for k in range(n)]).float()
    heard = torch.stack([sound[None, :, 4 * k : 4 * k + STEPS] for k in range(n)])
    return faces, heard


def cepstra(audio: Sound) -> Float[np.ndarray, "s 13"]:
    """MFCC of sound in [-1, 1]: 13 liftered cepstra, 100 a second; the first is the log energy.

    The recipe of python_speech_features with its defaults, which the published evaluation calls.
    The last window is filled up with zeros, so that n samples give 1 + ceil((n - 400) / 160).
    """
    whole = np.clip(np.round(audio.astype(np.float64) * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
    sharp = np.append(whole[:1], whole[1:] - EMPHASIS * whole[:-1])
    n_frames = 1 + max(0, -(-(len(sharp) - FRAME) // STEP))
    sharp = np.pad(sharp, (0, (n_frames - 1) * STEP + FRAME - len(sharp)))
    framed = np.lib.stride_tricks.sliding_window_view(sharp, FRAME)[::STEP]
    power = np.abs(np.fft.rfft(framed, N_FFT)) ** 2 / N_FFT
    smallest = np.finfo(np.float64).eps
    energy = np.log(np.maximum(power.sum(axis=1), smallest))
    bands = np.log(np.maximum(power @ _mel_triangles().T, smallest))
    order = np.arange(N_CEPSTRA)
    lifted = dct(bands, type=2, axis=1, norm="ortho")[:, :N_CEPSTRA]
    lifted *= 1 + LIFTER / 2 * np.sin(np.pi * order / LIFTER)
    lifted[:, 0] = energy
    return lifted


def _mel_triangles() -> Float[np.ndarray, "26 257"]:
    """Triangles between bins that stand equally far apart on the mel scale, 0 to 8 kHz."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, N_FILTERS + 2) / 2595) - 1)
    edges = np.floor((N_FFT + 1) * hertz / SAMPLE_RATE).astype(int)
    left, peak, right = (edges[k : k + N_FILTERS, None] for k in range(3))
    bins = np.arange(N_FFT // 2 + 1)
    rising, falling = (bins - left) / (peak - left), (right - bins) / (right - peak)
    return np.clip(np.minimum(rising, falling), 0, None)


def crops(frames: Pictures, boxes: Boxes) -> UInt8[np.ndarray, "t 224 224 3"]:
    """The face of every frame with 0.4 half sides around it and, below, 0.8; 224 px.

    The half side is half the larger side of the box; middle and half side are median filtered
    over 13 frames. Outside of the picture is grey 110.
    """
    half = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) / 2
    middle_x, middle_y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    kernel = min(SMOOTH, len(frames) - 1 + len(frames) % 2)
    half, middle_x, middle_y = (medfilt(track, kernel) for track in (half, middle_x, middle_y))
    cut = []
    for frame, x, y, side in zip(frames, middle_x, middle_y, half, strict=True):
        edge = int(side * (1 + 2 * MARGIN))
        wide = np.pad(frame, ((edge, edge), (edge, edge), (0, 0)), constant_values=110)
        top, bottom = int(y + edge - side), int(y + edge + side * (1 + 2 * MARGIN))
        left, right = (int(x + edge + sign * side * (1 + MARGIN)) for sign in (-1, 1))
        cut.append(cv2.resize(wide[max(top, 0) : bottom, max(left, 0) : right], (SIDE, SIDE)))
    return np.stack(cut)


def _convolution(n_dims: int, c_in: int, c_out: int, kernel, **options) -> list[nn.Module]:
    kind, norm = {2: (nn.Conv2d, nn.BatchNorm2d), 3: (nn.Conv3d, nn.BatchNorm3d)}[n_dims]
    return [kind(c_in, c_out, kernel, **options), norm(c_out), nn.ReLU()]
