"""Manifest: a folder of talking videos -> the clips to read, whose they are, how to read them."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Float

from geneface_kit import runs
from geneface_kit.person import clip, demo
from geneface_kit.person.speech.encoders import EncoderName, load_encoder
from geneface_kit.runs.files import Facts
from geneface_kit.runs.ranges import Positive, Range

SCHEMA, FACES_SCHEMA = 7, 5
"""Number of the layout of the index and the arrays, and of the tracked faces; a change makes every
clip, or every face, anew."""
Rate = Annotated[float, Range(0.5, 2)]


@dataclass(frozen=True)
class CorpusConfig:
    """Settings of the corpus; the defaults are the smoke profile's."""

    folder: str = ""  # folder of videos; "" means the two embedded demo clips
    encoder: EncoderName = "hama"  # speech features, see speech.encoders
    max_s: Positive = 60.0  # seconds read of each clip; ours
    rates: tuple[Rate, ...] = (1.0, 0.84, 0.92, 1.09, 1.19)  # speed perturbation of a clip; ours
    remove_identity: bool = True  # subtract each speaker's mean landmarks; ours, False in the code
    unit: Positive = 0.03  # eye distances per network unit; ours (about the rms of a mouth)


@dataclass(frozen=True)
class ClipJob:
    """One clip to be read, on any core of any machine. name: unique in the corpus; file: as named
    below its folder; key: digest of all that the result depends on; faces: where the tracked
    landmarks are kept, which outlive other speech settings."""

    name: str
    file: str
    path: Path
    speaker: str
    key: str
    faces: Path
    config: CorpusConfig


Arrays = dict[str, Float[np.ndarray, "n ..."]]  # kind and suffix of a copy ("f0@1.19") -> values
Outcome = tuple[Facts, Arrays]  # of a broken clip its stage, its reason, and no arrays
Outcomes = Iterator[tuple[ClipJob, Outcome]]


def clip_paths(folder: str) -> list[Path]:
    """The videos of a corpus folder and its sub-folders, sorted; "" gives the demo clips.

    Raises: FileNotFoundError without the folder; ValueError when there is no video in it.
    """
    if not folder:
        return [demo.clip_path(name) for name in demo.NAMES]
    place = _find_folder(folder)
    paths = sorted(path for path in place.rglob("*") if path.suffix.lower() in clip.SUFFIXES)
    if not paths:
        endings = ", ".join(clip.SUFFIXES)
        raise ValueError(f"no video in {place}: put talking clips there ({endings})")
    return paths


def clip_files(folder: str) -> dict[str, Path]:
    """What a corpus is read from: names below its folder -> videos, and sounds beside them.

    The demo's names differ from those of any folder: its clips are synthetic.
    """
    paths = clip_paths(folder)
    place = _find_folder(folder) if folder else demo.FOLDER.parent
    files = [*paths, *filter(None, map(clip.beside_of, paths))]
    return {path.relative_to(place).as_posix(): path for path in files}


def corpus_folder(config: CorpusConfig, out: Path | str = "") -> Path:
    """Where the corpus of these settings lies: OUT/FOLDER-x/ENCODER-y, OUT by default runs/corpus;
    x follows from the place of the videos, y from the settings that change what is read."""
    place = str(_find_folder(config.folder).resolve()) if config.folder else "demo"
    above = f"{Path(place).name}-{digest(place)[:8]}"
    word = re.sub(r"[^\w.-]+", ".", config.encoder)
    below = f"{word}-{digest(read_settings(config))[:8]}"
    corpora = Path(out) if out else runs.root() / "runs" / "corpus"
    return corpora.absolute() / above / below  # workers may be somewhere else


def clip_jobs(config: CorpusConfig, home: Path) -> list[ClipJob]:
    """One job for each video of the folder, in the order of their names. home: the folder of this
    corpus. A clip's speaker is the sub-folder it lies in, else its name before "_clip".

    Raises: ValueError for an encoder that there is not, FileNotFoundError without its weights.
    """
    paths, place = clip_paths(config.folder), _find_folder(config.folder)
    names = Counter(path.with_suffix("") for path in paths)
    encoder = load_encoder(config.encoder).version
    jobs = []
    for path in paths:
        file, above = path.relative_to(place).as_posix(), path.parent.relative_to(place).as_posix()
        seen = [FACES_SCHEMA, file, *_file_stamp(path), config.max_s]
        heard = [*_file_stamp(clip.beside_of(path) or path.with_suffix(".wav")), encoder]
        name = file if names[path.with_suffix("")] > 1 else file.removesuffix(path.suffix)
        speaker = path.stem.split("_clip")[0] if above == "." else above
        key = digest([seen, heard, home.name])[:16]
        faces = home.parent / "faces" / f"{digest(seen)[:16]}.npz"
        jobs.append(ClipJob(name, file, path.absolute(), speaker, key, faces, config))
    return jobs


def read_settings(config: CorpusConfig) -> Facts:
    """The settings that change what is read from a clip; the others act when batches are drawn."""
    later = ("folder", "remove_identity", "unit")
    return {name: value for name, value in asdict(config).items() if name not in later}


def digest(facts: object) -> str:
    """A hex digest of plain values."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _file_stamp(path: Path) -> tuple[int, int]:
    """Size and time of change of a file; zeros when there is none."""
    stat = path.stat() if path.exists() else None
    return (stat.st_size, stat.st_mtime_ns) if stat else (0, 0)


def _find_folder(folder: str) -> Path:
    """The folder of that name, see `runs.data_places`; "" is the demo's.

    Raises: FileNotFoundError when it is in none of these places.
    """
    places = runs.data_places(folder) if folder else [demo.FOLDER]
    if found := next(filter(Path.is_dir, places), None):
        return found
    looked = ", ".join(map(str, places))
    raise FileNotFoundError(f"no corpus folder {folder!r}: looked at {looked}; put videos there")
