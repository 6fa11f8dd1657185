"""Held out: a portrait beside frames that it was not trained on; their measures and previews."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from geneface_kit.nerf.portrait.picture import Frame
from geneface_kit.nerf.portrait.portrait import Portrait
from geneface_kit.nerf.portrait.quality import layer_quality, mouth_follows
from geneface_kit.nerf.views import Views
from geneface_kit.person.mouth import mouth_shape
from geneface_kit.runs import replacing

__all__ = ["held_out_quality", "write_previews"]


def held_out_quality(portrait: Portrait, views: Views, n_frames: int = 48) -> dict[str, float]:
    """Measures on frames that were not trained on, rendered from their tracked landmarks.

    The head's pose and the shoulders' shift are tracked too. PSNR in dB by layer
    (`quality.layer_quality`); the same of torso, neck and frame with the shift predicted from the
    head's pose, which is all that the paper's renderer is given (..._by_pose); and whether the
    mouth obeys. NaN is left out.
    mouth_r and mouth_gain: with each frame's own landmarks; mouth_r_exchanged: with those of
    another frame, so that no pose can tell the mouth; mouth_r_true: on the true pictures, what
    finding a mouth again loses by itself.
    """
    frames = views.held_out(n_frames)
    others = frames[::-1]
    own = [_picture(portrait, views, frame) for frame in frames]
    exchanged = [_picture(portrait, views, *pair) for pair in zip(frames, others, strict=True)]
    truth = [np.asarray(views.person.frames[frame]) for frame in frames]
    landmarks, poses = views.person.landmarks[frames], views.person.poses[frames]
    obeys = mouth_follows(own, landmarks, poses, views.focal)
    swapped = mouth_follows(exchanged, views.person.landmarks[others], poses, views.focal)
    ceiling = mouth_follows(truth, landmarks, poses, views.focal)
    found = layer_quality(own, views, frames)
    if portrait.sway is not None:
        by_pose = [_picture(portrait, views, frame, tracked_sway=False) for frame in frames]
        quality = layer_quality(by_pose, views, frames)
        for name in {"torso_psnr", "neck_psnr", "frame_psnr"} & quality.keys():
            found[f"{name}_by_pose"] = quality[name]
    found |= {"mouth_r": obeys.r, "mouth_gain": obeys.gain, "mouth_r_exchanged": swapped.r}
    found |= {"mouth_r_true": ceiling.r}
    return {name: round(value, 3) for name, value in found.items() if np.isfinite(value)}


def write_previews(folder: Path, portrait: Portrait, views: Views) -> None:
    """preview_held_out.png: true frames over rendered ones. preview_mouth.png: one frame rendered
    with the landmarks of the most closed, the middle and the most open mouth."""
    frames = views.held_out(5)
    rendered = [_rendered(portrait, views, frame).rgb.cpu().numpy() for frame in frames]
    truth = [views.person.frames[frame].astype(np.float32) / 255 for frame in frames]
    rows = [np.concatenate(truth, axis=1), np.concatenate(rendered, axis=1)]
    _write_png(folder / "preview_held_out.png", np.concatenate(rows, axis=0))
    order = np.argsort(mouth_shape(np.asarray(views.person.landmarks[: views.n_train]))[:, 0])
    picks = [int(order[len(order) * share // 100]) for share in (2, 50, 98)]
    mouths = [_rendered(portrait, views, frames[0], pick).rgb.cpu().numpy() for pick in picks]
    _write_png(folder / "preview_mouth.png", np.concatenate(mouths, axis=1))


def _rendered(
    portrait: Portrait,
    views: Views,
    frame: int,
    mouth_of: int | None = None,
    *,
    tracked_sway: bool = True,
) -> Frame:
    """A frame of the person; mouth_of: driven by another frame."""
    source = torch.tensor([frame if mouth_of is None else mouth_of])
    window = views.windows(source, portrait.head.config)[0]
    sway = portrait.sway[frame] if tracked_sway and portrait.sway is not None else None
    return portrait.render_frame(window, views.poses[frame], sway=sway)


def _picture(
    portrait: Portrait, views: Views, frame: int, mouth_of: int | None = None, **options: bool
) -> UInt8[np.ndarray, "h w 3"]:
    rgb = _rendered(portrait, views, frame, mouth_of, **options).rgb
    return (rgb * 255).round().to(torch.uint8).cpu().numpy()


def _write_png(path: Path, picture: Float[np.ndarray, "h w 3"]) -> None:
    from PIL import Image

    with replacing(path) as partial:
        Image.fromarray((picture * 255).round().astype(np.uint8)).save(partial)
