"""Batches: utterances -> random, masked pieces of speech and motion, as a network wants them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from geneface_kit.person.corpus.manifest import CorpusConfig
from geneface_kit.person.corpus.store import Utterance


@dataclass(frozen=True)
class Displacement:
    """Landmarks minus a mean face, in network units; computed for the frames that are asked for, so
    that the motion of a corpus takes no memory: a slice gives (n, 204), `[:]` the whole."""

    landmarks: Float[np.ndarray, "t 68 3"]
    mean: Float[np.ndarray, "68 3"]
    unit: float

    def __getitem__(self, frames: slice) -> Float[np.ndarray, "_ 204"]:
        moved = (self.landmarks[frames] - self.mean) / self.unit
        return moved.reshape(-1, 204).astype(np.float32)


Track = Displacement | Float[np.ndarray, "_ 204"]  # motion of an utterance, network units


@dataclass(frozen=True)
class Sequences:
    """A padded batch: b pieces of t frames, t a multiple of 4, s = 2t. f0: Hz, 0 unvoiced; motion:
    network units; mask: False on padding; clips: which clip each piece is from."""

    speech: Float[Tensor, "b s c"]
    f0: Float[Tensor, "b s"]
    motion: Float[Tensor, "b t 204"]
    mask: Bool[Tensor, "b t"]
    clips: Int[Tensor, " b"]


def displacements(utterances: Sequence[Utterance], config: CorpusConfig) -> list[Displacement]:
    """Motion targets of each utterance, in network units: landmarks minus the mean of that speaker,
    so that the generator learns motion and not faces; without remove_identity minus the corpus'.

    Raises: ValueError when landmarks are of another unit, see `check_unit`.
    """
    keys = [one.speaker if config.remove_identity else "" for one in utterances]
    pairs, means = list(zip(keys, utterances, strict=True)), {}
    for key in dict.fromkeys(keys):
        means[key] = _mean([one.landmarks for own, one in pairs if own == key]).astype(np.float32)
        check_unit(means[key], key or "the corpus")
    return [Displacement(one.landmarks, means[key], config.unit) for key, one in pairs]


def check_unit(face: Float[np.ndarray, "68 3"], name: str) -> None:
    """Raises ValueError when a mean face is not in inter-ocular distances: outer eye corners (36
    and 45) that are 0.5 to 2 apart pass."""
    apart = float(np.linalg.norm(face[45] - face[36]))
    if not 0.5 < apart < 2:
        raise ValueError(
            f"the landmarks of {name} are in another unit: its outer eye corners are {apart:.3g} "
            "apart, and must be 1 (inter-ocular distances); divide them by that distance"
        )


def feature_statistics(utterances: Sequence[Utterance]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each speech channel over all steps of the utterances."""
    heard = [utterance.speech.features for utterance in utterances]
    mean = _mean(heard)
    squares = sum(((features - mean) ** 2).sum(0) for features in heard)
    std = np.sqrt(squares / max(1, sum(map(len, heard)) - 1))
    return torch.from_numpy(mean).float(), torch.from_numpy(std).float()


def _mean(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of all rows, in double precision."""
    return sum(part.sum(0, dtype=np.float64) for part in parts) / sum(map(len, parts))


def draw_batch(
    utterances: Sequence[Utterance],
    motions: Sequence[Track],
    *,
    size: int,
    frames: int,
    generator: torch.Generator,
) -> Sequences:
    """Random pieces of at most `frames` frames; long clips are drawn more often, by the root of
    their length, so that few do not outweigh many short ones (ours). A shorter clip is cut to a
    multiple of 4 and padded; the mask says where."""
    lengths = torch.tensor([len(utterance) for utterance in utterances], dtype=torch.float32)
    picks = torch.multinomial(lengths.sqrt(), size, replacement=True, generator=generator).tolist()
    pieces = []
    for pick in picks:
        one = utterances[pick]
        length = min(len(one) // 4 * 4, frames)
        start = int(torch.randint(len(one) - length + 1, (1,), generator=generator))
        part = slice(start, start + length)
        heard = one.speech.part(part)
        pieces.append((heard.features, heard.f0, motions[pick][part], np.ones(length, bool)))
    padded = (
        pad_sequence([torch.from_numpy(np.array(one)) for one in kind], batch_first=True)
        for kind in zip(*pieces, strict=True)
    )
    _, clips = np.unique([one.clip for one in utterances], return_inverse=True)
    return Sequences(*padded, torch.from_numpy(clips)[picks])
