"""Shards: the corpus on disk. Plain .npy arrays mapped into memory, and one json that says where.

A shard is a folder of four arrays, the utterances one after the other: features.npy (s, c),
f0.npy (s,), mel.npy (s, 80) and landmarks.npy (t, 68, 3). index.json lists the clips with the
rows of their utterances. Opening reads only the index; an utterance is a view into the maps.
"""

import contextlib
import csv
import json
import logging
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from geneface_kit import runs
from geneface_kit.person.corpus.manifest import SCHEMA, ClipJob, encoder_version, read_settings
from geneface_kit.person.speech import Speech

log = logging.getLogger(__name__)

SPEECH_ARRAYS = ("features", "f0", "mel")
ARRAYS = (*SPEECH_ARRAYS, "landmarks")
INDEX = "index.json"
BROKEN = "broken.csv"
"""Name of the list of clips that could not be read: file, stage, reason."""
SHARD_BYTES = 256 * 2**20
"""A shard is closed when it has reached this size (ours)."""


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
    facts: clip -> what is known of it: audio-visual offset (found, confidence, corrected).
    """

    utterances: tuple[Utterance, ...]
    broken: dict[str, str]
    folder: Path | None = None
    facts: dict[str, dict[str, float | bool]] = field(default_factory=dict)

    @property
    def speakers(self) -> list[str]:
        """The names of the speakers, sorted."""
        return sorted({utterance.speaker for utterance in self.utterances})


class RowWriter:
    """Float32 rows appended to a .npy file; the header is mended when their number is known.

    numpy leaves room in a header for any number of rows, so it keeps its length.
    """

    def __init__(self, path: Path) -> None:
        self.n_rows, self._width = 0, None
        self._file = path.open("wb")

    @property
    def n_bytes(self) -> int:
        """Bytes of the rows so far."""
        return 4 * self.n_rows * math.prod(self._width or ())

    def append(self, values: Float[np.ndarray, "n ..."]) -> int:
        """Writes rows; returns the number of the first of them."""
        if self._width is None:
            self._width = values.shape[1:]
            self._write_header()
        self._file.write(np.ascontiguousarray(values, np.float32).data)
        self.n_rows += len(values)
        return self.n_rows - len(values)

    def close(self) -> None:
        """Mends the header and closes the file."""
        if self._width is not None:
            self._file.seek(0)
            self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        about = {"descr": "<f4", "fortran_order": False, "shape": (self.n_rows, *self._width)}
        np.lib.format.write_array_header_1_0(self._file, about)


@contextlib.contextmanager
def array_folder(folder: Path, names: Iterable[str]) -> Iterator[dict[str, RowWriter]]:
    """Writers of a folder's NAME.npy; the folder is there only when the block ends well."""
    partial = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    writers = {name: RowWriter(partial / f"{name}.npy") for name in names}
    try:
        try:
            yield writers
        finally:
            for writer in writers.values():
                writer.close()
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def map_arrays(folder: Path, names: Iterable[str]) -> dict[str, Float[np.ndarray, "n ..."]] | None:
    """The arrays of a folder as views of private maps; None when one is missing or cut short.

    A write into such a view stays in memory.
    """
    try:
        maps = {
            name: np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
            for name in names
        }
    except (OSError, ValueError, EOFError):
        return None
    return {name: mapped.view(np.ndarray) for name, mapped in maps.items()}


def packed(home: Path) -> dict[str, dict]:
    """The clips and verdicts an intact corpus folder already holds: key -> entry of its index.

    Entries of a shard that is missing or cut short are not among them: they are made anew.
    """
    index = read_index(home)
    if index is None:
        return {}
    intact = {shard for shard in index["shards"] if map_arrays(home / shard, ARRAYS) is not None}
    for shard in set(index["shards"]) - intact:
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
    maps = {shard: map_arrays(home / shard, ARRAYS) for shard in index["shards"]}
    for shard, arrays in maps.items():
        if arrays is None:
            raise ValueError(f"{home / shard} is damaged: run `corpus FOLDER` again to repair it")
    encoder = index["settings"]["encoder"]
    utterances = []
    for entry in index["clips"]:
        arrays = maps[entry["shard"]]
        for suffix, rows in entry["rows"].items():
            steps = slice(rows["steps"], rows["steps"] + 2 * rows["frames"])
            frames = slice(rows["landmarks"], rows["landmarks"] + rows["frames"])
            speech = Speech(
                **{name: arrays[name][steps] for name in SPEECH_ARRAYS}, encoder=encoder
            )
            utterances.append(
                Utterance(
                    name=entry["name"] + suffix,
                    speaker=entry["speaker"],
                    clip=entry["name"],
                    speech=speech,
                    landmarks=arrays["landmarks"][frames],
                )
            )
    broken = {entry["file"]: entry["reason"] for entry in index["broken"]}
    facts = {
        entry["name"]: {name: entry[name] for name in entry if name.startswith("offset")}
        for entry in index["clips"]
    }
    return Corpus(tuple(utterances), broken, home, facts)


