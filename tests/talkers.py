"""Made-up speakers for tests: the mouth follows the speech features exactly, plus each a face."""

import numpy as np

from geneface_kit.corpus import Corpus, Utterance
from geneface_kit.speech import Speech

CHANNELS = 6


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
