"""Encoders: sound -> phonetic features at 50 Hz, with pitch and mel, by an encoder of your choice.

"hama" (144 channels) is everywhere, "hubert-large" (1024, the encoder of GeneFace, sec. 3.1) and
"wav2vec2" (1024) where their weights are ("hubert-large@FOLDER"), "mel" (80) is the spectrum
itself. Any other is named by its import path, see SpeechEncoder.
"""

import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float

from geneface_kit import runs
from geneface_kit.person.clip import SAMPLE_RATE
from geneface_kit.person.speech.acoustics import STEP, log_mel, pitch
from geneface_kit.person.speech.conformer import load_conformer
from geneface_kit.runs.ranges import Named, imported

Samples = Float[np.ndarray, " n"]
PIECE_S, OVERLAP_S = 20, 2  # long sound is encoded in such pieces, so much heard around each (ours)


@runtime_checkable
class SpeechEncoder(Protocol):
    """A speech encoder: the settings `person.encoder` and `corpus.encoder` name its class.

    The name is one of ENCODERS or an import path, "package.module:Class", and after an "@" where
    its weights are; all of it is kept with what is made from the features. The class is called with
    that place (`weights_of`). What that gives is called with sound and returns features, and has a
    `version` that changes when the features do.
    """

    version: str

    def __call__(self, audio: Float[np.ndarray, " n"]) -> Float[np.ndarray, "s c"]:
        """audio: mono, 16 kHz, peak 1, 960 samples or more. Returns 50 steps a second, 2T of them
        for T video frames at 25 fps, each of c numbers; step i is about sample 320 i."""


@dataclass(frozen=True)
class Speech:
    """Speech at 50 Hz, step i about sample 320 i. encoder: which network made the features; f0: Hz,
    0 where unvoiced; mel: log10 magnitude; version: package and digest of the network's weights."""

    features: Float[np.ndarray, "s c"]
    encoder: str
    f0: Float[np.ndarray, " s"]
    mel: Float[np.ndarray, "s 80"]
    version: str = ""

    def __len__(self) -> int:
        return len(self.features)

    def each(self, change: Callable[[np.ndarray], np.ndarray]) -> "Speech":
        """The speech with features, f0 and mel changed alike."""
        changed = {name: change(getattr(self, name)) for name in ("features", "f0", "mel")}
        return replace(self, **changed)

    def cut(self, n_frames: int) -> "Speech":
        """Exactly 2 * n_frames steps: cut, or the last step repeated."""
        return self.each(lambda values: fit_length(values, 2 * n_frames))

    def part(self, frames: slice) -> "Speech":
        """The steps of some frames."""
        return self.each(lambda values: values[2 * frames.start : 2 * frames.stop])

    @staticmethod
    def in_a_row(parts: "Sequence[Speech]") -> "Speech":
        """Speech of one encoder, one after the other."""
        columns = ("features", "f0", "mel")
        joined = {name: np.concatenate([getattr(p, name) for p in parts]) for name in columns}
        return replace(parts[0], **joined)


