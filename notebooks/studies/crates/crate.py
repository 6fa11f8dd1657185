"""Crate: a finished run with all it came from -> one RO-Crate that anybody can check.

Reads runs/ with the executed notebooks kept there, figures/, notebooks/; writes a folder or a zip
with ro-crate-metadata.json and checksums.json. `verify` needs nothing but the crate and this
package.
"""

import json
import logging
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from geneface_kit_figures.pages import number
from geneface_kit_figures.tables import read_table

from geneface_kit import runs
from geneface_kit.evaluation.scores import Scores, score_landmarks, score_pictures
from geneface_kit.evaluation.stage import held_out, landmark_driven, self_driven
from geneface_kit.metrics.formulas import psnr_of_error
from geneface_kit.metrics.networks import NETWORKS, NotMeasured, network
from geneface_kit.person import stage as person_stage
from geneface_kit.runs.arrays import read_npy
from geneface_kit.runs.files import Damaged, read_json, readable
from geneface_kit.runs.ranges import restored
from geneface_kit.talk.plan import load_actor
from geneface_kit.talk.postprocess import TalkConfig

log = logging.getLogger(__name__)

CHECKSUMS = "checksums.json"
SURROUNDINGS = ("constraints.txt", "pyproject.toml", "environment.yml", "LICENSE")
"""What tells how to install the same packages."""
SAME = 1e-3
"""Relative difference up to which a recomputed number counts as the stored one: decoders and
detectors of other machines round differently (ours)."""
ALIKE = 35.0  # dB between stored frames and those rendered anew, on any machine (ours)
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
MEMBERS, DEPTH = 20_000, 8  # of a zip, and of the folders in it, at most (ours)


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


@dataclass(frozen=True)
class Found:
    """What a look at a crate gave, one sentence each.

    wrong: what is not as it was exported; not_recomputed: numbers that nothing in it tells anew:
    who forged them together with the checksums is not found out.
    """

    wrong: list[str]
    not_recomputed: list[str]


