"""Commands: those of `python -m geneface_kit` that are no part of the package but of a checkout."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from geneface_kit.pipeline.options import (
    METHODS,
    PROFILES,
    CommandLine,
    argument,
    one_of,
    several,
)

Study = TypeVar("Study")
STUDIES = "notebooks.studies"
PROGRAMS = {
    "persons": ("notebooks.kept", "List the persons that are here or known."),
    "runs": ("notebooks.kept", "List, show, compare or remove runs."),
    "corpus": (f"{STUDIES}.ray_corpus", "Read talking videos into training data."),
    "ray-corpus": (f"{STUDIES}.ray_corpus", "The same by Ray, on a cluster."),
    "notebooks": ("notebooks", "Execute the notebooks and keep their outputs."),
    "reproduce": (f"{STUDIES}.reproduction", "Execute all notebooks for persons and seeds."),
    "ablations": (f"{STUDIES}.ablations", "Make table C: every method on persons."),
    "prove": (f"{STUDIES}.unheard_speakers", "Judge methods on speakers they never heard."),
    "bench": (f"{STUDIES}.speed", "Measure the speed of one part on this machine."),
    "export": (f"{STUDIES}.crates", "Pack a run with all it came from, as an RO-Crate."),
    "verify": (f"{STUDIES}.crates", "Check an exported run."),
    "fuzz": (f"{STUDIES}.fuzz", "Feed damaged files to every reader, kill every stage."),
    "figures": ("geneface_kit_figures", "Redraw figures/ from its data."),
    "tables": ("geneface_kit_figures", "Put evaluations of several persons in one table."),
    "filmstrips": ("geneface_kit_figures", "Draw several persons, driven by recordings."),
    "test": ("tests", "Run ruff, then every test and notebook."),
}
"""Command -> the folder whose program has it, and what it does."""


Persons = Annotated[list[str], argument("PERSON", "the demo (default), clips' names or paths")]
Videos = Annotated[str, argument("FOLDER", "videos, a sub-folder a speaker or named SPEAKER_clip1")]
To = Annotated[Path | None, typer.Option(metavar="FOLDER", help="where the results are written")]
RunName = Annotated[str, argument("RUN", "its id, see `runs list`, or its folder")]
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


def add_to(main: CommandLine) -> None:
    """Adds these commands to the kit's; their programs are loaded when they are called."""
    options = {"ignore_unknown_options": True, "help_option_names": []}
    for name, (_, about) in PROGRAMS.items():
        main.command(name, help=about, context_settings=options)(_called(name))


def _called(name: str) -> Callable[[list[str]], int]:
    def call(told: Annotated[list[str], argument("...", "see its --help")] = ()) -> int:
        return run(name, list(told))

    return call


def run(name: str, told: list[str]) -> int:
    """Runs a command with its own arguments; the exit status."""
    program = importlib.import_module(f"{PROGRAMS[name][0]}.__main__").main
    known = [*program.registered_commands, *program.registered_groups]
    if len(known) == 1:  # such a program does not name its command
        return program(told, called=f"geneface-kit {name}")
    return program([name, *told], called="geneface-kit")
