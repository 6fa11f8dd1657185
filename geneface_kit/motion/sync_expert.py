"""Sync expert: do these lips belong to this sound? Trained first, then frozen; gives L_sync.

A mouth window is 5 frames of the lips, a speech window the 10 feature steps beside it. The score is
the cosine of two embeddings, in [0, 1] (arXiv:2301.13430, sec. 3.2; Prajwal et al., 2020).
"""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from geneface_kit.motion.losses import sync_expert_loss, sync_loss
from geneface_kit.person.corpus import Sequences, Track, Utterance, draw_batch
from geneface_kit.person.mouth import LIPS
from geneface_kit.person.speech import Speech
from geneface_kit.runs.ranges import Count, Positive, Range, Share
from geneface_kit.runs.training import Task

Part = tuple[Sequence[Utterance], Sequence[Track]]  # utterances and their motions in network units
Moved = Float[Tensor, "_ 204"]
HeardWindows, MouthWindows = Float[Tensor, "n 10 c"], Float[Tensor, "n 5 60"]
WINDOW = 5  # frames of a mouth window; a speech window has twice as many steps (code)
PIECES, PIECE_FRAMES = 32, 100  # of a batch: 4 s, long enough for negatives "elsewhere"
OTHER_CLIP, SAME_CLIP = 0.25, 0.375
"""Shares of the negatives: from another clip (official intention), from elsewhere in the same
clip; the rest is shifted."""
SHIFT_MIN, SHIFT_MAX = 2, 5  # frames, smallest and largest shift of a shifted negative (code)


@dataclass(frozen=True)
class SyncConfig:
    """Settings of the sync expert; the defaults are the smoke profile's."""

    width: Annotated[int, Range(2)] = 32  # channels of the first convolutions; official 128
    steps: Count = 60  # updates
    pairs: Annotated[int, Range(2)] = 128  # pairs a step; official 1024
    lr: Positive = 1e-3  # Adam, cosine to 0; official 5e-4
    dropout: Share = 0.2  # on the speech features; ours, 0 in the official code


