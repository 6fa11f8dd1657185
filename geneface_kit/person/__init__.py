"""Person: a talking video -> one validated artefact that the other stages trust.

Reads the clip; writes frames, labels, torso, plate, tracks, speech, audio and person.json (last).
"""

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from geneface_kit import clip, demo, landmarks, layers, runs, speech, tracking
from geneface_kit.person import files, framing, quality, sound
from geneface_kit.person.settings import CPU, PAPER, PersonConfig

__all__ = [
    "CPU",
    "KNOWN",
    "PAPER",
    "Person",
    "PersonConfig",
    "find",
    "inputs",
    "load",
    "make",
    "prepare",
]

SCHEMA = 1
SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
KNOWN = {
    "obama": "AD-NeRF, https://github.com/YudongGuo/AD-NeRF, dataset/vids/Obama.mp4",
    "may": "GeneFace, https://github.com/yerfor/GeneFace, data/raw/videos/May.mp4",
    "lieu": "GeneFace, https://github.com/yerfor/GeneFace, linked from its readme",
    "macron": "GeneFace, https://github.com/yerfor/GeneFace, linked from its readme",
}
"""Persons of published work -> where their clip is; the terms are those of the source."""

TRACKS = (
    "poses",
    "landmarks",
    "landmarks2d",
    "landmark_mean",
    "landmark_std",
    "face_rects",
    "lip_rects",
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Person:
    """A prepared person; pictures are memory maps, t frames at 25 fps of size x size pixels.

    labels: 0 background, 1 head, 2 neck, 3 torso; torso: RGBA painted on behind the chin;
    plate: the background; poses: camera-to-world, see `camera`; focal: pixels;
    landmarks: (t, 68, 3) pose-free in eye distances, landmarks2d in pixels, with the mean and
    std of the former; face_rects, lip_rects: (t, 4) x0, y0, x1, y1; speech: 2t steps and
    audio: t / 25 s at 16 kHz, both with the offset corrected; n_train: the first frames that
    train, the rest is held out; data_kind: "synthetic" or "real"; report: see person.json.
    """

    folder: Path
    name: str
    data_kind: str
    size: int
    focal: float
    frames: UInt8[np.ndarray, "t h w 3"]
    labels: UInt8[np.ndarray, "t h w"]
    torso: UInt8[np.ndarray, "t h w 4"]
    plate: UInt8[np.ndarray, "h w 3"]
    poses: Float[np.ndarray, "t 4 4"]
    landmarks: Float[np.ndarray, "t 68 3"]
    landmarks2d: Float[np.ndarray, "t 68 2"]
    landmark_mean: Float[np.ndarray, "68 3"]
    landmark_std: Float[np.ndarray, "68 3"]
    face_rects: Int[np.ndarray, "t 4"]
    lip_rects: Int[np.ndarray, "t 4"]
    speech: speech.Speech
    audio: Float[np.ndarray, " n"]
    n_train: int
    report: dict[str, Any]

    def __len__(self) -> int:
        return len(self.poses)

    def gt_image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """Frame with its background replaced by the plate."""
        return layers.gt_image(self.frames[index], self.labels[index], self.plate)

    def head_image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The head's pixels on the plate."""
        return layers.head_image(self.frames[index], self.labels[index], self.plate)


def make(run: runs.Run, settings: Any) -> None:
    """Prepare the run's person into its folder (stage `person`)."""
    source = find(run.subject)
    for path in inputs(run.subject, settings):
        run.add_input(path)
    person = prepare(source, run.folder, settings.person, name=Path(run.subject).stem)
    run.data_kind = person.data_kind
    run.record("report", person.report)


def inputs(subject: str, settings: Any) -> list[Path]:
    """The files the stage reads: the clip, and its sound when that lies beside it."""
    source = find(subject)
    beside = source.with_suffix(".wav")
    return [source, beside] if beside.exists() and not clip.probe(source).has_sound else [source]


def find(name: str) -> Path:
    """The video of a person: a file's path, a clip in data/persons or GENEFACE_KIT_DATA, the demo.

    Raises: FileNotFoundError, in one sentence that says where to put the video.
    """
    if Path(name).suffix.lower() in SUFFIXES and Path(name).is_file():
        return Path(name)
    if name in demo.NAMES:
        return demo.clip_path(name)
    folders = [runs.root() / "data" / "persons"]
    if "GENEFACE_KIT_DATA" in os.environ:
        data = Path(os.environ["GENEFACE_KIT_DATA"])
        folders += [data, data / "persons"]
    for folder in folders:
        for suffix in SUFFIXES:
            if (folder / f"{name}{suffix}").is_file():
                return folder / f"{name}{suffix}"
    known = f" (published by {KNOWN[name]})" if name in KNOWN else ""
    raise FileNotFoundError(
        f"no video of person {name!r}: put it at data/persons/{Path(name).stem}.mp4 in "
        f"the project's folder, or into the folder that GENEFACE_KIT_DATA names{known}"
    )


def prepare(
    source: Path, folder: Path, config: PersonConfig | None = None, *, name: str = ""
) -> Person:
    """Turn a video into a person artefact in `folder` (person.json is written last).

    Raises: ValueError in one sentence when the clip cannot be used; what could be repaired is
    listed in the report's warnings.
    """
    config = config or PersonConfig()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "person.json").unlink(missing_ok=True)
    scan = framing.scan(source, config.framing, max_s=config.max_s, detector=config.detector)
    start, stop, warnings = framing.usable_span(scan, config.framing)
    mesh = landmarks.fill_gaps(scan.mesh.cut(start, stop))
    crop = framing.square_crop(mesh, scan.width, scan.height, config.framing)
    mesh = mesh.moved(crop.left, crop.top, config.size / crop.side)
    tracked = tracking.track(mesh, config.size, config.tracking)

    sound, spoken, offset, notes = _speech(source, start, tracked, config)
    frames = _write_frames(source, folder, (start, stop), crop, scan.width, config)
    labels = _write_labels(folder, frames, tracked.landmarks2d, config)
    plate, seen = _plate(frames, labels, config)
    _write_torso(folder, frames, labels, config)
    _write_picture(folder / "plate.png", plate)
    _write_tracks(folder, tracked, mesh.found, config.size)
    _write_npz(folder / "speech.npz", **vars(spoken))
    clip.write_audio(folder / "audio.wav", sound)

    report = quality.measure(scan, (start, stop), crop, tracked, offset, frames, labels)
    report["plate_seen"] = float(seen.mean())
    report |= quality.verdict(report, warnings + notes)
    facts = {
        "schema": SCHEMA,
        "name": name or source.stem,
        "data_kind": "synthetic" if source.parent == demo.clip_path("demo").parent else "real",
        "size": config.size,
        "focal": tracked.focal,
        "n_frames": len(frames),
        "unit": "inter-ocular distance",
        "report": report,
    }
    runs.write_json(folder / "person.json", facts)
    for warning in report["warnings"]:
        log.warning("%s: %s", facts["name"], warning)
    return load(folder)


