"""Workflow: persons x seeds x methods -> a plan of notebooks, for Snakemake over papermill.

A plan knows the folder of every run before anything is made, so an executed notebook lies in the
folder of its run, and what two methods share is made once.
"""

import itertools
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from geneface_kit_figures.tables import read_table

from geneface_kit import runs
from geneface_kit.pipeline import methods
from geneface_kit.pipeline.require import locate
from geneface_kit.pipeline.settings import Overrides, Value, parse, resolve
from geneface_kit.pipeline.stages import STAGES

FIGURES = "figures"
_IN_ORDER = sorted(path.stem for path in Path(__file__).parents[2].glob("[0-9]*.ipynb"))
NOTEBOOKS = dict(zip((*STAGES, FIGURES), _IN_ORDER, strict=True))
"""Stage -> its notebook. Figures tell of the evaluation and lie in its run."""
BEFORE = {name: stage.parents for name, stage in STAGES.items()} | {FIGURES: ("talk", "evaluation")}
"""Stage -> the stages whose notebooks come before."""
TIMINGS = ("FPS", "training minutes", "peak memory")
"""Metrics of time and memory: two runs on one machine agree in every number but these."""


@dataclass(frozen=True)
class Study:
    """What is reproduced: every person with every seed and every method."""

    persons: tuple[str, ...] = ("demo",)
    profile: str = "smoke"
    seeds: tuple[int, ...] = (0,)
    methods: tuple[str, ...] = (methods.FULL,)  # of pipeline.methods
    overrides: str = ""  # dotted settings for every unit, commas between
    recordings: str = ""  # of the cross-driven table, commas between; "" = the held-out demo
    until: str = "figures"  # last stage (a key of NOTEBOOKS)
    out: str = ""  # folder of all runs; "" = runs/ of the project


@dataclass(frozen=True)
class Job:
    """One notebook to execute: its name, its parameters, and the places of those before it.

    Places are relative to the folder of all runs. stage: what the notebook tells of.
    """

    notebook: str
    parameters: dict[str, Value]
    after: tuple[str, ...]
    stage: str


def plan(study: Study) -> dict[str, Job]:
    """Place of each executed notebook (RUN FOLDER/NOTEBOOK.ipynb) -> its job, upstream first.

    A run that several units share has one job. Only the overrides that a notebook's run depends on
    are passed to it.
    Raises: ValueError for an unknown stage, profile, setting or method.
    """
    if study.until not in NOTEBOOKS:
        raise ValueError(f"unknown stage {study.until!r}: choose one of {', '.join(NOTEBOOKS)}")
    if "evaluation.recordings" in parse(study.overrides):
        raise ValueError("evaluation.recordings has a field of its own here: recordings")
    jobs: dict[str, Job] = {}
    for person, seed, method in itertools.product(study.persons, study.seeds, study.methods):
        places: dict[str, str] = {}
        for stage in _upstream_first(study.until):
            places[stage], job = _job(study, person, seed, method, stage, places)
            jobs.setdefault(places[stage], job)
    return jobs


def tables_that_differ(folder: Path, other: Path) -> list[str]:
    """What two folders of collected tables say differently, one sentence each; timings aside.

    Compared are all columns of all rows whose metric is none of TIMINGS.
    """
    names = sorted({path.name for place in (folder, other) for path in place.glob("*table_*.csv")})
    if not names:
        return [f"no tables in {folder.name}/ and {other.name}/"]
    wrong = []
    for name in names:
        if not ((folder / name).is_file() and (other / name).is_file()):
            wrong.append(f"{name} is in one folder only")
            continue
        ours, theirs = (_untimed(place / name) for place in (folder, other))
        wrong += [f"{name}: {row}" for row in sorted(ours.symmetric_difference(theirs))]
    return wrong


