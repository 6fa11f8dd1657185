"""Corpus: a folder of talking videos -> speech and landmarks of many speakers, for motion and sync.

Reads any video PyAV reads (with a .wav of the same name beside it when the picture is silent);
caches one npz per clip under runs/corpus/. A broken clip is listed, never fatal.
The speaker of a clip is the sub-folder it lies in, else its name before "_clip".
"""

import hashlib
import itertools
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.signal import resample_poly
from torch import Tensor

from geneface_kit import clip, landmarks, live, runs, speech, tracking

__all__ = [
    "CPU",
    "PAPER",
    "Corpus",
    "CorpusConfig",
    "Sequences",
    "Utterance",
    "clip_paths",
    "collate",
    "displacements",
    "draw_batch",
    "folds",
    "prepare",
    "speeches",
]

log = logging.getLogger(__name__)

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
SCHEMA = 1
"""Number of the cache's layout; a change makes every clip anew."""
PICTURE = 480
"""Longer side of the pictures landmarks are found in, px (ours)."""
MAX_MISSING = 0.1
"""Share of frames without a face above which a clip is broken (ours)."""


@dataclass(frozen=True)
class CorpusConfig:
    """Settings of the corpus; the defaults are the smoke profile's."""

    folder: str = ""  # folder of videos; "" means the two embedded demo clips
    encoder: str = "hama"  # speech features, see speech.encode
    max_s: float = 60.0  # seconds read of each clip; ours
    min_s: float = 2.0  # shorter clips are listed as broken; ours
    min_offset_confidence: float = 0.3  # below it the audio-video offset is left at 0; ours
    rates: tuple[float, ...] = (1.0, 0.84, 0.92, 1.09, 1.19)  # speeds of the copies of a clip; ours
    noise_db: tuple[float, ...] = ()  # signal-to-noise ratio of further, noisy copies; ours
    remove_identity: bool = True  # subtract each speaker's mean landmarks; ours, False in the code
    unit: float = 0.03  # inter-ocular distances per network unit; ours (about the rms of a mouth)


CPU = {}
PAPER = {"rates": (1.0,), "max_s": 600.0}


@dataclass(frozen=True)
class Utterance:
    """One clip of one speaker, on one clock.

    speech: 2t feature steps; landmarks: (t, 68, 3) canonical, inter-ocular distances.
    clip: the source clip; its copies at other speeds share it.
    """

    name: str
    speaker: str
    clip: str
    speech: speech.Speech
    landmarks: Float[np.ndarray, "t 68 3"]

    def __len__(self) -> int:
        return len(self.landmarks)


@dataclass(frozen=True)
class Corpus:
    """The utterances of a folder, and what could not be read: name -> reason."""

    utterances: tuple[Utterance, ...]
    broken: dict[str, str]

    @property
    def speakers(self) -> list[str]:
        """The names of the speakers, sorted."""
        return sorted({utterance.speaker for utterance in self.utterances})


@dataclass(frozen=True)
class Sequences:
    """A padded batch: b pieces of t frames, t a multiple of 4.

    speech: (b, 2t, c); f0: (b, 2t) Hz, 0 unvoiced; motion: (b, t, 204), network units;
    mask: (b, t), False on padding; clips: (b,) which clip each piece is from.
    """

    speech: Float[Tensor, "b s c"]
    f0: Float[Tensor, "b s"]
    motion: Float[Tensor, "b t 204"]
    mask: Bool[Tensor, "b t"]
    clips: Int[Tensor, " b"]


def prepare(config: CorpusConfig) -> Corpus:
    """Every clip of the folder (or the embedded demo clips), from the cache where possible.

    Raises: FileNotFoundError when the folder does not exist; ValueError when no clip is usable.
    """
    utterances: list[Utterance] = []
    broken: dict[str, str] = {}
    for path in live.progress(clip_paths(config.folder), "reading the corpus"):
        try:
            utterances += _read(path, config)
        except (ValueError, FileNotFoundError, OSError) as error:
            broken[path.name] = str(error)
            log.warning("corpus clip %s is left out: %s", path.name, error)
    if not utterances:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(broken.items())[:3])
        raise ValueError(f"no usable clip in {config.folder or 'the demo'} ({reasons})")
    return Corpus(tuple(utterances), broken)


def clip_paths(folder: str) -> list[Path]:
    """The videos of a corpus folder and its sub-folders, sorted; "" gives the demo clips."""
    if not folder:
        from geneface_kit import demo

        return [demo.clip_path(name) for name in demo.NAMES]
    home = _find_folder(folder)
    paths = sorted(path for path in home.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"no video in {home}: put talking clips there ({', '.join(SUFFIXES)})")
    return paths


