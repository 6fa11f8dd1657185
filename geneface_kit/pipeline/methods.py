"""Methods: a name -> the settings that make the kit another method: baselines and ablations.

Reads and writes nothing. `run evaluation NAME --method METHOD` scores one of them.
"""

from pathlib import Path
from types import MappingProxyType

from geneface_kit.pipeline.settings import Overrides, Settings, Value, parse
from geneface_kit.runs import ranges
from geneface_kit.runs.files import read_rows

FULL = "full"  # the method without overrides
ROWS = read_rows(Path(__file__).with_name("methods.csv"))
METHODS = MappingProxyType({row["name"]: parse(row["changes"]) for row in ROWS})
"""Every method by its name -> its settings. An ablation of the generator needs a generator of its
own, and so does what it is beside: they train it anew."""


def overrides(name: str, others: Overrides | str | None = None) -> dict[str, Value]:
    """The overrides of a method and others beside them; the evaluation is told the name. Raises:
    ValueError for an unknown name, and when the others undo what makes the method."""
    others = parse(others)
    wanted = dict(METHODS[ranges.one_of("method", name, METHODS)])
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
    """Refuses settings that say evaluation.method but are not those of that method. Raises:
    ValueError that names the setting."""
    name = settings.evaluation.method
    for dotted, wanted in overrides(name).items():
        section, _, field = dotted.partition(".")
        found = getattr(getattr(settings, section), field)
        if found != wanted:
            raise ValueError(
                f"evaluation.method={name} means {dotted}={wanted}, but it is {found}: use "
                f"--method {name}"
            )
