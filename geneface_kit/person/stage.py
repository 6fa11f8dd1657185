"""Person: talking videos -> one validated artefact that the other stages trust.

Reads the clips; writes frames, labels, background, torso, tracks, speech, audio, then person.json.
"""

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from geneface_kit import runs
from geneface_kit.person import clip, demo, files, framing, known, landmarks, quality, speech, takes
from geneface_kit.person.artefact import SCHEMA, Person, assemble
from geneface_kit.person.artefact import load as load  # as every stage has it
from geneface_kit.person.background import make_background
from geneface_kit.person.occlusion import frozen, hidden_mouth, subtitled
from geneface_kit.person.spans import Parts, firsts_of, runs_of
from geneface_kit.person.speech.encoders import EncoderName, load_encoder, weight_files
from geneface_kit.person.tracking.track import TrackingConfig, track
from geneface_kit.runs.arrays import write_image, write_npz
from geneface_kit.runs.files import named
from geneface_kit.runs.ranges import NotNegative, Range, meant

log = logging.getLogger(__name__)

Span = Annotated[int, Range(takes.ALL)]


@dataclass(frozen=True)
class PersonConfig:
    """Settings of the stage; the defaults are the smoke profile's. All ours but where noted."""

    size: Annotated[int, Range(32, 4096, step=2)] = 128  # side of pictures at most, px; method 512
    max_s: NotNegative = 0.0  # seconds read from the clip; 0 = all
    span: Span = takes.ALL  # all stretches of one framing; 0 the longest alone, 1 the second, ...
    sound: Literal["auto", "track", "beside"] = "auto"  # what speaks, own, NAME.wav
    encoder: EncoderName = "hama"  # see speech.encoders; method: HuBERT
    force: bool = False  # let later stages go on with a clip whose verdict is "not usable"
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


def make(run: runs.Run, config: PersonConfig) -> None:
    """Prepare the run's person into its folder (stage `person`)."""
    person = prepare(find(run.subject), run.folder, config, name=name_of(run.subject))
    run.data_kind = person.data_kind
    run.record("report", person.report)


def inputs(subject: str, config: PersonConfig) -> dict[str, Path]:
    """The files the stage reads: the clips, the sound beside them, an encoder's weights. The
    consent is none of them: it changes no picture, and may come later.

    Raises: FileNotFoundError when there is no such person, or no sound where it is to be beside.
    """
    source = find(subject)
    consent_beside(source)  # refused before the long way
    videos = clips_of(source)
    beside = filter(None, [clip.beside_of(path, config.sound) for path in videos])
    return named([*videos, *beside]) | weight_files(config.encoder)


def name_of(subject: str) -> str:
    """What a person is called, by whatever path or name its clip or folder is meant."""
    with contextlib.suppress(FileNotFoundError):
        return called(find(subject))
    return called(Path(subject))


def find(name: str) -> Path:
    """The video of a person, or the folder of its videos, looked for in this order.

    A file's path; a folder's path ("clips/" or "./ada") that holds videos; a clip or such a folder
    called NAME, in any case, in data/persons or GENEFACE_KIT_DATA; a known person, fetched into
    data/persons unless GENEFACE_KIT_OFFLINE is set; the embedded demo.
    Raises: FileNotFoundError, in one sentence that says where to put the video; ValueError when
    a folder that is named holds none.
    """
    given = Path(name)
    if not name.isprintable() or any(len(os.fsencode(part)) > 255 for part in given.parts):
        raise ValueError(f"a person is called by at most 255 printable bytes, got {name!r}")
    if given.is_file() and (given.suffix or given.parent.name):
        return given
    if given.is_dir() and os.sep in name:
        if not clips_of(given):
            raise ValueError(f"{given} holds no video; put the clips of one person into it")
        return given
    alike = [path for path in here() if name.lower() in (path.name.lower(), called(path).lower())]
    if alike:
        nearest = (path for path in alike if path.parent == alike[0].parent)
        return min(nearest, key=lambda path: name not in (path.name, called(path)))
    entry = known.KNOWN.get(name)
    if entry and entry.address and "GENEFACE_KIT_OFFLINE" not in os.environ:
        return known.fetch(name, _folders()[0])
    if name in demo.NAMES:
        return demo.clip_path(name)
    hint = meant(name, {*map(called, here()), *known.KNOWN, *demo.NAMES} - {name})
    published = f" (published by {entry.source})" if entry else ""
    bare = given.stem if given.suffix.lower() in clip.SUFFIXES else given.name
    raise FileNotFoundError(
        f"no video of person {name!r}: {hint}put it at data/persons/{bare}.mp4 in the project's "
        f"folder (several: into data/persons/{bare}/), or into the folder that GENEFACE_KIT_DATA "
        f"names{published}"
    )


