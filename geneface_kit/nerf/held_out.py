"""Held out: an avatar beside frames that it was not trained on: its pictures, and its mouth."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from geneface_kit.metrics.formulas import pearson, psnr_of_error
from geneface_kit.nerf.avatar import Avatar, Frame
from geneface_kit.nerf.dataset import RayDataset
from geneface_kit.person import camera, landmarks
from geneface_kit.person.mouth import INNER_LIPS, mouth_shape, seen_opening
from geneface_kit.person.segmentation.labels import BACKGROUND, HEAD, NECK, TORSO
from geneface_kit.runs import live, replacing

__all__ = [
    "LAYERS",
    "Following",
    "held_out_quality",
    "layer_quality",
    "mouth_follows",
    "write_previews",
]

log = logging.getLogger(__name__)

LAYERS = {"background": BACKGROUND, "head": HEAD, "neck": NECK, "torso": TORSO}
"""Names of a person's labels."""
LEAST_FACES = 8
"""Fewer found faces give no correlation worth a number."""


@dataclass(frozen=True)
class Following:
    """How well a rendered mouth does what its landmarks say. Openings are of the inner lips, as
    they are seen in the picture, in units of the seen distance of the outer eye corners.

    asked, found: (t,) opening of the given landmarks and of the face found again in the rendered
    frames, NaN where none was; r: their correlation; gain: change of the found opening per change
    of the asked one (least squares); error: root mean square of the difference of both about
    their means. NaN where too few faces were found or nothing was asked to move.
    """

    asked: Float[np.ndarray, " t"]
    found: Float[np.ndarray, " t"]
    r: float
    gain: float
    error: float

    @staticmethod
    def of(asked: Float[np.ndarray, " t"], found: Float[np.ndarray, " t"]) -> "Following":
        """The measures of two curves; frames without a face (NaN) do not count."""
        valid = np.isfinite(asked) & np.isfinite(found)
        a, b = asked[valid].astype(np.float64), found[valid].astype(np.float64)
        if len(a) < LEAST_FACES or a.std() < 1e-9 or b.std() < 1e-9:
            return Following(asked, found, np.nan, np.nan, np.nan)
        a, b = a - a.mean(), b - b.mean()
        gain = float((a * b).sum() / (a * a).sum())
        error = float(np.sqrt(((a - b) ** 2).mean()))
        return Following(asked, found, pearson(a, b), gain, error)


def mouth_follows(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]],
    asked: Float[np.ndarray, "t 68 3"],
    poses: Float[np.ndarray, "t 4 4"],
    focal: float,
) -> Following:
    """Finds the mouth again in frames that were rendered from landmarks and poses.

    frames: rendered, (t, h, w, 3) uint8; asked: the landmarks they were rendered from; focal:
    pixels. True frames with their tracked landmarks give the ceiling: what finding alone loses.
    """
    if not len(frames) == len(asked) == len(poses):
        raise ValueError(
            f"frames, landmarks and poses must be equally many, got {len(frames)}, {len(asked)} "
            f"and {len(poses)}"
        )
    mesh = landmarks.detect(frames)
    found = np.full(len(asked), np.nan)
    found[mesh.found] = _opening(landmarks.to_68(mesh)[mesh.found, :, :2])
    if not mesh.found.all():
        log.warning("no face found in %d of %d rendered frames", (~mesh.found).sum(), len(asked))
    given = camera.project(asked, poses, focal, frames[0].shape[0])
    return Following.of(_opening(given), found)


def layer_quality(
    rendered: Sequence[UInt8[np.ndarray, "h w 3"]], dataset: RayDataset, frames: Sequence[int]
) -> dict[str, float]:
    """PSNR in dB of rendered frames, each of the mean squared error over all of them.

    frame_psnr: the whole picture; head_, neck_, torso_, background_psnr: the pixels of the true
    label; lip_psnr: the lip rectangle. A layer that is in no frame has no entry.
    """
    sums: dict[str, list[float]] = {}
    for picture, frame in zip(rendered, frames, strict=True):
        error = picture.astype(np.float64) - dataset.person.frames[frame]
        squared = (error**2).mean(-1) / 255**2
        labels = np.asarray(dataset.person.labels[frame])
        x0, y0, x1, y1 = dataset.lip_rects[frame].tolist()
        parts = {name: squared[labels == number] for name, number in LAYERS.items()}
        parts |= {"frame": squared, "lip": squared[y0:y1, x0:x1]}
        for name, values in parts.items():
            total = sums.setdefault(f"{name}_psnr", [0.0, 0])
            total[0], total[1] = total[0] + float(values.sum()), total[1] + values.size
    return {name: round(psnr_of_error(total / n), 3) for name, (total, n) in sums.items() if n}