def reproduce(study: Study, *, cores: int = 0, snakemake: str = "") -> Path:
    """Runs the workflow of a study to its end; the folder of the collected tables.

    cores: how many the jobs may use together; 0 means all. snakemake: more options for it, such
    as "--profile slurm --jobs 20" (a cluster) or "--dry-run". What is made already is left alone.
    Raises: ValueError when the workflow fails, ModuleNotFoundError without the batch extra.
    """
    try:
        import snakemake as _  # noqa: F401
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "reproduce needs snakemake: pip install 'geneface-kit[batch]'"
        ) from None
    plan(study)  # every error of the request is told here, in one sentence
    home(study).mkdir(parents=True, exist_ok=True)
    snakefile = Path(__file__).with_name("Snakefile")
    command = [
        *[sys.executable, "-m", "snakemake", "--snakefile", str(snakefile)],
        *["--cores", str(cores or "all"), "--rerun-incomplete"],
        "--nolock",  # runs have locks of their own, and a killed workflow must go on
        *["--quiet", "host", "progress"],
        *["--config", f"study={json.dumps(asdict(study))}", *shlex.split(snakemake)],
    ]
    if subprocess.run(command, cwd=home(study)).returncode:
        raise ValueError("the workflow failed; the same command goes on where it stopped")
    return home(study) / "tables"


def from_config(values: Mapping) -> Study:
    """The study of Snakemake's config: fields of Study, lists for tuples; or all under `study`."""
    given = dict(values.get("study", values))
    unknown = set(given) - set(Study.__dataclass_fields__)
    if unknown:
        known = ", ".join(Study.__dataclass_fields__)
        raise ValueError(f"unknown setting {sorted(unknown)[0]!r} of the workflow; it has {known}")
    fields = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    if "seeds" in fields:
        fields["seeds"] = tuple(int(seed) for seed in fields["seeds"])  # Snakemake reads text
    return Study(**fields)


def _job(
    study: Study, person: str, seed: int, method: str, stage: str, places: Mapping[str, str]
) -> tuple[str, Job]:
    """Where a unit's notebook of a stage is kept, and how it is executed."""
    every = parse(study.overrides) | methods.overrides(method)
    settings = resolve(study.profile, every)
    needed = {
        name for one in _upstream_first(stage) if one in STAGES for name in STAGES[one].sections
    }
    if stage == "motion":
        needed.add("person")  # whom its notebook shows
    mine = {name: value for name, value in every.items() if name.partition(".")[0] in needed}
    parameters = {"profile": study.profile, "person": person, "seed": seed}
    parameters |= {"out": str(home(study)) if study.out else "", "overrides": _as_text(mine)}
    run_stage = "evaluation" if stage == FIGURES else stage
    if stage == "talk":
        said = settings.talk
        parameters |= {"audio": said.audio, "text": said.text, "head": said.head}
    if run_stage == "evaluation":
        parameters["recordings"] = study.recordings
        mine["evaluation.recordings"] = study.recordings
    if stage == FIGURES:
        own = (method, seed) != (methods.FULL, 0)
        folder = str(home(study) / "figures" / f"{method}-{seed}") if own else ""
        parameters |= {"audio": settings.talk.audio, "folder": folder}
    options = {"profile": study.profile, "seed": seed, "overrides": mine, "out": home(study)}
    run = locate(run_stage, person, **options).relative_to(home(study)).as_posix()
    after = tuple(places[one] for one in BEFORE[stage])
    return f"{run}/{NOTEBOOKS[stage]}.ipynb", Job(NOTEBOOKS[stage], parameters, after, stage)


def _upstream_first(until: str) -> list[str]:
    """The stages that a stage needs, itself last."""
    needed = {until}
    for stage in reversed(NOTEBOOKS):
        if stage in needed:
            needed |= set(BEFORE[stage])
    return [stage for stage in NOTEBOOKS if stage in needed]


def _as_text(overrides: Overrides) -> str:
    """Overrides as `parse` reads them.

    Raises: ValueError for a value that it would read otherwise.
    """
    text = ",".join(f"{name}={value}" for name, value in overrides.items())
    if parse(text) != dict(overrides):
        raise ValueError(f"overrides {text!r} cannot be passed on as text: commas or tuples in it")
    return text


def home(study: Study) -> Path:
    """The folder of all runs of a study, absolute."""
    return Path(study.out).resolve() if study.out else runs.root() / "runs"


def _untimed(path: Path) -> set[str]:
    rows = read_table(path)
    rows = rows[~rows["metric"].isin(TIMINGS)]
    return {" | ".join(row) for row in rows.itertuples(index=False)}
