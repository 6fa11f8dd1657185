"""Audio-visual offset: how late the sound is against the mouth it predicts; both in step.

The regression in mouth_ridge.npz is fitted by `python -m notebooks.studies.mouth_ridge`.
"""

import functools
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from jaxtyping import Float

from geneface_kit.metrics.formulas import pearson
from geneface_kit.person.clip import FPS, SAMPLE_RATE, Sound, chosen_sound
from geneface_kit.person.mouth import mouth_shape
from geneface_kit.person.speech.encoders import Speech, encode

CONTEXT = 3  # frames on both sides that the mouth prediction sees (ours)
MAX_OFFSET_S = 1.0
"""Longest offset between sound and lips that is looked for, seconds; a third of a short clip, but
at least LEAST_REACH (ours)."""
LEAST_REACH = 10  # frames on both sides that are looked through in any case (ours)
DRIFT_S, DRIFT_FRAMES = 0.08, 375  # a change of offset, and a clip's length, that is a drift (ours)
UNCOVERED_S = 0.3  # sound that begins later or ends earlier by more cuts the clip (ours)

CLEAR_CONFIDENCE = 0.3  # least confidence of an offset that is corrected (ours)
LEAST_OFFSET_S = 0.05  # smaller offsets are within the estimate's error, seconds (ours)


@dataclass(frozen=True)
class Offset:
    """How late the sound is against the lips.

    seconds: positive when a sound is heard after the lips made it (play the sound earlier by as
    much to repair it); confidence: 0 to 1; lags: (n,) seconds; curve: (n,) correlation of the
    predicted with the tracked mouth at each lag.
    """

    seconds: float
    confidence: float
    lags: Float[np.ndarray, " n"]
    curve: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class SyncedAudio:
    """The sound of a span in step with the picture, and its features. offset: as found; rms:
    loudness of the clip's sound, full scale 1; notes: what was repaired or is doubtful."""

    sound: Float[np.ndarray, " n"]
    speech: Speech
    offset: Offset
    rms: float
    notes: tuple[str, ...]


def mouth_from_speech(speech: Speech) -> Float[np.ndarray, "t 2"]:
    """Opening and width, minus their mean, that a regression predicts from the sound alone.

    Trained on the "hama" features of other speakers; one row per video frame.
    """
    if speech.encoder != "hama":
        raise ValueError(f'the mouth regression reads "hama" features, got {speech.encoder!r}')
    return predict_ridge(_mouth_ridge(), in_context(speech.features))