class Standardise(nn.Module):
    """Features minus their mean, over their standard deviation, both of a corpus (ours; mean 0 and
    std 1, as at first, feed them as they are)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def take(self, mean: Float[Tensor, " c"], std: Float[Tensor, " c"]) -> None:
        """Takes mean and standard deviation; a channel that never changes is not blown up."""
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=1e-3))

    def forward(self, features: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        return (features - self.mean) / self.std


class ConvBlock(nn.Module):
    """Convolution (a kernel of 3 with padding 1, unless the options say otherwise), batch norm,
    with `residual` the input again, ReLU (leaky with a slope)."""

    def __init__(
        self, enter: int, leave: int, *, residual: bool = False, slope: float = 0.0, **options: int
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(enter, leave, **{"kernel_size": 3, "padding": 1} | options)
        self.norm = nn.BatchNorm1d(leave)
        self.residual, self.slope = residual, slope

    def forward(self, x: Float[Tensor, "n c t"]) -> Float[Tensor, "n d u"]:
        y = self.norm(self.convolution(x))
        y = y + x if self.residual else y
        return nn.functional.leaky_relu(y, self.slope) if self.slope else torch.relu(y)


class SyncExpert(nn.Module):
    """Two towers of 13 blocks; sizes as in the official code when width is 128. speech: channels of
    the features; width: of the first blocks."""

    def __init__(self, speech: int, *, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.width = width
        self.standardise = Standardise(speech)
        self.dropout = nn.Dropout1d(dropout)
        self.speech_tower = _tower(speech, width, width, (2, 2))
        self.mouth_tower = _tower(3 * 20, 3 * width // 4, width, (2, 1))

    def embed_speech(self, windows: HeardWindows) -> Float[Tensor, "n d"]:
        """Unit embeddings of speech windows."""
        x = self.speech_tower(self.dropout(self.standardise(windows).transpose(1, 2)))
        return nn.functional.normalize(x.flatten(1), dim=1)

    def embed_mouth(self, windows: MouthWindows) -> Float[Tensor, "n d"]:
        """Unit embeddings of mouth windows."""
        return nn.functional.normalize(self.mouth_tower(windows.transpose(1, 2)).flatten(1), dim=1)

    def forward(self, speech: HeardWindows, mouth: MouthWindows) -> Float[Tensor, " n"]:
        """Cosine of each pair, in [0, 1]: both towers end in a ReLU."""
        return (self.embed_speech(speech) * self.embed_mouth(mouth)).sum(1)

    def sync_loss(
        self,
        speech: Float[Tensor, "b s c"],
        motion: Float[Tensor, "b t 204"],
        n_windows: int,
        generator: torch.Generator,
        mask: Bool[Tensor, "b t"] | None = None,
    ) -> Float[Tensor, ""]:
        """`losses.sync_loss` of generated motion, over random windows of unmasked frames."""
        frames = torch.full((len(motion),), motion.shape[1]) if mask is None else mask.sum(1).cpu()
        starts = (frames - WINDOW + 1).clamp(min=1)
        piece = (torch.rand(n_windows, generator=generator) * len(starts)).long()
        start = (torch.rand(n_windows, generator=generator) * starts[piece]).long()
        heard = _windows(speech, piece, 2 * start, 2 * WINDOW)
        return sync_loss(self(heard, _windows(lips(motion), piece, start, WINDOW)))

    def sync_loss_of_clips(
        self, speeches: Sequence[Speech], motions: Iterable[Moved], n_windows: int, seed: int
    ) -> float:
        """Mean `sync_loss` of generated motion of whole clips, the same windows every time."""
        generator, device = torch.Generator().manual_seed(seed), self.standardise.mean.device
        losses = []
        for speech, motion in zip(speeches, motions, strict=True):
            heard = torch.from_numpy(speech.features).float()
            clip = (one[None].to(device) for one in (heard, motion))
            losses.append(self.sync_loss(*clip, n_windows, generator).item())
        return float(np.mean(losses))


def _tower(enter: int, first: int, width: int, strides: tuple[int, int]) -> nn.Sequential:
    """The 13 blocks: `strides` are those of blocks 4 and 7."""
    w, w2, w4 = width, 2 * width, 4 * width
    return nn.Sequential(
        ConvBlock(enter, first),
        ConvBlock(first, w),
        *(ConvBlock(w, w, residual=True) for _ in range(2)),
        ConvBlock(w, w2, stride=strides[0]),
        *(ConvBlock(w2, w2, residual=True) for _ in range(2)),
        ConvBlock(w2, w4, stride=strides[1]),
        *(ConvBlock(w4, w4, residual=True) for _ in range(2)),
        ConvBlock(w4, w4),
        ConvBlock(w4, w4, padding=0),
        ConvBlock(w4, w4, kernel_size=1, padding=0),
    )


class Pairs(NamedTuple):
    """Speech and mouth windows and whether they belong together; kind: 0 in sync, 1 another clip, 2
    elsewhere in the same clip, 3 shifted by a few frames."""

    speech: HeardWindows
    mouth: MouthWindows
    label: Float[Tensor, " n"]
    kind: Int[Tensor, " n"]


def draw_pairs(batch: Sequences, n_pairs: int, generator: torch.Generator) -> Pairs:
    """Half the pairs in sync, half not, all inside the unmasked frames. In the official code no
    negative is of another clip, by a slip, and elsewhere may be one frame away."""
    starts = batch.mask.sum(1) - WINDOW + 1  # how many window starts each piece has
    if int(starts.min()) < 2 * SHIFT_MAX:
        raise ValueError(f"a piece is too short for shifts of {SHIFT_MAX} frames; use longer clips")
    uniform = functools.partial(torch.rand, n_pairs, generator=generator)
    piece = (uniform() * len(starts)).long()
    mouth_start = (uniform() * starts[piece]).long()
    share = 2 * uniform() - 1  # below 0: in sync
    kind = (share >= 0).long() + (share >= OTHER_CLIP) + (share >= OTHER_CLIP + SAME_CLIP)
    other = _other_piece(batch.clips, piece, uniform())
    kind[(kind == 1) & (other == piece)] = 2  # no other clip in this batch
    anywhere = (uniform() * starts[other]).long()
    elsewhere = _away(mouth_start, starts[piece], SHIFT_MIN, uniform())
    size = SHIFT_MIN + (uniform() * (SHIFT_MAX - SHIFT_MIN + 1)).long()
    size = torch.where(uniform() < 0.5, size, -size)
    outside = (mouth_start + size < 0) | (mouth_start + size >= starts[piece])
    shifted = mouth_start + torch.where(outside, -size, size)
    speech_start = torch.stack([mouth_start, anywhere, elsewhere, shifted])
    speech_start = speech_start.gather(0, kind[None])[0]
    speech_piece = torch.where(kind == 1, other, piece)
    return Pairs(
        speech=_windows(batch.speech, speech_piece, 2 * speech_start, 2 * WINDOW),
        mouth=_windows(lips(batch.motion), piece, mouth_start, WINDOW),
        label=(kind == 0).float(),
        kind=kind,
    )


def lips(motion: Float[Tensor, "b t 204"]) -> Float[Tensor, "b t 60"]:
    """The lips' 20 points of a flattened motion."""
    return motion.unflatten(2, (68, 3))[:, :, LIPS].flatten(2)


