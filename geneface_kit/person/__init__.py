"""Person: a talking video -> one validated artefact that the other stages trust.

Reads the clip; writes frames, labels, torso, plate, tracks, speech, audio and person.json (last).
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from geneface_kit import clip, demo, landmarks, layers, runs, speech, tracking
from geneface_kit.layers import LayersConfig
from geneface_kit.person import framing, known, quality
from geneface_kit.person.framing import FramingConfig
from geneface_kit.person.known import KNOWN
from geneface_kit.tracking import TrackingConfig

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
class PersonConfig:
    """Settings of the stage; the defaults are the smoke profile's. All ours but where noted."""

    size: int = 128  # side of the square pictures, pixels; the method has 512
    max_s: float = 0.0  # seconds read from the clip; 0 = all
    detector: str = "mediapipe"  # landmarks.DETECTORS
    encoder: str = "hama"  # speech features, speech.ENCODERS; the method has HuBERT large
    encoder_weights: str = ""  # folder of the weights of "hubert-large"; "" = the hub's cache
    correct_offset: bool = True  # shift the sound onto the lips when the offset is clear
    offset_confidence: float = 0.3  # least confidence of a correction
    offset_least_s: float = 0.05  # smaller offsets are within the estimate's error, seconds
    framing: FramingConfig = field(default_factory=FramingConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    layers: LayersConfig = field(default_factory=LayersConfig)


CPU = {"size": 256}
PAPER = {"size": 512}


@dataclass(frozen=True)
class Person:
    """A prepared person; pictures are memory maps, t frames at 25 fps of size x size pixels.

    labels: 0 background, 1 head, 2 neck, 3 torso; torso: RGBA painted on behind the chin;
    plate: the background; poses: camera-to-world, see `camera`; focal: pixels;
    landmarks: (t, 68, 3) pose-free in eye distances, landmarks2d in pixels, with the mean and
    std of the former; face_rects, lip_rects: (t, 4) x0, y0, x1, y1; speech: 2t steps and
    audio: t / 25 s at 16 kHz, both with the offset corrected; n_train: the first frames that
    train, the rest is held out; data_kind: "synthetic" or "real"; report: see person.json;
    consent: the subject's statement, from NAME.consent.txt beside the clip, "" without one.
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
    consent: str = ""

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
    """The video of a person, looked for in this order.

    A file's path; a folder's path ("clips/" or "./ada") that holds one video; a clip called NAME
    in data/persons or GENEFACE_KIT_DATA; a known person, fetched into data/persons unless
    GENEFACE_KIT_OFFLINE is set; the embedded demo.
    Raises: FileNotFoundError, in one sentence that says where to put the video; ValueError when
    a folder holds several, or a fetched clip was changed.
    """
    given = Path(name)
    if given.is_file() and (given.suffix or given.parent.name):
        return given
    if given.is_dir() and os.sep in name:
        return _only_video(given)
    at_home = runs.root() / "data" / "persons"
    folders = [at_home]
    if "GENEFACE_KIT_DATA" in os.environ:
        data = Path(os.environ["GENEFACE_KIT_DATA"])
        folders += [data, data / "persons"]
    for folder in folders:
        for suffix in clip.SUFFIXES:
            if (folder / f"{name}{suffix}").is_file():
                return known.check(folder / f"{name}{suffix}")
    entry = known.KNOWN.get(name)
    if entry and entry.address and "GENEFACE_KIT_OFFLINE" not in os.environ:
        return known.fetch(name, at_home)
    if name in demo.NAMES:
        return demo.clip_path(name)
    published = f" (published by {entry.source})" if entry else ""
    raise FileNotFoundError(
        f"no video of person {name!r}: put it at data/persons/{given.stem}.mp4 in "
        f"the project's folder, or into the folder that GENEFACE_KIT_DATA names{published}"
    )


def _only_video(folder: Path) -> Path:
    videos = sorted(path for path in folder.iterdir() if path.suffix.lower() in clip.SUFFIXES)
    if len(videos) == 1:
        return videos[0]
    found = ", ".join(path.name for path in videos[:5]) or "none"
    raise ValueError(
        f"{folder} holds {len(videos)} videos ({found}); one is needed, name it by its path"
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
    frames = _write_frames(source, folder, (start, stop), crop, scan.width, config)
    tracked = tracking.track(mesh, config.size, config.tracking, pictures=frames)

    sound, spoken, offset, notes = _speech(source, start, tracked, config)
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
        "consent": _consent(source),
        "speech": {"encoder": spoken.encoder, "version": spoken.version, "steps_per_frame": 2},
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
    for word in {"encoder", "version"} & set(heard):
        heard[word] = str(heard[word])
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
        consent=facts.get("consent", ""),
    )


def _consent(source: Path) -> str:
    """The statement in NAME.consent.txt beside the clip, if there is one."""
    path = source.with_suffix(".consent.txt")
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def _speech(
    source: Path, start: int, tracked: tracking.Track, config: PersonConfig
) -> tuple[np.ndarray, speech.Speech, speech.Offset, list[str]]:
    """Sound and features of the span, brought into step with the lips; offset and warnings."""
    heard = clip.sound_of(source)
    if heard is None:
        raise ValueError(
            f"{source.name} has no sound; a person needs speech, inside the video or in a .wav "
            "of the same name beside it"
        )
    n_frames = len(tracked.poses)
    spoken = speech.encode(_span_of(heard, start, n_frames, 0.0)).cut(n_frames)
    found = speech.offset(spoken, tracked.landmarks)
    warnings = []
    if np.sqrt(np.mean(heard**2)) < clip.SILENCE_RMS:
        warnings.append("the clip is silent: nothing can be learnt from its sound")
    clear = found.confidence >= config.offset_confidence
    shift_s = found.seconds if clear and abs(found.seconds) >= config.offset_least_s else 0.0
    if shift_s and config.correct_offset:
        side = "late" if shift_s > 0 else "early"
        warnings.append(f"the sound was {abs(shift_s):.2f} s {side} against the lips; corrected")
    elif not clear:
        warnings.append(
            f"the audio-video offset is uncertain (confidence {found.confidence:.2f}); left as is"
        )
    sound = _span_of(heard, start, n_frames, shift_s if config.correct_offset else 0.0)
    if config.encoder != "hama" or shift_s:
        spoken = speech.encode(sound, config.encoder, weights=config.encoder_weights)
    return sound, spoken.cut(n_frames), found, warnings


def _span_of(sound: np.ndarray, start: int, n_frames: int, shift_s: float) -> np.ndarray:
    """Sound of n_frames frames from frame `start`, taken shift_s later; silence outside."""
    first = round((start / clip.FPS + shift_s) * clip.SAMPLE_RATE)
    n_samples = n_frames * clip.SAMPLE_RATE // clip.FPS
    padded = np.pad(sound, (max(0, -first), max(0, first + n_samples - len(sound))))
    return padded[max(first, 0) :][:n_samples].astype(np.float32)


def _write_frames(
    source: Path,
    folder: Path,
    span: tuple[int, int],
    crop: framing.Crop,
    scanned_width: int,
    config: PersonConfig,
) -> np.ndarray:
    """Second pass: the square crop of every frame of the span, from full-resolution pictures."""
    start, stop = span
    shape = (stop - start, config.size, config.size, 3)
    with _new_array(folder / "frames.npy", shape) as frames:
        pictures = clip.stream_frames(source, max_s=stop / clip.FPS)
        for index, picture in enumerate(pictures):
            if index < start:
                continue
            left, top, side = crop.scaled(picture.shape[1] / scanned_width)
            square = picture[top : top + side, left : left + side]
            shrink = cv2.INTER_AREA if side > config.size else cv2.INTER_CUBIC
            frames[index - start] = cv2.resize(
                square, (config.size, config.size), interpolation=shrink
            )
    return np.load(folder / "frames.npy", mmap_mode="r")


def _write_labels(
    folder: Path, frames: np.ndarray, points: np.ndarray, config: PersonConfig
) -> np.ndarray:
    with (
        _new_array(folder / "labels.npy", frames.shape[:3]) as labels,
        landmarks.person_mask() as person_of,
    ):
        some = _some_frames(len(frames), 12)
        palette = layers.learn_palette(
            ((frames[t], person_of(frames[t]), points[t]) for t in some), config.layers
        )
        around = [person_of(frames[0])] * 2  # probabilities of the frames before and at t
        for t in range(len(frames)):
            following = person_of(frames[t + 1]) if t + 1 < len(frames) else around[1]
            steady = (around[0] + 2 * around[1] + following) / 4
            around = [around[1], following]
            person = layers.refine_mask(steady, frames[t], config.layers)
            labels[t] = layers.label_frame(frames[t], person, points[t], palette, config.layers)
    return np.load(folder / "labels.npy", mmap_mode="r")


def _plate(
    frames: np.ndarray, labels: np.ndarray, config: PersonConfig
) -> tuple[np.ndarray, np.ndarray]:
    some = _some_frames(len(frames), config.layers.plate_frames)
    return layers.plate_from(((frames[t], labels[t]) for t in some), config.layers)


def _some_frames(n_frames: int, n: int) -> np.ndarray:
    return np.unique(np.linspace(0, n_frames - 1, min(n_frames, n)).astype(int))


def _write_torso(
    folder: Path, frames: np.ndarray, labels: np.ndarray, config: PersonConfig
) -> None:
    with _new_array(folder / "torso.npy", (*frames.shape[:3], 4)) as torso:
        for t in range(len(frames)):
            torso[t] = layers.torso_image(frames[t], labels[t], config.layers)


def _write_tracks(folder: Path, tracked: tracking.Track, found: np.ndarray, size: int) -> None:
    _write_npz(
        folder / "tracks.npz",
        poses=tracked.poses,
        landmarks=tracked.landmarks,
        landmarks2d=tracked.landmarks2d,
        landmark_mean=tracked.landmarks.mean(0),
        landmark_std=tracked.landmarks.std(0),
        face_rects=_rects(tracked.landmarks2d, size, margin=0.1),
        lip_rects=_rects(tracked.landmarks2d[:, 48:60], size, margin=0.15, square=True),
        error_px=tracked.error_px,
        found=found,
    )


def _rects(points: np.ndarray, size: int, *, margin: float, square: bool = False) -> np.ndarray:
    """Boxes around points, (t, 4) x0, y0, x1, y1 inside the picture, with a relative margin."""
    low, high = points.min(1), points.max(1)
    middle, half = (low + high) / 2, (high - low) / 2 * (1 + 2 * margin)
    if square:
        half = np.repeat(half.max(1, keepdims=True), 2, axis=1)
    corners = np.concatenate([np.floor(middle - half), np.ceil(middle + half)], axis=1)
    return np.clip(corners, 0, size).astype(np.int64)


@contextmanager
def _new_array(path: Path, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """A uint8 npy file to fill, never in memory as a whole; it gets its name when complete."""
    partial = path.with_name(path.name + ".part")
    array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
    yield array
    array.flush()
    os.replace(partial, path)


def _write_npz(path: Path, **arrays: Any) -> None:
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    os.replace(partial, path)


def _write_picture(path: Path, picture: np.ndarray) -> None:
    partial = path.with_name(f".{path.name}")
    if not cv2.imwrite(str(partial), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise OSError(f"could not write {partial}; is the disk full?")
    os.replace(partial, path)
