"""Shards: the corpus on disk. Plain .npy arrays mapped into memory, and one json that says where.

A shard is a folder of four arrays, the utterances one after the other: features.npy (s, c),
f0.npy (s,), mel.npy (s, 80) and landmarks.npy (t, 68, 3). index.json lists the clips with the
rows of their utterances. Opening reads only the index; an utterance is a view into the maps.
"""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from geneface_kit.person.corpus.source import SCHEMA
from geneface_kit.person.speech import Speech

__all__ = [
    "ARRAYS",
    "INDEX",
    "Corpus",
    "Utterance",
    "open_corpus",
    "packed",
    "read_index",
    "sizes_of",
]

log = logging.getLogger(__name__)

ARRAYS = ("features", "f0", "mel", "landmarks")
INDEX = "index.json"


@dataclass(frozen=True)
class Utterance:
    """One clip of one speaker, on one clock.

    speech: 2t feature steps; landmarks: (t, 68, 3) canonical, inter-ocular distances.
    clip: the source clip; its copies at other speeds share it.
    """

    name: str
    speaker: str
    clip: str
    speech: Speech
    landmarks: Float[np.ndarray, "t 68 3"]

    def __len__(self) -> int:
        return len(self.landmarks)


@dataclass(frozen=True)
class Corpus:
    """The utterances of a folder, and what could not be read: file -> reason.

    folder: where index.json, the shards and broken.csv are; None for a corpus in memory.
    facts: clip -> what is known of it: audio-video offset (found, confidence, corrected).
    """

    utterances: tuple[Utterance, ...]
    broken: dict[str, str]
    folder: Path | None = None
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def speakers(self) -> list[str]:
        """The names of the speakers, sorted."""
        return sorted({utterance.speaker for utterance in self.utterances})


def packed(home: Path) -> dict[str, dict[str, Any]]:
    """The clips and verdicts an intact corpus folder already holds: key -> entry of its index.

    Entries of a shard that is missing or cut short are not among them: they are made anew.
    """
    index = read_index(home)
    if index is None:
        return {}
    intact = {shard for shard, sizes in index["shards"].items() if sizes_of(home / shard) == sizes}
    for shard in index["shards"].keys() - intact:
        log.warning("%s of the corpus is damaged: its clips are read again", shard)
    entries = [entry for entry in index["clips"] if entry["shard"] in intact]
    return {entry["key"]: entry for entry in entries + index["broken"]}


def open_corpus(home: Path) -> Corpus:
    """The corpus of a folder; its arrays are views into memory maps, read when they are used.

    Raises: FileNotFoundError without an index; ValueError when a shard is damaged.
    """
    index = read_index(home)
    if index is None:
        raise FileNotFoundError(
            f"no corpus of this version in {home}: make it with `corpus FOLDER`"
        )
    for shard, sizes in index["shards"].items():
        if sizes_of(home / shard) != sizes:
            raise ValueError(f"{home / shard} is damaged: run `corpus FOLDER` again to repair it")
    maps = {shard: _maps(home / shard) for shard in index["shards"]}
    encoder = index["settings"]["encoder"]
    utterances = [
        _utterance(entry, suffix, rows, maps[entry["shard"]], encoder)
        for entry in index["clips"]
        for suffix, rows in entry["rows"].items()
    ]
    broken = {entry["file"]: entry["reason"] for entry in index["broken"]}
    facts = {
        entry["name"]: {name: entry[name] for name in entry if name.startswith("offset")}
        for entry in index["clips"]
    }
    return Corpus(tuple(utterances), broken, home, facts)


def _utterance(
    entry: dict[str, Any],
    suffix: str,
    rows: dict[str, int],
    maps: dict[str, np.ndarray],
    encoder: str,
) -> Utterance:
    frames, moved = rows["frames"], rows["landmarks"]
    steps = slice(rows["steps"], rows["steps"] + 2 * frames)
    return Utterance(
        name=entry["name"] + suffix,
        speaker=entry["speaker"],
        clip=entry["name"],
        speech=Speech(
            features=maps["features"][steps],
            encoder=encoder,
            f0=maps["f0"][steps],
            mel=maps["mel"][steps],
        ),
        landmarks=maps["landmarks"][moved : moved + frames],
    )


def _maps(shard: Path) -> dict[str, np.ndarray]:
    """The arrays of a shard as views of private maps: a write would stay in memory."""
    files = {name: shard / f"{name}.npy" for name in ARRAYS}
    return {
        name: np.load(file, mmap_mode="c", allow_pickle=False).view(np.ndarray)
        for name, file in files.items()
    }


def read_index(home: Path) -> dict[str, Any] | None:
    """The index, or None when there is none of this schema."""
    try:
        index = json.loads((home / INDEX).read_text())
    except FileNotFoundError:
        return None
    except json.JSONDecodeError:
        log.warning("%s is damaged: the corpus is made anew", home / INDEX)
        return None
    return index if index.get("schema") == SCHEMA else None


def sizes_of(shard: Path) -> dict[str, int]:
    """Bytes of each array of a shard; empty when one is missing."""
    files = [shard / f"{name}.npy" for name in ARRAYS]
    if not all(file.exists() for file in files):
        return {}
    return {file.name: file.stat().st_size for file in files}
