"""Shards: the corpus on disk. Safetensors files mapped into memory, and one json that says whose.

A shard holds the arrays of many clips by name: KEY/features (s, c), KEY/f0 (s,), KEY/mel (s, 80)
and KEY/landmarks (t, 68, 3), of a copy at another speed KEY/f0@1.19. index.json lists the clips
with their shards. An utterance is a view into the mapped shards; one recording is used once.
"""

import csv
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scipy
from jaxtyping import Float
from safetensors.numpy import save_file
from safetensors.torch import load_file

from geneface_kit import runs
from geneface_kit.person.corpus import manifest
from geneface_kit.person.corpus.manifest import Arrays, ClipJob, Outcome
from geneface_kit.person.speech import Speech
from geneface_kit.runs.files import Damaged, Facts, digests, read_json, readable

log = logging.getLogger(__name__)

KINDS = ("features", "f0", "mel", "landmarks")
INDEX = "index.json"
BROKEN = "broken.csv"  # name of the list of clips that could not be read: file, stage, reason
SHARD_BYTES = 128 * 2**20  # a shard is written when its arrays have reached this size (ours)
PROBE = 100  # steps of 20 ms from the middle of a clip that are looked for in all others (ours)
BANDS = 16  # groups of mel bands that are compared (ours)
SAME = 0.87
"""Least correlation of one recording. Ours: among 117 real clips one recording, encoded anew, had
0.89 to 0.96, and different ones at most 0.84."""


@dataclass(frozen=True)
class Utterance:
    """One clip of one speaker, on one clock. speech: 2t steps; landmarks: canonical, inter-ocular
    distances, none where only speech was read; clip: the source, shared by copies at other speeds.
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
    facts: dict[str, Facts] = field(default_factory=dict)

    @property
    def speakers(self) -> list[str]:
        """The names of the speakers, sorted."""
        return sorted({utterance.speaker for utterance in self.utterances})


def packed(home: Path) -> dict[str, Facts]:
    """The clips and verdicts a corpus folder already holds, key -> entry of its index, without
    those of a shard that is missing or cut short: they are made anew."""
    index = _read_index(home)
    if index is None:
        return {}
    known = index["clips"] + index["broken"]
    shards = {entry["shard"]: entry["sha256"] for entry in known if "shard" in entry}
    damaged = {shard for shard in shards if _mapped(home / shard, shards[shard]) is None}
    for shard in damaged:
        log.warning("%s of the corpus is damaged: its clips are read again", shard)
    return {entry["key"]: entry for entry in known if entry.get("shard") not in damaged}


def open_corpus(home: Path) -> Corpus:
    """The corpus of a folder; its arrays are views into private maps: a write stays in memory.

    Raises: FileNotFoundError without an index; ValueError when a shard is damaged.
    """
    index = _read_index(home)
    if index is None:
        raise FileNotFoundError(
            f"no corpus of this version in {home}: make it with `corpus FOLDER`"
        )
    arrays: Arrays = {}
    for shard, digest in sorted({(entry["shard"], entry["sha256"]) for entry in index["clips"]}):
        found = _mapped(home / shard, digest)
        if found is None:
            raise ValueError(f"{home / shard} is damaged: run `corpus FOLDER` again to repair it")
        arrays |= found
    encoder, utterances = index["settings"]["encoder"], []
    for entry in index["clips"]:
        for suffix in entry["copies"]:
            of_copy = {kind: arrays[f"{entry['key']}/{kind}{suffix}"] for kind in KINDS}
            landmarks = of_copy.pop("landmarks")
            speech = Speech(**of_copy, encoder=encoder, version=entry["version"])
            name, speaker = entry["name"], entry["speaker"]
            utterances.append(Utterance(name + suffix, speaker, name, speech, landmarks))
    broken = {entry["file"]: entry["reason"] for entry in index["broken"]}
    facts = {
        entry["name"]: {name: entry[name] for name in entry if name.startswith("offset")}
        for entry in index["clips"]
    }
    return Corpus(tuple(utterances), broken, home, facts)


def pack(
    home: Path,
    jobs: Sequence[ClipJob],
    outcomes: Iterable[tuple[ClipJob, Outcome]],
    known: dict[str, Facts] | None = None,
) -> None:
    """Adds what was read of some jobs to a corpus folder, whose clips are then those of `jobs`.

    known: entries of the index that stay, see `packed`. After each full shard the index and
    broken.csv follow; when the outcomes end or break off, whatever was read is kept and shards
    without a living clip are deleted. Of a process that is killed the shard at hand is lost.
    """
    entries = {job.key: known[job.key] for job in jobs if job.key in known} if known else {}
    fresh: dict[str, Facts] = {}
    arrays: Arrays = {}

    def write() -> None:
        if arrays:
            numbers = [int(path.stem[6:]) for path in home.glob("shard-*")]
            shard = f"shard-{1 + max(numbers, default=-1):05d}.safetensors"
            with runs.replacing(home / shard) as partial:
                save_file(arrays, partial)
            place = {"shard": shard, "sha256": runs.sha256(home / shard)}
            entries.update({key: entry | place for key, entry in fresh.items()})
            fresh.clear()
            arrays.clear()
        ordered = [entries[job.key] for job in jobs if job.key in entries]
        broken = [entry for entry in ordered if "reason" in entry]
        config = jobs[0].config
        index = {
            "schema": manifest.SCHEMA,
            "settings": manifest.read_settings(config),
            "encoder_version": manifest.encoder_version(config.encoder),
            "clips": [entry for entry in ordered if "reason" not in entry],
            "broken": broken,
        }
        runs.write_json(home / INDEX, index)
        with runs.replacing(home / BROKEN) as partial, partial.open("w", newline="") as file:
            table = csv.DictWriter(file, ("file", "stage", "reason"), extrasaction="ignore")
            table.writeheader()
            table.writerows(broken)

    try:
        for job, (facts, found) in outcomes:
            entry = {"key": job.key, "name": job.name, "file": job.file, "speaker": job.speaker}
            if not found:
                entries[job.key] = entry | facts
                continue
            copies = [name.removeprefix("f0") for name in found if name.startswith("f0")]
            fresh[job.key] = entry | facts | {"copies": copies}
            arrays |= {f"{job.key}/{name}": found[name] for name in found}
            if sum(values.nbytes for values in arrays.values()) >= SHARD_BYTES:
                write()
    finally:
        write()
        _find_twins(home, [(job.speaker, entries[job.key]) for job in jobs if job.key in entries])
        write()
        living = {entry.get("shard") for entry in entries.values()}
        for path in home.glob("shard-*"):
            if path.name not in living:
                shutil.rmtree(path) if path.is_dir() else path.unlink()  # folders: earlier versions


def _find_twins(home: Path, clips: Sequence[tuple[str, Facts]]) -> None:
    """Breaks clips whose sound a longer one holds, and gives their speakers one name. clips: the
    speaker that the folder names, and the clip's entry."""
    read = {entry["key"]: entry for _, entry in clips if "shard" in entry}
    places = {(entry["shard"], entry["sha256"]) for entry in read.values()}
    shards = {shard: _mapped(home / shard, digest) or {} for shard, digest in places}
    for speaker, entry in clips:
        entry |= {"speaker": speaker, "compared": True}
        if "shard" in entry:
            entry.pop("reason", None)
    found = duplicates({key: shards[entry["shard"]][f"{key}/mel"] for key, entry in read.items()})
    for twin, kept in ((read[key], read[of]) for key, of in found.items()):
        was, now = twin["speaker"], kept["speaker"]
        also = "" if was == now else f", and {was} counts as the speaker {now}"
        reason = f"its sound is a part of {kept['file']}: left out{also}"
        twin |= {"stage": "duplicate", "reason": reason}
        for entry in read.values():
            entry["speaker"] = now if entry["speaker"] == was else entry["speaker"]