class SyncTask(Task):
    """Trains the sync expert on pairs of random pieces; held_out may be empty."""

    def __init__(self, expert: SyncExpert, train: Part, held_out: Part, config: SyncConfig) -> None:
        self.expert, self.config = expert, config
        self.train, self.held_out = train, held_out
        self.modules = {"sync": expert}
        self.adam = torch.optim.Adam(expert.parameters(), lr=config.lr)
        self.optimizers = {"sync": self.adam}

    def step(self, index: int, generator: torch.Generator) -> dict[str, float]:
        """One update; the learning rate falls to 0 along a cosine."""
        phase = math.pi * index / self.config.steps
        self.adam.param_groups[0]["lr"] = self.config.lr * 0.5 * (1 + math.cos(phase))
        loss, accuracy = self._judged(self.train, generator)
        self.update(self.expert, self.adam, loss)
        return {"loss": loss.item(), "accuracy": accuracy}

    def validate(self, index: int) -> dict[str, float]:
        """Loss and accuracy on held-out speakers, always on the same pairs."""
        if not self.held_out[0]:
            return {}
        loss, accuracy = self._judged(self.held_out, torch.Generator().manual_seed(0))
        return {"score": loss.item(), "held_out_accuracy": accuracy}

    def _judged(self, part: Part, generator: torch.Generator) -> tuple[Tensor, float]:
        """Loss and accuracy on random pairs of a part."""
        batch = draw_batch(*part, size=PIECES, frames=PIECE_FRAMES, generator=generator)
        device = next(self.expert.parameters()).device
        drawn = draw_pairs(batch, self.config.pairs, generator)
        speech, mouth, label, _ = (values.to(device) for values in drawn)
        cosine = self.expert(speech, mouth)
        accuracy = ((cosine > 0.5) == (label > 0.5)).float().mean().item()
        return sync_expert_loss(cosine, label), accuracy


def _other_piece(clips: Tensor, piece: Tensor, draw: Tensor) -> Tensor:
    """For each piece, a random piece of another clip; the piece itself when there is none."""
    foreign = clips[:, None] != clips[None]  # (pieces, pieces)
    count = foreign.sum(1)[piece]
    rank = (draw * count).long()
    order = torch.argsort(foreign.int(), dim=1, descending=True, stable=True)
    return torch.where(count > 0, order[piece, rank], piece)


def _away(start: Tensor, n_starts: Tensor, gap: int, draw: Tensor) -> Tensor:
    """A uniform start among [0, n_starts) at least `gap` frames from `start`."""
    low = (start - gap + 1).clamp(min=0)  # starts below `low` are allowed
    high = torch.minimum(start + gap, n_starts)  # starts from `high` on are allowed
    place = (draw * (low + n_starts - high)).long()
    return torch.where(place < low, place, place - low + high)


def _windows(values: Tensor, piece: Tensor, start: Tensor, length: int) -> Tensor:
    """values (b, t, c) -> (n, length, c) cut at (piece, start)."""
    steps = start[:, None] + torch.arange(length, device=start.device)
    return values[piece[:, None], steps]
