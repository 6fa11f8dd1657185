"""Export: a trained actor -> the avatar that ships, with no picture and no sound of its clip.

Weights in half precision, background, statistics of the landmarks. Motion, poses and sound are
those of the rendered demo clip: what a talk replays of the person comes from there.
"""

import shutil
from pathlib import Path

import numpy as np
import torch

from geneface_kit.person import clip
from geneface_kit.person.artefact import SCHEMA, TRACKS
from geneface_kit.person.spans import ONE
from geneface_kit.runs import Run, write_json
from geneface_kit.runs.arrays import write_npy, write_npz
from geneface_kit.runs.files import read_json
from geneface_kit.runs.weights import load_tensors, save_tensors
from geneface_kit.talk.plan import Actor, Plan
from notebooks.studies.demo_person.film import CREDIT

UNUSED = ("head.occupancy.density", "head.occupancy.visible")
"""What only training reads: written as nothing, a byte a cell."""


def export_avatar(actor: Actor, acted: Plan, made: dict[str, Run], folder: Path) -> None:
    """Writes all that `talk.plan.embedded_actor` reads into one folder.

    acted: what the rendered demo clip shows; made: stage -> the run that made it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    nerf, adaptation = made["nerf"].folder, made["adaptation"].folder
    for path in (nerf / "joint.safetensors", adaptation / "adaptation.safetensors"):
        _write_halved(path, folder / path.name)
    shutil.copyfile(nerf / "occupancy.npz", folder / "occupancy.npz")
    facts = read_json(nerf / "avatar.json")
    write_json(folder / "avatar.json", facts | {"person": "demo", "data_kind": "synthetic"})
    shutil.copyfile(actor.person.folder / "background.png", folder / "background.png")
    _write_person(actor, acted, folder)


def _write_halved(source: Path, target: Path) -> None:
    tensors, about = load_tensors(source)
    small = {
        key: value.half() if value.dtype == torch.float32 else value
        for key, value in tensors.items()
    }
    small |= {key: small[key].bool() & False for key in UNUSED if key in small}
    save_tensors(target, small, about | {"person": "demo"})


def _write_person(actor: Actor, acted: Plan, folder: Path) -> None:
    """The artefact of the rendered clip from its first word to its last, without its pictures."""
    spoken = np.flatnonzero(~acted.silent)
    part = slice(int(spoken[0]), int(spoken[-1]) + 1)
    person, n_frames = actor.person, part.stop - part.start
    tracks = {name: np.zeros((n_frames, 4), np.int64) for name in ("face_rects", "lip_rects")}
    tracks |= {
        "poses": acted.poses[part],
        "landmarks": acted.landmarks[part],
        "landmarks2d": np.zeros((n_frames, 68, 2), np.float32),
        "landmark_mean": person.landmark_mean,
        "landmark_std": person.landmark_std,
        "found": np.ones(n_frames, bool),
        "spans": ONE,
    }
    assert tracks.keys() == set(TRACKS)
    heard = acted.speech.each(lambda values: values[2 * part.start : 2 * part.stop])
    heard = heard.each(lambda values: values.astype(np.float16))
    for name, arrays in {"tracks": tracks, "speech": vars(heard)}.items():
        write_npz(folder / f"{name}.npz", **arrays)
    sound = acted.audio[part.start * clip.SAMPLES : part.stop * clip.SAMPLES]
    clip.write_audio(folder / "audio.wav", sound)
    for name in ("frames", "labels", "kinds", "torso"):
        write_npy(folder / f"{name}.npy", np.array(getattr(person, name)[:0]))
    facts = {
        "schema": SCHEMA,
        "name": "demo",
        "data_kind": "synthetic",
        "size": person.size,
        "focal": person.focal,
        "n_frames": n_frames,
        "n_pictures": 0,
        "forced": False,
        "consent": CREDIT,
        "report": {"verdict": "usable", "reasons": [], "warnings": [], "obstacles": []},
    }
    write_json(folder / "person.json", facts)
