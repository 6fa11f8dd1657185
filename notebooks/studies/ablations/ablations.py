"""Ablations: methods x persons x seeds -> table C.

Makes the runs that are missing; writes figures/table_c.csv, .html and .tex, and table_c.json: mean,
standard deviation and number of seeds of each cell. What drives the face is measured on landmarks,
with several seeds; what only a picture shows, on rendered held-out frames, with one.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from geneface_kit_figures.collect import prefix, summary
from geneface_kit_figures.methods import METHODS
from geneface_kit_figures.pages import write_pages
from geneface_kit_figures.tables import read_table

from geneface_kit.adaptation import stage as adaptation
from geneface_kit.evaluation import scores, tables
from geneface_kit.evaluation.stage import own_plan
from geneface_kit.evaluation.tables import Row
from geneface_kit.metrics.networks import NotMeasured
from geneface_kit.motion import stage as motion
from geneface_kit.person.artefact import Person
from geneface_kit.person.mouth import LIPS, mouth_opening
from geneface_kit.person.stage import load as load_person
from geneface_kit.pipeline.methods import FULL, overrides
from geneface_kit.pipeline.require import require
from geneface_kit.pipeline.settings import Value, parse, resolve
from geneface_kit.runs.files import readable, write_json
from geneface_kit.runs.record import Run, root
from geneface_kit.talk.plan import Actor, Plan
from geneface_kit.talk.postprocess import TalkConfig

__all__ = ["PICTURES", "Study", "landmark_scores", "make", "summary"]

log = logging.getLogger(__name__)

PICTURES = ("PSNR", "PSNR head", "SSIM", "LMD", "LMD lips", "mouth correlation seen")
"""Metrics of table A that table C repeats."""
SELF_DRIVEN = "self-driven, landmarks"
FOREIGN, CORPUS = "foreign speech, landmarks", "corpus speech, landmarks"
"""Speech that nothing heard, of the voices that come with the kit or of the corpus' folder: numbers
of the one do not compare with those of the other."""
Scores = dict[str, dict[str, float | NotMeasured]]
"""Protocol -> metric -> value."""


@dataclass(frozen=True)
class Study:
    """What is compared: every method, on every person, with every seed."""

    persons: tuple[str, ...]
    methods: tuple[str, ...] = tuple(METHODS)
    profile: str = "smoke"
    seeds: tuple[int, ...] = (0, 1, 2)  # of what is measured on landmarks; pictures have the first
    overrides: str = ""  # dotted settings of every run, commas between
    out: str = ""  # folder of all runs; "" = runs/ of the project


def make(study: Study, folder: Path | None = None) -> Path:
    """Writes table C of a study as csv, html and LaTeX and returns the csv; the same call goes on
    where one stopped.

    folder: receives the table; default: figures/ of the project. Rows of other persons and methods
    that its table holds already stay there: it can be made in parts.
    Raises: ValueError, before a method is made, for an unknown method, no method or person,
    persons of whom some are synthetic and some real, or a table of others in another profile.
    """
    if not study.persons or not study.methods or not study.seeds:
        raise ValueError("a study needs at least one person, one method and one seed")
    for name in study.methods:
        _overrides(study, name)
    persons = {name: _require(study, "person", name, FULL, 0) for name in study.persons}
    kinds = {name: run.data_kind for name, run in persons.items()}
    if len(set(kinds.values())) > 1:
        said = ", ".join(f"{name} is {kind}" for name, kind in kinds.items())
        raise ValueError(f"one table holds one kind of data, but {said}: make two tables")
    name = f"{prefix(persons[study.persons[0]])}table_c.csv"
    path = (folder or root() / "figures") / name
    ours = {(run.subject, method) for run in persons.values() for method in study.methods}
    others = [row for row in read_rows(path) if (row["person"], row["method"]) not in ours]
    for row in others:
        if row["profile"] != study.profile:
            raise ValueError(
                f"{path.name} holds {row['person']} in profile {row['profile']}, not "
                f"{study.profile}: one table holds one profile; move that one away first"
            )
    rows = others + [row for person in study.persons for row in _rows_of(study, person)]
    place = {name: number for number, name in enumerate(METHODS)}
    first = list(dict.fromkeys(row["person"] for row in rows))
    rows.sort(key=lambda row: (first.index(row["person"]), place.get(row["method"], len(place))))
    path.parent.mkdir(parents=True, exist_ok=True)
    tables.write_table(path, rows)
    table = read_table(path)
    write_pages(path, table, "c")
    write_json(path.with_suffix(".json"), cells(table))
    return path


def cells(table: pd.DataFrame) -> dict[str, list[float]]:
    """What was measured, over the seeds: "person, method, protocol, metric" -> mean, standard
    deviation (0 of one seed), number of seeds."""
    measured = table[table["value"] != "not measured"].astype({"value": float})
    groups = measured.groupby(["person", "method", "protocol", "metric"], sort=False)["value"]
    found = groups.agg(["mean", "std", "count"]).fillna(0.0).round(4)
    return {", ".join(place): [*cell[:2], int(cell[2])] for place, *cell in found.itertuples()}


def read_rows(path: Path) -> list[Row]:
    """The rows that a table holds; none when there is no such file."""
    if not path.exists():
        return []
    with readable(path):
        table = read_table(path)[list(tables.COLUMNS)].astype({"n_frames": int, "seed": int})
        pd.to_numeric(table["value"][table["value"] != "not measured"])
    return table.to_dict("records")


def landmark_scores(run: Run, config: TalkConfig) -> Scores:
    """An adaptation run, measured without a picture.

    On the person's held-out sound, planned as `talk` plans it, against the tracked landmarks:
    lip error: mean distance of the 20 lip points, inter-ocular distances (iod); mouth correlation
    and mouth motion ratio (spread over the tracked one) of the opening; sync expert: the shipped
    expert's cosine, one judge for every method (it taught the shipped generator, so "retrained"
    and what stands beside it should not be compared with the others by it).
    On foreign speech that nothing heard: domain distance, Fréchet, iod^2, of motion from the
    person's own, and told apart: the accuracy of a fresh classifier of the two, 0.5 at best.
    post-net updates: after how many its weights were kept; 0: the fresh one scored best.
    """
    person = load_person(run.parents["person"].folder)
    actor = Actor(
        person,
        motion.load(run.parents["motion"].folder),
        adaptation.load(run.folder),
        None,  # no picture is made
    )
    planned = own_plan(actor, config, run.generator("self-driven"), actor.person.n_train)
    true = person.landmarks[person.n_train :]
    error = np.linalg.norm((planned.landmarks - true)[:, LIPS], axis=-1).mean()
    ours, theirs = mouth_opening(planned.landmarks), mouth_opening(true)
    ratio = float(ours.std()) / max(float(theirs.std()), 1e-6)
    foreign = CORPUS if run.config.get("corpus", {}).get("folder") else FOREIGN
    return {
        SELF_DRIVEN: {
            "lip error": float(error),
            "mouth correlation": scores.correlation(ours, theirs),
            "mouth motion ratio": ratio,
            "sync expert": _judged(planned, person),
        },
        foreign: {
            "domain distance": float(run.metrics["distance_after"]),
            "told apart": float(run.metrics["told_apart_after"]),
            "post-net updates": float(run.metrics["best_step"]),
        },
    }


def _rows_of(study: Study, person: str) -> Iterator[Row]:
    """Every row of one person, method by method."""
    with_pictures = any(METHODS[name].measured == "pictures" for name in study.methods)
    for name in study.methods:
        log.info("%s: %s", person, name)
        config = resolve(study.profile, _overrides(study, name)).talk
        if METHODS[name].measured == "landmarks":
            for seed in study.seeds:
                run = _require(study, "adaptation", person, name, seed)
                yield from _landmark_rows(run, name, seed, config)
        if METHODS[name].measured == "pictures" or (name == FULL and with_pictures):
            yield from _picture_rows(_require(study, "evaluation", person, name, study.seeds[0]))


def _landmark_rows(run: Run, method: str, seed: int, config: TalkConfig) -> Iterator[Row]:
    person = load_person(run.parents["person"].folder)
    held_out = len(person.landmarks) - person.n_train
    for protocol, found in landmark_scores(run, config).items():
        place = {"table": "c", "protocol": protocol, "method": method, "seed": seed}
        n_frames = held_out if protocol == SELF_DRIVEN else 0
        yield from tables.rows_of(run, found, n_frames=n_frames, **place)


def _picture_rows(run: Run) -> Iterator[Row]:
    """The rows of an evaluation's table A that stand in table C, unchanged but for its letter."""
    for row in read_rows(run.folder / "table_a.csv"):
        if row["metric"] in PICTURES:
            yield row | {"table": "c"}


def _judged(planned: Plan, person: Person) -> float | NotMeasured:
    judge = motion.load()
    if planned.speech.encoder != judge.encoder:
        return NotMeasured(f"the shipped expert does not read {planned.speech.encoder} features")
    return scores.expert_score(judge.expert, judge.unit, planned, person.landmark_mean)


def _require(study: Study, stage: str, person: str, method: str, seed: int) -> Run:
    chosen = {"profile": study.profile, "seed": seed, "out": study.out}
    return require(stage, person, overrides=_overrides(study, method), **chosen)


def _overrides(study: Study, method: str) -> dict[str, Value]:
    return overrides(method, parse(study.overrides))
