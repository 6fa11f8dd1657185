"""Nerf: person -> head field and torso field, and from them frames.

Reads person/; writes head.safetensors, torso.safetensors, portrait.json, histories, previews.
"""

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from geneface_kit import runs
from geneface_kit.nerf.head import HeadConfig, HeadField, HeadTask, lips, make_field, watched_frame
from geneface_kit.nerf.portrait.held_out import held_out_quality, write_previews
from geneface_kit.nerf.portrait.looks import Look, Looks, load_looks
from geneface_kit.nerf.portrait.picture import Frame
from geneface_kit.nerf.portrait.portrait import Portrait
from geneface_kit.nerf.portrait.quality import Following, layer_quality, mouth_follows
from geneface_kit.nerf.portrait.survey import load_shell, save_shell, surveyed
from geneface_kit.nerf.torso import TorsoConfig, TorsoField, TorsoTask
from geneface_kit.nerf.torso.sway import track
from geneface_kit.nerf.views import Views
from geneface_kit.person import stage as person_stage
from geneface_kit.person.artefact import Person
from geneface_kit.render.kernels import backend_for
from geneface_kit.runs import replacing, training, weights

__all__ = [
    "Following",
    "Frame",
    "Look",
    "Portrait",
    "held_out_quality",
    "layer_quality",
    "load",
    "load_looks",
    "make",
    "mouth_follows",
]

log = logging.getLogger(__name__)

SCHEMA = 2
KIND = "geneface_kit portrait"
SWAY = "sway.npy"
"""The shoulders' shift in each frame of the clip, see `Portrait.sway`."""


def make(run: runs.Run, head_config: HeadConfig, torso_config: TorsoConfig) -> None:
    """Trains the head, then the torso behind it, and measures both on held-out frames.

    run: a runs.Run whose parent "person" is finished. A run that was cut off goes on where it was.
    """
    person = person_stage.load(run.parents["person"].folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    views = Views(person, device)
    head = _head(run, head_config, views)
    torso, sway = _torso(run, torso_config, views, head)
    portrait = Portrait(head, torso, person.background, person.focal, sway=sway)
    portrait = surveyed(portrait, views)
    if portrait.painter.shell is not None:
        save_shell(run.folder / "shell.npz", portrait.painter.shell, portrait.painter.config)
    run.record("backend", backend_for("auto", device))
    run.record("precision", str(head.dtype).removeprefix("torch."))
    run.record("device", str(device))
    run.record("lips_loss", lips.chosen(head_config.lips_loss))
    for name, value in held_out_quality(portrait, views).items():
        run.record(name, value)
    write_previews(run.folder, portrait, views)
    facts = {
        "schema": SCHEMA,
        "kind": KIND,
        "person": person.name,
        "data_kind": person.data_kind,
        "size": views.size,
        "focal": views.focal,
        "n_train": views.n_train,
        "head": dataclasses.asdict(head_config),
        "torso": dataclasses.asdict(torso.config),
    }
    runs.write_json(run.folder / "portrait.json", facts)


def load(folder: Path, person: Person) -> Portrait:
    """The portrait of a finished `nerf` run.

    Raises: FileNotFoundError without a portrait; ValueError when it is of another person or
    another picture size, or the files are damaged.
    """
    path = folder / "portrait.json"
    if not path.exists():
        raise FileNotFoundError(
            f"no portrait in {folder}: run the stage nerf for this person first"
        )
    facts = json.loads(path.read_text())
    if facts.get("kind") != KIND or facts.get("schema") != SCHEMA:
        raise ValueError(f"{path} is no portrait of this version; run the stage nerf again")
    if (facts["person"], facts["size"]) != (person.name, int(person.size)):
        raise ValueError(
            f"the portrait in {folder} is of {facts['person']} at {facts['size']} px, "
            f"not of {person.name} at {person.size} px"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    n_speech = person.speech.features.shape[1]
    head = make_field(HeadConfig(**facts["head"]), facts["n_train"], n_speech)
    torso = TorsoField(TorsoConfig(**facts["torso"]), facts["n_train"], facts["size"])
    weights.load_weights(folder / "head.safetensors", head, person=person.name)
    weights.load_weights(folder / "torso.safetensors", torso, person=person.name)
    shell, config = load_shell(folder / "shell.npz", device)
    head, torso = head.to(device), torso.to(device)
    sway = np.load(folder / SWAY) if (folder / SWAY).exists() else None
    return Portrait(head, torso, person.background, facts["focal"], shell, config, sway)


def _head(run: runs.Run, config: HeadConfig, views: Views) -> HeadField:
    """The head field: from its file if an earlier attempt finished it, else trained."""
    generator = run.generator("head")
    path = run.folder / "head.safetensors"
    task = HeadTask.make(config, views, generator)
    if path.exists():
        weights.load_weights(path, task.field, person=views.person.name)
        return task.field.train(False)
    every = config.validate_every
    task.on_look = Looks(run.folder, views.person.frames[watched_frame(views)])
    training.fit(
        task, run.folder, name="head", steps=config.steps, generator=generator, validate_every=every
    )
    _save(path, task.field, views.person)
    return task.field.train(False)


def _torso(
    run: runs.Run, config: TorsoConfig, views: Views, head: HeadField
) -> tuple[TorsoField, Float[np.ndarray, "t 2"] | None]:
    """The torso field, and how the shoulders were shifted in each frame of the clip."""
    generator = run.generator("torso")
    path = run.folder / "torso.safetensors"
    task = TorsoTask.make(config, views, head, generator)
    sway = None
    if task.seen is not None:
        predicted = task.field.predicted_shift(views.poses).cpu().numpy()
        sway = track(task.seen, predicted, views.n_train)
        with replacing(run.folder / SWAY) as partial:
            np.save(partial, sway)
    if path.exists():
        weights.load_weights(path, task.field, person=views.person.name)
        return task.field.train(False), sway
    training.fit(task, run.folder, name="torso", steps=config.steps, generator=generator)
    _save(path, task.field, views.person)
    return task.field.train(False), sway


def _save(path: Path, field: HeadField | TorsoField, person: Person) -> None:
    weights.save_weights(path, field, kind=type(field).__name__, person=person.name)
