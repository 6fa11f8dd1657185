"""Dependencies: a lock with hashes, and a table of licences, of all that the README installs.

python -m notebooks.studies.dependencies lock        # requirements.lock, by uv from the registry
python -m notebooks.studies.dependencies licences    # licences.csv, from what is installed here
"""

import csv
import io
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from geneface_kit.metrics.networks import NETWORKS
from geneface_kit.pipeline.options import CommandLine
from geneface_kit.runs import replacing, root

PYTHON = "3.11.7"
EXTRAS = ("notebooks", "metrics", "tests")
HEADER = f"""\
# By `python -m notebooks.studies.dependencies lock`, for CPython {PYTHON} on Linux:
# pip install --require-hashes -r requirements.lock && pip install --no-deps -e .
"""
WEIGHTS = (
    ".tflite",
    ".task",
    ".onnx",
    ".hama",
    ".pt",
    ".pth",
    ".safetensors",
    ".npz",
    ".h5",
    ".bin",
)
LEAST_KB = 50  # smaller files of these kinds hold no network
COLUMNS = ("name", "version", "licence", "weights")
OWN = {
    "geneface_kit/motion": ("for research use", "see geneface_kit/motion/MODEL_CARD.md"),
    "geneface_kit/evaluation": (
        "for research use",
        "ridge.npz, see geneface_kit/motion/MODEL_CARD.md",
    ),
    "geneface_kit/person/speech": ("Apache-2.0", "mouth_ridge.npz"),
    "geneface_kit/person/demo": ("CC-BY-4.0", "see NOTICE"),
}
"""Folder of the kit with weights of its own -> their licence, and where more is said."""


def pins() -> dict[str, str]:
    """Name of a package -> its version, as constraints.txt has it."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (root() / "constraints.txt").read_text(), re.M))


def lock() -> None:
    """Writes requirements.lock: the pinned versions and the digests of their files.

    Raises: ModuleNotFoundError without uv; ValueError when the registry does not have them.
    """
    options = [f"--extra={extra}" for extra in EXTRAS] + ["--python-version", PYTHON]
    options += ["--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url"]
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", *options]
    command += ["--quiet", "--constraints", "constraints.txt"]
    done = subprocess.run(command, cwd=root(), capture_output=True, text=True)
    if "No module named uv" in done.stderr:
        raise ModuleNotFoundError("the lock is made by uv: pip install uv")
    if done.returncode:
        raise ValueError(f"uv found no lock: {done.stderr.strip().splitlines()[-1]}")
    with replacing(root() / "requirements.lock") as partial:
        partial.write_text(HEADER + done.stdout)


def licence_of(package: metadata.Distribution) -> str:
    """What a package says of its licence: its expression, else its classifiers, its own words, or
    the first line of its licence."""
    about = package.metadata
    if about.get("License-Expression"):
        return about["License-Expression"]
    classifiers = (one.split(" :: ") for one in about.get_all("Classifier", []))
    told = [parts[-1] for parts in classifiers if parts[0] == "License" and len(parts) > 2]
    first = (about.get("License") or "").strip().partition("\n")[0]
    for file in package.files or ():
        if not told and not first and file.name.startswith("LICENSE"):
            first = file.read_text().strip().partition("\n")[0]
    return " / ".join(told) or first[:60] or "not stated in the package"


def weights_of(package: metadata.Distribution) -> str:
    """The files of networks in a package."""
    found = []
    for file in package.files or ():
        if file.suffix in WEIGHTS and "test" not in str(file).lower():
            path = Path(package.locate_file(file))
            if path.is_file() and path.stat().st_size > 1024 * LEAST_KB:
                found.append(file.name)
    return " ".join(sorted(found))


def rows() -> list[tuple[str, str, str, str]]:
    """A row for each package that is pinned and installed here, the kit's own weights, and the
    networks that measure, which are fetched when asked."""
    found = []
    for name, version in pins().items():
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if package.version.partition("+")[0] != version:  # "+cpu"
            raise ValueError(f"{name} {package.version} is installed, {version} is pinned")
        found.append((name, version, licence_of(package), weights_of(package)))
    for folder, (licence, note) in OWN.items():
        found.append((folder, metadata.version("geneface-kit"), licence, note))
    for name, entry in NETWORKS.items():
        found.append((f"network {name}", "", entry.source, entry.file))
    return found


def table() -> str:
    """The rows as csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([COLUMNS, *rows()])
    return text.getvalue()


def licences() -> None:
    """Writes licences.csv."""
    with replacing(root() / "licences.csv") as partial:
        partial.write_text(table(), encoding="utf-8")


main = CommandLine(lock, licences)

if __name__ == "__main__":
    sys.exit(main())
