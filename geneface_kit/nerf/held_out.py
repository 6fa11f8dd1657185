"""Held out: an avatar beside frames that it was not trained on: its pictures, and its mouth."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from geneface_kit.metrics.formulas import pearson, psnr_of_error
from geneface_kit.nerf.avatar import Avatar
from geneface_kit.nerf.dataset import RayDataset
from geneface_kit.nerf.renderer import to_uint8
from geneface_kit.nerf.verdict import Check, Look, picture_checks
from geneface_kit.person import camera, landmarks
from geneface_kit.person.mouth import INNER_LIPS, seen_opening
from geneface_kit.person.segmentation import BACKGROUND, HEAD, NECK, TORSO
from geneface_kit.runs import live
from geneface_kit.runs.arrays import write_image
from geneface_kit.runs.files import Facts

log = logging.getLogger(__name__)

LAYERS = {"background": BACKGROUND, "head": HEAD, "neck": NECK, "torso": TORSO}  # a person's labels
BAND = 3 / 256  # half the width of the band about the head's border, of the picture's edge (ours)
LEAST_FACES = 8  # fewer found faces give no number that is worth one
LEAST_PSNR = 8.0  # below so many dB over the head's pixels nothing was learned (ours)


def mouth_openings(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]],
    asked: Float[np.ndarray, "t 68 3"],
    poses: Float[np.ndarray, "t 4 4"],
    focal: float,
) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, " t"]]:
    """`seen_opening` of the landmarks that frames were rendered from, and of the face found again
    in them, NaN where none was. focal: pixels. True frames with their tracked landmarks give the
    ceiling: what finding loses."""
    if not len(frames) == len(asked) == len(poses):
        raise ValueError(
            f"frames, landmarks and poses must be equally many, got {len(frames)}, {len(asked)} "
            f"and {len(poses)}"
        )
    mesh = landmarks.detect(frames)
    if not mesh.found.all():
        log.warning("no face found in %d of %d rendered frames", (~mesh.found).sum(), len(asked))
    middle = INNER_LIPS[1:2]
    found = np.full(len(asked), np.nan)
    found[mesh.found] = seen_opening(landmarks.to_68(mesh)[mesh.found, :, :2], pairs=middle)
    seen = camera.project(asked, poses, focal, frames[0].shape[0])
    return seen_opening(seen, pairs=middle), found


def following(asked: Float[np.ndarray, " t"], found: Float[np.ndarray, " t"]) -> dict[str, float]:
    """How well a mouth does what it is asked: r, the correlation of both openings, and gain, the
    change of the found one per change of the asked one (least squares).

    Frames without a face (NaN) do not count. NaN for fewer than LEAST_FACES, or no movement.
    """
    valid = np.isfinite(asked) & np.isfinite(found)
    a, b = asked[valid].astype(np.float64), found[valid].astype(np.float64)
    r = pearson(a, b) if len(a) >= LEAST_FACES else np.nan
    return {"r": r, "gain": r if np.isnan(r) else r * float(b.std() / a.std())}


def border_band(labels: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The pixels within BAND of the border of the head's label, on both sides."""
    is_head = (labels == HEAD).astype(np.uint8)
    inside, outside = (cv2.distanceTransform(one, cv2.DIST_L2, 5) for one in (is_head, 1 - is_head))
    return np.maximum(inside, outside) <= max(1.5, BAND * len(labels))


def layer_quality(
    rendered: Sequence[UInt8[np.ndarray, "h w 3"]],
    dataset: RayDataset,
    frames: Sequence[int],
    *,
    head_alone: bool = False,
) -> dict[str, float]:
    """PSNR in dB of rendered frames, each of the mean squared error over all of them.

    frame_psnr: the whole picture; head_, neck_, torso_, background_psnr: the pixels of the true
    label; border_psnr: `border_band`; lip_psnr: the lip rectangle, of which without a torso
    (head_alone) only the head's pixels count. A layer that is in no frame has no entry.
    """
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))
    for picture, frame in zip(rendered, frames, strict=True):
        error = picture.astype(np.float64) - dataset.person.frames[frame]
        squared = (error**2).mean(-1) / 255**2
        labels = np.asarray(dataset.person.labels[frame])
        x0, y0, x1, y1 = dataset.lip_rects[frame].tolist()
        lips = np.s_[y0:y1, x0:x1]
        parts = {name: squared[labels == number] for name, number in LAYERS.items()}
        parts["lip"] = squared[lips][labels[lips] == HEAD] if head_alone else squared[lips]
        parts["border"] = squared[border_band(labels)]
        for name, values in (parts | {"frame": squared}).items():
            sums[f"{name}_psnr"] += values.sum(), values.size
    return {name: round(psnr_of_error(total / n), 3) for name, (total, n) in sums.items() if n}


