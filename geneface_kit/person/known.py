"""Known: persons of published work whose clips have a public address -> data/persons/NAME.mp4.

A clip gets its name when it is whole and a video, and is checked against a sha256: the table's,
else that of the first download, which is kept beside it. Several are a folder, NAME.
"""

import logging
import tempfile
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock

from geneface_kit import runs
from geneface_kit.person import clip
from geneface_kit.runs.files import Facts, download, read_json, read_rows, readable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownPerson:
    """A clip of published work, or several.

    source: who published it where; terms: what they say about its use; crop, span: what of it
    the published work uses; address: of the file itself, "" when it must be fetched by hand;
    sha256: "" when not known yet; clips: of a zip of clips, name -> sha256 of those that are taken.
    """

    source: str
    terms: str
    crop: str
    span: str
    address: str = ""
    sha256: str = ""
    clips: dict[str, str] = field(default_factory=dict)


def _published() -> dict[str, KnownPerson]:
    found, folder = {}, Path(__file__).parent
    for row in read_rows(folder / "known.csv"):
        name, listed = row.pop("name"), row.pop("clips")
        lines = (folder / listed).read_text().split() if listed else []
        found[name] = KnownPerson(**row, clips=dict(line.split(",") for line in lines))
    return found


KNOWN = _published()
"""Name -> clip. Only persons with an address are fetched; a download says its terms first."""


def fetch(name: str, folder: Path, person: KnownPerson | None = None) -> Path:
    """The clip of a known person at folder/NAME.mp4, or its clips in folder/NAME, downloaded when
    they are not there; of clips, a folder/NAME.zip of the user's own is read instead.

    person: KNOWN[name] unless given. NAME.fetched.json keeps its origin and sha256.
    Raises: FileNotFoundError when it cannot be had now, ValueError when it is not what it was.
    """
    person = person or KNOWN[name]
    path = folder / (name if person.clips else f"{name}.mp4")
    if not person.address:
        raise FileNotFoundError(f"the clip of {name} has to be fetched by hand: {person.source}")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{name}.lock"):
        if path.exists():  # another process was faster
            return check(path, person)
        log.info("fetching %s from %s; terms: %s", name, person.source, person.terms)
        accept, target = (_unpack, folder / f"{name}.zip") if person.clips else (_accept, path)
        if target.is_file():  # a zip of the user's own
            return _unpack(target, path, person)
        download(
            person.address,
            target,
            digest=person.sha256 or _recorded(path).get("sha256", ""),
            accept=lambda new: accept(new, path, person),
        )
        if person.clips:
            target.unlink()
    return path


def _accept(new: Path, path: Path, person: KnownPerson) -> None:
    """Keeps the record of a downloaded clip, once it is seen to be a video."""
    try:
        clip.probe(new)
    except ValueError:
        raise ValueError(
            f"{person.address} did not give the clip of {path.stem} (it is no video); put the "
            f"video at {path} yourself, or look at {person.source}"
        ) from None
    record = {"sha256": runs.sha256(new), "bytes": new.stat().st_size}
    runs.write_json(_record(path), {"schema": 1, **asdict(person), **record})


def _unpack(archive: Path, path: Path, person: KnownPerson) -> Path:
    """The folder of the person's clips, wherever they lie in the zip, once all are right."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as partial:
        new = Path(partial, path.name)
        new.mkdir()
        with readable(archive), zipfile.ZipFile(archive) as packed:
            for member in packed.namelist():
                if (clip_name := Path(member).name) in person.clips:
                    (new / clip_name).write_bytes(packed.read(member))
        found = {one.name: runs.sha256(one) for one in new.iterdir()}
        if wrong := sorted(person.clips.items() - found.items()):
            raise ValueError(
                f"{person.address} did not give {wrong[0][0]} (sha256 {wrong[0][1]} expected); put "
                f"the clips into {path} yourself, or look at {person.source}"
            )
        runs.write_json(_record(path), {"schema": 1, **asdict(person)})
        return new.rename(path)


def check(path: Path, person: KnownPerson | None = None) -> Path:
    """The path, once its bytes are those of the sha256 given or kept beside it.

    Raises: ValueError when they differ. A file without either was put there by its user.
    """
    facts = _recorded(path) or (asdict(person) if person else {})
    clips = {path / name: digest for name, digest in facts.get("clips", {}).items()}
    for one, digest in (clips or {path: facts.get("sha256")}).items():
        if digest and not (one.is_file() and runs.sha256(one) == digest):
            raise ValueError(
                f"{one} is not the file that was fetched (sha256 {digest} expected): delete {path} "
                f"to fetch it again, or delete {_record(path).name} to use it as it is"
            )
    return path


def _recorded(path: Path) -> Facts:
    """What is kept beside a fetched clip or folder of clips, nothing without it."""
    record = _record(path)
    return read_json(record) if record.is_file() else {}


def _record(path: Path) -> Path:
    return path.with_suffix(".fetched.json")
