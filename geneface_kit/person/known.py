"""Known: persons of published work whose clips have a public address -> data/persons/NAME.mp4.

A clip gets its name when it is whole and a video. Several are a folder, NAME, once each has the
sha256 that the table names.
"""

import logging
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from geneface_kit import runs
from geneface_kit.person import clip
from geneface_kit.runs.files import download, read_rows, readable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownPerson:
    """A clip of published work, or several.

    source: who published it where; terms: what they say about its use; address: of the file itself,
    "" when it must be fetched by hand; clips: of a zip of clips, name -> sha256 of those that are
    taken.
    """

    source: str
    terms: str
    address: str = ""
    clips: dict[str, str] = field(default_factory=dict)


def _clips(listed: str) -> dict[str, str]:
    lines = Path(__file__).with_name(listed).read_text().split() if listed else []
    return dict(line.split(",") for line in lines)


KNOWN = {
    row.pop("name"): KnownPerson(clips=_clips(row.pop("clips")), **row)
    for row in read_rows(Path(__file__).with_name("known.csv"))
}
"""Name -> clip. Only persons with an address are fetched; a download says its terms first."""


def fetch(name: str, folder: Path, person: KnownPerson | None = None) -> Path:
    """The clip of a known person at folder/NAME.mp4, or its clips in folder/NAME, downloaded when
    they are not there; of clips, a folder/NAME.zip of the user's own is read instead.

    person: KNOWN[name] unless given.
    Raises: FileNotFoundError when it cannot be had now, ValueError when it is something else.
    """
    person = person or KNOWN[name]
    path, archive = folder / (name if person.clips else f"{name}.mp4"), folder / f"{name}.zip"
    if not person.address:
        raise FileNotFoundError(f"the clip of {name} has to be fetched by hand: {person.source}")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{name}.lock"):
        if path.exists():  # another process was faster
            return _checked(path, path, person) if person.clips else path
        log.info("fetching %s from %s; terms: %s", name, person.source, person.terms)
        if not person.clips:
            return download(person.address, path, accept=lambda new: _accept(new, path, person))
        if archive.is_file():  # the user's own
            return _unpack(archive, path, person)
        download(person.address, archive, accept=lambda new: _unpack(new, path, person))
        archive.unlink()
    return path


def _accept(new: Path, path: Path, person: KnownPerson) -> None:
    try:
        clip.probe(new)
    except ValueError:
        raise ValueError(
            f"{person.address} did not give the clip of {path.stem} (it is no video); put the "
            f"video at {path} yourself, or look at {person.source}"
        ) from None


def _unpack(archive: Path, path: Path, person: KnownPerson) -> Path:
    """The folder of the person's clips, wherever they lie in the zip, once all are right."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as partial:
        new = Path(partial, path.name)
        new.mkdir()
        with readable(archive), zipfile.ZipFile(archive) as packed:
            for member in packed.namelist():
                if (clip_name := Path(member).name) in person.clips:
                    (new / clip_name).write_bytes(packed.read(member))
        return _checked(new, path, person).rename(path)


def _checked(folder: Path, path: Path, person: KnownPerson) -> Path:
    """The folder, once it holds all clips, which are to be at `path`."""
    found = {one.name: runs.sha256(one) for one in folder.iterdir()}
    if wrong := sorted(person.clips.items() - found.items()):
        raise ValueError(
            f"{path.name} lacks {wrong[0][0]} (sha256 {wrong[0][1]}) of {person.address}: put the "
            f"clips into {path} yourself, or look at {person.source}"
        )
    return folder
