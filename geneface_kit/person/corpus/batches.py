"""Batches: utterances -> random, masked pieces of speech and motion, as a network wants them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

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
    that the motion of a corpus takes no memory: a slice gives (n, 204), np.asarray the whole."""

    landmarks: Float[np.ndarray, "t 68 3"]
    mean: Float[np.ndarray, "68 3"]
    unit: float

    def __len__(self) -> int:
        return len(self.landmarks)

    def __getitem__(self, frames: slice) -> Float[np.ndarray, "_ 204"]:
        moved = (self.landmarks[frames] - self.mean) / self.unit
        return moved.reshape(-1, 204).astype(np.float32)

    def __array__(self, dtype: np.dtype | None = None) -> Float[np.ndarray, "t 204"]:
        return self[:] if dtype is None else self[:].astype(dtype)


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

    def each(self, change: Callable[[Tensor], Tensor]) -> "Sequences":
        """The batch with every tensor changed: moved to a device, or cut to some rows."""
        return Sequences(*(change(getattr(self, field.name)) for field in fields(self)))


def displacements(utterances: Sequence[Utterance], config: CorpusConfig) -> list[Displacement]:
    """Motion targets of each utterance, in network units.

    remove_identity: landmarks minus the mean of that speaker, so that the generator learns motion
    and not faces; False subtracts the corpus' mean, as the official code.
    Raises: ValueError when landmarks are of another unit, see `check_unit`.
    """
    faces: dict[str, list[np.ndarray]] = {}
    keys = [utterance.speaker if config.remove_identity else "" for utterance in utterances]
    for key, utterance in zip(keys, utterances, strict=True):
        faces.setdefault(key, []).append(utterance.landmarks)
    means = {key: _mean(parts).astype(np.float32) for key, parts in faces.items()}
    for key, mean in means.items():
        check_unit(mean, key or "the corpus")
    pairs = zip(keys, utterances, strict=True)
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
    features, f0, motion = [], [], []
    for pick in picks:
        length = min(len(utterances[pick]) // 4 * 4, frames)
        last = len(utterances[pick]) - length
        start = int(torch.randint(last + 1, (1,), generator=generator))
        steps = slice(2 * start, 2 * (start + length))
        features.append(utterances[pick].speech.features[steps])
        f0.append(utterances[pick].speech.f0[steps])
        motion.append(motions[pick][start : start + length])
    kept = torch.tensor([len(piece) for piece in motion])
    names = sorted({utterance.clip for utterance in utterances})

    def padded(pieces: list[np.ndarray]) -> Tensor:
        parts = [torch.from_numpy(np.array(piece, np.float32)) for piece in pieces]
        return pad_sequence(parts, batch_first=True)

    mask = torch.arange(int(kept.max()))[None] < kept[:, None]
    clips = torch.tensor([names.index(utterances[pick].clip) for pick in picks])
    return Sequences(padded(features), padded(f0), padded(motion), mask, clips)
