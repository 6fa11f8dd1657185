"""Made-up speakers for tests: the mouth follows the speech features exactly, plus each a face.

`write_corpus` puts such speakers into shards, as if their clips had been read.
"""

from pathlib import Path

import numpy as np

from geneface_kit.motion.config import MotionConfig, MotionSettings
from geneface_kit.motion.sync_expert import SyncConfig
from geneface_kit.person.corpus import Corpus, CorpusConfig, Utterance
from geneface_kit.person.corpus.manifest import clip_jobs, corpus_folder
from geneface_kit.person.corpus.shards import CorpusWriter
from geneface_kit.person.speech import Speech

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


def small_settings(**overrides) -> MotionSettings:
    """Settings of the motion stage for the made-up speakers."""
    return MotionSettings(
        corpus=CorpusConfig(),
        sync=SyncConfig(width=8, steps=4, pairs=32),
        motion=MotionConfig(**{**SMALL, **overrides}),
    )


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
    writer = CorpusWriter(home, jobs, {})
    draw = np.random.default_rng(0)
    for index, job in enumerate(jobs):
        landmarks = draw.random((n_frames, 68, 3), np.float32)
        landmarks[:, 0] = np.stack(
            [np.full(n_frames, index), np.arange(n_frames), np.zeros(n_frames)], axis=1
        )
        landmarks[:, [36, 45]] = (-0.5, 0, 0), (0.5, 0, 0)
        arrays = {
            "features": draw.random((2 * n_frames, channels), np.float32),
            "f0": draw.random(2 * n_frames, np.float32),
            "mel": draw.random((2 * n_frames, 80), np.float32),
            "landmarks": landmarks,
        }
        writer.add(job, {"offset_corrected": False}, arrays)
    writer.close()
    return home
