"""Reading: the unit of work. One clip -> its landmarks and speech on one clock, in one file.

`read` needs nothing but its unit, so it runs in this process, in a pool or on a cluster alike.
"""

import contextlib
import itertools
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from safetensors.numpy import save_file

from geneface_kit import runs
from geneface_kit.person import clip, landmarks, speech
from geneface_kit.person.corpus.copies import at_speed, copies, in_step, with_noise
from geneface_kit.person.corpus.source import Unit
from geneface_kit.person.tracking.track import track

__all__ = ["BrokenClip", "give_up", "read"]

log = logging.getLogger(__name__)

PICTURE = 480
"""Longer side of the pictures landmarks are found in, px (ours)."""
MAX_MISSING = 0.1
"""Share of frames without a face above which a clip is broken (ours)."""
LEAST_FRAMES = 4
"""Frames of the shortest utterance: one step of the generator's latent."""


class BrokenClip(ValueError):
    """A clip that cannot be used: at which stage (sound, face, speech), and why."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(reason)
        self.stage = stage


def read(unit: Unit) -> None:
    """Writes unit.target (arrays of every copy, facts as metadata), or unit.verdict.

    A clip that cannot be read is never an error here. What is raised stops the whole corpus: a
    full disk, missing weights of a speech encoder.
    """
    try:
        with _warnings() as warnings:
            arrays, facts = _utterances(unit)
    except BrokenClip as broken:
        give_up(unit, broken.stage, str(broken))
        return
    facts["warnings"] = warnings
    partial = _partial(unit.target)
    save_file(arrays, partial, metadata={"facts": json.dumps(facts)})
    os.replace(partial, unit.target)


def give_up(unit: Unit, stage: str, reason: str) -> None:
    """Writes unit.verdict: this clip is broken."""
    unit.verdict.parent.mkdir(parents=True, exist_ok=True)
    facts = {"file": unit.file, "key": unit.key, "stage": stage, "reason": reason}
    runs.write_json(unit.verdict, facts)


@contextlib.contextmanager
def _stage(name: str, *, passes: type[Exception] = BrokenClip) -> Iterator[None]:
    """Any error in here is this clip's own: one odd file among thousands is never fatal.

    passes: errors that are not the clip's and go through.
    """
    try:
        yield
    except (BrokenClip, passes):
        raise
    except (ValueError, FileNotFoundError) as error:
        raise BrokenClip(name, str(error)) from error
    except Exception as error:
        log.debug("unexpected error in %s", name, exc_info=True)
        raise BrokenClip(name, f"unexpected {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _warnings() -> Iterator[list[str]]:
    """What the kit warns of while a clip is read, for the index: workers have no screen."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())
    kit = logging.getLogger("geneface_kit")
    kit.addHandler(handler)
    try:
        yield said
    finally:
        kit.removeHandler(handler)


def _encoding() -> contextlib.AbstractContextManager[None]:
    """The stage "speech"; the missing weights of an encoder are not the clip's fault."""
    return _stage("speech", passes=FileNotFoundError)


def _utterances(unit: Unit) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays of every copy, and what is known of the clip."""
    with _stage("sound"):
        audio = _sound(unit)
    points = _faces(unit)
    least = max(LEAST_FRAMES, round(unit.config.min_s * clip.FPS))
    if len(points) < least:
        raise BrokenClip("face", f"{unit.file} is shorter than {unit.config.min_s:g} s")
    with _encoding():
        heard = speech.encode(audio, "hama").cut(len(points))
        found = speech.estimate_offset(heard, points)
    late = found.confidence >= unit.config.min_offset_confidence
    audio = in_step(audio, found.seconds) if late else audio
    if round(len(audio) / clip.SAMPLE_RATE * clip.FPS) < least:
        raise BrokenClip(
            "sound", f"the sound of {unit.file} is shorter than {unit.config.min_s:g} s"
        )
    arrays, lengths = _copies(unit, audio, points)
    facts = {
        "key": unit.key,
        "offset_s": round(found.seconds, 4),
        "offset_confidence": round(found.confidence, 4),
        "offset_corrected": bool(late),
        "frames": lengths,
    }
    return arrays, facts


def _copies(
    unit: Unit, audio: np.ndarray, points: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Arrays named KIND and the copy's suffix, and frames of each copy.

    A noisy copy has no landmarks of its own: they are those of its clip.
    """
    arrays, lengths = {}, {}
    for copy in copies(unit.config):
        sound, motion = at_speed(audio, points, copy.rate)
        if copy.noise_db is not None:
            sound = with_noise(sound, copy.noise_db)
        with _encoding():
            spoken = speech.encode(sound, unit.config.encoder).cut(len(motion))
        lengths[copy.suffix] = len(motion)
        kept = {"features": spoken.features, "f0": spoken.f0, "mel": spoken.mel}
        if copy.noise_db is None:
            kept["landmarks"] = motion
        arrays |= {kind + copy.suffix: np.ascontiguousarray(kept[kind]) for kind in kept}
    return arrays, lengths


def _sound(unit: Unit) -> Float[np.ndarray, " n"]:
    """The clip's sound, as much as is used of it."""
    audio = clip.sound_of(unit.path)
    if audio is None:
        raise ValueError(f"{unit.file} has no sound and no {unit.path.stem}.wav beside it")
    if np.sqrt(np.mean(audio**2)) < clip.SILENCE_RMS:
        raise ValueError(f"the sound of {unit.file} is silent")
    return audio[: round((unit.config.max_s + 1) * clip.SAMPLE_RATE)]


def _faces(unit: Unit) -> Float[np.ndarray, "t 68 3"]:
    """The clip's tracked landmarks; finding them is most of the work, so they are kept."""
    if not unit.faces.exists():
        with _stage("face"):
            points = _landmarks_of(unit.path, unit.config.max_s, unit.file)
        partial = _partial(unit.faces)
        with partial.open("wb") as file:
            np.save(file, points, allow_pickle=False)
        os.replace(partial, unit.faces)
    return np.load(unit.faces, allow_pickle=False)


def _landmarks_of(path: Path, max_s: float, name: str) -> np.ndarray:
    """Canonical landmarks (t, 68, 3) of a clip that shows a face nearly all the time."""
    frames = clip.stream_frames(path, long_side=PICTURE, max_s=max_s)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{name} has no readable frame")
    mesh = landmarks.detect(itertools.chain([first], frames))
    missing = 1 - float(mesh.found.mean())
    if missing > MAX_MISSING:
        raise ValueError(f"{name} shows no face in {100 * missing:.0f} % of its frames")
    mesh = landmarks.fill_gaps(mesh)
    height, width = first.shape[:2]
    centre = np.array([PICTURE - width, PICTURE - height, 0], np.float32) / 2
    return track(replace(mesh, points=mesh.points + centre), PICTURE).landmarks


def _partial(path: Path) -> Path:
    """A temporary name beside the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{path.name}.{os.getpid()}.part")
