"""Crate: a finished run with all it came from -> one RO-Crate that anybody can check.

Reads runs/ with the executed notebooks kept there, figures/, notebooks/; writes a folder or a zip
with ro-crate-metadata.json and checksums.json. `verify` needs nothing but the crate and this
package.
"""

import json
import logging
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from geneface_kit import runs
from geneface_kit.evaluation.protocols import held_out
from geneface_kit.evaluation.scores import score_pictures
from geneface_kit.evaluation.tables import read_table
from geneface_kit.metrics.networks import NETWORKS, NotMeasured, network
from geneface_kit.person import stage as person_stage

log = logging.getLogger(__name__)

CHECKSUMS = "checksums.json"
SURROUNDINGS = ("constraints.txt", "pyproject.toml", "environment.yml", "LICENSE")
"""What tells how to install the same packages."""
SAME = 1e-3
"""Relative difference up to which a recomputed number counts as the stored one: decoders and
detectors of other machines round differently (ours)."""


def export(run: runs.Run, out: Path) -> Path:
    """Write the crate of a finished run and everything upstream: a zip if `out` ends in .zip.

    A crate holds the person's frames: share it as you would share the clip.
    Raises: ValueError when a run is not finished, FileExistsError when `out` is there already.
    """
    from rocrate.rocrate import ROCrate

    if out.exists():
        raise FileExistsError(f"{out} is there already: choose another name or delete it")
    chain = list(dict.fromkeys(_chain(run)))
    for one in chain:
        if one.status != "ok":
            raise ValueError(f"run {one.id} is {one.status}: only finished runs are exported")
    crate = ROCrate()
    crate.name = f"{run.stage} of {run.subject} ({run.data_kind} data)"
    crate.description = f"geneface_kit run {run.id}, profile {run.profile}, with its upstream runs"
    crate.license = "see LICENSE for the code; the data belongs to whoever made the clip"
    files = dict(_files(chain))
    sums = {place: runs.sha256(path) for place, path in files.items()}
    for place, path in files.items():
        crate.add_file(path, place, properties={"sha256": sums[place]}, record_size=True)
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder) / CHECKSUMS
        listing.write_text(json.dumps({"schema": 1, "run": run.id, "sha256": sums}, indent=1))
        crate.add_file(listing, CHECKSUMS)
        partial = out.with_name(f".{out.name}.part")
        if out.suffix == ".zip":
            crate.write_zip(partial)
        else:
            crate.write(partial)
        partial.replace(out)
    return out


def verify(crate: Path) -> list[str]:
    """What is wrong with a crate, one sentence each; an empty list when all is as it should be.

    Checked: every file's digest, no file more, each run's own list of outputs, and, where an
    evaluation is inside, table A computed anew from the stored frames.
    """
    if not crate.exists():
        raise FileNotFoundError(f"no crate at {crate}")
    if crate.is_dir():
        return _verified(crate)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(crate) as archive:
                archive.extractall(folder)
        except zipfile.BadZipFile:
            return [f"{crate.name} is no readable zip file"]
        return _verified(Path(folder))


def _chain(run: runs.Run) -> Iterator[runs.Run]:
    """The run and all upstream, each before what it came from; a run may come twice."""
    yield run
    for parent in run.parents.values():
        yield from _chain(parent)


def _files(chain: list[runs.Run]) -> Iterator[tuple[str, Path]]:
    """(place in the crate, file) of everything that goes in."""
    ids, seen = {run.id for run in chain}, set()
    for run in chain:
        if run.id in seen:
            continue
        seen.add(run.id)
        home = run.folder.parent.parent
        for path in sorted(path for path in run.folder.rglob("*") if path.is_file()):
            yield f"runs/{path.relative_to(home).as_posix()}", path
    root = runs.root()
    for facts in sorted((root / "figures").glob("*.json")):
        if set(json.loads(facts.read_text())["runs"]) & ids:
            for path in sorted((root / "figures").glob(f"{facts.stem}.*")):
                yield f"figures/{path.name}", path
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        yield f"notebooks/{path.name}", path
    for name in SURROUNDINGS:
        if (root / name).is_file():
            yield name, root / name


def _verified(folder: Path) -> list[str]:
    listing = folder / CHECKSUMS
    if not listing.is_file():
        return [f"{CHECKSUMS} is missing: this is no crate of geneface_kit"]
    content = json.loads(listing.read_text())
    wrong = []
    for place, digest in content["sha256"].items():
        path = folder / place
        if not path.is_file():
            wrong.append(f"{place} is missing")
        elif runs.sha256(path) != digest:
            wrong.append(f"{place} was changed")
    own = {CHECKSUMS, "ro-crate-metadata.json"}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    wrong += [
        f"{place} does not belong here" for place in sorted(there - own - {*content["sha256"]})
    ]
    if wrong:
        return wrong
    for path in sorted((folder / "runs").glob("*/*/run.json")):
        run = runs.open_run(path.parent)
        for name, digest in run.facts["outputs"].items():
            if (
                content["sha256"].get(f"runs/{path.parent.parent.name}/{path.parent.name}/{name}")
                != digest
            ):
                wrong.append(f"{name} is not the output that {run.id} wrote")
        if run.stage == "evaluation" and not wrong:
            wrong += _other_numbers(run)
    return wrong


def _other_numbers(run: runs.Run) -> list[str]:
    """Numbers of table A that the stored frames do not give again."""
    person = person_stage.load(run.parents["person"].folder)
    chosen = held_out(person, run.config["evaluation"]["n_frames"])
    stored = read_table(run.folder / "table_a.csv")
    wrong = []
    for protocol in ("landmark-driven", "self-driven"):
        name = f"{protocol.replace('-', '_')}.npy"
        if name not in run.facts["outputs"]:  # a head that speech drives is not driven otherwise
            continue
        frames = np.load(run.folder / name, mmap_mode="r")
        for metric, value in score_pictures(person, chosen, frames).items():
            rows = stored[(stored["protocol"] == protocol) & (stored["metric"] == metric)]
            if _without_network(rows, value):
                log.warning("%s %s is not checked: it needs a network", protocol, metric)
            elif not _same(rows, str(value)):
                wrong.append(
                    f"{protocol} {metric} is {value} when computed anew, not as in table A"
                )
    return wrong


def _without_network(rows: pd.DataFrame, value: float | NotMeasured) -> bool:
    """Whether only one side, the crate's maker or this machine, has the network of a metric."""
    missing = [network(name) for name in NETWORKS]
    here = isinstance(value, NotMeasured) and value in missing
    there = len(rows) == 1 and rows["reason"].iloc[0].startswith("the network ")
    return here != there and len(rows) == 1


def _same(rows: pd.DataFrame, value: str) -> bool:
    if len(rows) != 1:
        return False
    stored = str(rows["value"].iloc[0])
    try:
        return bool(np.isclose(float(stored), float(value), rtol=SAME, atol=SAME))
    except ValueError:
        return stored == value
