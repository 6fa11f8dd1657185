"""Known: persons of published work whose clips have a public address -> data/persons/NAME.mp4.

A clip appears under its name only when it is whole and a video, and is checked against a sha256:
the table's, else that of the first download, which is kept beside it.
"""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from geneface_kit import runs
from geneface_kit.person import clip
from geneface_kit.runs.files import download

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownPerson:
    """A clip of published work.

    source: who published it where; terms: what they say about its use; crop, span: what of it
    the published work uses; address: of the file itself, "" when it must be fetched by hand;
    sha256: "" when not known yet.
    """

    source: str
    terms: str
    crop: str
    span: str
    address: str = ""
    sha256: str = ""


_GENEFACE = "GeneFace (Ye et al., ICLR 2023), https://github.com/yerfor/GeneFace"
_BY_HAND = f"{_GENEFACE}, in the folder of target videos that its README links"
_NO_TERMS = "no licence is given for the clip; the rights are with whoever filmed it"

KNOWN = {
    "obama": KnownPerson(
        source="AD-NeRF (Guo et al., ICCV 2021), https://github.com/YudongGuo/AD-NeRF",
        terms=f"repository under MIT; {_NO_TERMS}",
        crop="the whole picture, 450 x 450",
        span="the whole clip",
        address="https://github.com/YudongGuo/AD-NeRF/raw/master/dataset/vids/Obama.mp4",
    ),
    "may": KnownPerson(
        source=f"{_GENEFACE}, data/raw/videos/May.mp4",
        terms=f"repository under MIT; {_NO_TERMS}",
        crop="the whole picture, square",
        span="the whole clip",
        address="https://github.com/yerfor/GeneFace/raw/15ff4e5c8fb5bb7dd8fc4cf7befca832ec40754c/data/raw/videos/May.mp4",
    ),
    "lieu": KnownPerson(_BY_HAND, _NO_TERMS, "the whole picture, square", "the whole clip"),
    "macron": KnownPerson(_BY_HAND, _NO_TERMS, "the whole picture, square", "the whole clip"),
}
"""Name -> clip. Only persons with an address are fetched; a download says its terms first."""


def fetch(name: str, folder: Path, person: KnownPerson | None = None) -> Path:
    """The clip of a known person at folder/NAME.mp4, downloaded when it is not there.

    person: the entry, KNOWN[name] unless given. NAME.fetched.json keeps its origin and sha256.
    Raises: FileNotFoundError when it cannot be had now, ValueError when it is not what it was;
    one sentence each.
    """
    person = person or KNOWN[name]
    path = folder / f"{name}.mp4"
    if not person.address:
        raise FileNotFoundError(f"the clip of {name} has to be fetched by hand: {person.source}")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{name}.lock"):
        if path.is_file():  # another process was faster
            return check(path, person.sha256)
        log.info("fetching %s from %s; terms: %s", name, person.source, person.terms)
        download(
            person.address,
            path,
            digest=person.sha256 or _recorded(path),
            accept=lambda new: _accept(new, path, person),
        )
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


def check(path: Path, sha256: str = "") -> Path:
    """The path, once its bytes are those of the sha256 given or kept beside it.

    Raises: ValueError when they differ. A file without either was put there by its user.
    """
    expected = sha256 or _recorded(path)
    if expected and runs.sha256(path) != expected:
        raise ValueError(
            f"{path} is not the file that was fetched (sha256 {expected} expected): delete it to "
            f"fetch it again, or delete {_record(path).name} to use it as it is"
        )
    return path


def _recorded(path: Path) -> str:
    """The sha256 kept beside a fetched clip, "" without one."""
    record = _record(path)
    return json.loads(record.read_text())["sha256"] if record.is_file() else ""


def _record(path: Path) -> Path:
    return path.with_suffix(".fetched.json")
