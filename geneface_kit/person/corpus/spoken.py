"""Spoken: only the speech of a folder's clips, encoded once, mapped from disk ever after.

spoken-ENCODER/ beside the corpus holds features.npy (s, c), f0.npy (s,) and mel.npy (s, 80), the
clips one after the other, and index.json, which says whose rows are whose. Nothing of it is read
into memory before it is used.
"""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from numpy.lib.format import open_memmap

from geneface_kit import runs
from geneface_kit.person import clip, speech
from geneface_kit.person.corpus import source
from geneface_kit.person.corpus.shards import INDEX, read_index
from geneface_kit.person.corpus.source import SCHEMA, CorpusConfig, clip_paths
from geneface_kit.runs import live

__all__ = ["speeches"]

log = logging.getLogger(__name__)

ARRAYS = ("features", "f0", "mel")
ROWS = 100_000
"""Steps copied at a time."""


def speeches(config: CorpusConfig, *, out: Path | str = "") -> list[speech.Speech]:
    """The speech of every clip of the folder, for stages that need no faces: views of maps.

    Clips without sound or with unusable sound are left out; the latter are warned of. A folder
    that has changed, or arrays that were cut short, are encoded anew. out: the folder of all
    corpora, default runs/corpus.
    """
    paths = clip_paths(config.folder)
    home = source.home(config, out).parent / f"spoken-{config.encoder}"
    stamps = [[path.name, *source.stamp(path), *source.stamp(path.with_suffix(".wav"))]
              for path in paths]  # fmt: skip
    key = source.digest([SCHEMA, stamps, source.encoder_version(config.encoder)])[:16]
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home}.lock"):
        index = read_index(home)
        if index is None or index["key"] != key or index.get("bytes") != _sizes(home):
            index = _encode(home, key, paths, config.encoder)
    for file, reason in index["broken"].items():
        log.warning("the sound of %s is left out: %s", file, reason)
    maps = {name: np.load(home / f"{name}.npy", mmap_mode="c").view(np.ndarray) for name in ARRAYS}
    return [
        speech.Speech(
            **{name: maps[name][start:stop] for name in ARRAYS},
            encoder=config.encoder,
            version=index["version"],
        )
        for start, stop in index["clips"]
    ]


def _encode(home: Path, key: str, paths: list[Path], encoder: str) -> dict[str, Any]:
    """Writes the folder, one clip in memory at a time; returns its index."""
    partial = home.with_name(f"{home.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    index = {"schema": SCHEMA, "key": key, "version": "", "clips": [], "broken": {}}
    widths: dict[str, tuple[int, ...]] = {}
    n_steps = 0
    with contextlib.ExitStack() as stack:
        raw = {name: (partial / f"{name}.raw").open("wb") for name in ARRAYS}
        files = {name: stack.enter_context(file) for name, file in raw.items()}
        for path, spoken in _spoken(paths, encoder, index["broken"]):
            log.debug("%s: %d steps", path.name, len(spoken))
            for name, file in files.items():
                widths[name] = _append(file, getattr(spoken, name))
            index["clips"].append([n_steps, n_steps + len(spoken)])
            index["version"] = spoken.version
            n_steps += len(spoken)
    if not n_steps:
        shutil.rmtree(partial)
        raise ValueError("no clip of the corpus has usable sound; put talking clips there")
    for name, width in widths.items():
        _to_npy(partial / f"{name}.raw", (n_steps, *width))
    index["bytes"] = _sizes(partial)
    runs.write_json(partial / INDEX, index)
    shutil.rmtree(home, ignore_errors=True)
    os.replace(partial, home)
    return index


def _spoken(
    paths: list[Path], encoder: str, broken: dict[str, str]
) -> Iterator[tuple[Path, speech.Speech]]:
    """Each clip that has usable sound; the others' reasons go into `broken`."""
    for path in live.progress(paths, "encoding the corpus' speech"):
        try:
            audio = clip.sound_of(path)
            if audio is not None:
                yield path, speech.encode(audio, encoder)
        except ValueError as error:
            broken[path.name] = str(error)


def _sizes(home: Path) -> dict[str, int]:
    """Bytes of the arrays that are there."""
    return {path.name: path.stat().st_size for path in sorted(home.glob("*.npy"))}


def _append(file: BinaryIO, values: np.ndarray) -> tuple[int, ...]:
    """Writes float32 rows; returns the shape of one."""
    file.write(np.ascontiguousarray(values, np.float32).data)
    return values.shape[1:]


def _to_npy(raw: Path, shape: tuple[int, ...]) -> None:
    """Turns a file of bare numbers into NAME.npy beside it, some rows at a time."""
    rows = np.memmap(raw, np.float32, "r", shape=shape)
    array = open_memmap(raw.with_suffix(".npy"), "w+", np.float32, shape)
    for start in range(0, len(rows), ROWS):
        array[start : start + ROWS] = rows[start : start + ROWS]
    array.flush()
    raw.unlink()
