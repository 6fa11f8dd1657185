"""Person: a talking video -> one validated artefact that the other stages trust.

Reads the clip; writes frames, labels, background, torso, tracks, speech, audio, then person.json.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from geneface_kit import runs
from geneface_kit.person import (
    clip,
    demo,
    files,
    framing,
    known,
    landmarks,
    quality,
    report,
    speech,
)
from geneface_kit.person.artefact import SCHEMA, Person, assemble
from geneface_kit.person.artefact import load as load  # as every stage has it
from geneface_kit.person.occlusion import frozen, hidden_mouth, runs_of
from geneface_kit.person.settings import PersonConfig
from geneface_kit.person.speech.offset import covered_span, read_sound, span_of, synchronise
from geneface_kit.person.tracking.track import track

STEPS = (
    *("scan", "frames", "tracking", "speech", "offset"),
    *("labels", "background", "torso", "report"),
)
"""The steps of a preparation, in order."""

log = logging.getLogger(__name__)


def make(run: runs.Run, config: PersonConfig) -> None:
    """Prepare the run's person into its folder (stage `person`)."""
    source = find(run.subject)
    person = prepare(source, run.folder, config, name=name_of(run.subject))
    run.data_kind = person.data_kind
    run.record("report", person.report)


def inputs(subject: str, config: PersonConfig) -> list[Path]:
    """The files the stage reads: the clip; its sound and the subject's consent, if beside it."""
    source = find(subject)
    beside, consent = clip.beside_of(source), _consent_file(source)
    return [source, *filter(None, [beside]), *[consent] * consent.is_file()]


def name_of(subject: str) -> str:
    """What a person is called, however its clip is named: by its path, with or without its ending,
    in any case."""
    given = Path(subject)
    if given.is_dir():
        return given.resolve().name
    try:
        return find(subject).stem
    except FileNotFoundError:
        return given.stem


def find(name: str) -> Path:
    """The video of a person, looked for in this order.

    A file's path; a folder's path ("clips/" or "./ada") that holds one video; a clip called NAME,
    in any case, in data/persons or GENEFACE_KIT_DATA; a known person, fetched into data/persons
    unless GENEFACE_KIT_OFFLINE is set; the embedded demo.
    Raises: FileNotFoundError, in one sentence that says where to put the video; ValueError when
    a folder holds several, or a fetched clip was changed.
    """
    given = Path(name)
    if given.is_file() and (given.suffix or given.parent.name):
        return given
    if given.is_dir() and os.sep in name:
        return _only_video(given)
    at_home = runs.root() / "data" / "persons"
    folders = [at_home]
    if "GENEFACE_KIT_DATA" in os.environ:
        data = Path(os.environ["GENEFACE_KIT_DATA"])
        if not data.is_dir():
            raise FileNotFoundError(f"GENEFACE_KIT_DATA names {data}, which is no folder")
        folders += [data, data / "persons"]
    for folder in folders:
        if (found := _named(folder, name)) is not None:
            return known.check(found)
    entry = known.KNOWN.get(name)
    if entry and entry.address and "GENEFACE_KIT_OFFLINE" not in os.environ:
        return known.fetch(name, at_home)
    if name in demo.NAMES:
        return demo.clip_path(name)
    published = f" (published by {entry.source})" if entry else ""
    raise FileNotFoundError(
        f"no video of person {name!r}: put it at data/persons/{given.stem}.mp4 in "
        f"the project's folder, or into the folder that GENEFACE_KIT_DATA names{published}"
    )


def _named(folder: Path, name: str) -> Path | None:
    """The video of a name in a folder, written with or without its ending, in any case; the exact
    spelling first, then the order of clip.SUFFIXES."""
    videos = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        suffix = path.suffix.lower()
        if suffix in clip.SUFFIXES and name.lower() in (path.stem.lower(), path.name.lower()):
            rank = (name not in (path.stem, path.name), clip.SUFFIXES.index(suffix))
            videos[rank, path.name] = path
    return videos[min(videos)] if videos else None


def _only_video(folder: Path) -> Path:
    videos = sorted(path for path in folder.iterdir() if path.suffix.lower() in clip.SUFFIXES)
    if len(videos) == 1:
        return videos[0]
    found = ", ".join(path.name for path in videos[:5]) or "none"
    raise ValueError(
        f"{folder} holds {len(videos)} videos ({found}); one is needed, name it by its path"
    )


