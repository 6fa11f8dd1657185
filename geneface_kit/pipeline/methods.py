"""Methods: a name -> the settings that make the kit another method: baselines and ablations.

Reads and writes nothing. `run evaluation NAME --method METHOD` scores one of them.
"""

from dataclasses import dataclass
from types import MappingProxyType

from geneface_kit.pipeline.settings import Overrides, Settings, Value

FULL = "full"  # the method without overrides


@dataclass(frozen=True)
class Method:
    """One row of the table of ablations.

    about: what is other, in a few words; beside: the method it is compared with, which differs in
    this alone; changes: its settings; measured: "landmarks", which needs no picture, or "pictures".
    """

    about: str
    beside: str
    changes: Overrides
    measured: str = "landmarks"


ANEW = {"motion.weights": "train"}
"""An ablation of the generator needs a generator of its own, and so does what it is beside."""

METHODS = MappingProxyType(
    {
        FULL: Method("as the profile sets it", FULL, {}),
        "retrained": Method("full, but its generator is trained anew", FULL, ANEW),
        "gaussian-prior": Method(
            "a Gaussian instead of the flow prior", "retrained", ANEW | {"motion.flow_steps": 0}
        ),
        "no-sync": Method(
            "the generator without the sync loss", "retrained", ANEW | {"motion.sync_weight": 0.0}
        ),
        "pitch": Method(
            "generator and post-net also hear the pitch",
            "retrained",
            ANEW | {"motion.pitch": True, "adaptation.pitch": True},
        ),
        "no-pitch": Method(
            "generator and post-net without the pitch",
            "pitch",
            ANEW | {"motion.pitch": False, "adaptation.pitch": False},
        ),
        "no-postnet": Method(
            "the generator's motion about the person's mean, nothing adapted",
            FULL,
            {"adaptation.postnet": False, "adaptation.transport_noise": 0.0},
        ),
        "transport-only": Method(
            "our linear transport without a post-net", FULL, {"adaptation.postnet": False}
        ),
        "no-transport": Method(
            "the paper's post-net without our transport", FULL, {"adaptation.transport_noise": 0.0}
        ),
        "postnet-no-adversary": Method(
            "the post-net without its discriminator", FULL, {"adaptation.adversarial_weight": 0.0}
        ),
        "postnet-no-sync": Method(
            "the post-net without the sync loss", FULL, {"adaptation.sync_weight": 0.0}
        ),
        "lle": Method(
            "a fifth of each face from its nearest own ones (GeneFace++)",
            FULL,
            {"talk.lle_share": 0.2},
        ),
        "torso-not-head-aware": Method(
            "the torso does not see the head", FULL, {"torso.head_aware": False}, "pictures"
        ),
        "apart": Method(
            "head and torso trained apart on hard masks (the paper)",
            FULL,
            {"joint.steps": 0},
            "pictures",
        ),
        "speech-driven": Method(
            "no landmarks: speech drives the head (AD-NeRF, RAD-NeRF)",
            FULL,
            {"head.driven_by": "speech"},
            "pictures",
        ),
    }
)
"""Every method by its name."""


def overrides(name: str, others: Overrides | None = None) -> dict[str, Value]:
    """The overrides of a method and others beside them; the evaluation is told the name.

    Raises: ValueError for an unknown name, and when the others undo what makes the method.
    """
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}: choose one of {', '.join(METHODS)}")
    wanted = dict(METHODS[name].changes)
    if name != FULL:
        wanted["evaluation.method"] = name  # its rows carry it
    for dotted, value in (others or {}).items():
        if dotted in wanted and wanted[dotted] != value:
            raise ValueError(
                f"the method {name} sets {dotted}={wanted[dotted]}, not {value}: leave that "
                "override out or choose another method"
            )
    return wanted | dict(others or {})


def check(settings: Settings) -> None:
    """Refuses settings that say evaluation.method but are not those of that method.

    Raises: ValueError that names the setting.
    """
    name = settings.evaluation.method
    for dotted, wanted in overrides(name).items():
        section, _, field = dotted.partition(".")
        found = getattr(getattr(settings, section), field)
        if found != wanted:
            raise ValueError(
                f"evaluation.method={name} means {dotted}={wanted}, but it is {found}: use "
                f"--method {name}"
            )
