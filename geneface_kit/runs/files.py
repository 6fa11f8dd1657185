"""Files: digests, downloads, and files that bear their name only once they are whole."""

import contextlib
import csv
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from filelock import FileLock

log = logging.getLogger(__name__)

OFFLINE = "GENEFACE_KIT_OFFLINE"  # environment variable that forbids every download when it is set
TIMEOUT_S = 20  # seconds without a byte after which a connection counts as cut (ours)
LONGEST = 2**26  # bytes that a json file may take (ours)
LESS = "end other programs or choose smaller settings"
LACKS = {
    "No space left": "the disk is full: make room",
    "requested and": "the disk is full, or files may not be so large: make room",  # numpy's words
    "File too large": "files may not be so large here: raise the limit",
    "Permission denied": "permission is denied: allow it, or choose another folder",
    "Read-only file": "nothing can be written there: choose another folder",
    "Memory": f"there is not enough memory: {LESS}",
    "alloc": f"there is not enough memory: {LESS}",
    "start new thread": f"there is not enough memory for another thread: {LESS}",
    # of Warp, whose kernels are the same everywhere
    "failed to map segment": f"Warp found not enough memory to start: {LESS}",
    "Failed to load CPU module": f"Warp found not enough memory for its kernels: {LESS}",
    "CPU kernel build failed": f"Warp found not enough memory to build its kernels: {LESS}",
    '"libx264"': f"there is not enough memory to encode a video: {LESS}",
}
"""Part of what libraries say when the machine lacks something -> what, and what to do."""
PLAIN = re.compile(r"(?!(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))\w(?:[\w .+()-]*[\w+()-])?", re.I)
"""Names that a folder may have on every system."""
SEAL = "sha256_of_the_rest"  # name, in a json file, of the digest of all else in it
LARGE = 2**24  # bytes from which a file's digest is remembered (ours)
Facts = dict[str, Any]  # what a json file says: names -> numbers, words, lists and dicts of them


def sha256(path: Path) -> str:
    """The digest of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_writable(folder: Path) -> None:
    """Raises OSError, in one sentence, for a folder that is not there and cannot be made, or in
    which nothing can be written."""
    place = next(filter(Path.exists, (folder.absolute(), *folder.absolute().parents)))
    if not place.is_dir():
        raise NotADirectoryError(f"{place} is a file: choose a folder to write in")
    if not os.access(place, os.W_OK):
        raise PermissionError(f"nothing can be written in {place}: choose another folder")


def folder_name(name: str) -> str:
    """What the folder of a name is called: the name, or of one that some system refuses, cuts or
    hides, the first letters and a digest of it. No two names have the same."""
    if PLAIN.fullmatch(name) and len(name.encode()) <= 100:
        return name
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()
    return re.sub(r"\W+", "_", name)[:20] + "~" + digest[:12]


def named(paths: Iterable[Path]) -> dict[str, Path]:
    """Files by their names. Raises: ValueError where two bear the same."""
    files: dict[str, Path] = {}
    for path in paths:
        if path.name in files:
            raise ValueError(f"two inputs are called {path.name}: give one of them another name")
        files[path.name] = path
    return files


def digests(files: Mapping[str, Path], memory: Path) -> dict[str, str]:
    """The sha256 of some files by their names. memory: a json file that keeps those of LARGE files,
    which are read again only when their size or a time of theirs has changed."""
    found, large, known = {}, {}, {"schema": 1}
    with contextlib.suppress(FileNotFoundError, Damaged):
        known = read_json(memory, schema=1)
    for name, path in files.items():
        stat = path.stat()
        stamp = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
        found[name] = known.get(stamp) or sha256(path)
        if stat.st_size >= LARGE:
            large[stamp] = found[name]
    if not large.keys() <= known.keys() and memory.parent.is_dir():
        with FileLock(f"{memory}.lock"):
            write_json(memory, known | large)
    return found


class Lacking(OSError):
    """The machine lacks room, rights or memory; one sentence says what and what to do."""


@contextlib.contextmanager
def enough(place: Path) -> Iterator[None]:
    """What the machine lacks inside, for something at a place, is our one sentence."""
    try:
        yield
    except Lacking:
        raise
    except Exception as error:
        of_system = isinstance(error, OSError)
        named = isinstance(error, OSError | ValueError) and type(error) is not OSError
        text = (of_system and error.strerror) or ("" if named else error)  # no file's name
        said = f"{type(error).__name__}: {text} {'' if named else error.__cause__ or ''}"
        for words, sentence in LACKS.items():
            if words in said:
                again = "and run the same command again, it goes on where it stopped"
                raise Lacking(f"{place}: {sentence}, {again}") from error
        raise


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden name beside `path`, of the same suffix, to write to; it takes the name `path` when
    the block ends well. Else nothing is left behind and what was at `path` stays as it was."""
    partial = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        with enough(path):
            yield partial
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


