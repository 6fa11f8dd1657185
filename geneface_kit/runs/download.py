"""Download: a file from its public address -> a path, whole and checked, by pooch."""

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from geneface_kit.runs.files import replacing
from geneface_kit.runs.files import sha256 as digest_of

OFFLINE = "GENEFACE_KIT_OFFLINE"
"""Environment variable that forbids every download when it is set."""
TIMEOUT_S = 20
"""Seconds without a byte after which a connection counts as cut (ours)."""


def download(
    address: str, path: Path, *, sha256: str = "", accept: Callable[[Path], None] | None = None
) -> Path:
    """The file of an address at `path`, where it appears only once it is whole and accepted.

    sha256: of the published bytes, "" when nobody states one. accept: called with a new file
    before it gets its name; raises when it is not what it should be.
    Asks for nothing when the file is there. Raises: FileNotFoundError when it cannot be had now,
    ValueError when its bytes are others; one sentence each, and nothing is left behind.
    """
    if path.is_file():
        return path
    if OFFLINE in os.environ:
        raise FileNotFoundError(f"{path.name} is not there and {OFFLINE} is set: put it at {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        _retrieve(address, partial, path)
        if sha256 and (found := digest_of(partial)) != sha256:
            raise ValueError(
                f"{address} did not give {path.name} (sha256 {sha256} expected, got {found}); put "
                f"the file at {path} yourself"
            )
        if accept:
            accept(partial)
    return path


def _retrieve(address: str, partial: Path, path: Path) -> None:
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    answers = contextlib.ExitStack()  # pooch leaves a broken one open
    hooks = {"response": lambda answer, **_: answers.enter_context(answer)}
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT_S, hooks=hooks)
    partial.unlink(missing_ok=True)  # of a process that was killed
    try:
        with answers:
            pooch.retrieve(address, None, partial.name, partial.parent, downloader=downloader)
    except requests.HTTPError as error:
        raise FileNotFoundError(
            f"{address} answered {error.response.status_code} {error.response.reason}: put the "
            f"file at {path} yourself"
        ) from None
    except requests.RequestException as error:
        raise FileNotFoundError(
            f"{path.name} could not be fetched from {address} ({type(error).__name__}): connect "
            f"and run again, or put it at {path} yourself"
        ) from None
