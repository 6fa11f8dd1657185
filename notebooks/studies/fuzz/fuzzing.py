"""Fuzzing: readers and damages -> what came of each: refused in a sentence, believed, or worse."""

import dataclasses
import faulthandler
import hashlib
import resource
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from geneface_kit.runs import sha256
from notebooks.studies.fuzz.damages import damaged
from notebooks.studies.fuzz.readers import READERS, ROOT, Reader

LIMIT_S = 60.0  # seconds after which reading one small file counts as hanging
ROOM_MB = 1000  # more memory than this for a small file is too much
OUTCOMES = ("sentence", "same", "unknowable", "silent", "foreign", "room", "outside")
"""sentence: refused by us in one line; same: the content is what it was, or was restored;
unknowable, silent: other content was believed, where nothing could tell or something should have;
foreign: another library's error; room: over ROOM_MB; outside: a file beside its folder changed."""


def content(value: object) -> str:
    """A digest of all that a reader gave."""
    found = hashlib.sha256()
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, torch.nn.Module):
            one = dict(one.state_dict())
        elif isinstance(one, pd.DataFrame):
            one = one.to_dict("list")
        elif dataclasses.is_dataclass(one):
            one = dict(vars(one))
        if isinstance(one, Mapping):
            pairs = ([str(name), part] for name, part in one.items())
            left += sorted(pairs, key=lambda pair: pair[0])
        elif isinstance(one, list | tuple):
            found.update(f"{len(one)} of".encode())
            left += one
        elif isinstance(one, np.ndarray | torch.Tensor):
            array = np.asarray(one)
            found.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
        else:
            found.update(repr(one).encode())
    return found.hexdigest()


def fuzz(
    seeds: Sequence[int] | range, folder: Path, readers: Mapping[str, Reader] = READERS
) -> Iterator[tuple[str, int, str, str]]:
    """Reader, seed, outcome and what was said, for every damaged copy of one of its files.

    folder: an empty one to work in.
    """
    for name, reader in readers.items():
        whole, beside = folder / name.replace(" ", "_"), folder / "beside.txt"
        beside.write_text("mine")
        whole.mkdir()
        reader.make(whole)
        expected = content(reader.read(whole))
        files = [
            path for path in sorted(whole.rglob("*")) if path.is_file() and path.stat().st_size
        ]
        files = [path for path in files if not path.name.startswith(".") and path.suffix != ".lock"]
        sums = {path: sha256(path) for path in files}
        kept = {path: path.read_bytes() for path in files}
        for seed in seeds:
            path = files[seed % len(files)]
            path.write_bytes(damaged(kept[path], seed))
            outcome, said = _outcome(reader, whole, expected, sums)
            if beside.read_bytes() != b"mine" or {*folder.iterdir()} != {whole, beside}:
                outcome = "outside"
            yield name, seed, outcome, f"{path.name}: {said}"
            for other in files:  # a reader may have mended what it needs
                other.write_bytes(kept[other])
        shutil.rmtree(whole)


def _outcome(
    reader: Reader, folder: Path, expected: str, sums: Mapping[Path, str]
) -> tuple[str, str]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    faulthandler.dump_traceback_later(LIMIT_S, exit=True)
    try:
        is_same = content(reader.read(folder)) == expected
        outcome, said = ("same" if is_same else "silent"), ""
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        last = traceback.extract_tb(error.__traceback__)[-1].filename
        is_ours = isinstance(error, ValueError | OSError) and Path(last).is_relative_to(ROOT)
        outcome = "sentence" if is_ours and "\n" not in said else "foreign"
        said = f"{said} ({last})" if outcome == "foreign" else said
    finally:
        faulthandler.cancel_dump_traceback_later()
    if outcome == "silent" and reader.unknowable:
        outcome = "unknowable"
    if outcome == "silent" and reader.guard and any(sha256(path) != sums[path] for path in sums):
        outcome, said = "sentence", "its digest is another"
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > ROOM_MB * 1024:
        outcome = "room"
    return outcome, said


def run_for(minutes: float, seed: int, folder: Path) -> tuple[dict[str, Counter], list[str]]:
    """Counts of outcomes by reader after so many minutes, and every outcome that is a fault."""
    counts = {name: Counter() for name in READERS}
    faults, stop = [], time.monotonic() + 60 * minutes
    while time.monotonic() < stop:
        for name, number, outcome, said in fuzz(range(seed, seed + 6), folder):
            counts[name][outcome] += 1
            if outcome not in ("sentence", "same", "unknowable"):
                faults.append(f"{name}, seed {number}: {outcome}: {said}")
        seed += 6
    return counts, faults
