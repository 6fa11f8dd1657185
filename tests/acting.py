"""A pretend actor for tests of talk and tables: every stage replaced by a few lines."""

import json
from pathlib import Path

import numpy as np
import torch

from geneface_kit.adaptation.postnet import Adapter
from geneface_kit.evaluation.tables import Row, cells_of
from geneface_kit.metrics.networks import NotMeasured
from geneface_kit.motion.sync_expert import SyncExpert
from geneface_kit.motion.weights import Motion
from geneface_kit.nerf.avatar import Avatar
from geneface_kit.person.artefact import Person
from geneface_kit.person.mouth import mouth_opening
from geneface_kit.person.speech import Speech
from geneface_kit.runs.record import Run
from geneface_kit.talk.plan import Actor
from geneface_kit.talk.postprocess import TalkConfig

SIZE = 32
TALK = TalkConfig(max_s=0.0, temperature=0.0)


def face(opening: np.ndarray) -> np.ndarray:
    """(t, 68, 3) landmarks whose mouth opening is exactly `opening` (t,), eyes open at 0.1."""
    points = np.zeros((len(opening), 68, 3), np.float32)
    points[:, 36, 0], points[:, 45, 0] = -0.5, 0.5
    points[:, 37:39, 1] = points[:, 43:45, 1] = 0.1
    points[:, 61:64, 1] = opening[:, None] / 2
    points[:, 65:68, 1] = -opening[:, None] / 2
    return points


def speech(audio: np.ndarray, encoder: str = "hama") -> Speech:
    """A stand-in for the encoder: one feature, the loudness of each 20 ms."""
    steps = len(audio) // 320
    loud = np.sqrt((audio[: steps * 320].reshape(steps, 320) ** 2).mean(axis=1)).astype(np.float32)
    zeros = np.zeros((steps, 80), np.float32)
    return Speech(loud[:, None], encoder, np.zeros(steps, np.float32), zeros)


def sound(seconds: float, *, loud=0.3) -> np.ndarray:
    """A 200 Hz tone."""
    time = np.arange(round(seconds * 16_000)) / 16_000
    return (loud * np.sin(2 * np.pi * 200 * time)).astype(np.float32)


def person(folder: Path, n_frames: int = 44) -> Person:
    """A person whose mouth follows a sine between 0.02 and 0.22 and who turns the head."""
    (folder / "person.json").write_text(json.dumps({"name": "pretend"}))
    (folder / "tracks.npz").write_bytes(b"tracks")
    phase = np.arange(n_frames)
    landmarks = face((0.12 - 0.1 * np.cos(phase / 3)).astype(np.float32))
    landmarks[phase % 20 == 7, 37:39, 1] = 0.0  # a blink of the right eye
    poses = np.tile(np.eye(4, dtype=np.float32), (n_frames, 1, 1))
    angle = 0.1 * np.sin(phase / 9)
    poses[:, 0, 0] = poses[:, 2, 2] = np.cos(angle)
    poses[:, 0, 2], poses[:, 2, 0] = np.sin(angle), -np.sin(angle)
    poses[:, 0, 3], poses[:, 2, 3] = phase / 100, 4.0
    audio = sound(n_frames / 25)
    frames = np.random.default_rng(0).integers(0, 256, (n_frames, SIZE, SIZE, 3), np.uint8)
    return Person(
        folder=folder,
        name="pretend",
        consent="",
        data_kind="synthetic",
        size=SIZE,
        n_train=10 * n_frames // 11,
        frames=frames,
        focal=64.0,
        labels=np.ones((n_frames, SIZE, SIZE), np.uint8),
        kinds=np.ones((n_frames, SIZE, SIZE), np.uint8),
        torso=np.zeros((n_frames, SIZE, SIZE, 4), np.uint8),
        background=np.zeros((SIZE, SIZE, 3), np.uint8),
        landmarks2d=np.zeros((n_frames, 68, 2), np.float32),
        face_rects=np.zeros((n_frames, 4), int),
        lip_rects=np.zeros((n_frames, 4), int),
        found=np.ones(n_frames, bool),
        report={},
        poses=poses,
        landmarks=landmarks,
        landmark_mean=landmarks.mean(axis=0),
        landmark_std=landmarks.std(axis=0),
        speech=speech(audio),
        audio=audio,
    )


class PretendExpert(SyncExpert):
    """A sync expert that finds every mouth as good as any other."""

    def __init__(self):
        torch.nn.Module.__init__(self)

    def forward(self, speech, mouth):
        return torch.full((len(mouth),), 0.5)


class PretendMotion(Motion):
    """Displacements: the mouth opens with the loudness, plus a little noise per draw."""

    def __init__(self, expert=None, unit=0.03):
        vars(self).update(vae=None, expert=expert or PretendExpert(), encoder="hama", unit=unit)

    def sample(self, speech, *, temperature, generator):
        t = len(speech.features) // 2
        loud = speech.features[: 2 * t].reshape(t, 2).mean(axis=1)
        noise = temperature * 0.01 * torch.randn(t, generator=generator).numpy()
        return face((loud + noise).astype(np.float32))


class PretendAdapter(Adapter):
    """Displacements unchanged: `face` gives them absolute already."""

    def __init__(self):
        torch.nn.Module.__init__(self)

    def adapted(self, displacements, speech):
        return np.asarray(displacements)


class PretendAvatar(Avatar):
    """Grey frames as bright as the mouth is open; can break off."""

    driven_by = "landmarks"
    torso_shifts = None

    def __init__(self, stop_at: int | None = None):
        self.stop_at = stop_at

    def driving(self, landmarks, speech):
        return landmarks

    def render(self, landmarks, poses, *, only=None, torso_shifts=None, look=None):
        assert len(landmarks) == len(poses)
        opened = mouth_opening(np.asarray(landmarks))
        for index in range(len(opened)) if only is None else only:
            opening = opened[index]
            if index == self.stop_at:
                raise KeyboardInterrupt
            picture = np.full((SIZE, SIZE, 3), np.uint8(255 * min(opening, 1)), np.uint8)
            if look is not None:
                look.add(picture, np.ones((SIZE, SIZE), np.uint8))
            yield picture


def actor(folder: Path, **avatar) -> Actor:
    """The whole pretend actor."""
    return Actor(person(folder), PretendMotion(), PretendAdapter(), PretendAvatar(**avatar))


def a_run(folder: Path, stage="evaluation", parents=None, **changes) -> Run:
    """A finished run of the pretend person, with other facts where they are named."""
    facts = {"id": f"{stage}-pretend", "stage": stage, "subject": "pretend", "profile": "smoke"}
    facts |= {"seed": 0, "status": "ok", "data_kind": "synthetic", "config": {}, "metrics": {}}
    facts |= {
        "inputs": {},
        "outputs": {},
        "wall_s": 90.0,
        "peak_memory_mb": 512,
        "machine": {"device": "cpu"},
    }
    folder.mkdir(exist_ok=True, parents=True)
    return Run(folder, facts | changes, parents or {})


def a_row(value: float | NotMeasured = 30.25, **changes) -> Row:
    """A number of a table, with other cells where they are named."""
    row = {"table": "a", "person": "demo", "protocol": "self-driven", "method": "full"}
    row |= {"metric": "PSNR", "unit": "dB", "n_frames": 4, "runs": "person-1 nerf-2", "seed": 0}
    return row | {"profile": "smoke", "data_kind": "synthetic"} | cells_of(value) | changes
