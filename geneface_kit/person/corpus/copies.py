"""Copies: one recording in step with its lips, at other speeds and with noise (augmentation)."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float
from scipy.signal import butter, resample_poly, sosfiltfilt

from geneface_kit.person import clip
from geneface_kit.person.corpus.source import CorpusConfig

__all__ = ["Copy", "at_speed", "copies", "in_step", "through_channel", "with_noise"]


@dataclass(frozen=True)
class Copy:
    """How a copy differs from its clip. suffix: of its name, "" is the clip as recorded;
    rate: speed, pitch moving along; noise_db: signal-to-noise ratio of added noise or None.
    """

    suffix: str
    rate: float = 1.0
    noise_db: float | None = None


def copies(config: CorpusConfig) -> list[Copy]:
    """The clip as recorded, then its copies at other speeds, then the noisy ones."""
    fast = [Copy(f"@{rate:g}", rate=rate) for rate in config.rates if rate != 1.0]
    noisy = [Copy(f"@{level:g}dB", noise_db=level) for level in config.noise_db]
    return [Copy(""), *fast, *noisy]


def in_step(audio: Float[np.ndarray, " n"], late_s: float) -> Float[np.ndarray, " m"]:
    """Sound that is `late_s` late moved back to its lips (early sound gets silence in front)."""
    lead = round(late_s * clip.SAMPLE_RATE)
    return audio[lead:] if lead >= 0 else np.pad(audio, (-lead, 0))


def at_speed(
    audio: Float[np.ndarray, " n"], landmarks: Float[np.ndarray, "t 68 3"], rate: float
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, "u 68 3"]]:
    """Sound and landmarks played `rate` times as fast, on one clock; pitch moves along."""
    n_frames = min(len(landmarks), round(len(audio) / clip.SAMPLE_RATE * clip.FPS))
    if rate == 1.0:
        return audio, landmarks[:n_frames]
    ratio = Fraction(rate).limit_denominator(50)
    sound = resample_poly(audio, ratio.denominator, ratio.numerator).astype(np.float32)
    times = np.arange(int(n_frames / rate)) * rate
    before = np.minimum(times.astype(int), n_frames - 1)
    after = np.minimum(before + 1, n_frames - 1)
    share = (times - before).astype(np.float32)[:, None, None]
    return sound, (1 - share) * landmarks[before] + share * landmarks[after]


def with_noise(audio: Float[np.ndarray, " n"], level_db: float) -> Float[np.ndarray, " n"]:
    """Sound with white noise `level_db` below it; the same noise every time."""
    noise = np.random.default_rng(0).standard_normal(len(audio))
    size = np.sqrt(np.mean(audio**2)) * 10 ** (-level_db / 20)
    return (audio + size * noise).astype(np.float32)


def through_channel(
    audio: Float[np.ndarray, " n"], low_hz: float, high_hz: float
) -> Float[np.ndarray, " n"]:
    """Sound as a poor microphone or a telephone passes it on: one band, without delay."""
    band = butter(2, [low_hz, high_hz], "bandpass", fs=clip.SAMPLE_RATE, output="sos")
    return sosfiltfilt(band, audio).astype(np.float32)
