"""Nerf: person -> head field and torso field, and from them frames.

Reads person/; writes head.safetensors, torso.safetensors, portrait.json, histories, previews.
"""

import dataclasses
import io
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from geneface_kit import camera, fitting
from geneface_kit import person as person_stage
from geneface_kit.head import HeadConfig, HeadField, HeadTask, lips, make_field, watched_frame
from geneface_kit.person import Person
from geneface_kit.portrait.cores import on_cores
from geneface_kit.portrait.looks import Look, Looks, load_looks
from geneface_kit.portrait.picture import Frame, Painter, PictureConfig
from geneface_kit.portrait.quality import Following, layer_quality, mouth_follows, seen_opening
from geneface_kit.portrait.survey import load_shell, save_shell, surveyed
from geneface_kit.render import Occupancy, backend_for
from geneface_kit.speech import Speech
from geneface_kit.torso import TorsoConfig, TorsoField, TorsoTask
from geneface_kit.torso.sway import track
from geneface_kit.views import Views, driving, windows_of

__all__ = [
    "Following",
    "Frame",
    "Look",
    "Portrait",
    "held_out_quality",
    "layer_quality",
    "load",
    "load_looks",
    "make",
    "mouth_follows",
    "seen_opening",
]

log = logging.getLogger(__name__)

SCHEMA = 2
KIND = "geneface_kit portrait"
SWAY = "sway.npy"
"""The shoulders' shift in each frame of the clip, see `Portrait.sway`."""


