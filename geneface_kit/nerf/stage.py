"""Nerf: person -> head field and torso field, and from them frames.

Reads person/; writes head.safetensors, torso.safetensors, avatar.json, histories, previews.
"""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from geneface_kit import runs
from geneface_kit.nerf.avatar import Avatar
from geneface_kit.nerf.config import AvatarConfig, HeadConfig, JointConfig, TorsoConfig
from geneface_kit.nerf.dataset import RayDataset
from geneface_kit.nerf.head import make_field, path_of_field
from geneface_kit.nerf.head_training import HeadTask, Snapshots, watched_frame
from geneface_kit.nerf.held_out import check_learned, held_out_quality
from geneface_kit.nerf.joint_training import JointTask
from geneface_kit.nerf.losses import chosen_lips_loss
from geneface_kit.nerf.pruning import load_renderer, prune, save_occupancy
from geneface_kit.nerf.renderer import HeadRenderer
from geneface_kit.nerf.torso import TorsoField, TorsoTask
from geneface_kit.nerf.torso_motion import track
from geneface_kit.nerf.verdict import verdict_lines
from geneface_kit.person import stage as person_stage
from geneface_kit.person.artefact import Person
from geneface_kit.runs import training, weights
from geneface_kit.runs.arrays import read_npy, write_npy
from geneface_kit.runs.files import read_json, readable
from geneface_kit.runs.ranges import restored

log = logging.getLogger(__name__)

SCHEMA = 6
KIND = "geneface_kit avatar"
SECTIONS = {"head": HeadConfig, "torso": TorsoConfig, "joint": JointConfig, "avatar": AvatarConfig}
OCCUPANCY = "occupancy.npz"  # where the head is looked at, see `pruning`
TORSO_MOTION = "torso_motion.npy"  # the shoulders' shift in each frame, see `Avatar.torso_shifts`


def inputs(subject: str, head: HeadConfig, *others: object) -> dict[str, Path]:
    """No files. Raises: ValueError for a head that cannot be made on this machine."""
    path_of_field(head)
    chosen_lips_loss(head.lips_loss)
    return {}


