"""Store: the corpus on disk. A safetensors file a clip, mapped into memory, and one json.

KEY.safetensors holds the arrays of a clip: features (s, c), f0 (s,), mel (s, 80) and landmarks
(t, 68, 3), of a copy at another speed f0@1.19. index.json says whose they are, and what could not
be read. An utterance is a view into the maps; one recording is used once.
"""

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float
from safetensors.numpy import save_file
from safetensors.torch import load_file

from geneface_kit import runs
from geneface_kit.person.corpus.manifest import SCHEMA, Arrays, ClipJob, Outcomes, read_settings
from geneface_kit.person.speech import Speech
from geneface_kit.runs.files import Damaged, Facts, digests, read_json, readable

log = logging.getLogger(__name__)

INDEX = "index.json"
BROKEN = "broken.csv"  # name of the list of clips that could not be read: file, stage, reason
EVERY = 20  # clips read after which the index is written: so many a killed process loses (ours)
PROBE = 100  # steps of 20 ms from the middle of a clip that are looked for in all others (ours)
BANDS = 16  # groups of mel bands that are compared (ours)
SAME = 0.87
"""Least correlation of one recording. Ours: among 117 real clips one recording, encoded anew, had
0.89 to 0.96, and different ones at most 0.84."""


@dataclass(frozen=True)
class Utterance:
    """One clip of one speaker, on one clock. speech: 2t steps; landmarks: canonical, inter-ocular
    distances, none where only speech was read; clip: its source, that of copies at other speeds."""

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

    folder: where index.json, the arrays and broken.csv are; None for a corpus in memory.
    facts: clip -> what is known of it: audio-visual offset (found, confidence, corrected).
    """

    utterances: tuple[Utterance, ...]
    broken: dict[str, str]
    folder: Path | None = None
    facts: dict[str, Facts] = field(default_factory=dict)

    @property
    def speakers(self) -> list[str]:
        return sorted({utterance.speaker for utterance in self.utterances})


def packed(home: Path) -> dict[str, Facts]:
    """The clips and verdicts a corpus folder already holds, key -> entry of its index, without
    those whose file is missing or damaged: they are made anew."""
    known = {entry["key"]: entry for entry in (_read_index(home) or {"clips": []})["clips"]}
    for entry in list(known.values()):
        if "sha256" in entry and _mapped(home, entry) is None:
            log.warning("%s of the corpus is damaged: it is read again", entry["file"])
            del known[entry["key"]]
    return known


def open_corpus(home: Path) -> Corpus:
    """The corpus of a folder; its arrays are views into private maps: a write stays in memory.

    Raises: FileNotFoundError without an index; ValueError when a clip's file is damaged.
    """
    index = _read_index(home)
    if index is None:
        raise FileNotFoundError(
            f"no corpus of this version in {home}: make it with `corpus FOLDER`"
        )
    encoder, utterances, facts = index["settings"]["encoder"], [], {}
    for entry in (one for one in index["clips"] if "reason" not in one):
        arrays, name = _mapped(home, entry), entry["name"]
        if arrays is None:
            path = home / f"{entry['key']}.safetensors"
            raise ValueError(f"{path} is damaged: run `corpus FOLDER` again to repair it")
        facts[name] = {key: entry[key] for key in entry if key.startswith("offset")}
        for suffix in entry["copies"]:
            heard = {kind: arrays[kind + suffix] for kind in ("features", "f0", "mel")}
            speech = Speech(**heard, encoder=encoder, version=entry["version"])
            points = arrays[f"landmarks{suffix}"]
            utterances.append(Utterance(name + suffix, entry["speaker"], name, speech, points))
    broken = {entry["file"]: entry["reason"] for entry in index["clips"] if "reason" in entry}
    return Corpus(tuple(utterances), broken, home, facts)


def pack(home: Path, jobs: list[ClipJob], outcomes: Outcomes, known: dict[str, Facts]) -> None:
    """Adds what was read of some jobs to a corpus folder, whose clips are then those of `jobs`.

    known: entries of the index that stay, see `packed`. When the outcomes end or break off,
    whatever was read is kept, broken.csv follows and files of no living clip are deleted.
    """
    entries = {job.key: known[job.key] for job in jobs if job.key in known}
    try:
        for number, (job, (facts, found)) in enumerate(outcomes, 1):
            entry = {"key": job.key, "name": job.name, "file": job.file, "speaker": job.speaker}
            entry |= facts
            if found:
                path = home / f"{job.key}.safetensors"
                with runs.replacing(path) as partial:
                    save_file(found, partial)
                copies = [name.removeprefix("f0") for name in found if name.startswith("f0")]
                entry |= {"copies": copies, "sha256": runs.sha256(path)}
            entries[job.key] = entry
            if number % EVERY == 0:
                _write_index(home, jobs, entries)
    finally:
        _find_twins(home, [(job.speaker, entries[job.key]) for job in jobs if job.key in entries])
        broken = [one for one in _write_index(home, jobs, entries) if "reason" in one]
        with runs.replacing(home / BROKEN) as partial, partial.open("w", newline="") as file:
            table = csv.DictWriter(file, ("file", "stage", "reason"), extrasaction="ignore")
            table.writeheader()
            table.writerows(broken)
        for path in home.glob("*.safetensors"):
            if path.stem not in entries:
                path.unlink()


def _write_index(home: Path, jobs: Sequence[ClipJob], entries: dict[str, Facts]) -> list[Facts]:
    """Writes the index and gives its entries, in the order of the jobs."""
    ordered = [entries[job.key] for job in jobs if job.key in entries]
    settings = read_settings(jobs[0].config)
    index = {"schema": SCHEMA, "settings": settings, "clips": ordered}
    runs.write_json(home / INDEX, index)
    return ordered


def _find_twins(home: Path, clips: Sequence[tuple[str, Facts]]) -> None:
    """Breaks clips whose sound a longer one holds, and gives their speakers one name. clips: the
    speaker that the folder names, and the clip's entry."""
    read = {entry["key"]: entry for _, entry in clips if "sha256" in entry}
    for speaker, entry in clips:
        entry |= {"speaker": speaker, "compared": True}
        if "sha256" in entry:
            entry.pop("reason", None)
    found = duplicates({key: _mapped(home, entry)["mel"] for key, entry in read.items()})
    for twin, kept in ((read[key], read[of]) for key, of in found.items()):
        was, now = twin["speaker"], kept["speaker"]
        also = "" if was == now else f", and {was} counts as the speaker {now}"
        reason = f"its sound is a part of {kept['file']}: left out{also}"
        twin |= {"stage": "duplicate", "reason": reason}
        for entry in read.values():
            entry["speaker"] = now if entry["speaker"] == was else entry["speaker"]


