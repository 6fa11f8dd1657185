"""Streaming: landmarks of speech that is still going on, a fixed time after its sound.

Both the embedded speech network (full attention) and the generator (a flow that reaches 2.7 s to
each side) listen further than a live voice can wait. So a few frames at a time are made from a
window: `past` frames of sound before them and `ahead` frames after them.

What equals what. A frame is, to the bit, the one that `Motion.sample` gives for its window alone.
Where the window holds all that a frame's offline value depends on, that is the offline value; for
the networks as they are it does not, and `python -m geneface_kit bench motion` prints how much
they differ. Temperature is 0: nothing is drawn.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from geneface_kit.motion.wavenet import STRIDE
from geneface_kit.motion.weights import Motion
from geneface_kit.person import speech
from geneface_kit.person.clip import FPS, SAMPLE_RATE
from geneface_kit.person.speech import Speech

__all__ = ["SoundStream", "SpeechStream", "StreamConfig"]

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


class _Stream(ABC):
    """Windows over what was heard; subclasses keep it, cut it and forget it.

    Attributes: n_made, frames given so far.
    """

    def __init__(self, motion: Motion, config: StreamConfig = StreamConfig()) -> None:
        self.motion, self.config = motion, config
        self.n_made = 0
        self._first = 0  # frame at which what is kept starts

    def end(self) -> Float[np.ndarray, "t 68 3"]:
        """The frames that are left when no more comes; their windows end with the speech."""
        made = [self._made(self._n_heard())] if self._n_heard() > self.n_made else []
        return _joined(made)

    def _ready(self) -> Float[np.ndarray, "t 68 3"]:
        made, step = [], self.config.hop + self.config.ahead
        while self._n_heard() >= self.n_made + step:
            made.append(self._made(self.n_made + step))
        return _joined(made)

    def _made(self, stop: int) -> np.ndarray:
        """The next frames, at most `hop` unless the speech has ended, from the window to `stop`."""
        first = max(0, (self.n_made - self.config.past) // STRIDE * STRIDE)
        self._forget(first - self._first)
        self._first = first
        motion = self.motion.sample(self._window(stop - first))
        ended = stop < self.n_made + self.config.hop + self.config.ahead
        wanted = stop if ended else self.n_made + self.config.hop
        made, self.n_made = motion[self.n_made - first : wanted - first], wanted
        return made

    @abstractmethod
    def _n_heard(self) -> int:
        """Whole frames heard so far."""

    @abstractmethod
    def _forget(self, n_frames: int) -> None:
        """Drops the oldest frames of what is kept."""

    @abstractmethod
    def _window(self, n_frames: int) -> Speech:
        """The speech of the first frames of what is kept."""


class SoundStream(_Stream):
    """Sound in, displacements out: `hear` each piece as it comes, `end` for the last frames.

    The level of a window is that of the loudest sound heard until its end, since how loud the
    recording will become is not known yet.
    """

    def __init__(self, motion: Motion, config: StreamConfig = StreamConfig()) -> None:
        super().__init__(motion, config)
        self._sound = np.zeros(0, np.float32)
        self._peak, self._n_levelled = 0.0, 0

    def hear(self, sound: Float[np.ndarray, " n"]) -> Float[np.ndarray, "t 68 3"]:
        """The frames that can be made now, often none. sound: mono 16 kHz, any length."""
        self._sound = np.concatenate([self._sound, sound.astype(np.float32)])
        return self._ready()

    def _n_heard(self) -> int:
        return self._first + len(self._sound) // FRAME

    def _forget(self, n_frames: int) -> None:
        self._sound = self._sound[n_frames * FRAME :]
        self._n_levelled -= n_frames * FRAME

    def _window(self, n_frames: int) -> Speech:
        sound = self._sound[: n_frames * FRAME]
        fresh = sound[self._n_levelled :]
        self._peak = max(self._peak, float(np.abs(fresh).max(initial=0)))
        self._n_levelled = len(sound)
        return speech.encode(sound, self.motion.encoder, peak=self._peak)


class SpeechStream(_Stream):
    """Speech features in, displacements out: for an encoder that itself streams."""

    def __init__(self, motion: Motion, config: StreamConfig = StreamConfig()) -> None:
        super().__init__(motion, config)
        self._speech: Speech | None = None

    def read(self, piece: Speech) -> Float[np.ndarray, "t 68 3"]:
        """The frames that can be made now, often none. piece: the next feature steps."""
        before = self._speech
        self._speech = piece if before is None else _appended(before, piece)
        return self._ready()

    def _n_heard(self) -> int:
        return self._first + (0 if self._speech is None else len(self._speech) // 2)

    def _forget(self, n_frames: int) -> None:
        self._speech = _steps(self._speech, 2 * n_frames, len(self._speech))

    def _window(self, n_frames: int) -> Speech:
        return _steps(self._speech, 0, 2 * n_frames)


def _appended(before: Speech, piece: Speech) -> Speech:
    if piece.encoder != before.encoder:
        raise ValueError(
            f"a stream of {before.encoder!r} features cannot go on with {piece.encoder!r}"
        )
    names = ("features", "f0", "mel")
    return replace(
        before,
        **{name: np.concatenate([getattr(before, name), getattr(piece, name)]) for name in names},
    )


def _steps(whole: Speech, start: int, stop: int) -> Speech:
    return replace(
        whole,
        features=whole.features[start:stop],
        f0=whole.f0[start:stop],
        mel=whole.mel[start:stop],
    )


def _joined(made: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(made) if made else np.zeros((0, 68, 3), np.float32)