def _read_index(home: Path) -> Facts | None:
    """The index, or None when there is none of this schema."""
    layout = {"schema": manifest.SCHEMA, "settings": dict, "clips": list, "broken": list}
    try:
        return read_json(home / INDEX, **layout)
    except (FileNotFoundError, Damaged):
        return None


def _mapped(shard: Path, digest: str) -> Arrays | None:
    """The arrays of a shard as views of a private map; None when it is missing or damaged."""
    try:
        with readable(shard):
            if digests({"": shard}, shard.with_name("digests.json"))[""] != digest:
                return None
            return {name: values.numpy() for name, values in load_file(shard).items()}
    except (FileNotFoundError, Damaged):
        return None


def duplicates(mels: Mapping[str, Float[np.ndarray, "_ 80"]]) -> dict[str, str]:
    """Clip -> the longer clip, of equal ones the first by name, that holds its sound.

    mels: log-mel, 50 steps a second; level and tone do not count. A clip of less than PROBE steps
    or without any change is not looked for.
    """
    names = sorted(mels, key=lambda name: (-len(mels[name]), name))
    parts = [
        mels[name].astype(np.float64).reshape(-1, BANDS, 80 // BANDS).mean(2) for name in names
    ]
    parts = [part - part.mean(0) for part in parts]
    ends = np.cumsum([len(part) for part in parts])
    track = np.concatenate([*parts, np.zeros((PROBE, BANDS))])
    windows = np.lib.stride_tricks.sliding_window_view(track.sum(1), PROBE).sum(1)
    squares = np.lib.stride_tricks.sliding_window_view((track**2).sum(1), PROBE).sum(1)
    spread = np.sqrt(np.maximum(squares - windows**2 / (PROBE * BANDS), 1e-9))
    found: dict[str, str] = {}
    for name, part, end in zip(names, parts, ends.tolist(), strict=True):
        probe = part[max(0, len(part) - PROBE) // 2 :][:PROBE]
        probe = probe - probe.mean()
        size = np.linalg.norm(probe)
        if len(probe) < PROBE or size < 1e-6:
            continue
        alike = scipy.signal.oaconvolve(track, probe[::-1], mode="valid", axes=0).sum(1)
        alike[max(0, end - len(part) - PROBE + 1) :] = 0.0  # itself and shorter clips
        alike /= size * spread
        best = int(alike.argmax())
        if alike[best] >= SAME:
            found[name] = names[int(np.searchsorted(ends, best + PROBE // 2, side="right"))]
    return found
