"""Listening: the same corpus through other speech features, or with other copies."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from geneface_kit_figures.phonemes import hama_layers
from jaxtyping import Float
from scipy.signal import butter, sosfiltfilt

from geneface_kit.person import clip
from geneface_kit.person.corpus import Corpus, CorpusConfig, Utterance
from geneface_kit.person.corpus.build import at_speed
from geneface_kit.person.corpus.manifest import clip_jobs
from geneface_kit.runs import live, replacing
from geneface_kit.runs.arrays import read_npz

log = logging.getLogger(__name__)


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


FEATURES: dict[str, tuple[str, ...]] = {
    "hama block 2": ("block 2",),
    "hama block 3": ("block 3",),
    "hama block 4": ("block 4",),
    "hama blocks 3+4": ("block 3", "block 4"),
    "hama log-probs": ("log-probs",),
}
"""Features made from the sound -> the layers of the Conformer they consist of."""
SPOILT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "~noise": lambda audio: with_noise(audio, 15.0),
    "~channel": lambda audio: through_channel(audio, 300.0, 3400.0),
}
"""Suffix of a further copy -> what is done to its sound: white noise 15 dB below it, telephone."""


def hear(
    data: Corpus,
    config: CorpusConfig,
    place: Path,
    *,
    features: str = "corpus",
    rates: bool = True,
    spoilt: str = "",
) -> list[Utterance]:
    """The utterances of a corpus with other speech features.

    features: "corpus" as they are, "log-mel", "log-mel, deltas" (with first and second
    differences, standardised clip by clip), or one of FEATURES. rates: keep the copies at other
    speeds. spoilt: one of SPOILT adds such copies of the recordings. place: keeps what was heard.
    Raises: ValueError for unknown names, and when the sound is asked for and there is none.
    """
    kept = [one for one in data.utterances if rates or one.name == one.clip]
    if spoilt:
        if spoilt not in SPOILT:
            raise ValueError(f"spoilt must be one of {', '.join(SPOILT)}, got {spoilt!r}")
        kept += [
            replace(one, name=one.clip + spoilt) for one in data.utterances if one.name == one.clip
        ]
    if features == "corpus" and not spoilt:
        return kept
    if features.startswith("log-mel") and not spoilt:
        mel = {"log-mel": lambda mel: mel, "log-mel, deltas": _with_deltas}
        if features not in mel:
            raise ValueError(f"features must be one of {_names()}, got {features!r}")
        return [_with_features(one, features, mel[features](one.speech.mel)) for one in kept]
    layers = FEATURES.get("hama block 3" if features == "corpus" else features)
    if layers is None:
        raise ValueError(f"features must be one of {_names()}, got {features!r}")
    heard = _layers(data, config, kept, place)
    return [
        _with_features(one, features, np.concatenate([found[name] for name in layers], axis=1))
        for one, found in zip(kept, heard, strict=True)
    ]


def _names() -> str:
    return ", ".join(["corpus", "log-mel", "log-mel, deltas", *FEATURES])


def _with_features(one: Utterance, encoder: str, features: np.ndarray) -> Utterance:
    return replace(one, speech=replace(one.speech, features=features, encoder=encoder))


def _with_deltas(mel: Float[np.ndarray, "s 80"]) -> Float[np.ndarray, "s 240"]:
    """Log-mel, its slope and the slope's slope; each channel with mean 0 and deviation 1."""
    slope = np.gradient(mel, axis=0)
    values = np.concatenate([mel, slope, np.gradient(slope, axis=0)], axis=1)
    return ((values - values.mean(0)) / (values.std(0) + 1e-3)).astype(np.float32)


def _layers(
    data: Corpus, config: CorpusConfig, wanted: list[Utterance], place: Path
) -> Iterator[dict[str, np.ndarray]]:
    """What the Conformer's layers say to each utterance; kept in files, one an utterance."""
    if data.folder is None:
        raise ValueError("a corpus in memory has no sound: only its own features can be used")
    paths = {job.name: job.path for job in clip_jobs(config, data.folder)}
    place.mkdir(parents=True, exist_ok=True)
    for one in live.progress(wanted, "listening"):
        file = place / f"{one.name.replace('/', '+')}.npz"
        if not file.exists():
            layers = hama_layers(_sound(one, paths[one.clip], config, data))
            fitted = {name: _fit(steps, 2 * len(one)) for name, steps in layers.items()}
            with replacing(file) as partial:
                np.savez(partial, **fitted)
        yield {name: steps.astype(np.float32) for name, steps in read_npz(file).items()}


def _sound(one: Utterance, path: Path, config: CorpusConfig, data: Corpus) -> np.ndarray:
    """The sound of one utterance as the corpus heard it: in step, at its speed, spoilt."""
    audio = clip.sound_of(path)
    facts = data.facts[one.clip]
    audio = audio[: round((config.max_s + 1) * clip.SAMPLE_RATE)]
    audio = clip.in_step(audio, facts["offset_s"]) if facts["offset_corrected"] else audio
    suffix = one.name[len(one.clip) :]
    if suffix.startswith("@"):
        return at_speed(audio, np.zeros((len(one) * 2, 68, 3), np.float32), float(suffix[1:]))[0]
    return SPOILT[suffix](audio) if suffix else audio


def _fit(steps: np.ndarray, n: int) -> np.ndarray:
    """Exactly n steps, in half precision: cut, or the last one repeated."""
    last = np.repeat(steps[-1:], max(0, n - len(steps)), axis=0)
    return np.concatenate([steps[:n], last]).astype(np.float16)
