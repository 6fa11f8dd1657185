"""Options: what each argument of a command line means, here and in every study.

A command is a function with annotated arguments; `CommandLine` makes a program of several. Nothing
here loads torch: stages are imported by the commands that need them.
"""

import logging
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from geneface_kit.runs import ranges
from geneface_kit.runs.files import enough, read_rows
from geneface_kit.runs.record import handled

STAGES = ("person", "motion", "adaptation", "nerf", "talk", "evaluation")
PROFILES = ("auto", "smoke", "cpu", "paper")
"""The names in `pipeline.stages` and `pipeline.settings`, whose modules load torch."""
METHODS = tuple(row["name"] for row in read_rows(Path(__file__).with_name("methods.csv")))


def one_of(what: str, known: Iterable[str]) -> dict[str, Callable]:
    """For an option with known values, commas between several: refuses others, completes them."""

    def checked(value: str) -> str:
        for one in filter(None, several(value)):
            ranges.one_of(what, one, known)
        return value

    completed = lambda incomplete: [one for one in known if one.startswith(incomplete)]  # noqa: E731
    return {"callback": checked, "autocompletion": completed}


def argument(name: str, about: str, **more: object) -> object:
    """A positional argument: its name and what it is."""
    return typer.Argument(metavar=name, help=about, show_default=False, **more)


def several(text: str) -> tuple[str, ...]:
    """What stands between the commas of an option."""
    return tuple(part.strip() for part in text.split(",")) if text else ()


Stage = Annotated[str, argument("STAGE", ", ".join(STAGES), **one_of("stage", STAGES))]
Person = Annotated[str, argument("PERSON", "the demo (default), a clip's name or its path")]
Profile = Annotated[str, typer.Option(metavar="smoke|cpu|paper", **one_of("profile", PROFILES))]
Overrides = Annotated[str, typer.Option("--set", metavar="a.b=1,c.d=x", help="see `settings`")]
Seed = Annotated[int, typer.Option(min=0, help="of every random draw")]
Method = Annotated[str, typer.Option(help=", ".join(METHODS), **one_of("method", METHODS))]
Out = Annotated[str, typer.Option(metavar="FOLDER", help="of all runs (default: runs/)")]


class CommandLine(typer.Typer):
    """A program of functions, each a command with its docstring as help. Called with arguments it
    returns the exit status. An error of its input is one sentence."""

    def __init__(self, *functions: Callable[..., int | None], **options: bool | str):
        options = {"add_completion": False} | options
        super().__init__(rich_markup_mode=None, pretty_exceptions_enable=False, **options)
        for function in functions:
            self.command()(function)

    def __call__(self, arguments: list[str] | None = None, *, called: str | None = None) -> int:
        """Runs a command, sys.argv's unless given; called: the program's name in its help."""
        arguments = sys.argv[1:] if arguments is None else arguments
        logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
        logging.getLogger("geneface_kit").setLevel(logging.INFO)
        try:
            with enough(Path.cwd()), handled(signal.default_int_handler, signal.SIGTERM):
                name = called or self.info.name or None
                status = super().__call__(arguments, prog_name=name, standalone_mode=False) or 0
            if status == 130 and called is None:  # Ctrl-C or SIGTERM
                typer.echo("interrupted: the same command goes on where it stopped", err=True)
            return status
        except typer.Abort:
            text = "nobody answered"
        except TyperException as error:
            text = f"{error.format_message().rstrip('.')}; see --help"
        except (ValueError, OSError, ModuleNotFoundError) as error:
            if called or arguments[:1] == ["--debug"]:
                raise
            text = str(error)
        typer.echo(f"error: {text}", err=True)
        return 2