class Portrait:
    """A person's trained head and torso over the background plate.

    sway: (t, 2) how far the shoulders were shifted in each frame of the clip, as they were tracked,
    in pixel coordinates of [-1, 1]; None when the torso is not one that sways.
    """

    def __init__(
        self,
        head: HeadField,
        torso: TorsoField,
        plate: UInt8[np.ndarray, "h w 3"],
        focal: float,
        shell: Occupancy | None = None,
        config: PictureConfig | None = None,
        sway: Float[np.ndarray, "t 2"] | None = None,
    ):
        self.device = head.codes.device
        self.head, self.torso = head.train(False), torso.train(False)
        self.plate = torch.from_numpy(np.array(plate)).to(self.device).float() / 255
        self.focal, self.size = float(focal), int(plate.shape[0])
        self.painter = Painter(self.head, self.torso, shell, config)
        self.sway = sway

    def render_frame(
        self,
        window: Float[np.ndarray, "w ..."] | Float[Tensor, "w ..."],
        pose: Float[np.ndarray, "4 4"] | Float[Tensor, "4 4"],
        *,
        focal: float | None = None,
        sway: Float[np.ndarray, " 2"] | Float[Tensor, " 2"] | None = None,
    ) -> Frame:
        """One frame: head + (1 - head opacity) * (torso over plate).

        window: what drives the frames around this one, its own in the middle: absolute canonical
        landmarks (w, 68, 3), or a part of `driving`; w = 1 stands for a face at rest.
        pose: camera-to-world. sway: shift of the shoulders as in `Portrait.sway`; predicted from
        the pose if not given. The same input gives the same bytes: nothing is drawn at random.
        """
        window, pose = self._tensor(window), self._tensor(pose)
        for name, values in ((self.driven_by, window), ("pose", pose)):
            if not bool(torch.isfinite(values).all()):
                raise ValueError(f"{name} hold NaN or infinite values; nothing can be rendered")
        width = self.head.config.attention_frames
        window = windows_of(window, torch.tensor([len(window) // 2]), width)[0]
        focal = self.focal if focal is None else focal
        head = self.painter.head_image(window, pose, focal, self.size)
        torso, torso_alpha = self.painter.torso_image(
            pose, head, None if sway is None else self._tensor(sway)
        )
        behind = torso_alpha[..., None] * torso + (1 - torso_alpha)[..., None] * self.plate
        rgb = (head.colour + (1 - head.alpha)[..., None] * behind).clamp(0, 1)
        return Frame(rgb, head.alpha, head.depth, torso_alpha, head.n_samples)

    def render(
        self,
        track: Float[np.ndarray, "t ..."] | Float[Tensor, "t ..."],
        poses: Float[np.ndarray, "p 4 4"] | Float[Tensor, "p 4 4"],
        *,
        only: Sequence[int] | None = None,
        sway: Float[np.ndarray, "s 2"] | None = None,
    ) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """Frames (h, w, 3) uint8, one after the other.

        track: (t, 68, 3) absolute canonical landmarks, or what `driving` gives, of consecutive
        frames at 25 per second: the head looks at neighbours too. only: which of them to render;
        all if not given. sway: the shoulders' shift in each frame, see `render_frame`.
        """
        if len(track) != len(poses):
            raise ValueError(f"{len(track)} frames need as many poses, got {len(poses)}")
        if sway is not None and len(sway) != len(poses):
            raise ValueError(f"{len(poses)} frames need as many shifts of sway, got {len(sway)}")
        track, poses = self._tensor(track), self._tensor(poses)
        width = self.head.config.attention_frames

        def picture(frame: int) -> UInt8[np.ndarray, "h w 3"]:
            window = windows_of(track, torch.tensor([frame]), width)[0]
            shift = None if sway is None else sway[frame]
            rgb = self.render_frame(window, poses[frame], sway=shift).rgb
            return (rgb * 255).round().to(torch.uint8).contiguous().cpu().numpy()

        frames = range(len(track)) if only is None else [int(frame) for frame in only]
        yield from map(picture, frames) if self.device.type != "cpu" else on_cores(picture, frames)

    @property
    def driven_by(self) -> str:
        """What drives the head: landmarks or speech."""
        return self.head.config.driven_by

    def driving(
        self, landmarks: Float[np.ndarray, "t 68 3"], speech: Speech
    ) -> Float[Tensor, "t ..."]:
        """The track of a performance for `render`: its landmarks, or for a head that speech drives
        the features of its speech, as `views.driving` gives them."""
        features = self._tensor(speech.features)
        return driving(self.driven_by, self._tensor(landmarks), features)

    def resized(self, size: int) -> "Portrait":
        """The same person in another picture size; the plate is interpolated."""
        plate = self.plate.permute(2, 0, 1)[None]
        plate = functional.interpolate(plate, (size, size), mode="bilinear", antialias=True)
        plate = (plate[0].permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()
        focal = camera.crop_focal(self.focal, self.size, size)
        painter = self.painter
        return self._with(plate, focal, painter.shell, painter.config)

    def with_shell(self, shell: Occupancy) -> "Portrait":
        """The same person, its pictures looking only into the cells of a shell."""
        plate = (self.plate * 255).round().to(torch.uint8).cpu().numpy()
        return self._with(plate, self.focal, shell, self.painter.config)

    def configured(self, config: PictureConfig) -> "Portrait":
        """The same person, its pictures made another way; `picture.EXACT` is the reference."""
        plate = (self.plate * 255).round().to(torch.uint8).cpu().numpy()
        return self._with(plate, self.focal, self.painter.shell, config)

    def _with(self, *others: Any) -> "Portrait":
        return Portrait(self.head, self.torso, *others, self.sway)

    def _tensor(self, values: np.ndarray | Tensor) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.device)


def make(run: Any, settings: Any) -> None:
    """Trains the head, then the torso behind it, and measures both on held-out frames.

    run: a runs.Run whose parent "person" is finished. A run that was cut off goes on where it was.
    """
    person = person_stage.load(run.parents["person"].folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    views = Views(person, device)
    head = _head(run, settings.head, views)
    torso, sway = _torso(run, settings.torso, views, head)
    portrait = Portrait(head, torso, person.plate, person.focal, sway=sway)
    portrait = surveyed(portrait, views)
    if portrait.painter.shell is not None:
        save_shell(run.folder / "shell.npz", portrait.painter.shell, portrait.painter.config)
    run.record("backend", backend_for("auto", device))
    run.record("precision", str(head.dtype).removeprefix("torch."))
    run.record("device", str(device))
    run.record("lips_loss", lips.chosen(settings.head.lips_loss))
    for name, value in held_out_quality(portrait, views).items():
        run.record(name, value)
    _write_previews(run.folder, portrait, views)
    facts = {
        "schema": SCHEMA,
        "kind": KIND,
        "person": person.name,
        "data_kind": person.data_kind,
        "size": views.size,
        "focal": views.focal,
        "n_train": views.n_train,
        "head": dataclasses.asdict(settings.head),
        "torso": dataclasses.asdict(torso.config),
    }
    _replace(run.folder / "portrait.json", json.dumps(facts, indent=1).encode())


def load(folder: Path, person: Person) -> Portrait:
    """The portrait of a finished `nerf` run.

    Raises: FileNotFoundError without a portrait; ValueError when it is of another person or
    another picture size, or the files are damaged.
    """
    path = folder / "portrait.json"
    if not path.exists():
        raise FileNotFoundError(
            f"no portrait in {folder}: run the stage nerf for this person first"
        )
    facts = json.loads(path.read_text())
    if facts.get("kind") != KIND or facts.get("schema") != SCHEMA:
        raise ValueError(f"{path} is no portrait of this version; run the stage nerf again")
    if (facts["person"], facts["size"]) != (person.name, int(person.size)):
        raise ValueError(
            f"the portrait in {folder} is of {facts['person']} at {facts['size']} px, "
            f"not of {person.name} at {person.size} px"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    n_speech = person.speech.features.shape[1]
    head = make_field(HeadConfig(**facts["head"]), facts["n_train"], n_speech)
    torso = TorsoField(TorsoConfig(**facts["torso"]), facts["n_train"], facts["size"])
    fitting.load_weights(folder / "head.safetensors", head, person=person.name)
    fitting.load_weights(folder / "torso.safetensors", torso, person=person.name)
    shell, config = load_shell(folder / "shell.npz", device)
    head, torso = head.to(device), torso.to(device)
    sway = np.load(folder / SWAY) if (folder / SWAY).exists() else None
    return Portrait(head, torso, person.plate, facts["focal"], shell, config, sway)


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


def _head(run: Any, config: HeadConfig, views: Views) -> HeadField:
    """The head field: from its file if an earlier attempt finished it, else trained."""
    generator = run.generator("head")
    path = run.folder / "head.safetensors"
    task = HeadTask.make(config, views, generator)
    if path.exists():
        fitting.load_weights(path, task.field, person=views.person.name)
        return task.field.train(False)
    every = config.validate_every
    task.on_look = Looks(run.folder, views.person.frames[watched_frame(views)])
    fitting.fit(
        task, run.folder, name="head", steps=config.steps, generator=generator, validate_every=every
    )
    _save(path, task.field, views.person)
    return task.field.train(False)


def _torso(
    run: Any, config: TorsoConfig, views: Views, head: HeadField
) -> tuple[TorsoField, Float[np.ndarray, "t 2"] | None]:
    """The torso field, and how the shoulders were shifted in each frame of the clip."""
    generator = run.generator("torso")
    path = run.folder / "torso.safetensors"
    task = TorsoTask.make(config, views, head, generator)
    sway = None
    if task.seen is not None:
        predicted = task.field.predicted_shift(views.poses).cpu().numpy()
        sway = track(task.seen, predicted, views.n_train)
        buffer = io.BytesIO()
        np.save(buffer, sway)
        _replace(run.folder / SWAY, buffer.getvalue())
    if path.exists():
        fitting.load_weights(path, task.field, person=views.person.name)
        return task.field.train(False), sway
    fitting.fit(task, run.folder, name="torso", steps=config.steps, generator=generator)
    _save(path, task.field, views.person)
    return task.field.train(False), sway


def _save(path: Path, field: HeadField | TorsoField, person: Person) -> None:
    fitting.save_weights(path, field, kind=type(field).__name__, person=person.name)


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


def mouth_opening(landmarks: Float[np.ndarray, "t 68 3"]) -> Float[np.ndarray, " t"]:
    """Distance of the inner lips (iBUG 62 and 66) per frame, in the landmarks' unit."""
    return np.linalg.norm(landmarks[:, 62] - landmarks[:, 66], axis=-1)


def _write_previews(folder: Path, portrait: Portrait, views: Views) -> None:
    """preview_held_out.png: true frames over rendered ones. preview_mouth.png: one frame rendered
    with the landmarks of the most closed, the middle and the most open mouth."""
    frames = views.held_out(5)
    rendered = [_rendered(portrait, views, frame).rgb.cpu().numpy() for frame in frames]
    truth = [views.person.frames[frame].astype(np.float32) / 255 for frame in frames]
    rows = [np.concatenate(truth, axis=1), np.concatenate(rendered, axis=1)]
    _write_png(folder / "preview_held_out.png", np.concatenate(rows, axis=0))
    order = np.argsort(mouth_opening(np.asarray(views.person.landmarks[: views.n_train])))
    picks = [int(order[len(order) * share // 100]) for share in (2, 50, 98)]
    mouths = [_rendered(portrait, views, frames[0], pick).rgb.cpu().numpy() for pick in picks]
    _write_png(folder / "preview_mouth.png", np.concatenate(mouths, axis=1))


def _write_png(path: Path, picture: Float[np.ndarray, "h w 3"]) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray((picture * 255).round().astype(np.uint8)).save(buffer, format="png")
    _replace(path, buffer.getvalue())


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(content)
    os.replace(partial, path)