def read_index(home: Path) -> dict | None:
    """The index, or None when there is none of this schema."""
    try:
        index = json.loads((home / INDEX).read_text())
    except FileNotFoundError:
        return None
    except json.JSONDecodeError:
        log.warning("%s is damaged: the corpus is made anew", home / INDEX)
        return None
    return index if index.get("schema") == SCHEMA else None


class CorpusWriter:
    """Adds clips to a corpus folder. After each full shard the index and broken.csv follow.

    known: entries of the index that stay, see `packed`. To be closed, when whatever is finished
    is kept and shards without a living clip are deleted. Of a writer that is not closed the
    shard at hand is lost.
    """

    def __init__(self, home: Path, jobs: Sequence[ClipJob], known: dict[str, dict]) -> None:
        self.home, self.jobs = home, jobs
        self._entries = {job.key: known[job.key] for job in jobs if job.key in known}
        self._fresh: dict[str, dict] = {}
        self._shard, self._arrays = contextlib.ExitStack(), {}

    def add(
        self,
        job: ClipJob,
        facts: dict[str, object],
        arrays: dict[str, Float[np.ndarray, "n ..."]],
    ) -> None:
        """Adds a clip that was read; without arrays it is broken, and its facts say why."""
        entry = {"key": job.key, "name": job.name, "file": job.file, "speaker": job.speaker} | facts
        if not arrays:
            self._entries[job.key] = entry
            return
        if not self._fresh:
            numbers = [int(path.name[6:11]) for path in self.home.glob("shard-*")]
            name = f"shard-{1 + max(numbers, default=-1):05d}"
            self._arrays = self._shard.enter_context(array_folder(self.home / name, ARRAYS))
            self._name = name
        rows = {}
        for stored, values in arrays.items():
            kind, mark, suffix = stored.partition("@")
            first = self._arrays[kind].append(values)
            here = rows.setdefault(mark + suffix, {})
            if kind == "features":
                here["steps"] = first
            if kind == "landmarks":
                here |= {"landmarks": first, "frames": len(values)}
        self._fresh[job.key] = entry | {"rows": rows, "shard": self._name}
        if sum(writer.n_bytes for writer in self._arrays.values()) >= SHARD_BYTES:
            self._close_shard()

    def close(self) -> None:
        """Finishes the shard at hand, the index and broken.csv."""
        self._close_shard()
        living = {entry["shard"] for entry in self._entries.values() if "shard" in entry}
        for path in self.home.glob("shard-*"):
            if path.name not in living:
                shutil.rmtree(path)

    def _close_shard(self) -> None:
        self._shard.close()
        self._entries |= self._fresh
        self._fresh = {}
        ordered = [self._entries[job.key] for job in self.jobs if job.key in self._entries]
        clips = [entry for entry in ordered if "shard" in entry]
        broken = [entry for entry in ordered if "reason" in entry]
        config = self.jobs[0].config
        runs.write_json(
            self.home / INDEX,
            {
                "schema": SCHEMA,
                "settings": read_settings(config),
                "encoder_version": encoder_version(config.encoder),
                "shards": sorted({entry["shard"] for entry in clips}),
                "clips": clips,
                "broken": broken,
            },
        )
        path = self.home / BROKEN
        with runs.replacing(path) as partial, partial.open("w", newline="") as file:
            table = csv.DictWriter(file, ("file", "stage", "reason"), extrasaction="ignore")
            table.writeheader()
            table.writerows(broken)
