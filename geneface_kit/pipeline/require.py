"""Require: a stage and a person in; the finished, documented run out, or a person's video."""

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock

from geneface_kit.nerf.verdict import verdict_lines
from geneface_kit.person import demo
from geneface_kit.person import stage as person_stage
from geneface_kit.person.clip import write_audio
from geneface_kit.person.speech.encoders import counted_name
from geneface_kit.pipeline import methods
from geneface_kit.pipeline.settings import Overrides, Settings, check_together, parse, resolve
from geneface_kit.pipeline.stages import PATHS, STAGES
from geneface_kit.runs import record, replacing
from geneface_kit.runs.files import Facts, check_writable, digest_of, digests, enough, folder_name
from geneface_kit.runs.ranges import one_of
from geneface_kit.runs.record import Run, home_of
from geneface_kit.talk import audio as driving
from geneface_kit.talk import stage as talk_stage
from geneface_kit.talk.marking import consent_of
from geneface_kit.talk.plan import embedded_actor

log = logging.getLogger(__name__)


def require(
    stage: str,
    person: str = "demo",
    *,
    profile: str = "auto",
    seed: int = 0,
    overrides: Overrides | str | None = None,
    method: str = methods.FULL,
    out: Path | str = "",
    made: bool = True,
) -> Run:
    """The finished run of a stage for a person: found, or made together with all it needs.

    profile: see `profile_for`. overrides: dotted settings, {"head.steps": 100} or
    "head.steps=100,talk.temperature=0". method: a name of methods.csv. out: the folder of all
    runs; default: runs/ at the root.
    The same settings, seed, inputs, parents and version of the stage give the same run; of inputs
    the content counts, not where they lie or what a person's clip is called. A run that was cut
    off or failed goes on where it stopped. Settings, inputs and the folder are checked before
    anything is made. Not `made`, it is the run as it would begin.
    """
    settings = resolve(profile_for(person, profile), methods.overrides(method, overrides))
    planned = _planned(stage, person, settings, seed, home_of(out))
    if not made:
        return planned
    check_writable(planned.folder)
    with enough(planned.folder):
        return _made(planned, settings)


def locate(stage: str, person: str = "demo", **unit: Overrides | str | int | Path) -> Path:
    """The folder of the run that `require` would give, there or not; nothing is made."""
    return require(stage, person, made=False, **unit).folder


def profile_for(person: str, profile: str = "auto") -> str:
    """The profile that is meant: "auto" is smoke for the embedded demo, cpu for anybody else."""
    automatic = "smoke" if person in demo.NAMES else "cpu"
    return automatic if profile == "auto" else profile


def _planned(stage: str, person: str, settings: Settings, seed: int, home: Path) -> Run:
    """A run as it begins, with its parents; its folder and id follow from what it is made of. A
    clip under another name is the same person: such a run is where it was first made."""
    spec = STAGES[one_of("stage", stage, STAGES)]
    if stage == "adaptation":
        check_together(settings)
    if stage == "evaluation":
        methods.check(settings)
    subject = person if spec.per_person else "speakers"
    label = folder_name(person_stage.name_of(subject)) if spec.per_person else subject
    config = {name: dataclasses.asdict(getattr(settings, name)) for name in spec.sections}
    own_seed = seed if spec.seeded else 0
    counted = {
        f"{section}.{name}": counted_name(value) if name == "encoder" else value
        for section, values in config.items()
        for name, value in values.items()
        if f"{section}.{name}" not in PATHS
    }
    what = [record.SCHEMA, stage, spec.version, counted, own_seed]
    parents = {name: _planned(name, person, settings, seed, home) for name in spec.parents}
    above = [parent.folder.name for parent in parents.values()]

    def name_of_run(inputs: Facts) -> str:
        first = spec.per_person and not parents
        made_of = [*what, list(inputs.values()) if first else inputs, above]
        made_of += [] if inputs or parents else [label]
        return f"{stage}-{settings.profile}-{digest_of(made_of)[:8]}"

    given = [getattr(settings, name) for name in spec.sections]
    try:
        inputs = digests(spec.inputs(subject, *given), home / "digests.json")
    except FileNotFoundError:
        prefix = home / label / f"{stage}-{settings.profile}"
        inputs = _inputs_of_old(prefix, config, name_of_run)
        if inputs is None:
            raise
    name = name_of_run(inputs)
    folder = next(home.glob(f"*/{name}"), home / label / name)
    facts = {
        "schema": record.SCHEMA,
        "id": f"{stage}-{folder.parent.name}-{name.removeprefix(stage + '-')}",
        "stage": stage,
        "version": spec.version,
        "subject": subject,
        "profile": settings.profile,
        "seed": own_seed,
        "status": "running",
        "data_kind": "real",
        "config": config,
        "inputs": inputs,
        "parents": {name: str(one.folder.relative_to(home)) for name, one in parents.items()},
        "outputs": {},
        "sizes": {},
        "metrics": {},
        "wall_s": 0.0,
        "peak_memory_mb": 0.0,
    }
    return Run(folder, facts, parents)


