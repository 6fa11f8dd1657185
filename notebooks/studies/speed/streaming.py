"""Streaming: landmarks of speech that is still going on, a fixed time after its sound.

Both the embedded speech network (full attention) and the generator (a flow that reaches 2.7 s to
each side) listen further than a live voice can wait. So a few frames at a time are made from a
window: `past` frames of sound before them and `ahead` frames after them. A frame is, to the bit,
the one that `Motion.sample` gives for its window alone; `python -m geneface_kit bench motion`
prints how much it differs from the frame of the whole recording. Temperature is 0.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from geneface_kit.motion.vae import STRIDE
from geneface_kit.motion.weights import Motion
from geneface_kit.person import speech
from geneface_kit.person.clip import FPS, SAMPLE_RATE
from geneface_kit.person.speech import Speech

FRAME = SAMPLE_RATE // FPS
"""Samples of a video frame."""


@dataclass(frozen=True)
class StreamConfig:
    """What is heard when frames are made; all ours.

    Raises: ValueError for numbers that make no window.
    """

    hop: int = 4  # frames made at a time
    ahead: int = 5  # frames heard after the last of them
    past: int = 100  # frames heard before the first of them, a multiple of 4

    def __post_init__(self) -> None:
        if self.hop < 1 or self.ahead < 0 or self.past < STRIDE or self.past % STRIDE:
            raise ValueError(
                f"a stream needs hop >= 1, ahead >= 0 and past a multiple of {STRIDE}, got {self}"
            )

    @property
    def look_ahead_s(self) -> float:
        """Seconds of sound after its start that a frame waits for: those of hop and ahead."""
        return (self.hop + self.ahead) / FPS


class SoundStream:
    """Sound in, displacements out: `hear` each piece as it comes, `end` for the last frames.

    The level of a window is that of the loudest sound heard until its end, since how loud the
    recording will become is not known yet. n_made: frames given so far.
    """

    def __init__(self, motion: Motion, config: StreamConfig = StreamConfig()) -> None:
        self.motion, self.config = motion, config
        self.n_made = 0
        self._sound, self._first = np.zeros(0, np.float32), 0  # kept sound, from which frame on
        self._peak, self._n_levelled = 0.0, 0

    def hear(self, sound: Float[np.ndarray, " n"]) -> Float[np.ndarray, "t 68 3"]:
        """The frames that can be made now, often none. sound: mono 16 kHz, any length."""
        self._sound = np.concatenate([self._sound, sound.astype(np.float32)])
        made, step = [], self.config.hop + self.config.ahead
        while self._n_heard() >= self.n_made + step:
            made.append(self._made(self.n_made + step))
        return np.concatenate([np.zeros((0, 68, 3), np.float32), *made])

    def end(self) -> Float[np.ndarray, "t 68 3"]:
        """The frames that are left when no more comes; their windows end with the sound."""
        if self._n_heard() > self.n_made:
            return self._made(self._n_heard())
        return np.zeros((0, 68, 3), np.float32)

    def _n_heard(self) -> int:
        """Whole frames heard so far."""
        return self._first + len(self._sound) // FRAME

    def _made(self, stop: int) -> np.ndarray:
        """The next frames, at most `hop` unless the sound has ended, from the window to `stop`."""
        first = max(0, (self.n_made - self.config.past) // STRIDE * STRIDE)
        n_forgotten = (first - self._first) * FRAME
        self._sound, self._first = self._sound[n_forgotten:], first
        self._n_levelled -= n_forgotten
        motion = self.motion.sample(self._window(stop - first))
        ended = stop < self.n_made + self.config.hop + self.config.ahead
        wanted = stop if ended else self.n_made + self.config.hop
        made, self.n_made = motion[self.n_made - first : wanted - first], wanted
        return made

    def _window(self, n_frames: int) -> Speech:
        """The speech of the first frames of what is kept."""
        sound = self._sound[: n_frames * FRAME]
        self._peak = max(self._peak, float(np.abs(sound[self._n_levelled :]).max(initial=0)))
        self._n_levelled = len(sound)
        return speech.encode(sound, self.motion.encoder, peak=self._peak)
