"""Profiles: a name and overrides in; every stage's settings out. An unknown name is an error."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from geneface_kit.adaptation import stage as adaptation
from geneface_kit.evaluation import stage as tables
from geneface_kit.motion import stage as motion
from geneface_kit.motion import sync
from geneface_kit.nerf import head, torso
from geneface_kit.person import corpus
from geneface_kit.person import stage as person
from geneface_kit.talk import stage as talk

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
    sections = {}
    for field in dataclasses.fields(Settings)[1:]:
        module = MODULES[field.name]
        values = {"smoke": {}, "cpu": module.CPU, "paper": module.PAPER}[profile]
        sections[field.name] = field.type(**values)
    for dotted, value in (overrides or {}).items():
        section, _, name = dotted.partition(".")
        if section not in sections:
            known = ", ".join(sections)
            raise ValueError(f"unknown setting {dotted!r}: it must start with one of {known}")
        sections[section] = _replaced(sections[section], name, value, section)
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


def _replaced(config: Any, dotted: str, value: Any, above: str) -> Any:
    """The config with one setting changed; a dot in its name leads into a config inside it."""
    name, _, rest = dotted.partition(".")
    known = [field.name for field in dataclasses.fields(config)]
    if name not in known:
        raise ValueError(f"unknown setting '{above}.{name}': {above} has {', '.join(known)}")
    old = getattr(config, name)
    if dataclasses.is_dataclass(old):
        return dataclasses.replace(config, **{name: _replaced(old, rest, value, f"{above}.{name}")})
    if type(old) is float and type(value) is int:
        value = float(value)
    if type(old) is tuple and isinstance(value, list):
        value = tuple(value)
    if rest or type(value) is not type(old):
        kind = type(old).__name__
        raise ValueError(f"setting '{above}.{dotted}' must be {kind} like {old!r}, got {value!r}")
    return dataclasses.replace(config, **{name: value})