def here() -> Iterator[Path]:
    """Every person's video or folder of videos, the project's first; folders last in each place."""
    places = _folders()
    for place in filter(Path.is_dir, places):
        paths = sorted(place.iterdir())
        for suffix in clip.SUFFIXES:
            yield from (path for path in paths if path.suffix.lower() == suffix)
        yield from (one for one in paths if one.is_dir() and one not in places and clips_of(one))


def called(source: Path) -> str:
    """The name of the person of a clip or a folder."""
    return source.resolve().name if source.is_dir() else source.stem


def _folders() -> list[Path]:
    """Where persons are looked for, the project's own first."""
    folders = [runs.root() / "data" / "persons"]
    if "GENEFACE_KIT_DATA" in os.environ:
        data = Path(os.environ["GENEFACE_KIT_DATA"])
        if not data.is_dir():
            raise FileNotFoundError(f"GENEFACE_KIT_DATA names {data}, which is no folder")
        folders += [data, data / "persons"]
    return folders


def clips_of(source: Path) -> list[Path]:
    """The videos of a person: the file itself, or those of a folder, "clip2" before "clip10"."""
    if not source.is_dir():
        return [source]
    videos = [path for path in source.iterdir() if path.suffix.lower() in clip.SUFFIXES]
    parts = {path: re.findall(r"(\d+)|(\D+)", path.name.lower()) for path in videos}
    return sorted(videos, key=lambda p: ([(int(d or -1), text) for d, text in parts[p]], p.name))


