"""Bench: how fast this machine turns sound into landmarks, offline and streaming."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from geneface_kit.metrics.formulas import pearson
from geneface_kit.motion.weights import Motion, load
from geneface_kit.person import clip, speech
from geneface_kit.person.mouth import mouth_shape
from notebooks.studies.speed.render import Bench
from notebooks.studies.speed.streaming import FRAME, SoundStream, StreamConfig

Result = TypeVar("Result")

SECONDS = 60
"""Sound is repeated to this length (ours)."""
ROUNDS = 3
"""Measurements of which the fastest counts, after one to warm up (ours)."""


def run(subject: str = "") -> Bench:
    """Lines: offline speed of encoder and generator; of landmarks for speech that is still going on
    the look-ahead, the speed, and how far they are from the offline ones.

    subject: a file with sound; "" is the demo's voice. Generator: the shipped one, on the CPU.
    """
    motion, sound = load(), _sound(subject)
    lasts = len(sound) / clip.SAMPLE_RATE
    yield (
        f"{lasts:.0f} s of {subject or 'the demo voice'}, {motion.encoder!r} features, "
        f"{torch.get_num_threads()} threads; times real time by wall clock, and by CPU seconds"
    )
    heard, encoding = _fastest(lambda: speech.encode(sound, motion.encoder))
    offline, generating = _fastest(lambda: motion.sample(heard))
    yield f"speech features: {_rate(lasts, encoding)}"
    yield f"generator: {_rate(lasts, generating)}"
    together = tuple(a + b for a, b in zip(encoding, generating, strict=True))
    yield f"offline, sound to landmarks: {_rate(lasts, together)}"
    config = StreamConfig()
    streamed, took = _fastest(lambda: _stream(motion, sound, config), rounds=1)
    per_hop_ms = 1000 * took[0] * config.hop / len(streamed)
    yield (
        f"while someone is still speaking, {config.hop} frames at a time are made from a window: "
        f"the sound of {config.past} frames before them and of {config.ahead} after them; so a "
        f"frame comes {config.look_ahead_s:.2f} s after its sound. Offline the generator hears "
        "further, and the two differ a little"
    )
    yield (
        f"streaming: {_rate(lasts, took)}, {per_hop_ms:.0f} ms for each "
        f"{1000 * config.hop / clip.FPS:.0f} ms"
    )
    yield _difference(streamed, offline)
    names = {"features": encoding, "generator": generating, "offline": together, "streaming": took}
    return {f"{name}, times real time": lasts / wall for name, (wall, _) in names.items()}


def _sound(subject: str) -> np.ndarray:
    from geneface_kit.person import demo

    sound = clip.read_audio(Path(subject) if subject else demo.clip_path("demo_b"))
    wanted = SECONDS * clip.SAMPLE_RATE
    return np.tile(sound, -(-wanted // len(sound)))[:wanted]


def _stream(motion: Motion, sound: np.ndarray, config: StreamConfig) -> np.ndarray:
    """The whole sound, pushed in a frame at a time."""
    stream, made = SoundStream(motion, config), []
    for start in range(0, len(sound), FRAME):
        made.append(stream.hear(sound[start : start + FRAME]))
    return np.concatenate([*made, stream.end()])


def _fastest(
    work: Callable[[], Result], rounds: int = ROUNDS
) -> tuple[Result, tuple[float, float]]:
    """The result, and the least wall and CPU seconds."""
    wall_s, cpu_s = [], []
    for _ in range(rounds + (rounds > 1)):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        wall_s.append(time.perf_counter() - wall)
        cpu_s.append(time.process_time() - cpu)
    return result, (min(wall_s), min(cpu_s))


def _rate(lasts: float, took: tuple[float, float]) -> str:
    return f"{lasts / took[0]:.1f} times real time ({lasts / took[1]:.1f} by CPU)"


def _difference(streamed: np.ndarray, offline: np.ndarray) -> str:
    ours, theirs = mouth_shape(streamed), mouth_shape(offline)
    opening, width = (pearson(ours[:, k], theirs[:, k]) for k in (0, 1))
    apart = np.linalg.norm(streamed - offline, axis=-1)
    moves = np.linalg.norm(offline - offline.mean(0), axis=-1)
    return (
        f"streamed against offline of the whole: r {opening:.3f} of mouth opening, {width:.3f} of "
        f"width; landmarks {apart.mean():.4f} eye distances apart on average, {apart.max():.3f} at "
        f"most (they move by {moves.mean():.4f})"
    )