class Damaged(ValueError):
    """A file is not what its reader needs; one sentence says what and where."""


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Whatever a library says inside of a file that is not there or cannot be read is our one
    sentence."""
    try:
        with enough(path):
            yield
    except (Lacking, Damaged):
        raise
    except FileNotFoundError as error:
        if str(error).startswith("there is no "):  # ours, of another file
            raise
        raise FileNotFoundError(f"there is no {path}: run its stage first") from None
    except Exception as error:
        log.debug("%s", path, exc_info=True)
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise Damaged(f"{path} cannot be read ({said}): run its stage again, or fetch it") from None


def read_json(path: Path, **layout: object) -> Facts:
    """What a json file says.

    layout: names that it must hold -> the type of their value (a float is finite), or the value.
    Raises: FileNotFoundError; Damaged for another content, more than LONGEST bytes, or another seal
    than `write_json` gave; only what others may write, without a schema, needs none.
    """
    with readable(path):
        if path.stat().st_size > LONGEST:
            raise ValueError(f"more than {LONGEST} bytes")
        facts = json.loads(path.read_text(encoding="utf-8"))
        for name, wanted in layout.items():
            found = facts[name]
            fits = type(found) is wanted if isinstance(wanted, type) else found == wanted
            if wanted is float:
                fits = type(found) in (int, float) and isfinite(found)
            if not fits:
                raise ValueError(f"{name} is {found!r:.40}, not {wanted}")
        seal = facts.pop(SEAL, "")
        if seal != digest_of(facts) and (seal or "schema" in layout):
            raise ValueError("it was changed")
    return facts


def write_json(path: Path, content: Facts) -> None:
    """Writes json, all or nothing, with a seal by which `read_json` sees that it was changed."""
    facts = json.loads(json.dumps(content, default=plain))
    with replacing(path) as partial:
        partial.write_text(json.dumps(facts | {SEAL: digest_of(facts)}, indent=1))


def digest_of(facts: object) -> str:
    """The sha256 of what json can hold, in hex."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def plain(value: object) -> object:
    """What json holds of an array, a tensor or a path; for `json.dumps(..., default=plain)`."""
    if isinstance(value, Path):
        return value.name
    if hasattr(value, "tolist"):  # of numpy and torch
        return value.tolist()
    raise TypeError(f"json cannot hold a {type(value).__name__}")


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a csv table that comes with the kit: name of a column -> text."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def download(
    address: str, path: Path, *, digest: str = "", accept: Callable[[Path], None] | None = None
) -> Path:
    """The file of an address at `path`, where it appears only once it is whole and accepted.

    digest: sha256 of the published bytes, "" when nobody states one. accept: called with a new file
    before it gets its name; raises when it is not what it should be. Asks for nothing when the
    file is there. Raises: FileNotFoundError when it cannot be had now, ValueError when its bytes
    are others; nothing is left behind.
    """
    if path.is_file():
        return path
    if OFFLINE in os.environ:
        raise FileNotFoundError(f"{path.name} is not there and {OFFLINE} is set: put it at {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        _retrieve(address, partial, path)
        if digest and (found := sha256(partial)) != digest:
            raise ValueError(
                f"{address} did not give {path.name} (sha256 {digest} expected, got {found}); put "
                f"the file at {path} yourself"
            )
        if accept:
            accept(partial)
    return path


def _retrieve(address: str, partial: Path, path: Path) -> None:
    import requests
    from tqdm import tqdm

    try:
        with requests.get(address, stream=True, timeout=TIMEOUT_S) as answer:
            answer.raise_for_status()
            size = int(answer.headers.get("content-length", 0))
            with partial.open("wb") as file, tqdm(total=size, desc=path.name, unit="B") as bar:
                for piece in answer.iter_content(2**18):
                    bar.update(file.write(piece))
            if bar.n < size and "content-encoding" not in answer.headers:
                raise requests.ConnectionError("cut off")
    except requests.RequestException as error:
        said = error.response
        reason = type(error).__name__ if said is None else f"answered {said.status_code}"
        raise FileNotFoundError(
            f"{path.name} could not be fetched from {address} ({reason}): connect and run again, "
            f"or put {path.name} at {path} yourself"
        ) from None