def held_out_quality(avatar: Avatar, dataset: RayDataset, n_frames: int = 48) -> dict[str, float]:
    """Measures on frames that were not trained on, rendered from their tracked landmarks.

    The head's pose and the shoulders' shift are tracked too. PSNR in dB by layer
    (`layer_quality`); the same of torso, neck and frame with the shift predicted from the
    head's pose, which is all that the paper's renderer is given (..._by_pose); and whether the
    mouth obeys. NaN is left out.
    mouth_r and mouth_gain: with each frame's own landmarks; mouth_r_exchanged: with those of
    another frame, so that no pose can tell the mouth; mouth_r_true: on the true pictures, what
    finding a mouth again loses by itself.
    """
    frames = dataset.held_out(n_frames)
    others = frames[::-1]
    own = [_picture(avatar, dataset, frame) for frame in live.progress(frames, "held-out frames")]
    exchanged = [_picture(avatar, dataset, *pair) for pair in zip(frames, others, strict=True)]
    truth = [np.asarray(dataset.person.frames[frame]) for frame in frames]
    landmarks, poses = dataset.person.landmarks[frames], dataset.person.poses[frames]
    obeys = mouth_follows(own, landmarks, poses, dataset.focal)
    swapped = mouth_follows(exchanged, dataset.person.landmarks[others], poses, dataset.focal)
    ceiling = mouth_follows(truth, landmarks, poses, dataset.focal)
    found = layer_quality(own, dataset, frames)
    if avatar.torso_shifts is not None:
        by_pose = [_picture(avatar, dataset, frame, tracked_torso=False) for frame in frames]
        quality = layer_quality(by_pose, dataset, frames)
        for name in {"torso_psnr", "neck_psnr", "frame_psnr"} & quality.keys():
            found[f"{name}_by_pose"] = quality[name]
    found |= {"mouth_r": obeys.r, "mouth_gain": obeys.gain, "mouth_r_exchanged": swapped.r}
    found |= {"mouth_r_true": ceiling.r}
    return {name: round(value, 3) for name, value in found.items() if np.isfinite(value)}


def write_previews(folder: Path, avatar: Avatar, dataset: RayDataset) -> None:
    """preview_held_out.png: true frames over rendered ones. preview_mouth.png: one frame rendered
    with the landmarks of the most closed, the middle and the most open mouth."""
    frames = dataset.held_out(5)
    rendered = [_rendered(avatar, dataset, frame).rgb.cpu().numpy() for frame in frames]
    truth = [dataset.person.frames[frame].astype(np.float32) / 255 for frame in frames]
    rows = [np.concatenate(truth, axis=1), np.concatenate(rendered, axis=1)]
    _write_png(folder / "preview_held_out.png", np.concatenate(rows, axis=0))
    order = np.argsort(mouth_shape(np.asarray(dataset.person.landmarks[: dataset.n_train]))[:, 0])
    picks = [int(order[len(order) * share // 100]) for share in (2, 50, 98)]
    mouths = [_rendered(avatar, dataset, frames[0], pick).rgb.cpu().numpy() for pick in picks]
    _write_png(folder / "preview_mouth.png", np.concatenate(mouths, axis=1))


def _rendered(
    avatar: Avatar,
    dataset: RayDataset,
    frame: int,
    mouth_of: int | None = None,
    *,
    tracked_torso: bool = True,
) -> Frame:
    """A frame of the person; mouth_of: driven by another frame."""
    source = torch.tensor([frame if mouth_of is None else mouth_of])
    window = dataset.windows(source, avatar.head.config)[0]
    shift = (
        avatar.torso_shifts[frame] if tracked_torso and avatar.torso_shifts is not None else None
    )
    return avatar.render_frame(window, dataset.poses[frame], torso_shift=shift)


def _picture(
    avatar: Avatar, dataset: RayDataset, frame: int, mouth_of: int | None = None, **options: bool
) -> UInt8[np.ndarray, "h w 3"]:
    rgb = _rendered(avatar, dataset, frame, mouth_of, **options).rgb
    return (rgb * 255).round().to(torch.uint8).cpu().numpy()


def _write_png(path: Path, picture: Float[np.ndarray, "h w 3"]) -> None:
    with replacing(path) as partial:
        Image.fromarray((picture * 255).round().astype(np.uint8)).save(partial)


def _opening(points: np.ndarray) -> np.ndarray:
    """Opening (t,) in the picture between the middle points of the inner lips."""
    return seen_opening(points, pairs=INNER_LIPS[1:2])