def _made(run: Run, settings: Settings, *, read: bool = False) -> Run:
    """The finished run of a planned one: found whole, or made after its parents. read: another
    stage is about to read its files, so that not their sizes alone are compared."""
    stage = STAGES[run.stage]
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(run.folder) + ".lock"):
        earlier = record.read_facts(run.folder)
        finished = earlier is not None and earlier["status"] == "ok"
        wrong = record.damaged(Run(run.folder, earlier, {}), digests=read) if finished else []
        makes = bool(wrong) or not finished
        run.parents = {name: _made(one, settings, read=makes) for name, one in run.parents.items()}
        if not makes:
            return Run(run.folder, earlier, run.parents)
        if wrong:
            log.warning("%s: damaged or gone, and made again: %s", run.id, ", ".join(wrong))
        for name in record.files_of(run.folder).keys() & wrong:
            (run.folder / name).unlink()
        if any(one.data_kind == "synthetic" for one in run.parents.values()):
            run.data_kind = "synthetic"
        run.facts["machine"] = record.machine()
        run.folder.mkdir(exist_ok=True)
        if earlier is not None:
            run.facts["wall_s"] = earlier.get("wall_s", 0.0)
            log.info("%s: going on after what is finished of it", run.id)
        given = [getattr(settings, name) for name in stage.sections]
        record.execute(run, lambda: stage.make(run, *given))
    return run


def _inputs_of_old(
    prefix: Path, config: Facts, name_of_run: Callable[[Facts], str]
) -> dict[str, str] | None:
    """What a finished run of these settings read: it is found when its clip is gone, too."""
    spelled, runs = json.loads(json.dumps(config)), prefix.parent.glob(f"{prefix.name}-*/run.json")
    for path in sorted(runs, key=os.path.getmtime, reverse=True):
        facts = record.read_facts(path.parent)
        if facts is None or facts["status"] != "ok" or facts["config"] != spelled:
            continue
        inputs = facts.get("inputs", {})
        if path.parent.name == name_of_run(inputs):
            log.info("%s: its inputs are gone; the finished run is used", facts["id"])
            return inputs
    return None


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
    method: str = methods.FULL,
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
    changes = parse(overrides)
    at_once = all(name.startswith("talk.") for name in changes)
    changes |= {"talk.audio": str(audio)} if audio else {"talk.text": text}
    if at_once and (person, profile, method) == ("demo", "auto", methods.FULL):
        config, draw = resolve("cpu", changes).talk, torch.Generator().manual_seed(seed)
        talk_stage.inputs(person, config)  # refuses what cannot be said or signed
        with tempfile.TemporaryDirectory() as folder:
            if audio is None:
                audio = Path(folder) / "text.wav"
                write_audio(audio, driving.say(text))
            actor = embedded_actor()
            done = talk_stage.talk(actor, audio, video, config=config, generator=draw)
        origin = "the avatar that comes with the kit"
        return Said(video, verdict_lines(done.checks), consent_of(actor.person), origin)
    unit = {"profile": profile, "seed": seed, "method": method, "out": out}
    run = require("talk", person, overrides=changes, **unit)
    with replacing(video) as partial:
        shutil.copyfile(run.folder / "talk.mp4", partial)
    return Said(video, run.metrics["verdict"], run.metrics["consent"], run.id)


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
        read += person_stage.inputs(person, person_stage.PersonConfig()).values()
    if video.exists() and any(path.exists() and path.samefile(video) for path in read):
        raise ValueError(f"{video} is what the talk reads: choose another name for the video")
