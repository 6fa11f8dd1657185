"""Packing: the finished files of many units -> shards of bounded size and their index."""

import csv
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from safetensors import SafetensorError, safe_open

from geneface_kit import runs
from geneface_kit.person.corpus.copies import copies
from geneface_kit.person.corpus.shards import INDEX, sizes_of
from geneface_kit.person.corpus.source import SCHEMA, Unit, encoder_version, read_settings
from geneface_kit.runs import replacing

__all__ = ["BROKEN", "SHARD_BYTES", "pack"]

SHARD_BYTES = 256 * 2**20
"""A shard is closed when it has reached this size (ours)."""
BROKEN = "broken.csv"
"""Name of the list of clips that could not be read: file, stage, reason."""


def pack(home: Path, units: Sequence[Unit], known: dict[str, dict[str, Any]]) -> None:
    """Moves the finished files of the units into shards; index.json and broken.csv follow.

    The index is written after each shard, and a unit's file goes only then: a cut at any moment
    loses nothing. Shards without a living clip are deleted, and so are files of no unit.
    """
    entries = {unit.key: known[unit.key] for unit in units if unit.key in known}
    fresh: list[tuple[Unit, dict[str, Any]]] = []
    size, number = 0, _next_number(home)

    def close_shard() -> None:
        nonlocal size, number
        shard = f"shard-{number:05d}"
        _write_shard(home / shard, fresh)
        for unit, facts in fresh:
            entries[unit.key] = facts | {"shard": shard}
        _write_index(home, units, entries)
        for unit, _ in fresh:
            unit.target.unlink()
        fresh.clear()
        size, number = 0, number + 1

    for unit in units:
        if unit.key in entries:
            continue
        if unit.verdict.exists():
            entries[unit.key] = json.loads(unit.verdict.read_text())
        elif unit.target.exists():
            fresh.append((unit, _facts(unit)))
            size += unit.target.stat().st_size
            if size >= SHARD_BYTES:
                close_shard()
    if fresh:
        close_shard()
    _write_index(home, units, entries)
    _tidy(home, {entry["shard"] for entry in entries.values() if "shard" in entry})


def _facts(unit: Unit) -> dict[str, Any]:
    """What goes into the index for a unit's file: its facts, and whose it is."""
    try:
        with safe_open(unit.target, framework="np") as file:
            facts = json.loads(file.metadata()["facts"])
    except SafetensorError as error:
        raise ValueError(f"{unit.target} is damaged ({error}): delete it, run again") from None
    return {"name": unit.name, "file": unit.file, "speaker": unit.speaker} | facts


def _lay_out(fresh: Sequence[tuple[Unit, dict[str, Any]]]) -> tuple[int, int]:
    """Gives every utterance its rows in a shard; returns the shard's steps and frames.

    A noisy copy moves like its clip, so it has the rows of its clip's landmarks.
    """
    steps = frames = 0
    for unit, facts in fresh:
        lengths = facts.pop("frames")
        facts["rows"] = {}
        for copy in copies(unit.config):
            length, shared = lengths[copy.suffix], copy.noise_db is not None
            place = facts["rows"][""]["landmarks"] if shared else frames
            facts["rows"][copy.suffix] = {"steps": steps, "landmarks": place, "frames": length}
            steps += 2 * length
            frames += 0 if shared else length
    return steps, frames


def _write_shard(shard: Path, fresh: Sequence[tuple[Unit, dict[str, Any]]]) -> None:
    """The arrays of some units, end to end, copied one utterance at a time."""
    steps, frames = _lay_out(fresh)
    partial = shard.with_name(f"{shard.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    maps: dict[str, np.memmap] = {}
    for unit, facts in fresh:
        with safe_open(unit.target, framework="np") as file:
            for stored in sorted(file.keys()):
                kind, suffix = _split(stored)
                values = file.get_tensor(stored)
                if kind not in maps:
                    shape = (frames if kind == "landmarks" else steps, *values.shape[1:])
                    maps[kind] = open_memmap(partial / f"{kind}.npy", "w+", np.float32, shape)
                rows = facts["rows"][suffix]
                start = rows["landmarks" if kind == "landmarks" else "steps"]
                maps[kind][start : start + len(values)] = values
    for mapped in maps.values():
        mapped.flush()
    os.replace(partial, shard)


def _split(stored: str) -> tuple[str, str]:
    """Kind of an array and suffix of its copy: "f0@1.09" -> "f0", "@1.09"."""
    kind, mark, suffix = stored.partition("@")
    return kind, mark + suffix


def _write_index(home: Path, units: Sequence[Unit], entries: dict[str, dict[str, Any]]) -> None:
    """index.json and its readable twin broken.csv, in the order of the units."""
    ordered = [entries[unit.key] for unit in units if unit.key in entries]
    clips = [entry for entry in ordered if "shard" in entry]
    broken = [entry for entry in ordered if "reason" in entry]
    config = units[0].config
    shards = sorted({entry["shard"] for entry in clips})
    runs.write_json(
        home / INDEX,
        {
            "schema": SCHEMA,
            "settings": read_settings(config),
            "encoder_version": encoder_version(config.encoder),
            "shards": {shard: sizes_of(home / shard) for shard in shards},
            "clips": clips,
            "broken": broken,
        },
    )
    with replacing(home / BROKEN) as partial, partial.open("w", newline="") as file:
        table = csv.DictWriter(file, ("file", "stage", "reason"), extrasaction="ignore")
        table.writeheader()
        table.writerows(broken)


def _next_number(home: Path) -> int:
    numbers = [int(path.name[6:11]) for path in home.glob("shard-*")]
    return 1 + max(numbers, default=-1)


def _tidy(home: Path, living: set[str]) -> None:
    """Deletes shards without a living clip, cut-off files and units of no clip."""
    for path in home.glob("shard-*"):
        if path.name not in living:
            shutil.rmtree(path)
    shutil.rmtree(home / "units", ignore_errors=True)
