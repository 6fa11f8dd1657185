"""Methods: a name -> the settings that make the kit another method: baselines and ablations.

Reads and writes nothing. `run evaluation NAME --method METHOD` scores one of them.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from geneface_kit.pipeline.settings import Overrides, Settings, Value, parse
from geneface_kit.runs import ranges

FULL = "full"  # the method without overrides


@dataclass(frozen=True)
class Method:
    """One row of the table of ablations.

    about: what is other, in a few words; beside: the method it is compared with, which differs in
    this alone; changes: its settings; measured: "landmarks", which needs no picture, or "pictures".
    """

    about: str
    beside: str
    changes: Overrides
    measured: str = "landmarks"


def _methods() -> dict[str, Method]:
    """The rows of methods.csv. An ablation of the generator needs a generator of its own, and so
    does what it is beside: they train it anew."""
    with Path(__file__).with_name("methods.csv").open(newline="") as file:
        rows = [row | {"changes": parse(row["changes"])} for row in csv.DictReader(file)]
    return {row.pop("name"): Method(**row) for row in rows}


METHODS = MappingProxyType(_methods())  # every method by its name


def overrides(name: str, others: Overrides | str | None = None) -> dict[str, Value]:
    """The overrides of a method and others beside them; the evaluation is told the name.

    Raises: ValueError for an unknown name, and when the others undo what makes the method.
    """
    if name not in METHODS:
        hint = ranges.meant(name, METHODS)
        raise ValueError(f"unknown method {name!r}: {hint}choose one of {', '.join(METHODS)}")
    others = parse(others) if isinstance(others, str) else dict(others or {})
    wanted = dict(METHODS[name].changes)
    if name != FULL:
        wanted["evaluation.method"] = name  # its rows carry it
    for dotted, value in others.items():
        if dotted in wanted and wanted[dotted] != value:
            raise ValueError(
                f"the method {name} sets {dotted}={wanted[dotted]}, not {value}: leave that "
                "override out or choose another method"
            )
    return wanted | others


def check(settings: Settings) -> None:
    """Refuses settings that say evaluation.method but are not those of that method.

    Raises: ValueError that names the setting.
    """
    name = settings.evaluation.method
    for dotted, wanted in overrides(name).items():
        section, _, field = dotted.partition(".")
        found = getattr(getattr(settings, section), field)
        if found != wanted:
            raise ValueError(
                f"evaluation.method={name} means {dotted}={wanted}, but it is {found}: use "
                f"--method {name}"
            )
