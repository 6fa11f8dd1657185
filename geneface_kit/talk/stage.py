"""Talk: a recording -> a video of the person saying it. Reads person/, motion/, adaptation/, nerf/.

Writes talk/talk.mp4 and talk/talk.npz (every intermediate that is not a picture).
"""

import dataclasses
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from geneface_kit.adaptation import stage as adaptation_stage
from geneface_kit.adaptation.postnet import project_onto_neighbours
from geneface_kit.motion import stage as motion_stage
from geneface_kit.nerf import stage as portrait_stage
from geneface_kit.person import demo
from geneface_kit.person import stage as person_stage
from geneface_kit.person.clip import FPS, SAMPLE_RATE, read_audio, write_audio, write_video
from geneface_kit.person.speech import Speech, encode
from geneface_kit.runs import Run, live, replacing
from geneface_kit.talk.marking import consent_of, credentials, labelled, provenance, sign
from geneface_kit.talk.performance import (
    SAMPLES,
    finish,
    loudness,
    ping_pong,
    pose_path,
    silent_frames,
    sway_path,
)
from geneface_kit.talk.verdict import Check, Flicker, Verdict, judge, sync_curve
from geneface_kit.talk.voice import say

__all__ = [
    "CPU",
    "PAPER",
    "SAMPLES",
    "Actor",
    "Check",
    "Flicker",
    "Plan",
    "Talk",
    "TalkConfig",
    "Verdict",
    "credentials",
    "driving_audio",
    "finish",
    "inputs",
    "judge",
    "load_actor",
    "loudness",
    "make",
    "ping_pong",
    "plan",
    "pose_path",
    "provenance",
    "say",
    "sign",
    "silent_frames",
    "sync_curve",
    "talk",
]

log = logging.getLogger(__name__)

STILLS = 8
"""Rendered frames that are kept as they were before compression."""