def verify(crate: Path) -> Found:
    """What is wrong with a crate, and what could not be seen.

    Checked: every file's digest, no file more, each run's own list of outputs, and, where an
    evaluation is inside, its frames rendered and table A computed anew. Of a zip nothing is
    unpacked before its paths, links, methods and sizes are seen to be harmless.
    """
    if not crate.exists():
        raise FileNotFoundError(f"no crate at {crate}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            with readable(crate):
                if crate.is_dir():
                    return _verified(crate)
                with zipfile.ZipFile(crate) as archive:
                    if wrong := _harmful(archive, shutil.disk_usage(folder).free):
                        return Found(wrong, [])
                    archive.extractall(folder)
                return _verified(Path(folder))
        except Damaged as error:
            unzipped = crate.is_dir() or zipfile.is_zipfile(crate)
            return Found([str(error) if unzipped else f"{crate.name} is no readable zip file"], [])


def _harmful(archive: zipfile.ZipFile, room: int) -> list[str]:
    """What of a zip must not be unpacked, told from its list of members. room: bytes for it."""
    members, wrong = archive.infolist(), []
    for one in members:
        kind = stat.S_IFMT(one.external_attr >> 16)
        reasons = {
            "has a path that is not safe": not _is_safe(one.filename.removesuffix("/")),
            "is a link or a device": kind not in (0, stat.S_IFREG, stat.S_IFDIR),
            "is encrypted": bool(one.flag_bits & 1),
            f"is packed by method {one.compress_type}": one.compress_type not in METHODS,
        }
        wrong += [f"{one.filename!r} {reason}" for reason in reasons if reasons[reason]]
    if len({one.filename.casefold() for one in members}) < len(members):
        wrong.append("two members have one name")
    if len(members) > MEMBERS:
        wrong.append(f"it has {len(members)} members, more than {MEMBERS}")
    if (size := sum(one.file_size for one in members)) > room:
        wrong.append(f"its members take {size} bytes, more than there is room for")
    placed = sorted(members, key=lambda one: one.header_offset)
    for one, following in zip(placed, placed[1:], strict=False):
        if one.header_offset + one.compress_size > following.header_offset:
            wrong.append(f"{one.filename!r} overlaps {following.filename!r}")
    return wrong


def _is_safe(place: str) -> bool:
    """Whether the path of a crate's file stays in its folder, on every system."""
    parts = place.split("/")
    return (
        len(parts) <= DEPTH
        and place.isprintable()
        and not set(place) & set('\\:*?"<>|')
        and all(part.strip(". ") and len(part.encode()) <= 255 for part in parts)
    )


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
        if set(read_json(facts).get("runs", ())) & ids:
            for path in sorted((root / "figures").glob(f"{facts.stem}.*")):
                yield f"figures/{path.name}", path
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        yield f"notebooks/{path.name}", path
    for name in SURROUNDINGS:
        if (root / name).is_file():
            yield name, root / name


def _verified(folder: Path) -> Found:
    if not (folder / CHECKSUMS).is_file():
        return Found([f"{CHECKSUMS} is missing: this is no crate of geneface_kit"], [])
    sums = read_json(folder / CHECKSUMS, run=str, sha256=dict)["sha256"]
    wrong = []
    for place, digest in sums.items():
        path = folder / place
        if not _is_safe(place):
            wrong.append(f"{place!r} has a path that is not safe")
        elif not path.is_file():
            wrong.append(f"{place} is missing")
        elif runs.sha256(path) != digest:
            wrong.append(f"{place} was changed")
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    wrong += [f"{place} is a link" for place, path in paths.items() if path.is_symlink()]
    files = {place for place, path in paths.items() if path.is_file()}
    own = {CHECKSUMS, "ro-crate-metadata.json"}
    wrong += [f"{place} does not belong here" for place in sorted(files - own - {*sums})]
    if wrong:
        return Found(wrong, [])
    not_recomputed = [f"{place}: drawn, not recomputed" for place in sums if _is_drawn(place)]
    for path in sorted((folder / "runs").glob("*/*/run.json")):
        run, place = runs.open_run(path.parent), path.parent.relative_to(folder).as_posix()
        for parent in run.parents.values():
            if not parent.folder.resolve().is_relative_to(folder.resolve()):
                return Found([f"{run.id} names an upstream run outside of the crate"], [])
        for name, digest in run.facts["outputs"].items():
            if sums.get(f"{place}/{name}") != digest:
                wrong.append(f"{name} is not the output that {run.id} wrote")
        if run.stage == "evaluation" and not wrong:
            with readable(path):
                found = _other_numbers(run)
            wrong += found.wrong
            not_recomputed += found.not_recomputed
        elif run.metrics:
            not_recomputed.append(f"{run.id}: {len(run.metrics)} measures, not recomputed")
    return Found(wrong, not_recomputed)


def _is_drawn(place: str) -> bool:
    return place.startswith("figures/") and place.endswith((".csv", ".npz"))


def _other_numbers(run: runs.Run) -> Found:
    """Numbers of table A that the crate's weights and frames do not give again; and those that
    nothing gives."""
    person = person_stage.load(run.parents["person"].folder)
    chosen = held_out(person, run.config["evaluation"]["n_frames"])
    stored = read_table(run.folder / "table_a.csv")
    wrong, recomputed = [], set()
    rendered = _rendered_anew(run)
    for protocol in dict.fromkeys(stored["protocol"]):
        path = run.folder / f"{protocol.replace('-', '_')}.npy"
        if path.name not in run.facts["outputs"]:
            continue
        frames = read_npy(path, "byte n p q 3", {"n": len(chosen)})
        found = score_pictures(person, chosen, frames)
        if protocol in rendered:
            anew, measures = rendered[protocol]
            found |= measures
            likeness = psnr_of_error(np.square((anew / 255.0) - frames / 255.0).mean())
            if likeness < ALIKE:
                wrong.append(f"{path.name} is not what the weights render ({likeness:.1f} dB)")
        for metric, value in found.items():
            rows = stored[(stored["protocol"] == protocol) & (stored["metric"] == metric)]
            if _without_network(rows, value):
                log.warning("%s %s is not checked: it needs a network", protocol, metric)
                continue
            recomputed.add((protocol, metric))
            if not _same(rows, str(value)):
                wrong.append(
                    f"{protocol} {metric} is {value} when computed anew, not as in table A"
                )
    numbers = stored[[number(value) is not None for value in stored["value"]]]
    told = zip(numbers["protocol"], numbers["metric"], strict=True)
    left = [f"{' '.join(one)} of table A: not recomputed" for one in told if one not in recomputed]
    protocols = sorted({*stored["protocol"]} - {*rendered})
    left += [f"frames of {protocol}: not rendered anew" for protocol in protocols]
    for path in sorted(run.folder.glob("table_[!a]*.csv")):
        left.append(f"{path.name}: {len(read_table(path))} numbers, not recomputed")
    return Found(wrong, left)


def _rendered_anew(run: runs.Run) -> dict[str, tuple[np.ndarray, Scores]]:
    """Protocol -> the frames that the crate's weights give now, and measures of their landmarks;
    nothing without the runs upstream."""
    if not {"person", "motion", "adaptation", "nerf"} <= run.parents.keys():
        return {}
    actor, talk = load_actor(run.parents), run.config["talk"] | {"c2pa_keys": ""}
    chosen = held_out(actor.person, run.config["evaluation"]["n_frames"])
    generator = run.generator("self-driven")
    planned, frames = self_driven(actor, chosen, restored(TalkConfig, talk), generator)
    measured = score_landmarks(planned, actor.person, actor.person.n_train)
    found = {"self-driven": (frames, measured)}
    if actor.avatar.driven_by == "landmarks":
        found["landmark-driven"] = (landmark_driven(actor, chosen), {})
    return found


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
    if number(stored) is None or number(value) is None:
        return stored == value
    return bool(np.isclose(number(stored), number(value), rtol=SAME, atol=SAME))
