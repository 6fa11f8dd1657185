"""Settings: a profile's name and overrides in; every stage's settings out.

An unknown name is an error, and an old one says what it is called now. A setting is added as a
field of its section's config, with its default (smoke), and where it differs in CPU and PAPER.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import ModuleType
from typing import TypeVar

from geneface_kit.adaptation import stage as adaptation_config
from geneface_kit.evaluation import stage as evaluation_config
from geneface_kit.motion import stage as motion_config
from geneface_kit.motion import sync_expert as sync_config
from geneface_kit.nerf import config as nerf_config
from geneface_kit.person import settings as person_config
from geneface_kit.person.corpus import manifest as corpus_config
from geneface_kit.talk import config as talk_config

Value = bool | int | float | str | tuple | list
"""What a setting can be; a list stands for a tuple."""
Overrides = Mapping[str, Value]
"""Dotted settings and their values: {"head.steps": 100}."""
Config = TypeVar("Config")

PROFILES = {
    "smoke": "every notebook's default: the demo person, seconds to a minute on two CPU cores",
    "cpu": "a real person, end to end, within half an hour on two CPU cores",
    "paper": "the method's own numbers, for a GPU",
}

RENAMED: dict[str, str] = {
    "corpus.min_s": "the constant MIN_S of person/corpus/preprocess.py",
    "corpus.min_offset_confidence": (
        "the constant MIN_OFFSET_CONFIDENCE of person/corpus/preprocess.py"
    ),
    "corpus.noise_db": "with_noise of the study notebooks/studies/unheard_speakers",
    "talk.lle_neighbours": "a default of adaptation.postnet.project_onto_neighbours",
    "talk.closure": "the constant CLOSED_SHARE of talk/postprocess.py",
    "talk.pose_window": "the constant POSE_WINDOW of talk/postprocess.py",
    "talk.silence_db": "the constant SILENCE_DB of talk/audio.py",
    "person.parser_weights": "gone: no face-parsing network can be had; labels need no file",
    "person.layers.parser_weights": "gone: no face-parsing network can be had; labels need no file",
    "person.layers": "constants of person/segmentation.py and person/background.py",
    "person.framing.span": "person.span",
    "person.framing": "constants of person/framing.py",
    "person.tracking.focal_evidence": "the constant FOCAL_EVIDENCE of person/tracking/pnp.py",
    "person.tracking.focal_steps": "the constant FOCAL_STEPS of person/tracking/pnp.py",
    "person.tracking.outlier_px": "the constant OUTLIER_PX of person/tracking/pnp.py",
    "person.tracking.noise_px": "the constant NOISE_PX of person/tracking/pnp.py",
    "person.tracking.relief_weight": "the constant DEPTH_WEIGHT of person/tracking/pnp.py",
    "person.tracking.turn_noise": "the constant TURN_NOISE of person/tracking/pnp.py",
    "person.tracking.shift_noise": "the constant SHIFT_NOISE of person/tracking/pnp.py",
    "person.tracking.shape_steps": "the constant SHAPE_STEPS of person/tracking/pnp.py",
    "person.tracking.smooth_frames": "the constant SMOOTH_FRAMES of person/tracking/pnp.py",
    "person.correct_offset": "always on: a clear offset is corrected",
    "person.offset_confidence": "the constant CLEAR_CONFIDENCE of person/speech/offset.py",
    "person.offset_least_s": "the constant LEAST_OFFSET_S of person/speech/offset.py",
    "person.tracking.turning": "constants of person/tracking/calibration.py",
    "adaptation.critic_lr": "the constant DISCRIMINATOR_LR of adaptation/training.py",
    "adaptation.decay": "the constant DECAY of adaptation/training.py",
    "adaptation.least_motion": "the constant LEAST_MOTION of adaptation/training.py",
    "adaptation.continuity_weight": "gone: its loss was never switched on",
    "sync.other_clip": "the constant OTHER_CLIP of motion/sync_expert.py",
    "sync.same_clip": "the constant SAME_CLIP of motion/sync_expert.py",
    "sync.shift_min": "the constant SHIFT_MIN of motion/sync_expert.py",
    "sync.shift_max": "the constant SHIFT_MAX of motion/sync_expert.py",
    "head.carry_reach": "head.warp_reach",
    "head.spread_weight": "head.depth_variance_weight",
    "head.code_channels": "the constant APPEARANCE_CHANNELS of nerf/grid_head.py",
    "head.appearance_channels": "the constant APPEARANCE_CHANNELS of nerf/grid_head.py",
    "head.cull": "always visible: hidden cells are skipped too",
    "head.face_share": "the constant FACE_SHARE of nerf/head_training.py",
    "head.clamp": "the constant CLAMP of nerf/head.py",
    "torso.entropy_weight": "the constant ENTROPY_WEIGHT of nerf/torso.py",
    "torso.lr_final": "the constant LR_FINAL of nerf/torso.py",
    "head.stop": "avatar.stop",
    "torso.code_channels": "torso.appearance_channels",
    "torso.sway": "torso.follow_pose",
}
"""Old name of a setting, a section or a notebook's parameter -> what it is now."""


