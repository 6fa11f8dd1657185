"""Say: a person and a recording or a text -> a video; the command `talk`, one call in Python."""

import contextlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from geneface_kit.nerf.verdict import verdict_lines
from geneface_kit.person.clip import write_audio
from geneface_kit.person.stage import PersonConfig, inputs
from geneface_kit.pipeline.require import require
from geneface_kit.pipeline.settings import Overrides, parse, resolve
from geneface_kit.runs import replacing
from geneface_kit.runs.files import check_writable
from geneface_kit.talk import audio as driving
from geneface_kit.talk import stage as talk_stage
from geneface_kit.talk.marking import consent_of
from geneface_kit.talk.plan import embedded_actor


@dataclass(frozen=True)
class Said:
    """A video, its verdict line by line, the subject's consent, the run or avatar it is from."""

    path: Path
    verdict: list[str]
    consent: str
    origin: str


def say(
    person: str,
    audio: Path | str,
    video: Path | str,
    *,
    text: str = "",
    profile: str = "auto",
    seed: int = 0,
    overrides: Overrides | str | None = None,
    method: str = "full",
    out: Path | str = "",
) -> Said:
    """Writes the video of a person saying a recording, or a text when audio is "".

    The embedded demo comes trained and talks at once, unless a profile is named or a setting of
    another section than talk; for anybody else what is missing is made first, see `require`.
    Raises: ValueError or FileNotFoundError, in one sentence, before anything is made.
    """
    if bool(audio) == bool(text):
        raise ValueError("talk needs either a recording or a text, and then the video's name")
    audio, video = Path(audio).expanduser().resolve() if audio else None, Path(video)
    _check_video(video, person, audio)
    changes = parse(overrides) if isinstance(overrides, str) else dict(overrides or {})
    at_once = all(name.startswith("talk.") for name in changes)
    if at_once and (person, profile, method) == ("demo", "auto", "full"):
        return _at_once(audio, text, video, seed, changes)
    changes |= {"talk.audio": str(audio)} if audio else {"talk.text": text}
    unit = {"profile": profile, "seed": seed, "method": method, "out": out}
    run = require("talk", person, overrides=changes, **unit)
    with replacing(video) as partial:
        shutil.copyfile(run.folder / "talk.mp4", partial)
    return Said(video, run.metrics["verdict"], run.metrics["consent"], run.id)


def _at_once(audio: Path | None, text: str, video: Path, seed: int, changes: Overrides) -> Said:
    """The embedded demo says it."""
    config = resolve("cpu", changes).talk
    generator = torch.Generator().manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        if audio is None:
            audio = Path(folder) / "text.wav"
            write_audio(audio, driving.say(text))
        actor = embedded_actor()
        done = talk_stage.talk(actor, audio, video, config=config, generator=generator)
    origin = "the avatar that comes with the kit"
    return Said(video, verdict_lines(done.checks), consent_of(actor.person), origin)


def _check_video(video: Path, person: str, audio: Path | None) -> None:
    """Raises ValueError, in one sentence, where a video cannot or must not be written."""
    if video.suffix.lower() != ".mp4":
        raise ValueError(f"the video must be called something.mp4, got {video}")
    if video.is_dir():
        raise ValueError(f"{video} is a folder: name the video in it")
    if not video.absolute().parent.is_dir():
        raise ValueError(f"there is no folder {video.absolute().parent}: make it first")
    check_writable(video.absolute().parent)
    read = [audio] if audio else []
    with contextlib.suppress(FileNotFoundError):  # a finished person does without its clip
        read += inputs(person, PersonConfig()).values()
    if video.exists() and any(path.exists() and path.samefile(video) for path in read):
        raise ValueError(f"{video} is what the talk reads: choose another name for the video")
