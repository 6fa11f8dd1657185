"""Made-up speakers for tests: the mouth follows the speech features exactly, plus each a face.

`write_corpus` puts such speakers into a corpus, as if their clips had been read.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch

from geneface_kit.motion.stage import MotionConfig
from geneface_kit.motion.sync_expert import SyncConfig, SyncExpert
from geneface_kit.motion.vae import MotionVAE, VAESizes
from geneface_kit.motion.weights import Motion
from geneface_kit.person.artefact import Person
from geneface_kit.person.corpus import Corpus, CorpusConfig, Utterance
from geneface_kit.person.corpus.manifest import Outcome, clip_jobs, corpus_folder
from geneface_kit.person.corpus.store import pack
from geneface_kit.person.speech import Speech
from geneface_kit.pipeline.settings import Settings, resolve
from geneface_kit.runs import Run

CHANNELS = 6
SMALL = {
    "weights": "train",
    "hidden": 24,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "flow_hidden": 8,
    "condition": 16,
    "dropout": 0.0,
    "batch": 6,
    "frames": 48,
    "lr": 4e-3,
    "warmup": 5,
    "steps": 60,
    "held_out": 3,
}
"""A generator of a few thousand numbers, that learns in seconds."""


def small_settings(**overrides) -> Settings:
    """Settings of the motion stage for the made-up speakers."""
    return dataclasses.replace(
        resolve(),
        corpus=CorpusConfig(),
        sync=SyncConfig(width=8, steps=4, pairs=32),
        motion=MotionConfig(**{**SMALL, **overrides}),
    )


def sections(**overrides) -> tuple[CorpusConfig, SyncConfig, MotionConfig]:
    """The sections of small settings that the motion stage is given."""
    chosen = small_settings(**overrides)
    return chosen.corpus, chosen.sync, chosen.motion


def fresh_run(folder: Path, stage: str, parents: dict[str, Run] | None = None) -> Run:
    """A run that has just begun, of the stage "motion" or "adaptation"."""
    facts = {
        "id": f"{stage}-test",
        "stage": stage,
        "subject": "madeup",
        "profile": "smoke",
        "seed": 0,
        "config": {},
        "data_kind": "real",
        "metrics": {},
    }
    return Run(folder, facts, parents or {})


def made_up_speech(n_frames: int, seed: int) -> tuple[Speech, np.ndarray]:
    """Smooth random features at 50 Hz and the (t,) signal their first channel carries."""
    draw = np.random.default_rng(seed)
    smooth = np.ones(4) / 2
    signal = np.convolve(draw.standard_normal(n_frames + 8), smooth, "same")[4 : n_frames + 4]
    features = 0.3 * draw.standard_normal((2 * n_frames, CHANNELS))
    features[:, 0] = np.repeat(signal, 2)
    speech = Speech(
        features=features.astype(np.float32),
        encoder="hama",
        f0=np.full(2 * n_frames, 120, np.float32),
        mel=np.zeros((2 * n_frames, 80), np.float32),
    )
    return speech, signal


def made_up_landmarks(signal: np.ndarray, seed: int) -> np.ndarray:
    """(t, 68, 3): a face of its own, whose lower lip falls and mouth narrows with the signal."""
    face = np.random.default_rng(1000 + seed).standard_normal((68, 3))
    face[36], face[45] = (-0.5, 0, 0), (0.5, 0, 0)  # inter-ocular distances
    landmarks = np.repeat(face[None], len(signal), axis=0)
    landmarks[:, 55:60, 1] -= 0.03 * signal[:, None]
    landmarks[:, 64:68, 1] -= 0.03 * signal[:, None]
    landmarks[:, 48, 0] += 0.01 * signal
    return landmarks.astype(np.float32)


def made_up_corpus(n_speakers: int = 3, n_frames: int = 150) -> Corpus:
    """One clip for each speaker."""
    utterances = []
    for seed in range(n_speakers):
        speech, signal = made_up_speech(n_frames + 4 * seed, seed)
        name = f"speaker{seed}"
        points = made_up_landmarks(signal, seed)
        utterances.append(Utterance(name, name, name, speech, points))
    return Corpus(tuple(utterances), {})


SIZES = VAESizes(hidden=16, encoder_layers=2, decoder_layers=2, flow_hidden=8, condition=8)
FAST = {"steps": 10, "warmup": 2, "validate_every": 5, "batch": 2, "frames": 24, "sync_windows": 16}


def made_up_person(n_frames: int = 88, seed: int = 3) -> Person:
    speech, signal = made_up_speech(n_frames, seed)
    landmarks = made_up_landmarks(2 * signal, seed)
    pictures = np.zeros((n_frames, 4, 4, 4), np.uint8)
    rects = np.zeros((n_frames, 4), int)
    return Person(
        folder=Path("nowhere"),
        name="madeup",
        data_kind="synthetic",
        size=4,
        focal=10.0,
        frames=pictures[..., :3],
        labels=pictures[..., 0],
        kinds=pictures[..., 0],
        torso=pictures,
        background=pictures[0, ..., :3],
        poses=np.tile(np.eye(4, dtype=np.float32), (n_frames, 1, 1)),
        landmarks=landmarks,
        landmarks2d=landmarks[..., :2],
        landmark_mean=landmarks.mean(0),
        landmark_std=landmarks.std(0),
        face_rects=rects,
        lip_rects=rects,
        found=np.ones(n_frames, bool),
        speech=speech,
        audio=np.zeros(640 * n_frames, np.float32),
        n_train=10 * n_frames // 11,
        report={},
    )


def made_up_generator(*, pitch: bool = False) -> Motion:
    torch.manual_seed(0)
    vae, expert = (
        MotionVAE(CHANNELS, dataclasses.replace(SIZES, pitch=pitch)),
        SyncExpert(CHANNELS, width=8),
    )
    for network in (vae, expert):
        network.eval().requires_grad_(False)
    return Motion(vae, expert, "hama", 0.03)


def write_corpus(place: Path, n_clips: int, n_frames: int, channels: int = CHANNELS) -> Path:
    """A corpus of random numbers, one recording a clip; returns its folder.

    The first landmark of frame t of clip k is (k, t, 0), the outer eye corners are 1 apart; the
    other numbers mean nothing.
    """
    folder = place / "videos"
    folder.mkdir()
    for index in range(n_clips):
        (folder / f"speaker{index:03d}.mp4").write_bytes(b"v")
    config = CorpusConfig(folder=str(folder), rates=(1.0,))
    home = corpus_folder(config, place / "corpus")
    jobs = clip_jobs(config, home)
    home.mkdir(parents=True)
    draw = np.random.default_rng(0)
    read = ((job, _read(draw, k, n_frames, channels)) for k, job in enumerate(jobs))
    pack(home, jobs, read, {})
    return home


def _read(draw: np.random.Generator, index: int, n_frames: int, channels: int) -> Outcome:
    landmarks = draw.random((n_frames, 68, 3), np.float32)
    landmarks[:, 0] = np.stack(
        [np.full(n_frames, index), np.arange(n_frames), np.zeros(n_frames)], axis=1
    )
    landmarks[:, [36, 45]] = (-0.5, 0, 0), (0.5, 0, 0)
    return {"version": "made up", "offset_corrected": False}, {
        "features": draw.random((2 * n_frames, channels), np.float32),
        "f0": draw.random(2 * n_frames, np.float32),
        "mel": draw.random((2 * n_frames, 80), np.float32),
        "landmarks": landmarks,
    }
