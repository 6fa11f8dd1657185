"""Audio-visual offset: how late the sound is against the mouth it predicts; both in step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from geneface_kit.metrics.formulas import pearson
from geneface_kit.person.clip import FPS, SAMPLE_RATE, SAMPLES, Sound
from geneface_kit.person.mouth import mouth_shape
from geneface_kit.person.spans import ONE, Spans, stretches
from geneface_kit.person.speech.encoders import Speech, encode, peak_of
from geneface_kit.runs.arrays import read_npz

CONTEXT = 3  # frames on both sides that the mouth prediction sees (ours)
MAX_OFFSET_S = 1.0
"""Longest offset between sound and lips that is looked for, seconds; a third of a short clip, but
at least LEAST_REACH (ours)."""
LEAST_REACH = 10  # frames on both sides that are looked through in any case (ours)
DRIFT_S, DRIFT_FRAMES = 0.08, 375  # a change of offset, and a clip's length, that is a drift (ours)
UNCOVERED_S = 0.3  # sound that begins later or ends earlier by more cuts the clip (ours)

CLEAR_CONFIDENCE = 0.3  # least confidence of an offset that is corrected (ours)
LEAST_OFFSET_S = 0.03  # less is within the estimate's error, seconds (ours)
MOUTH_RIDGE = Path(__file__).with_name("mouth_ridge.npz")  # by notebooks.studies.mouth_ridge

Landmarks = Float[np.ndarray, "t 68 3"]
Mouth = Float[np.ndarray, "t 2"]  # opening and width of every frame
Ridge = dict[str, Float[np.ndarray, "..."]]  # mean and std of its inputs, weights


@dataclass(frozen=True)
class Offset:
    """How late the sound is against the lips. seconds: positive when a sound is heard after the
    lips made it (play the sound earlier by as much to repair it); confidence: 0 to 1; curve:
    correlation of the predicted with the tracked mouth at each of the lags, seconds."""

    seconds: float
    confidence: float
    lags: Float[np.ndarray, " n"]
    curve: Float[np.ndarray, " n"]


def mouth_from_speech(speech: Speech, spans: Spans = ONE, ridge: Path = MOUTH_RIDGE) -> Mouth:
    """The mouth minus its mean, by a regression on "hama" features."""
    if speech.encoder != "hama":
        raise ValueError(f'the mouth regression reads "hama" features, got {speech.encoder!r}')
    parts = [speech.part(part).features for part in stretches(spans, len(speech) // 2)]
    learned = read_npz(ridge, {"mean": "real c", "std": "real c", "weights": "real c 2"})
    return predict_ridge(learned, np.concatenate([in_context(part) for part in parts]))


def estimate_offset(speech: Speech, landmarks: Landmarks, spans: Spans = ONE) -> Offset:
    """How late the sound is, from the lag at which it predicts the tracked mouth best.

    speech: the clip's sound from its first frame on; landmarks: pose-free; spans: of the frames.
    Lags of up to MAX_OFFSET_S are tried. A video in which the lips never move has confidence 0.
    """
    return best_lag(mouth_from_speech(speech, spans), mouth_shape(landmarks), spans)


def predict_ridge(ridge: Ridge, inputs: Float[np.ndarray, "t c"]) -> Float[np.ndarray, "t m"]:
    """What a ridge regression says to some inputs."""
    return ((inputs - ridge["mean"]) / ridge["std"] @ ridge["weights"]).astype(np.float32)


def in_context(features: Float[np.ndarray, "s c"]) -> Float[np.ndarray, "t d"]:
    """Features of frames t - 3 .. t + 3 side by side: d = 7 * 2 * c, t = s // 2."""
    frames = features[: len(features) // 2 * 2].reshape(len(features) // 2, -1)
    padded = np.pad(frames, ((CONTEXT, CONTEXT), (0, 0)), mode="edge")
    return np.concatenate([padded[k : k + len(frames)] for k in range(2 * CONTEXT + 1)], axis=1)


def best_lag(predicted: Mouth, seen: Float[np.ndarray, "_ 2"], spans: Spans = ONE) -> Offset:
    """The lag at which a predicted mouth goes with the seen one best: the maximum of the curve of
    correlations, refined by a parabola.

    All stretches are shifted alike, each compared with itself alone. Confidence falls with the
    highest rival more than 3 frames away, and is 0 at the ends of the search.
    """
    n = min(len(predicted), len(seen))
    stretch = np.searchsorted(spans, np.arange(n), side="right")

    def common(lag: int) -> np.ndarray:
        """The frames t whose t + lag is in their stretch."""
        frames = np.arange(n)[max(0, -lag) : max(0, n - lag)]
        return frames[stretch[frames] == stretch[frames + lag]]

    within = range(round(MAX_OFFSET_S * FPS) + 1)
    reach = max(k for k in within if k <= LEAST_REACH or len(common(k)) >= 2 * k + 10)
    lags = np.arange(-reach, reach + 1)
    curve = np.zeros(len(lags), np.float32)
    if len(common(reach)) > reach + 10:
        for index, lag in enumerate(lags.tolist()):
            # the sound of frame t + lag belongs to the picture of frame t
            frames = common(lag)
            pairs = zip(predicted[frames + lag].T, seen[frames].T, strict=True)
            curve[index] = np.mean([pearson(*pair, still=0.0) for pair in pairs])
    best = int(curve.argmax()) if curve.any() else reach  # nothing moves: in step
    exact = float(lags[best])
    inside = 0 < best < len(lags) - 1
    if inside:
        left, top, right = curve[best - 1 : best + 2]
        exact += float(0.5 * (left - right) / min(left - 2 * top + right, -1e-9))
    far = np.abs(lags - lags[best]) > 3
    rival = float(curve[far].max()) if far.any() else 0.0
    clear = (curve[best] - max(rival, 0.0)) / 0.4
    confidence = inside * float(np.clip(clear, 0, 1) * np.clip(curve[best] / 0.4, 0, 1))
    return Offset(exact / FPS, confidence, (lags / FPS).astype(np.float32), curve)


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


def drift(speech: Speech, landmarks: Landmarks, spans: Spans = ONE) -> float:
    """By how many seconds the offset grows from the first to the last third of a clip.

    0 for a short clip, other features than "hama", and thirds that are not clear.
    """
    n_frames = min(len(landmarks), len(speech) // 2)
    if speech.encoder != "hama" or n_frames < DRIFT_FRAMES:
        return 0.0
    third, predicted = n_frames // 3, mouth_from_speech(speech, spans)[:n_frames]
    seen = mouth_shape(landmarks[:n_frames])
    ends = [
        best_lag(predicted[first:][:third], seen[first:][:third], np.maximum(spans - first, 0))
        for first in (0, n_frames - third)
    ]
    if min(end.confidence for end in ends) < CLEAR_CONFIDENCE:
        return 0.0
    return ends[1].seconds - ends[0].seconds


@dataclass(frozen=True)
class Heard:
    """The sound of a stretch. shot: 16 kHz, all that was recorded of its shot or clip; first: the
    sample at which the stretch begins in it; n_frames: of the stretch."""

    shot: Float[np.ndarray, " n"]
    first: int
    n_frames: int

    @property
    def sound(self) -> Float[np.ndarray, " m"]:
        """The stretch's sound; silence outside the shot."""
        end = self.first + self.n_frames * SAMPLES
        padded = np.pad(self.shot, (max(0, -self.first), max(0, end - len(self.shot))))
        return padded[max(0, self.first) :][: end - self.first].astype(np.float32)

    @property
    def is_recorded(self) -> Bool[np.ndarray, " t"]:
        """The frames of which some sound was recorded."""
        starts = self.first + SAMPLES * np.arange(self.n_frames)
        return (starts > -SAMPLES) & (starts < len(self.shot))


def features_of(sounds: Sequence[Float[np.ndarray, " _"]], encoder: str = "hama") -> Speech:
    """Speech of stretches in a row, each heard alone, all with one peak; see `encode`."""
    peak = max(peak_of(sound) for sound in sounds)
    heard = [encode(sound, encoder, peak=peak).cut(len(sound) // SAMPLES) for sound in sounds]
    return Speech.in_a_row(heard)


def synchronise(
    heard: Sequence[Heard], spoken: Speech, offset: Offset, *, encoder: str
) -> tuple[list[Heard], Speech, list[str]]:
    """Sound and features of all stretches with a clear offset corrected; and what was repaired or
    is doubtful, a sentence each.

    spoken: their features as they stand; offset: of `spoken` against the tracked lips; encoder:
    see `encode`, of the features that are kept.
    """
    notes = []
    clear = offset.confidence >= CLEAR_CONFIDENCE
    shift_s = offset.seconds if clear and abs(offset.seconds) >= LEAST_OFFSET_S else 0.0
    if shift_s:
        side = "late" if shift_s > 0 else "early"
        notes.append(f"the sound was {abs(shift_s):.2f} s {side} against the lips; corrected")
    elif not clear:
        sure = f"confidence {offset.confidence:.2f}"
        notes.append(f"the audio-video offset is uncertain ({sure}); left as is")
    later = round(shift_s * SAMPLE_RATE)
    moved = [replace(one, first=one.first + later) for one in heard]
    if encoder != "hama" or shift_s:
        spoken = features_of([one.sound for one in moved], encoder)
    return moved, spoken, notes