def speeches(config: CorpusConfig) -> list[speech.Speech]:
    """Only the speech of every clip of the folder, for stages that need no faces."""
    spoken = []
    for path in clip_paths(config.folder):
        try:
            audio = clip.sound_of(path)
            if audio is not None:
                spoken.append(speech.encode(audio, config.encoder))
        except ValueError as error:
            log.warning("the sound of %s is left out: %s", path.name, error)
    return spoken


def folds(speakers: Sequence[str], n_folds: int) -> list[list[str]]:
    """Speakers dealt into n groups, for validation by speaker: a b c d e in 2 -> ace, bd."""
    return [list(speakers[index::n_folds]) for index in range(min(n_folds, len(speakers)))]


def displacements(
    utterances: Sequence[Utterance], config: CorpusConfig
) -> list[Float[np.ndarray, "_ 204"]]:
    """Motion targets of each utterance, in network units.

    remove_identity: landmarks minus the mean over all frames of that speaker, so that the
    generator learns motion and not faces. Differs from the official code, which subtracts one
    mean face and keeps identity; False does that with the corpus' mean.
    """
    groups: dict[str, list[np.ndarray]] = {}
    for utterance in utterances:
        key = utterance.speaker if config.remove_identity else ""
        groups.setdefault(key, []).append(utterance.landmarks)
    means = {key: np.concatenate(parts).mean(0) for key, parts in groups.items()}
    flat = []
    for utterance in utterances:
        mean = means[utterance.speaker if config.remove_identity else ""]
        flat.append(((utterance.landmarks - mean) / config.unit).reshape(-1, 204))
    return [motion.astype(np.float32) for motion in flat]


