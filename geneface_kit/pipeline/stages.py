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


@dataclass(frozen=True)
class Stage:
    """One stage: who makes it, the sections of the settings it is given, what it needs upstream.

    make(run, *sections) writes the run's files; inputs(subject, *sections) gives the files it
    reads besides its parents, by names that tell them apart, and refuses what `make` could not
    do. seeded: whether it draws at random; one that does not is the same run under every seed.
    version: raised by who changes what its code gives, so that no older run is found.
    """

    make: Callable[..., None]
    sections: tuple[str, ...]
    parents: tuple[str, ...]
    inputs: Callable[..., dict[str, Path]] = lambda *told: {}
    per_person: bool = True
    seeded: bool = True
    version: int = 1


PATHS = frozenset(("corpus.folder", "talk.audio", "evaluation.recordings", "talk.c2pa_keys"))
"""Settings that name inputs: what these hold tells runs apart, not how their paths are spelled."""
UPSTREAM = ("person", "motion", "adaptation", "nerf")

STAGES = {
    "person": Stage(person.make, ("person",), (), person.inputs, seeded=False, version=4),
    "motion": Stage(
        motion.make, ("corpus", "sync", "motion"), (), motion.inputs, per_person=False, version=4
    ),
    "adaptation": Stage(
        adaptation.make,
        ("corpus", "adaptation"),
        ("person", "motion"),
        adaptation.inputs,
        version=4,
    ),
    "nerf": Stage(nerf.make, tuple(nerf.SECTIONS), ("person",), nerf.inputs, version=11),
    "talk": Stage(talk.make, ("talk",), UPSTREAM, talk.inputs, version=5),
    "evaluation": Stage(
        evaluation.make, ("talk", "evaluation"), UPSTREAM, evaluation.inputs, version=7
    ),
}