def held_out_quality(
    avatar: Avatar, dataset: RayDataset, n_frames: int, folder: Path
) -> tuple[dict[str, float], tuple[Check, ...]]:
    """Measures on frames that were not trained on, rendered from their tracked landmarks, poses and
    shoulders: PSNR in dB by layer (`layer_quality`); the same of torso, neck and frame with the
    shift predicted from the pose, all that the paper's renderer is given (..._by_pose); and whether
    the mouth obeys; NaN is left out. And the checks of the pictures, see `nerf.verdict`.
    mouth_r and mouth_gain: with each frame's own landmarks; mouth_r_exchanged: with those of
    another frame, so that no pose can tell the mouth; mouth_r_true: on the true pictures, what
    finding a mouth again loses by itself. faces_found: the share of rendered frames with a face,
    of those that have one in truth.
    n_frames: how many are rendered, 0 for all; folder: receives preview_held_out.png, true frames
    over rendered ones.
    """
    frames, person = dataset.held_out(n_frames), dataset.person
    others, shifts = frames[::-1], avatar.torso_shifts
    own, exchanged, by_pose, seen, true = [], [], [], Look(), Look()
    for frame, other in live.progress(list(zip(frames, others, strict=True)), "held-out frames"):
        windows = dataset.windows(torch.tensor([frame, other]), avatar.head.config)
        pose, shift = dataset.poses[frame], None if shifts is None else shifts[frame]
        head = avatar.head_image(windows[0], pose)
        made = avatar.composed(head, pose, shift)
        own.append(to_uint8(made.rgb).numpy())
        follows = frame - 1 in frames and frame not in person.spans
        seen.add(own[-1], made.labels.numpy(), follows=follows)
        true.add(person.frames[frame], person.labels[frame], follows=follows)
        if shifts is not None:
            by_pose.append(to_uint8(avatar.composed(head, pose).rgb).numpy())
        moved = avatar.render_frame(windows[1], pose, torso_shift=shift)
        exchanged.append(to_uint8(moved.rgb).numpy())
    truth = [np.asarray(person.frames[frame]) for frame in frames]
    found = layer_quality(own, dataset, frames)
    quality = layer_quality(by_pose, dataset, frames) if by_pose else {}
    names = ("torso_psnr", "neck_psnr", "frame_psnr")
    found |= {f"{name}_by_pose": quality[name] for name in names if name in quality}
    asked, poses = person.landmarks, person.poses[frames]
    mouths = mouth_openings(own, asked[frames], poses, dataset.focal)
    swapped = following(*mouth_openings(exchanged, asked[others], poses, dataset.focal))
    true_mouths = mouth_openings(truth, asked[frames], poses, dataset.focal)
    obeys, is_face, is_true_face = following(*mouths), *np.isfinite([mouths[1], true_mouths[1]])
    found |= {"mouth_r": obeys["r"], "mouth_gain": obeys["gain"]}
    found |= {"mouth_r_exchanged": swapped["r"], "mouth_r_true": following(*true_mouths)["r"]}
    if is_true_face.sum() >= LEAST_FACES:
        found["faces_found"] = float(is_face[is_true_face].mean())
    shown = np.linspace(0, len(frames) - 1, min(5, len(frames))).astype(int)
    rows = [np.concatenate([row[k] for k in shown], axis=1) for row in (truth, own)]
    write_image(folder / "preview_held_out.png", np.concatenate(rows))
    found = {name: round(value, 3) for name, value in found.items() if np.isfinite(value)}
    return found, picture_checks(seen, true)


def check_learned(quality: Facts, name: str) -> None:
    """Raises ValueError, in one sentence, where `held_out_quality` measured no head at all."""
    what = ""
    if (psnr := quality.get("head_psnr", np.inf)) < LEAST_PSNR:
        what = f"held-out frames of the head have {psnr:g} dB, at least {LEAST_PSNR:g} are needed"
    elif quality.get("faces_found") == 0:
        what = "no face is found in any rendered frame, in true ones it is"
    if what:
        raise ValueError(
            f"the head of {name} was not learned: {what}; its weights and previews stay in the "
            "run's folder; train with lower learning rates, more steps or another seed"
        )