def estimate_offset(speech: Speech, landmarks: Float[np.ndarray, "t 68 3"]) -> Offset:
    """How late the sound is, from the lag at which it predicts the tracked mouth best.

    speech: the clip's sound from its first frame on; landmarks: pose-free. Lags of up to
    MAX_OFFSET_S are tried. A video in which the lips never move has confidence 0.
    """
    n_frames = min(len(landmarks), len(speech) // 2)
    predicted = mouth_from_speech(speech)[:n_frames]
    return best_lag(predicted, mouth_shape(landmarks[:n_frames]))


def predict_ridge(
    ridge: dict[str, Float[np.ndarray, "..."]], inputs: Float[np.ndarray, "t c"]
) -> Float[np.ndarray, "t m"]:
    """What a ridge regression (mean and std of its inputs, weights) says to some inputs."""
    return ((inputs - ridge["mean"]) / ridge["std"] @ ridge["weights"]).astype(np.float32)


def in_context(features: Float[np.ndarray, "s c"]) -> Float[np.ndarray, "t d"]:
    """Features of frames t - 3 .. t + 3 side by side: d = 7 * 2 * c, t = s // 2."""
    frames = features[: len(features) // 2 * 2].reshape(len(features) // 2, -1)
    padded = np.pad(frames, ((CONTEXT, CONTEXT), (0, 0)), mode="edge")
    return np.concatenate([padded[k : k + len(frames)] for k in range(2 * CONTEXT + 1)], axis=1)


def best_lag(predicted: Float[np.ndarray, "t 2"], seen: Float[np.ndarray, "_ 2"]) -> Offset:
    """The lag at which a predicted mouth (opening, width) goes with the seen one best: the maximum
    of the correlations, refined by a parabola. Confidence falls with the highest rival more than 3
    frames away, and is 0 at the ends of the search."""
    reach = min(round(MAX_OFFSET_S * FPS), max(LEAST_REACH, (len(seen) - 10) // 3))
    lags = np.arange(-reach, reach + 1)
    curve = np.zeros(len(lags), np.float32)
    if len(seen) > 2 * reach + 10:
        for index, lag in enumerate(lags):
            # the sound of frame t + lag belongs to the picture of frame t
            sound, picture = _shifted(predicted, seen, int(lag))
            pairs = zip(sound.T, picture.T, strict=True)
            curve[index] = np.mean([pearson(*pair, still=0.0) for pair in pairs])
    best = int(curve.argmax())
    exact = float(lags[best])
    if 0 < best < len(lags) - 1:
        left, top, right = curve[best - 1 : best + 2]
        exact += float(0.5 * (left - right) / min(left - 2 * top + right, -1e-9))
    far = np.abs(lags - lags[best]) > 3
    rival = float(curve[far].max()) if far.any() else 0.0
    clear = (curve[best] - max(rival, 0.0)) / 0.4
    confidence = float(np.clip(clear, 0, 1) * np.clip(curve[best] / 0.4, 0, 1))
    if best in (0, len(lags) - 1):
        confidence = 0.0
    return Offset(exact / FPS, confidence, (lags / FPS).astype(np.float32), curve)


def read_sound(source: Path, choice: str = "auto") -> Sound:
    """The clip's whole sound, see `clip.chosen_sound`. Raises: ValueError when it has none."""
    sound = chosen_sound(source, choice)
    if sound is None:
        raise ValueError(
            f"{source.name} has no sound; a person needs speech, inside the video or in a .wav "
            "of the same name beside it"
        )
    return sound


def covered_span(sound: Sound, start: int, stop: int) -> tuple[int, int, list[str]]:
    """First frame and end of the part of a span that has sound, and what was left out."""
    notes, reach = [], UNCOVERED_S * FPS
    first, last = sound.starts_s * FPS, len(sound.samples) / SAMPLE_RATE * FPS
    if first > start + reach:
        start = int(np.ceil(first))
        notes.append(f"the sound begins at {first / FPS:.2f} s: only what follows is used")
    if last < stop - reach:
        stop = int(last)
        notes.append(f"the sound ends at {last / FPS:.2f} s: only what comes before is used")
    return start, stop, notes


def drift(speech: Speech, landmarks: Float[np.ndarray, "t 68 3"]) -> float:
    """By how many seconds the offset grows from the first to the last third of a clip; 0 for a
    short one, other features than "hama", and thirds that are not clear."""
    n_frames = min(len(landmarks), len(speech) // 2)
    if speech.encoder != "hama" or n_frames < DRIFT_FRAMES:
        return 0.0
    third, predicted = n_frames // 3, mouth_from_speech(speech)[:n_frames]
    seen = mouth_shape(landmarks[:n_frames])
    ends = [best_lag(predicted[part], seen[part]) for part in (np.s_[:third], np.s_[-third:])]
    if min(end.confidence for end in ends) < CLEAR_CONFIDENCE:
        return 0.0
    return ends[1].seconds - ends[0].seconds


def synchronise(
    sound: Float[np.ndarray, " n"],
    spoken: Speech,
    start: int,
    offset: Offset,
    *,
    encoder: str,
    weights: str,
) -> SyncedAudio:
    """Sound and features of the span with a clear offset corrected.

    sound: the clip's; spoken: features of its span as it stands; offset: of `spoken` against the
    tracked lips; encoder, weights: see `encode`, of the features that are kept.
    """
    n_frames = len(spoken) // 2
    rms = float(np.sqrt(np.mean(sound.astype(np.float64) ** 2))) if len(sound) else 0.0
    notes = []
    clear = offset.confidence >= CLEAR_CONFIDENCE
    shift_s = offset.seconds if clear and abs(offset.seconds) >= LEAST_OFFSET_S else 0.0
    if shift_s:
        side = "late" if shift_s > 0 else "early"
        notes.append(f"the sound was {abs(shift_s):.2f} s {side} against the lips; corrected")
    elif not clear:
        notes.append(
            f"the audio-video offset is uncertain (confidence {offset.confidence:.2f}); left as is"
        )
    moved = span_of(sound, start, n_frames, shift_s)
    if encoder != "hama" or shift_s:
        spoken = encode(moved, encoder, weights=weights)
    return SyncedAudio(moved, spoken.cut(n_frames), offset, rms, tuple(notes))


def span_of(sound: np.ndarray, start: int, n_frames: int, shift_s: float = 0.0) -> np.ndarray:
    """Sound of n_frames frames from frame `start`, taken shift_s later; silence outside."""
    first = round((start / FPS + shift_s) * SAMPLE_RATE)
    n_samples = n_frames * SAMPLE_RATE // FPS
    padded = np.pad(sound, (max(0, -first), max(0, first + n_samples - len(sound))))
    return padded[max(first, 0) :][:n_samples].astype(np.float32)


def _shifted(sound: np.ndarray, picture: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    n = min(len(sound), len(picture))
    start, stop = max(0, -lag), min(n, n - lag)
    return sound[start + lag : stop + lag], picture[start:stop]


@functools.cache
def _mouth_ridge() -> dict[str, np.ndarray]:
    path = resources.files("geneface_kit.person.speech") / "mouth_ridge.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return dict(stored)
