"""Files: digests, and files that bear their name only once they are whole."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Facts = dict[str, Any]
"""What a json file says: names -> numbers, words, lists and dicts of them."""


def sha256(path: Path) -> str:
    """The digest of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden name beside `path` to write to; it takes the name `path` when the block ends well.

    It keeps the suffix, from which libraries tell the format. When the block raises or writes
    nothing, nothing is left behind and what was at `path` stays as it was.
    """
    partial = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Writes json, all or nothing."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1, default=plain))


def plain(value: object) -> object:
    """What json holds of an array, a tensor or a path; for `json.dumps(..., default=plain)`."""
    if isinstance(value, Path):
        return value.name
    if hasattr(value, "tolist"):  # of numpy and torch
        return value.tolist()
    raise TypeError(f"run.json cannot hold a {type(value).__name__}")