@dataclass(frozen=True)
class TalkConfig:
    """How a recording becomes a video. The defaults are the smoke profile."""

    audio: str = ""  # file with sound; "" means the sentence of the held-out demo (ours)
    text: str = ""  # words to say instead of a recording, by the offline voice (ours)
    max_s: float = 3.2  # seconds of the recording that are spoken; 0 means all of it (ours)
    temperature: float = 0.2  # spread of the draw from the flow prior; official code 1 (ours)
    lle_share: float = 0.0  # share of each face taken from its nearest own faces; GeneFace++ 0.2
    lle_neighbours: int = 10  # how many own faces (GeneFace++)
    clamp_std: float = 2.5  # per-coordinate limit in the person's std (official code, grid road)
    smooth_frames: float = 0.7  # sigma of the Gaussian over time, frames; 0 = off (ours)
    closure: float = 0.25  # share of the person's frames whose mouth counts as closed (ours)
    silence_db: float = -35.0  # below the loud parts by this much is silence, dB (ours)
    rest_in_silence: bool = True  # silent stretches close the mouth (official vanilla road)
    blinks: str = "clip"  # "clip" replays the person's own eyes, "none" keeps the predicted ones
    head_motion: str = "clip"  # "clip" follows the person's own path and back, "still" holds it
    pose_window: int = 7  # frames averaged along the head's path (official code)
    label: str = ""  # visible text in the picture; "" for none (ours)
    c2pa_keys: str = ""  # folder of chain.pem and key.pem; "" signs without an identity (ours)


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
    sway: shifts of the shoulders, see `portrait.Portrait`; None follows the head's poses.
    """

    audio: Float[np.ndarray, " n"]
    speech: Speech
    displacements: Float[np.ndarray, "t 68 3"]
    adapted: Float[np.ndarray, "t 68 3"]
    landmarks: Float[np.ndarray, "t 68 3"]
    poses: Float[np.ndarray, "t 4 4"]
    loudness: Float[np.ndarray, " t"]
    silent: Bool[np.ndarray, " t"]
    sway: Float[np.ndarray, "t 2"] | None = None


@dataclass(frozen=True)
class Talk:
    """A finished video and how it came about.

    stills: a few frames as rendered, before compression, and their indices. verdict: the checks
    of the result. signed: whether the file carries a C2PA manifest.
    """

    path: Path
    plan: Plan
    stills: UInt8[np.ndarray, "k h w 3"]
    still_frames: Int[np.ndarray, " k"]
    verdict: Verdict
    signed: bool


def inputs(subject: str, config: TalkConfig) -> list[Path]:
    """The files that a talk run reads besides its upstream runs: the recording, if any."""
    if config.text:
        if config.audio:
            raise ValueError("talk.audio and talk.text exclude each other; give one of them")
        return []
    return [driving_audio(config.audio)]


def make(run: Run, config: TalkConfig) -> None:
    """Lets the person of a run say the recording of its settings."""
    actor = load_actor(run.parents)
    run.data_kind = actor.person.data_kind
    if config.text:
        audio = run.folder / "text.wav"
        write_audio(audio, say(config.text))
    else:
        audio = driving_audio(config.audio)
    out = run.folder / "talk.mp4"
    done = talk(actor, audio, out, config=config, generator=run.generator("sample"))
    _save_arrays(run.folder / "talk.npz", done)
    run.record("frames", len(done.plan.landmarks))
    run.record("seconds", len(done.plan.landmarks) / FPS)
    run.record("silent_share", round(float(done.plan.silent.mean()), 4))
    run.record("checks", [dataclasses.asdict(check) for check in done.verdict.checks])
    run.record("verdict", done.verdict.lines())
    run.record("consent", consent_of(actor.person))
    run.record("signed", done.signed)


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
    track = actor.portrait.driving(planned.landmarks, planned.speech)
    frames = actor.portrait.render(track, planned.poses, sway=planned.sway)
    frames, flicker = live.progress(frames, "rendering", n_frames), Flicker()
    notes = provenance(actor.person, planned.audio)
    title = f"{actor.person.name} (synthetic)"
    write_video(
        Path(out),
        _watched(flicker.watch(frames), config.label, set(kept.tolist()), stills),
        planned.audio,
        metadata={"title": title, "comment": json.dumps(notes)},
    )
    signed = sign(Path(out), notes, title=title, keys=config.c2pa_keys)
    verdict = judge(planned, actor, flicker.value)
    for check in verdict.checks:
        if not check.fine:
            log.warning("%s is %.2f: look at %s", check.name, check.value, check.remedy)
    log.info("consent: %s", consent_of(actor.person))
    return Talk(Path(out), planned, np.stack(stills), kept, verdict, signed)


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
    if config.lle_share:
        absolute = _near_own(absolute, person, config)
    return Plan(
        audio=audio,
        speech=speech,
        displacements=_numpy(displacements),
        adapted=absolute,
        landmarks=finish(absolute, silent, person, config),
        poses=pose_path(person.poses, n_frames, config.head_motion, config.pose_window),
        loudness=loud,
        silent=silent,
        sway=sway_path(_sway(actor), n_frames, config.head_motion, config.pose_window),
    )


def _watched(
    frames: Iterable[np.ndarray], label: str, kept: set[int], stills: list[np.ndarray]
) -> Iterator[np.ndarray]:
    """Passes frames on, labelled; the kept ones are also appended to `stills`."""
    for index, frame in enumerate(frames):
        shown = labelled(frame, label) if label else frame
        if index in kept:
            stills.append(shown)
        yield shown


def _near_own(landmarks: np.ndarray, person: Any, config: TalkConfig) -> np.ndarray:
    """Each face moved towards its affine combination of the person's nearest tracked faces."""
    own = torch.from_numpy(np.array(person.landmarks[: person.n_train])).flatten(1)
    pulled = project_onto_neighbours(
        torch.from_numpy(landmarks).flatten(1),
        own,
        neighbours=config.lle_neighbours,
        share=config.lle_share,
        ridge=1e-3,
    )
    return _numpy(pulled.unflatten(1, (68, 3)))


def _sway(actor: Actor) -> np.ndarray | None:
    """The tracked shoulders; plans are also made without a portrait."""
    return None if actor.portrait is None else actor.portrait.sway


def _numpy(values: Any) -> np.ndarray:
    return torch.as_tensor(values).detach().cpu().numpy().astype(np.float32)


def _save_arrays(path: Path, done: Talk) -> None:
    arrays = {
        name: getattr(done.plan, name)
        for name in ("displacements", "adapted", "landmarks", "poses", "sway", "loudness", "silent")
        if getattr(done.plan, name) is not None
    }
    with replacing(path) as partial:
        np.savez_compressed(
            partial,
            **arrays,
            audio=done.plan.audio,
            mel=_numpy(done.plan.speech.mel),
            stills=done.stills,
            still_frames=done.still_frames,
        )