def prepare(
    source: Path,
    folder: Path,
    config: PersonConfig | None = None,
    *,
    name: str = "",
    step: Callable[[str], None] = log.debug,
) -> Person:
    """Turn a video, or a folder of them, into a person artefact in `folder`, person.json last.

    step: called with the name of each step as it begins. A clip whose verdict is "not usable" gets
    its artefact and its report all the same; `load` refuses it later.
    Raises: ValueError when no artefact can be made of it; what was repaired is a warning there.
    """
    config = config or PersonConfig()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "person.json").unlink(missing_ok=True)
    step("scan")
    # what can be refused without looking at pictures is, before the long way
    load_encoder(config.encoder)
    sounds = [clip.chosen_sound(path, config.sound) for path in clips_of(source)]
    scan = framing.scan_all(clips_of(source), max_s=config.max_s)
    taken, warnings = takes.chosen(scan, config.span)
    taken, heard, notes = _heard(scan, taken, sounds)
    warnings += notes
    spans, used = firsts_of(taken), takes.frames_of(taken)
    mesh = landmarks.in_a_row([landmarks.fill_gaps(scan.mesh.cut(*span)) for span in taken])
    crop = framing.square_crop(mesh, scan.width, scan.height, scan.bars)
    side = framing.picture_side(scan, crop, config.size)
    step("frames")
    frames = files.write_frames(scan, folder, used, crop, side)
    step("tracking")
    placed = mesh.moved(crop.left, crop.top, side / crop.side)
    tracked = track(placed, side, config.tracking, pictures=frames, spans=spans)
    doubtful = {
        "the mouth is hidden": hidden_mouth(frames, tracked.landmarks2d),
        "the picture stands": frozen(frames),
        "writing is over the picture": subtitled(frames, spans),
        "the picture is mixed from others": scan.mixed[used],
    }
    step("speech")
    spoken = speech.offset.features_of([one.sound for one in heard])
    step("offset")
    offset = speech.estimate_offset(spoken, tracked.landmarks, spans)
    heard, spoken, notes = speech.offset.synchronise(heard, spoken, offset, encoder=config.encoder)
    warnings += notes
    write_npz(folder / "speech.npz", **vars(spoken))
    sound = np.concatenate([one.sound for one in heard])
    clip.write_audio(folder / "audio.wav", sound)
    doubtful["no sound was recorded"] = ~np.concatenate([one.is_recorded for one in heard])
    for why, flags in doubtful.items():
        parts = [(int(used[a]), int(used[b - 1]) + 1) for a, b in runs_of(flags, cuts=spans)]
        if parts:
            warnings.append(f"{why} at {scan.times(parts)}: left out of what trains")
    whole = mesh.found & ~np.any(list(doubtful.values()), axis=0)
    files.write_tracks(folder, tracked, whole, spans, side)
    step("labels")
    labels = files.write_labels(folder, tracked.landmarks2d, spans)
    step("background")
    background = make_background(frames, labels)
    write_image(folder / "background.png", background.picture)
    step("torso")
    files.write_torso(folder)
    step("report")
    facts = {
        "schema": SCHEMA,
        "name": name or name_of(str(source)),
        "data_kind": "synthetic" if source.parent == demo.FOLDER else "real",
        "size": side,
        "focal": tracked.focal,
        "n_frames": len(frames),
        "forced": config.force,
        "consent": "\n".join(consent_beside(source).values()),
        "report": {},
    }
    person = assemble(folder, facts)
    measured = quality.measure(person, scan, taken, crop, tracked, sound, offset, background)
    person.report.update(measured | quality.verdict(measured, warnings))
    from geneface_kit_figures import report  # draws, and stands on the whole kit

    with runs.replacing(folder / "report.html") as partial:
        partial.write_text(report.page(person), encoding="utf-8")
    runs.write_json(folder / "person.json", facts)
    for warning in person.report["warnings"]:
        log.warning("%s: %s", person.name, warning)
    found = person.report["verdict"]
    say = log.warning if found == "not usable" else log.info
    say("%s: %s", person.name, "; ".join([found, *person.report["reasons"]]))
    return person


def _heard(
    scan: framing.Scan, taken: Parts, sounds: Sequence[clip.Sound]
) -> tuple[list[tuple[int, int]], list[speech.offset.Heard], list[str]]:
    """What of the stretches has sound, that sound, and notes about it."""
    kept, heard, notes = [], [], {}
    for start, stop in taken:
        number, own = scan.within(start)
        sound, first = sounds[number], start - own
        covered, end, left_out = speech.offset.covered_span(sound, own, own + stop - start)
        name = f"{scan.clips[number].name}: " if len(scan.clips) > 1 else ""
        notes |= dict.fromkeys(f"{name}{note}" for note in (*sound.notes, *left_out))
        if end - covered < framing.MIN_S * clip.FPS:
            continue
        begin, cut = (None if edge is None else edge - first for edge in scan.shot(start, stop))
        begin = max(begin * clip.SAMPLES, round(sound.starts_s * clip.SAMPLE_RATE))
        shot = sound.samples[begin : None if cut is None else cut * clip.SAMPLES]
        kept.append((first + covered, first + end))
        heard.append(speech.offset.Heard(shot, covered * clip.SAMPLES - begin, end - covered))
    if not kept:
        raise ValueError(
            f"less than {framing.MIN_S:g} s on end show a face and have sound ({'; '.join(notes)})"
        )
    return kept, heard, list(notes)


def consent_beside(source: Path) -> dict[Path, str]:
    """The files NAME.consent.txt beside a person's clips, or in their folder -> what they say.

    Raises: ValueError, in one sentence, for one that is no UTF-8 text.
    """
    above, found = source.parent / f"{called(source)}.consent.txt", {}
    for path in filter(Path.is_file, [above, *sorted(source.glob("*.consent.txt"))]):
        try:
            found[path] = path.read_text(encoding="utf-8-sig").strip()
        except UnicodeError:
            raise ValueError(f"{path} is no UTF-8 text: save it as UTF-8") from None
    return found
