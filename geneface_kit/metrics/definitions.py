"""Definitions: the name of every metric in a table -> what it is, in one line (definitions.csv)."""

import csv
from dataclasses import dataclass
from importlib import resources

__all__ = ["METRICS", "Definition"]


@dataclass(frozen=True)
class Definition:
    """What a column holds.

    unit: "" for a pure number. better: "higher", "lower", or "" where neither is. text:
    definition, scale and alignment in one line.
    """

    unit: str
    better: str
    text: str


def _read() -> dict[str, Definition]:
    path = resources.files("geneface_kit.metrics") / "definitions.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return {row.pop("metric"): Definition(**row) for row in csv.DictReader(file)}


METRICS = _read()
"""Every metric that this kit writes into a table."""
