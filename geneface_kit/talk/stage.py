"""Talk: a recording -> a video of the person saying it. Reads person/, motion/, adaptation/, nerf/.

Writes talk/talk.mp4 and talk/talk.npz (every intermediate that is not a picture).
"""

import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8

from geneface_kit.nerf.verdict import Check, Look, verdict_lines
from geneface_kit.person.clip import FPS, read_audio, write_audio, write_video
from geneface_kit.person.stage import consent_beside, find
from geneface_kit.runs import Run, live
from geneface_kit.runs.arrays import write_npz
from geneface_kit.runs.files import named
from geneface_kit.talk.audio import check_text, driving_audio, say
from geneface_kit.talk.marking import check_font, check_keys, consent_of, labelled, provenance, sign
from geneface_kit.talk.plan import Actor, Plan, load_actor, plan
from geneface_kit.talk.postprocess import TalkConfig
from geneface_kit.talk.verdict import judge

log = logging.getLogger(__name__)

STILLS = 8  # rendered frames that are kept as they were before compression


@dataclass(frozen=True)
class Talk:
    """A finished video and how it came about."""

    path: Path
    plan: Plan
    stills: UInt8[np.ndarray, "k h w 3"]  # a few frames as rendered, before compression
    still_frames: Int[np.ndarray, " k"]
    checks: tuple[Check, ...]
    signed: bool  # whether the file carries a C2PA manifest


def inputs(subject: str, config: TalkConfig) -> dict[str, Path]:
    """The files that a talk run reads besides its upstream runs: the recording, if any, the
    subject's consent and who signs. Raises: OSError, ValueError, ModuleNotFoundError for what
    cannot be said, written or signed."""
    check_font(config.label)
    files = check_keys(config.c2pa_keys)
    with contextlib.suppress(FileNotFoundError):  # a finished person does without its clip
        files |= {path.name: path for path in consent_beside(find(subject))}
    if config.text:
        if config.audio:
            raise ValueError("talk.audio and talk.text exclude each other; give one of them")
        check_text(config.text)
        return files
    return named([driving_audio(config.audio)]) | files


def make(run: Run, config: TalkConfig) -> None:
    """Lets the person of a run say the recording of its settings."""
    actor = load_actor(run.parents)
    with contextlib.suppress(FileNotFoundError):  # it may have come after the person was prepared
        consent = "\n".join(consent_beside(find(run.subject)).values())
        person = dataclasses.replace(actor.person, consent=consent)
        actor = dataclasses.replace(actor, person=person)
    run.data_kind = actor.person.data_kind
    audio = run.folder / "text.wav" if config.text else driving_audio(config.audio)
    if config.text:
        write_audio(audio, say(config.text))
    out = run.folder / "talk.mp4"
    done = talk(actor, audio, out, config=config, generator=run.generator("sample"))
    kept = {name: one for name, one in vars(done.plan).items() if isinstance(one, np.ndarray)}
    kept |= {"mel": np.asarray(done.plan.speech.mel, np.float32)}
    kept |= {"stills": done.stills, "still_frames": done.still_frames}
    write_npz(run.folder / "talk.npz", **kept)
    run.record("frames", len(done.plan.landmarks))
    run.record("seconds", len(done.plan.landmarks) / FPS)
    run.record("silent_share", round(float(done.plan.silent.mean()), 4))
    run.record("checks", [dataclasses.asdict(check) for check in done.checks])
    run.record("verdict", verdict_lines(done.checks))
    run.record("consent", consent_of(actor.person))
    run.record("signed", done.signed)


def talk(
    actor: Actor, audio: Path, out: Path, *, config: TalkConfig, generator: torch.Generator
) -> Talk:
    """Writes the video of a person saying a recording, h264 and aac, 25 frames per second. Frame k
    shows the time k/25 s of the recording. The same generator state gives the same frames. Raises:
    FileNotFoundError, ValueError for a recording that is missing or holds no sound."""
    heard = read_audio(driving_audio(audio))
    planned = plan(actor, heard, config, generator)
    if len(planned.audio) < len(heard):
        log.warning("only the first %g s of the recording are spoken (talk.max_s)", config.max_s)
    n_frames = len(planned.landmarks)
    kept = np.unique(np.linspace(0, n_frames - 1, STILLS).round().astype(int))
    stills: list[np.ndarray] = []
    look = Look()
    notes = provenance(actor.person, planned.audio)
    title = f"{actor.person.name} (synthetic)"

    def frames() -> Iterator[np.ndarray]:
        track = actor.avatar.driving(planned.landmarks, planned.speech)
        how = {"torso_shifts": planned.torso_shifts, "look": look}
        rendered = actor.avatar.render(track, planned.poses, **how)
        for index, frame in enumerate(live.progress(rendered, "rendering", n_frames)):
            shown = labelled(frame, config.label) if config.label else frame
            if index in kept:
                stills.append(shown)
            yield shown

    metadata = {"title": title, "comment": json.dumps(notes)}
    write_video(out, frames(), planned.audio, metadata=metadata)
    signed = sign(out, notes, title=title, keys=config.c2pa_keys)
    checks = judge(planned, actor, look)
    for check in checks:
        if not check.fine:
            log.warning("%s", check)
    log.info("consent: %s", consent_of(actor.person))
    return Talk(out, planned, np.stack(stills), kept, checks, signed)
