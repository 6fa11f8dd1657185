"""Profiles: a name and overrides in; every stage's settings out. An unknown name is an error."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from geneface_kit import adaptation, corpus, head, motion, person, sync, tables, talk, torso

__all__ = ["PROFILES", "Settings", "parse", "resolve"]

PROFILES = {
    "smoke": "every notebook's default: the demo person, seconds to a minute on two CPU cores",
    "cpu": "a real person, end to end, within half an hour on two CPU cores",
    "paper": "the method's own numbers, for a GPU",
}


@dataclass(frozen=True)
class Settings:
    """All settings of one profile, a section for each part of the flow."""

    profile: str
    person: person.PersonConfig
    corpus: corpus.CorpusConfig
    sync: sync.SyncConfig
    motion: motion.MotionConfig
    adaptation: adaptation.AdaptationConfig
    head: head.HeadConfig
    torso: torso.TorsoConfig
    talk: talk.TalkConfig
    evaluation: tables.EvaluationConfig


MODULES = {
    "person": person,
    "corpus": corpus,
    "sync": sync,
    "motion": motion,
    "adaptation": adaptation,
    "head": head,
    "torso": torso,
    "talk": talk,
    "evaluation": tables,
}
"""Section -> the module whose Config, CPU and PAPER values it holds."""


def resolve(profile: str = "smoke", overrides: dict[str, Any] | str | None = None) -> Settings:
    """The settings of a profile with dotted overrides: {"head.steps": 100}.

    Raises: ValueError for an unknown profile, an unknown setting or a value of the wrong type.
    """
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}")
    if isinstance(overrides, str):
        overrides = parse(overrides)
    chosen: dict[str, dict[str, Any]] = {section: {} for section in MODULES}
    for dotted, value in (overrides or {}).items():
        section, _, name = dotted.partition(".")
        if section not in MODULES:
            known = ", ".join(MODULES)
            raise ValueError(f"unknown setting {dotted!r}: it must start with one of {known}")
        chosen[section][name] = _checked(section, name, value)
    sections = {}
    for field in dataclasses.fields(Settings)[1:]:
        module = MODULES[field.name]
        values = {"smoke": {}, "cpu": module.CPU, "paper": module.PAPER}[profile]
        sections[field.name] = field.type(**{**values, **chosen[field.name]})
    return Settings(profile, **sections)


def parse(text: str) -> dict[str, Any]:
    """Overrides from text: "head.steps=100,talk.head_motion=still"; numbers and booleans read."""
    overrides: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"override {part!r} must look like section.name=value")
        overrides[name.strip()] = _literal(value.strip())
    return overrides


def _literal(text: str) -> Any:
    if text in ("true", "True", "false", "False"):
        return text in ("true", "True")
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _checked(section: str, name: str, value: Any) -> Any:
    config = {field.name: field.type for field in dataclasses.fields(Settings)}[section]
    fields = {field.name: field for field in dataclasses.fields(config)}
    if name not in fields:
        known = ", ".join(fields)
        raise ValueError(f"unknown setting '{section}.{name}': {section} has {known}")
    default = fields[name].default
    kind = type(default)
    if kind is float and type(value) is int:
        value = float(value)
    if kind is tuple and isinstance(value, list):
        value = tuple(value)
    if type(value) is not kind:
        raise ValueError(
            f"setting '{section}.{name}' must be {kind.__name__} like {default!r}, got {value!r}"
        )
    return value