def _profiles(module: ModuleType) -> dict[str, dict[str, Value]]:
    """What the profiles set otherwise than a section's defaults, from its config's module."""
    return {"cpu": module.CPU, "paper": module.PAPER}


@dataclass(frozen=True)
class Settings:
    """All settings of one profile, a section for each part of the flow."""

    profile: str
    person: person_config.PersonConfig = field(metadata=_profiles(person_config))
    corpus: corpus_config.CorpusConfig = field(metadata=_profiles(corpus_config))
    sync: sync_config.SyncConfig = field(metadata=_profiles(sync_config))
    motion: motion_config.MotionConfig = field(metadata=_profiles(motion_config))
    adaptation: adaptation_config.AdaptationConfig = field(metadata=_profiles(adaptation_config))
    head: nerf_config.HeadConfig = field(
        metadata={"cpu": nerf_config.HEAD_CPU, "paper": nerf_config.HEAD_PAPER}
    )
    torso: nerf_config.TorsoConfig = field(
        metadata={"cpu": nerf_config.TORSO_CPU, "paper": nerf_config.TORSO_PAPER}
    )
    joint: nerf_config.JointConfig = field(
        metadata={"cpu": nerf_config.JOINT_CPU, "paper": nerf_config.JOINT_PAPER}
    )
    avatar: nerf_config.AvatarConfig = field(
        metadata={"cpu": nerf_config.AVATAR_CPU, "paper": nerf_config.AVATAR_PAPER}
    )
    talk: talk_config.TalkConfig = field(metadata=_profiles(talk_config))
    evaluation: evaluation_config.EvaluationConfig = field(metadata=_profiles(evaluation_config))


def sections() -> dict[str, dataclasses.Field]:
    """The sections of the settings: name -> the field of Settings, its type and its metadata."""
    return {one.name: one for one in fields(Settings) if one.name != "profile"}


def resolve(profile: str = "smoke", overrides: Overrides | str | None = None) -> Settings:
    """The settings of a profile with dotted overrides: {"head.steps": 100}.

    Raises: ValueError for an unknown profile, an unknown setting or a value of the wrong type.
    """
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}")
    if isinstance(overrides, str):
        overrides = parse(overrides)
    configs = {name: one.type(**one.metadata.get(profile, {})) for name, one in sections().items()}
    for dotted, value in (overrides or {}).items():
        section, _, name = dotted.partition(".")
        if section not in configs:
            known = ", ".join(configs)
            raise _unknown(dotted, f"it must start with one of {known}")
        configs[section] = _replaced(configs[section], name, value, section)
    return Settings(profile, **configs)


def _unknown(dotted: str, hint: str) -> ValueError:
    """An error that names a setting, and what it is called now if it has an old name."""
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        old = ".".join(parts[:n])
        if old in RENAMED:
            return ValueError(f"unknown setting {dotted!r}: {old} is now {RENAMED[old]}")
    return ValueError(f"unknown setting {dotted!r}: {hint}")


def parse(text: str) -> dict[str, Value]:
    """Overrides from text: "head.steps=100,talk.head_motion=still"; numbers and booleans read."""
    overrides: dict[str, Value] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"override {part!r} must look like section.name=value")
        overrides[name.strip()] = _literal(value.strip())
    return overrides


def _literal(text: str) -> bool | int | float | str:
    if text in ("true", "True", "false", "False"):
        return text in ("true", "True")
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _replaced(config: Config, dotted: str, value: Value, above: str) -> Config:
    """The config with one setting changed; a dot in its name leads into a config inside it."""
    name, _, rest = dotted.partition(".")
    known = [one.name for one in fields(config)]
    if name not in known:
        raise _unknown(f"{above}.{dotted}", f"{above} has {', '.join(known)}")
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