def draw_batch(
    utterances: Sequence[Utterance],
    motions: Sequence[Float[np.ndarray, "_ 204"]],
    *,
    size: int,
    frames: int,
    generator: torch.Generator,
) -> Sequences:
    """Random pieces of at most `frames` frames; long clips are drawn more often, by length.

    A clip shorter than `frames` is cut to a multiple of 4 and padded; the mask says where.
    """
    lengths = torch.tensor([len(utterance) for utterance in utterances], dtype=torch.float32)
    picks = torch.multinomial(lengths, size, replacement=True, generator=generator).tolist()
    pieces = []
    for pick in picks:
        length = min(len(utterances[pick]) // 4 * 4, frames)
        last = len(utterances[pick]) - length
        start = int(torch.randint(last + 1, (1,), generator=generator))
        pieces.append(cut(utterances[pick], motions[pick], start, length))
    names = sorted({utterance.clip for utterance in utterances})
    clips = torch.tensor([names.index(utterances[pick].clip) for pick in picks])
    return collate(pieces, clips)


def cut(
    utterance: Utterance, motion: Float[np.ndarray, "_ 204"], start: int, length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Speech features, f0 and motion of `length` frames from `start`."""
    steps = slice(2 * start, 2 * (start + length))
    features, f0 = utterance.speech.features[steps], utterance.speech.f0[steps]
    return features, f0, motion[start : start + length]


def collate(
    pieces: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], clips: Int[Tensor, " b"]
) -> Sequences:
    """Pieces of several lengths -> one batch, zero padded to the longest."""
    length = max(len(motion) for _, _, motion in pieces)

    def stack(index: int, size: int) -> Tensor:
        parts = [piece[index] for piece in pieces]
        width = [(0, 0)] * (parts[0].ndim - 1)
        return torch.from_numpy(
            np.stack([np.pad(part, [(0, size - len(part)), *width]) for part in parts])
        ).float()

    lengths = torch.tensor([len(motion) for _, _, motion in pieces])
    mask = torch.arange(length)[None] < lengths[:, None]
    return Sequences(stack(0, 2 * length), stack(1, 2 * length), stack(2, length), mask, clips)


def _find_folder(folder: str) -> Path:
    places = [Path(folder)]
    if "GENEFACE_KIT_DATA" in os.environ:
        places.append(Path(os.environ["GENEFACE_KIT_DATA"]) / folder)
    places.append(runs.root() / "data" / folder)
    for place in places:
        if place.is_dir():
            return place
    looked = ", ".join(str(place) for place in places)
    raise FileNotFoundError(f"no corpus folder {folder!r}: looked at {looked}; put videos there")


def _speaker(path: Path, folder: str) -> str:
    if folder and path.parent != _find_folder(folder):
        return path.parent.name
    return path.stem.split("_clip")[0]


def _read(path: Path, config: CorpusConfig) -> list[Utterance]:
    """One clip's utterances: as recorded, and its copies at other speeds and with noise."""
    file = _cache_file(path, config)
    names = [("", 1.0, 0.0)]
    names += [(f"@{rate:g}", rate, 0.0) for rate in config.rates if rate != 1.0]
    names += [(f"@{level:g}dB", 1.0, level) for level in config.noise_db]
    if not file.exists():
        _write_cache(file, path, config, names)
    with np.load(file) as stored:
        return [
            Utterance(
                name=path.stem + suffix,
                speaker=_speaker(path, config.folder),
                clip=path.stem,
                speech=speech.Speech(
                    features=stored[f"features{suffix}"],
                    encoder=config.encoder,
                    f0=stored[f"f0{suffix}"],
                    mel=stored[f"mel{suffix}"],
                ),
                landmarks=stored[f"landmarks{suffix}"],
            )
            for suffix, _, _ in names
        ]


def _cache_file(path: Path, config: CorpusConfig) -> Path:
    stat = path.stat()
    settings = replace(config, folder="", remove_identity=True, unit=1.0)  # these don't matter
    key = f"{SCHEMA} {path.name} {stat.st_size} {stat.st_mtime_ns} {settings}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:10]
    return runs.root() / "runs" / "corpus" / f"{path.stem}-{digest}.npz"


def _write_cache(file: Path, path: Path, config: CorpusConfig, names: list) -> None:
    """Tracks and encodes one clip; every copy's arrays go into one npz."""
    audio = clip.sound_of(path)
    if audio is None:
        raise ValueError(f"{path.name} has no sound and no {path.stem}.wav beside it")
    points = _landmarks_of(path, config.max_s)
    if len(points) < config.min_s * clip.FPS:
        raise ValueError(f"{path.name} is shorter than {config.min_s:g} s")
    found = speech.offset(speech.encode(audio, "hama").cut(len(points)), points)
    if found.confidence >= config.min_offset_confidence:
        audio = _in_step(audio, found.seconds)
    arrays = {"offset": np.array([found.seconds, found.confidence], np.float32)}
    for suffix, rate, noise_db in names:
        sound, motion = _at_speed(audio, points, rate)
        if noise_db:
            sound = _with_noise(sound, noise_db)
        spoken = speech.encode(sound, config.encoder).cut(len(motion))
        arrays |= {
            f"features{suffix}": spoken.features,
            f"f0{suffix}": spoken.f0,
            f"mel{suffix}": spoken.mel,
            f"landmarks{suffix}": motion,
        }
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{os.getpid()}.{file.name}")
    np.savez_compressed(partial, **arrays)
    os.replace(partial, file)


def _landmarks_of(path: Path, max_s: float) -> np.ndarray:
    """Canonical landmarks (t, 68, 3) of a clip that shows a face nearly all the time."""
    frames = clip.stream_frames(path, long_side=PICTURE, max_s=max_s)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{path.name} has no readable frame")
    mesh = landmarks.detect(itertools.chain([first], frames))
    missing = 1 - float(mesh.found.mean())
    if missing > MAX_MISSING:
        raise ValueError(f"{path.name} shows no face in {100 * missing:.0f} % of its frames")
    mesh = landmarks.fill_gaps(mesh)
    height, width = first.shape[:2]
    centre = np.array([PICTURE - width, PICTURE - height, 0], np.float32) / 2
    return tracking.track(replace(mesh, points=mesh.points + centre), PICTURE).landmarks


def _in_step(audio: np.ndarray, late_s: float) -> np.ndarray:
    """Sound that is `late_s` late moved back to its lips (early sound gets silence in front)."""
    lead = round(late_s * clip.SAMPLE_RATE)
    return audio[lead:] if lead >= 0 else np.pad(audio, (-lead, 0))


def _at_speed(audio: np.ndarray, points: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Sound and landmarks played `rate` times as fast, on one clock; pitch moves along."""
    n_frames = min(len(points), round(len(audio) / clip.SAMPLE_RATE * clip.FPS))
    if rate == 1.0:
        return audio, points[:n_frames]
    ratio = Fraction(rate).limit_denominator(50)
    sound = resample_poly(audio, ratio.denominator, ratio.numerator).astype(np.float32)
    times = np.arange(int(n_frames / rate)) * rate
    before = np.minimum(times.astype(int), n_frames - 1)
    after = np.minimum(before + 1, n_frames - 1)
    share = (times - before).astype(np.float32)[:, None, None]
    return sound, (1 - share) * points[before] + share * points[after]


def _with_noise(audio: np.ndarray, level_db: float) -> np.ndarray:
    """Sound with white noise `level_db` below it; the same noise every time."""
    noise = np.random.default_rng(0).standard_normal(len(audio))
    size = np.sqrt(np.mean(audio**2)) * 10 ** (-level_db / 20)
    return (audio + size * noise).astype(np.float32)
