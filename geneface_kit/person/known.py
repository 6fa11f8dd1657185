"""Known: persons of published work whose clips have a public address -> data/persons/NAME.mp4.

A download goes on where it was cut off, appears under its name only when it is whole and a video,
and is checked against a sha256: the table's, else that of the first download, kept beside it.
"""

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from geneface_kit import runs
from geneface_kit.person import clip
from geneface_kit.runs import live

if TYPE_CHECKING:
    import requests

__all__ = ["KNOWN", "KnownPerson", "check", "fetch"]

CHUNK = 1 << 16
"""Bytes read at a time; at most so many are lost when a connection breaks."""
TRIES = 3
"""Connections made for one download before it is left for later (ours)."""
TIMEOUT_S = 20
"""Seconds without a byte after which a connection counts as cut."""

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
    one sentence each. What was received of a download that broke off is kept for the next try.
    """
    import pooch

    person = person or KNOWN[name]
    path = folder / f"{name}.mp4"
    if not person.address:
        raise FileNotFoundError(f"the clip of {name} has to be fetched by hand: {person.source}")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{name}.lock"):
        if path.is_file():  # another process was faster
            return check(path, person.sha256)
        expected = person.sha256 or _recorded(path)
        log.info("fetching %s from %s; terms: %s", name, person.source, person.terms)

        def download(address: str, output_file: str, _pooch: object) -> None:
            part = path.with_name(f"{path.name}.part")
            _receive(address, part, name)
            _accept(part, path, person, expected)
            os.replace(part, output_file)

        pooch.get_logger().setLevel(logging.WARNING)
        fetched = pooch.retrieve(
            person.address,
            known_hash=f"sha256:{expected}" if expected else None,
            fname=path.name,
            path=folder,
            downloader=download,
        )
    return Path(fetched)


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


def _accept(part: Path, path: Path, person: KnownPerson, expected: str) -> None:
    """Checks a whole download and keeps its record; a wrong one is deleted."""
    digest = runs.sha256(part)
    problem = f"sha256 {expected} expected, got {digest}" if expected not in ("", digest) else ""
    try:
        clip.probe(part)
    except ValueError:
        problem = problem or "it is no video"
    if problem:
        part.unlink()
        raise ValueError(
            f"{person.address} did not give the clip of {path.stem} ({problem}); put the video at "
            f"{path} yourself, or look at {person.source}"
        )
    record = {"schema": 1, **asdict(person), "sha256": digest, "bytes": part.stat().st_size}
    runs.write_json(_record(path), record)


def _receive(address: str, part: Path, name: str) -> None:
    """Downloads into a .part file, going on where an earlier try of the same file stopped."""
    import requests

    reason = ""
    for _ in range(TRIES):
        try:
            with _answer(address, part) as answer:
                stamp = _stamp(answer)
                _append(part, answer, stamp, name)
            if stamp["bytes"] in (None, part.stat().st_size):
                _state(part).unlink(missing_ok=True)
                return
            reason = f"{part.stat().st_size} of {stamp['bytes']} bytes came"
        except requests.HTTPError as error:
            raise FileNotFoundError(
                f"{address} answered {error.response.status_code} {error.response.reason}: put "
                f"the video at {part.with_suffix('')} yourself"
            ) from None
        except requests.RequestException as error:
            reason = type(error).__name__
    raise FileNotFoundError(
        f"the clip of {name} could not be fetched from {address} ({reason}): connect and run "
        f"again, it goes on where it stopped, or put the video at {part.with_suffix('')} yourself"
    )


def _answer(address: str, part: Path) -> "requests.Response":
    """What is missing of the part (206) if the server still has the same file, or all (200)."""
    import requests

    headers = {"Accept-Encoding": "identity"}  # so that lengths are those of the file
    state = _state(part)
    if part.is_file() and state.is_file():
        begun = json.loads(state.read_text())
        ranged = headers | {"Range": f"bytes={part.stat().st_size}-"}
        answer = requests.get(address, headers=ranged, stream=True, timeout=TIMEOUT_S)
        if answer.status_code == 200 or (answer.status_code == 206 and _stamp(answer) == begun):
            return answer
        answer.close()
    answer = requests.get(address, headers=headers, stream=True, timeout=TIMEOUT_S)
    if not answer.ok:
        answer.close()
    answer.raise_for_status()
    return answer


def _append(part: Path, answer: "requests.Response", stamp: dict[str, Any], name: str) -> None:
    """Writes an answer's bytes behind those already there (206) or anew, with progress."""
    resumes = answer.status_code == 206
    with part.open("ab" if resumes else "wb") as file:
        if not resumes:
            runs.write_json(_state(part), stamp)
        left = (stamp["bytes"] or 0) - file.tell()
        chunks = answer.iter_content(CHUNK)
        for chunk in live.progress(chunks, f"fetching {name}", max(0, -(-left // CHUNK))):
            file.write(chunk)


def _stamp(answer: "requests.Response") -> dict[str, Any]:
    """What tells one state of a file on a server from another: its length and tag."""
    length = answer.headers.get("Content-Range", "").rpartition("/")[2]
    length = length or answer.headers.get("Content-Length", "")
    tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
    return {"bytes": int(length) if length.isdigit() else None, "tag": tag}


def _state(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