def prepare(
    source: Path,
    folder: Path,
    config: PersonConfig | None = None,
    *,
    name: str = "",
    step: Callable[[str], None] = log.debug,
) -> Person:
    """Turn a video into a person artefact in `folder` (person.json is written last).

    step: called with the name of each step of STEPS as it begins. A clip whose verdict is "not
    usable" gets its artefact and its report all the same; `load` refuses it later.
    Raises: ValueError in one sentence when no artefact can be made of the clip; what could be
    repaired is listed in the report's warnings.
    """
    config = config or PersonConfig()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "person.json").unlink(missing_ok=True)
    step("scan")
    scan = framing.scan(source, max_s=config.max_s, detector=config.detector)
    start, stop, warnings = framing.usable_span(scan, config.span)
    sound = read_sound(source, config.sound)
    start, stop, left_out = covered_span(sound, start, stop)
    warnings += [*sound.notes, *left_out]
    if stop - start < framing.MIN_S * clip.FPS:
        raise ValueError(
            f"only {(stop - start) / clip.FPS:.2f} s show a face and have sound ("
            f"{'; '.join(left_out)}); at least {framing.MIN_S:g} s are needed"
        )
    spans = tuple(framing.usable_spans(scan))
    mesh = landmarks.fill_gaps(scan.mesh.cut(start, stop))
    crop = framing.square_crop(mesh, scan.width, scan.height, scan.bars)
    step("frames")
    frames = files.write_frames(source, folder, (start, stop), crop, scan.width, config.size)
    step("tracking")
    placed = mesh.moved(crop.left, crop.top, config.size / crop.side)
    tracked = track(placed, config.size, config.tracking, pictures=frames)
    hidden, still = hidden_mouth(frames, tracked.landmarks2d), frozen(frames)
    files.write_tracks(folder, tracked, mesh.found & ~hidden & ~still, config.size)
    warnings += left_out_of(hidden, "the mouth is hidden") + left_out_of(
        still, "the picture stands"
    )
    step("speech")
    spoken = speech.encode(span_of(sound.samples, start, stop - start)).cut(stop - start)
    step("offset")
    offset = speech.estimate_offset(spoken, tracked.landmarks)
    audio = synchronise(
        sound.samples, spoken, start, offset, encoder=config.encoder, weights=config.encoder_weights
    )
    files.write_npz(folder / "speech.npz", **vars(audio.speech))
    clip.write_audio(folder / "audio.wav", audio.sound)
    step("labels")
    labels = files.write_labels(folder, tracked.landmarks2d)
    step("background")
    background = files.write_background(folder, frames, labels)
    step("torso")
    files.write_torso(folder)
    step("report")
    found = quality.Evidence(
        scan, (start, stop), spans, crop, tracked, audio, background, frames, labels
    )
    measured = quality.measure(found)
    measured |= quality.verdict(measured, warnings + list(audio.notes))
    facts = {
        "schema": SCHEMA,
        "name": name or source.stem,
        "data_kind": "synthetic" if source.parent == demo.clip_path("demo").parent else "real",
        "size": config.size,
        "focal": tracked.focal,
        "n_frames": len(frames),
        "unit": "inter-ocular distance",
        "forced": config.force,
        "consent": _consent(source),
        "speech": {
            "encoder": audio.speech.encoder,
            "version": audio.speech.version,
            "steps_per_frame": 2,
        },
        "report": measured,
    }
    person = assemble(folder, facts)
    with runs.replacing(folder / "report.html") as partial:
        partial.write_text(report.page(person), encoding="utf-8")
    runs.write_json(folder / "person.json", facts)
    for warning in measured["warnings"]:
        log.warning("%s: %s", person.name, warning)
    say = log.warning if measured["verdict"] == "not usable" else log.info
    say("%s: %s", person.name, "; ".join([measured["verdict"], *measured["reasons"]]))
    return person


def left_out_of(flags: Bool[np.ndarray, " t"], why: str) -> list[str]:
    """The sentence about frames that do not train, with their times in the used part; or none."""
    times = [f"{a / clip.FPS:.2f} to {b / clip.FPS:.2f} s" for a, b in runs_of(flags)]
    return (
        [f"{why} at {', '.join(times[:5])} of the used part: left out of what trains"]
        if times
        else []
    )


def _consent(source: Path) -> str:
    """The statement in NAME.consent.txt beside the clip, if there is one."""
    path = _consent_file(source)
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def _consent_file(source: Path) -> Path:
    return source.with_suffix(".consent.txt")
