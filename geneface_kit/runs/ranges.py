"""Ranges: what a setting may be, said by the annotation of its field where it is defined.

`check` is asked where settings are made (pipeline.settings), and so before anything else is.
"""

import difflib
import math
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args, get_origin

Config = TypeVar("Config")
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def meant(name: str, known: Iterable[str]) -> str:
    """ "did you mean ...? ", for the error of a name that is not known; "" if none is alike."""
    alike = difflib.get_close_matches(name, known, 1, 0.7)
    return f"did you mean {alike[0]}? " if alike else ""


def one_of(what: str, name: str, known: Iterable[str]) -> str:
    """The name. Raises: ValueError where it is not known."""
    if name not in known:
        hint = f"{meant(name, known)}choose one of {', '.join(known)}"
        raise ValueError(f"unknown {what} {name!r}: {hint}")
    return name


@dataclass(frozen=True)
class Range:
    """Finite numbers from `least` to `most`, multiples of `step`; above: without `least` itself."""

    least: int | float
    most: int | float = math.inf
    step: int = 1
    above: bool = False

    def __contains__(self, value: int | float) -> bool:
        low = value > self.least if self.above else value >= self.least
        return low and value <= self.most and math.isfinite(value) and value % self.step < 1

    def __str__(self) -> str:
        low = f" {'above' if self.above else 'of at least'} {self.least:g}"
        high = f" and at most {self.most:g}" * math.isfinite(self.most)
        return low + high + f", a multiple of {self.step}" * (self.step > 1)


@dataclass(frozen=True)
class Named:
    """Known names, or the import path "package.module:Class" of a subclass of `kind`; with a mark
    in `place`, such as "@", a place may follow it."""

    known: tuple[str, ...]
    kind: str = "builtins:object"
    place: str = ""


Natural = Annotated[int, Range(0)]
Count = Annotated[int, Range(1)]
NotNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, above=True)]
Share = Annotated[float, Range(0, 1)]
Folder = Annotated[str, Path.is_dir]
"""The path of a folder that is there, or ""."""


def check(setting: str, kind: object, value: object) -> None:
    """Raises ValueError, one sentence: the setting, what it must be and what it is. kind: bool,
    int, float, str, one of the above, a Literal, or a tuple of one of these."""
    told = get_args(kind)
    if get_origin(kind) is tuple and type(value) is tuple:
        for one in value:
            check(setting, told[0], one)
    elif not _allowed(setting, kind, value):
        raise ValueError(f"setting {setting!r} must be {words(kind)}, got {value!r}")


def restored(kind: type[Config], values: Mapping[str, object]) -> Config:
    """A config from plain values that a file kept, each checked as if it were set now."""
    kinds = {one.name: one.type for one in fields(kind)}
    for name, value in values.items():
        check(name, kinds[name], value)
    return kind(**values)


def words(kind: object) -> str:
    """What a setting of this kind is: "a whole number of at least 1"."""
    told = get_args(kind)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(told)}"
    if get_origin(kind) is tuple:
        return f"a list, each {words(told[0])}"
    base, rule = told or (kind, "")
    if isinstance(rule, Named):
        return f"one of {', '.join(rule.known)} or the path package.module:Class of your own"
    return "a folder that is there" if rule is Path.is_dir else f"{WORDS[base]}{rule}"


def _allowed(setting: str, kind: object, value: object) -> bool:
    told = get_args(kind)
    if get_origin(kind) in (Literal, tuple):
        return value in told
    base, rule = told or (kind, None)
    if type(value) is not base:
        return False
    if isinstance(rule, Named) and rule.place:
        value = value.partition(rule.place)[0]
    if isinstance(rule, Named) and ":" in value:
        imported(value, setting, imported(rule.kind, setting))
        return True
    if rule is Path.is_dir:
        return not value or Path(value).is_dir()
    return rule is None or value in (rule.known if isinstance(rule, Named) else rule)


def imported(path: str, setting: str, kind: type = object) -> type:
    """The class at an import path "package.module:Class".

    setting: which setting names it, for the errors. kind: what it has to be a subclass of.
    Raises: ValueError, in one sentence, when there is no such class, or it is none of that
    kind or lacks a part.
    """
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{setting}={path} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise ValueError(
            f"{setting}={path} must be a subclass of {kind.__module__}.{kind.__name__}"
        )
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing and kind is not object:
        raise ValueError(f"{setting}={path} must define {', '.join(missing)}")
    return found