def load(folder: Path) -> Person:
    """The artefact of a folder. Raises: FileNotFoundError or ValueError when it is not complete."""
    path = folder / "person.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no finished person; run the stage person again")
    facts = json.loads(path.read_text())
    if facts.get("schema") != SCHEMA:
        raise ValueError(
            f"{path} has schema {facts.get('schema')}, this version reads {SCHEMA}; prepare again"
        )
    with np.load(folder / "tracks.npz", allow_pickle=False) as stored:
        tracks = dict(stored)
    with np.load(folder / "speech.npz", allow_pickle=False) as stored:
        heard = dict(stored)
    heard["encoder"] = str(heard["encoder"])
    pictures = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r")
        for name in ("frames", "labels", "torso")
    }
    n_frames = facts["n_frames"]
    if any(len(picture) != n_frames for picture in pictures.values()):
        raise ValueError(f"{folder} is not complete; run the stage person again")
    plate = cv2.cvtColor(cv2.imread(str(folder / "plate.png")), cv2.COLOR_BGR2RGB)
    return Person(
        folder=folder,
        name=facts["name"],
        data_kind=facts["data_kind"],
        size=facts["size"],
        focal=facts["focal"],
        **pictures,
        plate=plate,
        **{key: tracks[key] for key in TRACKS},
        speech=speech.Speech(**heard),
        audio=clip.read_audio(folder / "audio.wav"),
        n_train=10 * n_frames // 11,
        report=facts["report"],
    )
