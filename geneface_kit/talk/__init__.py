"""Talk: a recording -> a video of the person saying it. Reads person/, motion/, adaptation/, nerf/.

Writes talk/talk.mp4 and talk/talk.npz (every intermediate that is not a picture).
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from geneface_kit import adaptation as adaptation_stage
from geneface_kit import demo, live
from geneface_kit import motion as motion_stage
from geneface_kit import person as person_stage
from geneface_kit import portrait as portrait_stage
from geneface_kit.clip import FPS, SAMPLE_RATE, read_audio, write_video
from geneface_kit.speech import Speech, encode
from geneface_kit.talk.performance import (
    SAMPLES,
    finish,
    loudness,
    mouth_opening,
    ping_pong,
    pose_path,
    silent_frames,
)

__all__ = [
    "CPU",
    "PAPER",
    "SAMPLES",
    "Actor",
    "Plan",
    "Talk",
    "TalkConfig",
    "driving_audio",
    "finish",
    "inputs",
    "load_actor",
    "loudness",
    "make",
    "mouth_opening",
    "ping_pong",
    "plan",
    "pose_path",
    "provenance",
    "silent_frames",
    "talk",
]

log = logging.getLogger(__name__)

STILLS = 8
"""Rendered frames that are kept as they were before compression."""


@dataclass(frozen=True)
class TalkConfig:
    """How a recording becomes a video. The defaults are the smoke profile."""

    audio: str = ""  # file with sound; "" means the sentence of the held-out demo (ours)
    max_s: float = 3.2  # seconds of the recording that are spoken; 0 means all of it (ours)
    temperature: float = 0.2  # spread of the draw from the flow prior; official code 1 (ours)
    clamp_std: float = 2.5  # per-coordinate limit in the person's std (official code, grid road)
    smooth_frames: float = 0.7  # sigma of the Gaussian over time, frames; 0 = off (ours)
    closure: float = 0.25  # share of the person's frames whose mouth counts as closed (ours)
    silence_db: float = -35.0  # below the loud parts by this much is silence, dB (ours)
    rest_in_silence: bool = True  # silent stretches close the mouth (official vanilla road)
    blinks: str = "clip"  # "clip" replays the person's own eyes, "none" keeps the predicted ones
    head_motion: str = "clip"  # "clip" follows the person's own path and back, "still" holds it
    pose_window: int = 7  # frames averaged along the head's path (official code)
    label: str = ""  # visible text in the picture; "" for none (ours)


CPU = {"max_s": 10.0}
PAPER = {"max_s": 0.0, "temperature": 1.0}


@dataclass(frozen=True)
class Actor:
    """All that was learned to let one person speak."""

    person: Any  # a person.Person
    motion: Any  # a motion.Motion
    adaptation: Any  # adaptation.Adaptation
    portrait: Any  # portrait.Portrait


@dataclass(frozen=True)
class Plan:
    """What the face does, before a picture is drawn; t frames at 25 per second.

    audio: n samples at 16 kHz, exactly t/25 s. displacements: the generator's, from the mean
    face. adapted: after the post-net. landmarks: after `finish`, what the renderer gets.
    """

    audio: Float[np.ndarray, " n"]
    speech: Speech
    displacements: Float[np.ndarray, "t 68 3"]
    adapted: Float[np.ndarray, "t 68 3"]
    landmarks: Float[np.ndarray, "t 68 3"]
    poses: Float[np.ndarray, "t 4 4"]
    loudness: Float[np.ndarray, " t"]
    silent: Bool[np.ndarray, " t"]


@dataclass(frozen=True)
class Talk:
    """A finished video and how it came about.

    stills: a few frames as rendered, before compression, and their indices. mouth_ratio:
    standard deviation of the mouth opening over the person's own.
    """

    path: Path
    plan: Plan
    stills: UInt8[np.ndarray, "k h w 3"]
    still_frames: Int[np.ndarray, " k"]
    mouth_ratio: float


def inputs(subject: str, settings: Any) -> list[Path]:
    """The files that a talk run reads besides its upstream runs: the recording."""
    return [driving_audio(settings.talk.audio)]


def make(run: Any, settings: Any) -> None:
    """Lets the person of a run say the recording of its settings."""
    config = settings.talk
    actor = load_actor(run.parents)
    run.data_kind = actor.person.data_kind
    audio, out = driving_audio(config.audio), run.folder / "talk.mp4"
    done = talk(actor, audio, out, config=config, generator=run.generator("sample"))
    _save_arrays(run.folder / "talk.npz", done)
    run.record("frames", len(done.plan.landmarks))
    run.record("seconds", len(done.plan.landmarks) / FPS)
    run.record("mouth_motion_ratio", round(done.mouth_ratio, 4))
    run.record("silent_share", round(float(done.plan.silent.mean()), 4))


def load_actor(parents: dict[str, Any]) -> Actor:
    """The actor from the finished runs of the four stages upstream."""
    person = person_stage.load(parents["person"].folder)
    return Actor(
        person,
        motion_stage.load(parents["motion"].folder),
        adaptation_stage.load(parents["adaptation"].folder),
        portrait_stage.load(parents["nerf"].folder, person),
    )


def driving_audio(name: str) -> Path:
    """The file that a setting names; "" is the sentence of the held-out demo."""
    if not name:
        return demo.clip_path("demo_b")
    path = Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"no recording at {name}: give the path of a file with sound (wav, mp3, mp4, ...)"
        )
    return path


def talk(
    actor: Actor,
    audio: Path | str,
    out: Path | str,
    *,
    config: TalkConfig,
    generator: torch.Generator,
) -> Talk:
    """Writes the video of a person saying a recording, h264 and aac, 25 frames per second.

    Frame k shows the time k/25 s of the recording. The file appears under its name only when it
    is complete. The same generator state gives the same frames.
    Raises: FileNotFoundError, ValueError for a recording that is missing or holds no sound.
    """
    planned = plan(actor, read_audio(driving_audio(str(audio))), config, generator)
    n_frames = len(planned.landmarks)
    kept = np.unique(np.linspace(0, n_frames - 1, STILLS).round().astype(int))
    stills: list[np.ndarray] = []
    frames = actor.portrait.render(planned.landmarks, planned.poses)
    frames = live.progress(frames, "rendering", n_frames)
    notes = provenance(actor.person.folder, planned.audio)
    write_video(
        Path(out),
        _watched(frames, config.label, set(kept.tolist()), stills),
        planned.audio,
        metadata={"title": f"{actor.person.name} (synthetic)", "comment": json.dumps(notes)},
    )
    ratio = float(_spread(planned.landmarks) / _spread(actor.person.landmarks))
    if ratio < 0.3 and not planned.silent.all():
        log.warning(
            "the mouth moves %.0f %% of the person's own: look at the adaptation stage", 100 * ratio
        )
    return Talk(Path(out), planned, np.stack(stills), kept, ratio)


def plan(
    actor: Actor,
    audio: Float[np.ndarray, " n"],
    config: TalkConfig,
    generator: torch.Generator,
) -> Plan:
    """What the face does for a recording of 16 kHz: all of `talk` but the pictures."""
    person = actor.person
    if config.max_s:
        audio = audio[: round(config.max_s * SAMPLE_RATE)]
    n_frames = -(-len(audio) // SAMPLES)
    audio = np.pad(audio, (0, n_frames * SAMPLES - len(audio)))
    speech = encode(audio, person.speech.encoder).cut(n_frames)
    displacements = actor.motion.sample(speech, temperature=config.temperature, generator=generator)
    adapted = actor.adaptation.apply(displacements, speech)
    loud = loudness(audio)
    silent = silent_frames(loud, config.silence_db)
    absolute = _numpy(adapted)
    return Plan(
        audio=audio,
        speech=speech,
        displacements=_numpy(displacements),
        adapted=absolute,
        landmarks=finish(absolute, silent, person, config),
        poses=pose_path(person.poses, n_frames, config.head_motion, config.pose_window),
        loudness=loud,
        silent=silent,
    )


def provenance(person_folder: Path, audio: Float[np.ndarray, " n"]) -> dict[str, Any]:
    """What every video says of itself: synthetic, by which tool, from which person and sound."""
    person_hash = hashlib.sha256()
    for name in ("person.json", "tracks.npz"):
        person_hash.update((person_folder / name).read_bytes())
    return {
        "synthetic": True,
        "tool": "geneface_kit",
        "version": version("geneface-kit"),
        "person_sha256": person_hash.hexdigest(),
        "audio_sha256": hashlib.sha256(np.ascontiguousarray(audio).tobytes()).hexdigest(),
    }


def _spread(landmarks: np.ndarray) -> float:
    return max(float(mouth_opening(landmarks).std()), 1e-6)


def _watched(
    frames: Iterable[np.ndarray], label: str, kept: set[int], stills: list[np.ndarray]
) -> Iterator[np.ndarray]:
    """Passes frames on, labelled; the kept ones are also appended to `stills`."""
    for index, frame in enumerate(frames):
        shown = _labelled(frame, label) if label else frame
        if index in kept:
            stills.append(shown)
        yield shown


def _labelled(frame: np.ndarray, label: str) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(frame)
    font = ImageFont.load_default(max(9, frame.shape[0] // 20))
    place = (frame.shape[1] // 40, frame.shape[0] * 39 // 40)
    ImageDraw.Draw(picture).text(
        place, label, font=font, anchor="ls", fill="white", stroke_width=1, stroke_fill="black"
    )
    return np.asarray(picture)


def _numpy(values: Any) -> np.ndarray:
    return torch.as_tensor(values).detach().cpu().numpy().astype(np.float32)


def _save_arrays(path: Path, done: Talk) -> None:
    partial = path.with_name(path.name + ".part.npz")
    arrays = {
        name: getattr(done.plan, name)
        for name in ("displacements", "adapted", "landmarks", "poses", "loudness", "silent")
    }
    np.savez_compressed(
        partial,
        **arrays,
        audio=done.plan.audio,
        mel=_numpy(done.plan.speech.mel),
        stills=done.stills,
        still_frames=done.still_frames,
    )
    partial.replace(path)