def encode(audio: Samples, encoder: str = "hama", *, peak: float | None = None) -> Speech:
    """Features, pitch and mel of mono 16 kHz sound; floor(n / 320) steps, at least one.

    encoder: see SpeechEncoder. The sound is brought to the same peak first, so loudness
    does not matter; peak: that of the recording this is a piece of, None takes the sound's own.
    Raises: ValueError for empty or broken sound, an unknown encoder, and one that does not give
    50 finite steps a second; FileNotFoundError without an encoder's weights.
    """
    if not len(audio):
        raise ValueError("the sound is empty; use a recording of speech")
    if not np.isfinite(audio).all():
        raise ValueError("the sound holds NaN or infinite samples; use another recording")
    network, who = load_encoder(encoder), f"the speech encoder {encoder!r}"
    n_steps, level = max(1, len(audio) // STEP), levelled(audio, peak)
    features, due = np.asarray(network(level), np.float32), len(level) // STEP
    if features.ndim != 2 or abs(len(features) - due) > 2:
        raise ValueError(f"{who} must give 50 steps a second, ({due}, c), got {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError(f"{who} gives NaN or infinite features; use another")
    heard = {"features": features, "f0": pitch(level), "mel": log_mel(level)}
    heard = {name: fit_length(values, n_steps) for name, values in heard.items()}
    return Speech(**heard, encoder=encoder, version=network.version)


@functools.lru_cache(maxsize=2)
def load_encoder(name: str) -> SpeechEncoder:
    """The encoder of that name, see SpeechEncoder; the last two stay loaded.

    Raises: ValueError when there is no such encoder; FileNotFoundError without its weights.
    """
    word = name.partition("@")[0]
    kind = ENCODERS.get(word) or imported(word, "encoder")
    made = kind(weights_of(name))
    if not isinstance(made, SpeechEncoder):
        raise ValueError(f"{name!r} is no speech encoder: it needs a version and a __call__")
    return made


def weights_of(name: str) -> str:
    """Where an encoder's weights are: the folder after its "@", see `runs.data_places`, else what
    stands there, which may be a name on the hub; "" when nothing does."""
    place = name.partition("@")[2]
    return str(next(filter(Path.is_dir, runs.data_places(place)), place)) if place else ""


def counted_name(name: str) -> str:
    """What of an encoder's name tells runs apart: not the folder of its weights, whose files do."""
    return name.partition("@")[0] if weight_files(name) else name


def weight_files(name: str) -> dict[str, Path]:
    """The files of an encoder's weights, by names for a run's inputs; none if in no folder."""
    place = weights_of(name)
    found = runs.record.files_of(Path(place)) if place else {}
    return {f"weights/{file}": path for file, path in found.items()}


class Hama:
    """Block 3 of the phoneme Conformer of the package hama, 144 channels."""

    def __init__(self, weights: str = "") -> None:
        self.network = load_conformer()
        self.version = self.network.version

    def __call__(self, audio: Float[np.ndarray, " n"]) -> Float[np.ndarray, "s 144"]:
        return in_pieces(audio, lambda sound: self.network(sound)[-1])


class Mel:
    """The mel spectrum, 80 channels: what a network of phonemes has to be better than."""

    version = "80 bands, 80-7600 Hz"

    def __init__(self, weights: str = "") -> None:
        pass

    def __call__(self, audio: Float[np.ndarray, " n"]) -> Float[np.ndarray, "s 80"]:
        return log_mel(audio)


class Transformer:
    """Last hidden state of HuBERT or wav2vec 2.0, as GeneFace has HuBERT large's, 1024 channels.

    A step sees 400 samples and the next one starts 320 later, so a piece of 20 s extended by the
    80 samples in which they overlap ends where the following piece starts (official code).
    """

    def __init__(self, on_the_hub: str, weights: str = "") -> None:
        import transformers

        place = weights or on_the_hub
        try:
            self.model = transformers.AutoModel.from_pretrained(place).eval().requires_grad_(False)
        except (OSError, ValueError):
            raise FileNotFoundError(
                f"the weights of {on_the_hub} are neither in the folder {place} nor in the hub "
                f'or its cache: name it as "NAME@FOLDER", connect once, or use the encoder "hama"'
            ) from None
        if math.prod(getattr(self.model.config, "conv_stride", ())) != STEP:
            raise ValueError(f"the network in {place} does not hear sound at 50 steps a second")
        digest = hashlib.sha256()
        for name, values in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(values.numpy().data)
        self.version = f"transformers {transformers.__version__}, weights {digest.hexdigest()[:12]}"

    def __call__(self, audio: Float[np.ndarray, " n"]) -> Float[np.ndarray, "s c"]:
        level = (audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)
        parts = []
        for start in range(0, len(level), PIECE_S * SAMPLE_RATE):
            piece = torch.from_numpy(level[start : start + PIECE_S * SAMPLE_RATE + 80])
            if len(piece) >= 400:
                parts.append(self.model(piece[None]).last_hidden_state[0].numpy())
        return np.concatenate(parts)


ENCODERS: dict[str, Callable[[str], SpeechEncoder]] = {  # name -> class
    "hama": Hama,
    "mel": Mel,
    "hubert-large": functools.partial(Transformer, "facebook/hubert-large-ls960-ft"),
    "wav2vec2": functools.partial(Transformer, "facebook/wav2vec2-large-960h-lv60-self"),
}
EncoderName = Annotated[str, Named(tuple(ENCODERS), place="@")]  # or the import path of a class


def levelled(audio: np.ndarray, peak: float | None = None) -> np.ndarray:
    """Sound about 0, at full peak, its own if none is given, and long enough for every encoder."""
    peak = peak_of(audio) if peak is None else peak
    audio = audio - audio.mean(dtype=np.float64)
    level = (audio / peak if peak > 1e-4 else audio).astype(np.float32)
    return np.pad(level, (0, max(0, 3 * STEP - len(level))))


def peak_of(audio: Float[np.ndarray, " n"]) -> float:
    """The largest sample of a sound, a constant in it not counted."""
    return float(np.abs(audio - audio.mean(dtype=np.float64)).max())


def in_pieces(audio: np.ndarray, network: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """The steps of a network that does not learn over long sound, piece by piece with overlap."""
    n_steps, piece, overlap = len(audio) // STEP, PIECE_S * 50, OVERLAP_S * 50
    parts = []
    for start in range(0, n_steps, piece):
        first, last = max(0, start - overlap), min(n_steps, start + piece + overlap)
        steps = network(torch.from_numpy(audio[first * STEP : last * STEP + 200]))
        parts.append(steps[start - first : min(start + piece, n_steps) - first].numpy())
    return np.concatenate(parts)


def fit_length(values: np.ndarray, n: int) -> np.ndarray:
    """Exactly n rows: cut, or the last one repeated."""
    return values.take(np.arange(n), axis=0, mode="clip")