def make(
    run: runs.Run,
    head_config: HeadConfig,
    torso_config: TorsoConfig,
    joint_config: JointConfig,
    avatar_config: AvatarConfig,
) -> None:
    """Trains the head, the torso behind it, then both together, and measures them on held-out
    frames.

    run: its parent "person" is finished. A run that was cut off goes on where it was.
    """
    person = person_stage.load(run.parents["person"].folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = RayDataset(person, device, free=joint_config.steps > 0)
    head = _head(run, head_config, avatar_config, dataset)
    renderer = prune(HeadRenderer(head.field, avatar_config), dataset)
    torso, torso_shifts = _torso(run, torso_config, dataset, renderer)
    if joint_config.steps:
        _train(run, "joint", JointTask(joint_config, head, torso, torso_shifts))
        renderer = prune(HeadRenderer(head.field, avatar_config), dataset)
    if renderer.pruned is not None:
        save_occupancy(run.folder / OCCUPANCY, renderer)
    avatar = Avatar(renderer, torso.field, person.background, person.focal, torso_shifts)
    quality, checks = held_out_quality(avatar, dataset, avatar_config.n_held_out, run.folder)
    found = {
        "precision": str(head.field.dtype).removeprefix("torch."),
        "device": str(device),
        "lips_loss": chosen_lips_loss(head_config.lips_loss),
        **quality,
        "verdict": verdict_lines(checks),
    }
    for name, value in found.items():
        run.record(name, value)
    for check in checks:
        if not check.fine:
            log.warning("%s: %s", person.name, check)
    check_learned(quality, person.name)
    facts = {"schema": SCHEMA, "kind": KIND, "person": person.name, "data_kind": person.data_kind}
    facts |= {name: getattr(dataset, name) for name in ("size", "focal", "n_train")}
    configs = zip(SECTIONS, (head_config, torso.config, joint_config, avatar_config), strict=True)
    facts |= {name: dataclasses.asdict(config) for name, config in configs}
    runs.write_json(run.folder / "avatar.json", facts)


def load(folder: Path, person: Person, *, together: bool = True) -> Avatar:
    """The avatar of a finished `nerf` run; without `together` as before head and torso learned
    whole frames together.

    Raises: FileNotFoundError without an avatar; ValueError when it is of another person or
    another picture size, or the files are damaged.
    """
    path = folder / "avatar.json"
    layout = {"schema": SCHEMA, "kind": KIND, "person": str, "focal": float}
    layout |= dict.fromkeys(("size", "n_train"), int) | dict.fromkeys(SECTIONS, dict)
    facts = read_json(path, **layout)
    for name, gone in {"avatar": "backend", "head": "adam_epsilon"}.items():  # of older avatars
        facts[name].pop(gone, None)
    with readable(path):
        configs = {name: restored(SECTIONS[name], facts[name]) for name in SECTIONS}
    if (facts["person"], facts["size"]) != (person.name, int(person.size)):
        raise ValueError(
            f"the avatar in {folder} is of {facts['person']} at {facts['size']} px, "
            f"not of {person.name} at {person.size} px"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    n_speech = person.speech.features.shape[1]
    head = make_field(configs["head"], facts["n_train"], n_speech)
    torso = TorsoField(configs["torso"], facts["n_train"], facts["size"])
    fields = {"head": head, "torso": torso}
    if configs["joint"].steps and together:
        fields = {"joint": nn.ModuleDict(fields)}
    for name, field in fields.items():
        weights.load_weights(folder / f"{name}.safetensors", field, person=person.name)
    head, torso = head.to(device), torso.to(device)
    pruned = folder / OCCUPANCY if together else folder / "none"
    renderer = load_renderer(pruned, head, configs["avatar"])
    motion = folder / TORSO_MOTION
    torso_shifts = read_npy(motion, "real t 2", {"t": len(person)}) if motion.exists() else None
    return Avatar(renderer, torso, person.background, facts["focal"], torso_shifts)


def _head(
    run: runs.Run, config: HeadConfig, avatar_config: AvatarConfig, dataset: RayDataset
) -> HeadTask:
    """The task of a head that had its training."""
    generator = run.generator("head")
    task = HeadTask.make(config, dataset, generator, avatar_config)
    task.on_snapshot = Snapshots(run.folder, dataset.person.frames[watched_frame(dataset)])
    _train(run, "head", task, config.validate_every, generator)
    return task


def _torso(
    run: runs.Run, config: TorsoConfig, dataset: RayDataset, head: HeadRenderer
) -> tuple[TorsoTask, Float[np.ndarray, "t 2"] | None]:
    """The task of a torso that had its training, and the shoulders' shifts in each frame."""
    generator = run.generator("torso")
    task = TorsoTask.make(config, dataset, head, generator)
    torso_shifts = None
    if task.shifts is not None:
        predicted = task.field.predicted_shift(dataset.poses).cpu().numpy()
        torso_shifts = track(task.shifts.numpy(), predicted, dataset.n_train, dataset.person.spans)
        write_npy(run.folder / TORSO_MOTION, torso_shifts)
    _train(run, "torso", task, generator=generator)
    return task, torso_shifts


def _train(
    run: runs.Run,
    name: str,
    task: HeadTask | TorsoTask | JointTask,
    validate_every: int = 0,
    generator: torch.Generator | None = None,
) -> None:
    """Trains a task's field, or takes it from its file if an earlier attempt finished it."""
    path, field, steps = run.folder / f"{name}.safetensors", task.field, task.config.steps
    who = task.dataset.person.name
    try:
        weights.load_weights(path, field, person=who)
    except (FileNotFoundError, ValueError) as error:
        if path.exists():
            log.warning("%s; it is trained again", error)
        generator = generator or run.generator(name)
        options = {"steps": steps, "generator": generator, "validate_every": validate_every}
        training.fit(task, run.folder, name=name, **options)
        weights.save_weights(path, field, kind=type(field).__name__, person=who)
    field.train(False)
