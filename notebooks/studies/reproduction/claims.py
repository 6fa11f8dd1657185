"""Claims: what the documentation says, checked by the commands that it gives.

claims.csv holds a row for each: the claim in words, the command of the kit whose run has the
number, the metric's name in its run.json (dots lead into it), what is expected and how far off it
may be, the minutes that the stage takes on two CPU cores, and whether it is one of the quick ones.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from geneface_kit.pipeline.require import require
from geneface_kit.runs import Run
from geneface_kit.runs.files import read_rows

TABLE = Path(__file__).with_name("claims.csv")
NUMBERS = ("expected", "tolerance", "minutes")


@dataclass(frozen=True)
class Claim:
    """One row. tolerance: the largest difference from `expected` that passes; both in the unit that
    the claim names."""

    claim: str
    command: str
    metric: str
    expected: float
    tolerance: float
    minutes: float
    quick: bool


def read(path: Path = TABLE) -> list[Claim]:
    """The claims of a table. Raises: ValueError, in one sentence, for a row that cannot be one."""
    claims = []
    for number, row in enumerate(read_rows(path), 2):
        try:
            kind, _, _ = row["command"].split()
            numbers = {name: float(row.pop(name)) for name in NUMBERS}
            quick = {"yes": True, "no": False}[row.pop("quick")]
            if kind != "run" or numbers["tolerance"] < 0:
                raise ValueError("it needs run STAGE PERSON and a tolerance from 0")
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path.name}, line {number}, is no claim: {error}") from None
        claims.append(Claim(**row, **numbers, quick=quick))
    return claims


def measured(claim: Claim, out: Path | str = "") -> float:
    """The number of a claim's run, which is made where it is missing. Raises: KeyError."""
    _, stage, person = claim.command.split()
    return value_of(require(stage, person, out=out), claim.metric)


def value_of(run: Run, metric: str) -> float:
    """A metric of a run; where no name is the whole one, dots lead into it."""
    found: object = run.metrics
    for name in [metric] if metric in run.metrics else metric.split("."):
        found = found[name]
    return float(found)


def check(claims: Sequence[Claim], out: Path | str = "") -> Iterator[tuple[bool, str]]:
    """Whether each claim holds, and a line that says so."""
    for claim in claims:
        start = time.perf_counter()
        try:
            value = measured(claim, out)
        except (KeyError, ValueError, OSError) as error:
            yield False, f"fail  {claim.claim}: not measured ({error}); {claim.command}"
            continue
        holds = abs(value - claim.expected) <= claim.tolerance
        took = (time.perf_counter() - start) / 60
        wanted = f"{claim.expected:g} within {claim.tolerance:g}"
        told = f"{claim.claim}: {value:.4g}, expected {wanted}; {claim.command}, {took:.1f} min"
        yield holds, f"{'pass' if holds else 'fail'}  {told}"
