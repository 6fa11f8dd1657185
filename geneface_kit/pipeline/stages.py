"""Stages: the flow from a clip to tables, who makes what, and what it needs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from geneface_kit.adaptation import stage as adaptation
from geneface_kit.evaluation import stage as evaluation
from geneface_kit.motion import stage as motion
from geneface_kit.nerf import stage as nerf
from geneface_kit.person import stage as person
from geneface_kit.talk import stage as talk


def _nothing(subject: str, *sections: object) -> list[Path]:
    return []


@dataclass(frozen=True)
class Stage:
    """One stage: who makes it, the sections of the settings it is given, what it needs upstream.

    make(run, *sections) writes the run's files; inputs(subject, *sections) names the files it
    reads besides its parents. notebook: its name. seeded: whether it draws at random; one that
    does not is the same run under every seed.
    """

    make: Callable[..., None]
    sections: tuple[str, ...]
    parents: tuple[str, ...]
    inputs: Callable[..., list[Path]] = _nothing
    notebook: str = ""
    per_person: bool = True
    seeded: bool = True


UPSTREAM = ("person", "motion", "adaptation", "nerf")

STAGES = {
    "person": Stage(person.make, ("person",), (), person.inputs, "00_prepare_person", seeded=False),
    "motion": Stage(
        motion.make,
        ("corpus", "sync", "motion"),
        (),
        motion.inputs,
        "01_audio_to_motion",
        per_person=False,
    ),
    "adaptation": Stage(
        adaptation.make,
        ("corpus", "adaptation"),
        ("person", "motion"),
        notebook="02_domain_adaptation",
    ),
    "nerf": Stage(
        nerf.make, ("head", "torso", "joint", "avatar"), ("person",), notebook="03_train_nerf"
    ),
    "talk": Stage(talk.make, ("talk",), UPSTREAM, talk.inputs, "04_talk"),
    "evaluation": Stage(
        evaluation.make, ("talk", "evaluation"), UPSTREAM, evaluation.inputs, "05_evaluation_tables"
    ),
}
"""The flow: stage -> who makes it, sections of the settings, upstream stages."""
