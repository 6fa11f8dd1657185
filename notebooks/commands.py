"""Commands: those of `python -m geneface_kit` that are no part of the package but of a checkout."""

import importlib
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from geneface_kit.pipeline.options import METHODS, PROFILES, argument, one_of, several

Study = TypeVar("Study")
STUDIES = "notebooks.studies"
PROGRAMS = {
    "corpus": f"{STUDIES}.ray_corpus",
    "notebooks": "notebooks",
    "test": "tests",
    "reproduce": f"{STUDIES}.reproduction",
    "ablations": f"{STUDIES}.ablations",
    "prove": f"{STUDIES}.unheard_speakers",
    "bench": f"{STUDIES}.speed",
    "ray-corpus": f"{STUDIES}.ray_corpus",
    "export": f"{STUDIES}.crates",
    "verify": f"{STUDIES}.crates",
    "fuzz": f"{STUDIES}.fuzz",
    "figures": "geneface_kit_figures",
    "tables": "geneface_kit_figures",
    "filmstrips": "geneface_kit_figures",
}
"""Command -> the folder whose program has it."""


Persons = Annotated[list[str], argument("PERSON", "the demo (default), clips' names or paths")]
Videos = Annotated[str, argument("FOLDER", "videos, a sub-folder a speaker or named SPEAKER_clip1")]
To = Annotated[Path | None, typer.Option(metavar="FOLDER", help="where the results are written")]
Seeds = Annotated[str, typer.Option(metavar="0,1,2", help="one run for each")]
Methods = Annotated[
    str, typer.Option(metavar="full,lle", help="one run for each", **one_of("method", METHODS))
]
Profile = Annotated[str, typer.Option(metavar="smoke|cpu|paper", **one_of("profile", PROFILES[1:]))]
"""A study has one profile for all: no `auto`, which goes by the person."""


def study_of(kind: type[Study], persons: list[str], seeds: str, methods: str, **more: str) -> Study:
    """A study of what options say. Raises: ValueError."""
    return kind(persons=tuple(persons), seeds=seeds_of(seeds), methods=several(methods), **more)


def seeds_of(text: str, option: str = "--seeds") -> tuple[int, ...]:
    """The numbers of an option. Raises: ValueError."""
    if not all(part.isdigit() for part in several(text)):
        raise ValueError(f"{option} must look like 0,1,2, got {text!r}")
    return tuple(int(part) for part in several(text))


def run(name: str, told: list[str]) -> int:
    """Runs a command with its own arguments; the exit status."""
    program = importlib.import_module(f"{PROGRAMS[name]}.__main__").main
    if len(program.registered_commands) == 1:  # such a program does not name its command
        return program(told, called=f"geneface-kit {name}")
    return program([name, *told], called="geneface-kit")
