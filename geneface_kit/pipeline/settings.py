"""Settings: a profile's name and overrides in; every stage's settings out.

An unknown name or a value out of range is an error, and an old name says what it is called now. A
setting is added as a field of its section's config, with its range and its default (smoke), and
where it differs in cpu.toml and paper.toml beside this file.
"""

import contextlib
import dataclasses
import inspect
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from geneface_kit.adaptation.training import AdaptationConfig
from geneface_kit.evaluation.stage import EvaluationConfig
from geneface_kit.motion.stage import MotionConfig
from geneface_kit.motion.sync_expert import SyncConfig
from geneface_kit.nerf.config import AvatarConfig, HeadConfig, JointConfig, TorsoConfig
from geneface_kit.person.corpus.manifest import CorpusConfig
from geneface_kit.person.stage import PersonConfig
from geneface_kit.runs import ranges
from geneface_kit.runs.files import read_rows
from geneface_kit.talk.postprocess import TalkConfig

Value = bool | int | float | str | tuple | list
"""What a setting can be; a list stands for a tuple."""
Overrides = Mapping[str, Value]
"""Dotted settings and their values: {"head.steps": 100}."""
Config = TypeVar("Config")
HERE = Path(__file__).parent
COMMA = r""",(?![^\[]*\])(?=(?:[^"]*"[^"]*")*[^"]*$)"""  # one that is in no list and no text

PROFILES = ("smoke", "cpu", "paper")  # what each is for, README says
RENAMED = {row["old"]: row["now"] for row in read_rows(HERE / "renamed.csv")}
"""Old name of a setting, a section or a notebook's parameter -> what it is now."""


@dataclass(frozen=True)
class Settings:
    """All settings of one profile, a section for each part of the flow."""

    profile: str
    person: PersonConfig
    corpus: CorpusConfig
    sync: SyncConfig
    motion: MotionConfig
    adaptation: AdaptationConfig
    head: HeadConfig
    torso: TorsoConfig
    joint: JointConfig
    avatar: AvatarConfig
    talk: TalkConfig
    evaluation: EvaluationConfig


def sections() -> dict[str, dataclasses.Field]:
    """The sections of the settings: name -> the field of Settings, with its type."""
    return {one.name: one for one in fields(Settings) if one.name != "profile"}


def resolve(profile: str = "smoke", overrides: Overrides | str | None = None) -> Settings:
    """The settings of a profile with dotted overrides: {"head.steps": 100}. Raises: ValueError for
    an unknown profile, an unknown setting or a value out of range."""
    ranges.one_of("profile", profile, PROFILES)
    configs = {name: one.type() for name, one in sections().items()}
    for dotted, value in (profile_values(profile) | parse(overrides)).items():
        section, _, name = dotted.partition(".")
        if section not in configs:
            hint = ranges.meant(section, configs)
            raise _unknown(dotted, f"{hint}it must start with one of {', '.join(configs)}")
        configs[section] = _replaced(configs[section], name, value, section)
    return Settings(profile, **configs)


def profile_values(profile: str) -> dict[str, Value]:
    """What a profile sets otherwise than the defaults, dotted, as PROFILE.toml has it."""
    path = HERE / f"{profile}.toml"
    content = tomllib.loads(path.read_text()) if path.exists() else {}
    return {
        f"{section}.{name}": value
        for section, values in content.items()
        for name, value in values.items()
    }


def described(section: str = "") -> Iterator[str]:
    """What can be set, in a section or in all: name, default, what profiles set otherwise, what it
    may be; then, on a line of its own, what the field's definition says beside it."""
    known = sections()
    for name in [ranges.one_of("section", section, known)] if section else known:
        yield from _described(known[name].type(), name)


def _described(config: object, above: str) -> Iterator[str]:
    profiles = {name: profile_values(name) for name in PROFILES}
    source = "\n".join(inspect.getsource(kind) for kind in type(config).__mro__[:-1])
    about = dict(re.findall(r"^    (\w+): .*  # (.*)$", source, re.MULTILINE))
    for one in fields(config):
        dotted, value = f"{above}.{one.name}", getattr(config, one.name)
        if dataclasses.is_dataclass(value):
            yield from _described(value, dotted)
            continue
        others = [f"; {p} {values[dotted]!r}" for p, values in profiles.items() if dotted in values]
        stands = f"{dotted} = {value!r}{''.join(others)}: {ranges.words(one.type)}"
        yield f"{stands}\n    {about.get(one.name, '-')}"


def check_together(settings: Settings) -> None:
    """Raises ValueError for sections that the stages from `adaptation` on cannot use together."""
    person, corpus = settings.person.encoder, settings.corpus.encoder
    if person != corpus:
        raise ValueError(
            f"person.encoder={person} and corpus.encoder={corpus} differ: the generator would not "
            "understand the person's speech; set both alike"
        )
    motion = settings.motion
    if settings.adaptation.pitch and not (motion.pitch and motion.weights == "train"):
        raise ValueError("adaptation.pitch needs motion.pitch=true and motion.weights=train")


def _unknown(dotted: str, hint: str) -> ValueError:
    """An error that names a setting, and what it is called now if it has an old name."""
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        old = ".".join(parts[:n])
        if old in RENAMED:
            return ValueError(f"unknown setting {dotted!r}: {old} is now {RENAMED[old]}")
    return ValueError(f"unknown setting {dotted!r}: {hint}")


def parse(given: Overrides | str | None) -> dict[str, Value]:
    """Overrides as they are, or from text: "head.steps=100,corpus.rates=[1,1.1]"; numbers,
    booleans, lists read. Text in double quotes may hold commas."""
    if not isinstance(given, str):
        return dict(given or {})
    overrides: dict[str, Value] = {}
    for part in filter(None, (part.strip() for part in re.split(COMMA, given))):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"override {part!r} must look like section.name=value")
        overrides[name.strip()] = _literal(value.strip())
    return overrides


def _literal(text: str) -> Value:
    if text.startswith("[") and text.endswith("]"):
        return [_literal(part.strip()) for part in text[1:-1].split(",")]
    if text in ("true", "True", "false", "False"):
        return text in ("true", "True")
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text.strip('"')


def _replaced(config: Config, dotted: str, value: Value, above: str) -> Config:
    """The config with one setting changed; a dot in its name leads into a config inside it."""
    name, _, rest = dotted.partition(".")
    kinds = {one.name: one.type for one in fields(config)}
    if name not in kinds:
        hint = ranges.meant(name, kinds)
        raise _unknown(f"{above}.{dotted}".rstrip("."), f"{hint}{above} has {', '.join(kinds)}")
    old = getattr(config, name)
    if dataclasses.is_dataclass(old):
        return dataclasses.replace(config, **{name: _replaced(old, rest, value, f"{above}.{name}")})
    if type(old) is float and type(value) is int:
        value = float(value)
    if type(old) is tuple and isinstance(value, list):
        value = tuple(float(one) if type(one) is int else one for one in value)
    if rest:
        raise _unknown(f"{above}.{dotted}", f"{above}.{name} is a setting, no section")
    ranges.check(f"{above}.{name}", kinds[name], value)
    return dataclasses.replace(config, **{name: value})