def _read_index(home: Path) -> Facts | None:
    """The index, or None when there is none of this schema."""
    try:
        return read_json(home / INDEX, schema=SCHEMA, settings=dict, clips=list)
    except (FileNotFoundError, Damaged):
        return None


def _mapped(home: Path, entry: Facts) -> Arrays | None:
    """The arrays of a clip as views of a private map; None when its file is missing or damaged."""
    path = home / f"{entry['key']}.safetensors"
    try:
        with readable(path):
            if digests({"": path}, home / "digests.json")[""] != entry["sha256"]:
                return None
            return {name: values.numpy() for name, values in load_file(path).items()}
    except (FileNotFoundError, Damaged):
        return None


def duplicates(mels: Mapping[str, Float[np.ndarray, "_ 80"]]) -> dict[str, str]:
    """Clip -> the longer clip, of equal ones the first by name, that holds its sound.

    mels: log-mel, 50 steps a second; level and tone do not count. A clip of less than PROBE steps
    or without any change is not looked for.
    """
    names = sorted(mels, key=lambda name: (-len(mels[name]), name))
    parts = [mels[name].reshape(-1, BANDS, 80 // BANDS).mean(2) for name in names]
    parts = [(part - part.mean(0)).astype(np.float32) for part in parts]
    ends = np.cumsum([len(part) for part in parts])
    track = np.concatenate([np.zeros((0, BANDS), np.float32), *parts])
    found: dict[str, str] = {}
    for name, part, end in zip(names, parts, ends.tolist(), strict=True):
        probe, longer = part[max(0, len(part) - PROBE) // 2 :][:PROBE], track[: end - len(part)]
        if len(probe) < PROBE or probe.std() < 1e-6 or not len(longer):
            continue
        alike = cv2.matchTemplate(longer, probe, cv2.TM_CCOEFF_NORMED)[:, 0]
        best = int(alike.argmax())
        if alike[best] >= SAME:
            found[name] = names[int(np.searchsorted(ends, best + PROBE // 2, side="right"))]
    return found
