"""Motion: speech -> landmarks of any face. Reads a corpus; writes motion/ (sync expert, generator).

The generator is GeneFace's VAE with a flow prior (sec. 3.2; method.md 3). It gives displacements
from a speaker's mean landmarks; `adaptation` makes them this person's own.
"""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from geneface_kit import corpus, sync
from geneface_kit.corpus import Sequences
from geneface_kit.fitting import Task, fit, load_weights, save_weights
from geneface_kit.speech import Speech
from geneface_kit.wavenet import MotionVAE, VAESizes

__all__ = [
    "CPU",
    "PAPER",
    "Motion",
    "MotionConfig",
    "MotionTask",
    "continuity",
    "kl_divergence",
    "load",
    "make",
    "masked_mse",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MotionConfig(VAESizes):
    """Settings of the generator besides its sizes; the defaults are the smoke profile's."""

    weights: str = "shipped"  # "shipped" takes the weights in the kit, "train" makes new ones
    steps: int = 150  # updates; official 40,000
    batch: int = 16  # pieces a step
    frames: int = 100  # frames of a piece, a multiple of 4; official whole clips
    lr: float = 1e-3  # Adam; official 5e-4
    warmup: int = 20  # updates of linear warm-up; official 1,000
    decay: int = 150  # updates in which lr falls to a tenth; official 250,000
    continuity_weight: float = 3.0  # of the frame-difference loss (code)
    kl_weight: float = 0.4  # of the KL divergence (code, LRS3)
    sync_weight: float = 0.01  # of the sync expert's loss (code)
    sync_below: float = 0.75  # validation sync loss that switches the sync loss on (code)
    sync_windows: int = 256  # windows a step for the sync loss; official 1,024
    mouth_weight: float = 1.0  # weight of lips and chin in the errors; 1 in the code
    held_out: int = 1  # every n-th speaker validates, 0 none; ours (the code splits clips)


CPU = {}
PAPER = {
    "weights": "train",
    "hidden": 256,
    "encoder_layers": 8,
    "flow_hidden": 64,
    "both_steps": False,
    "dropout": 0.0,
    "steps": 40_000,
    "batch": 64,
    "lr": 5e-4,
    "warmup": 1000,
    "decay": 250_000,
    "sync_windows": 1024,
}


def masked_mse(
    predicted: Float[Tensor, "b t m"],
    true: Float[Tensor, "b t m"],
    mask: Bool[Tensor, "b t"],
    weight: Float[Tensor, " m"],
) -> Float[Tensor, ""]:
    """Squared error over unmasked frames: sum / (frames * channels)."""
    error = weight * (predicted - true) ** 2 * mask[..., None]
    return error.sum() / (mask.sum() * predicted.shape[2])


def continuity(
    predicted: Float[Tensor, "b t m"],
    true: Float[Tensor, "b t m"],
    mask: Bool[Tensor, "b t"],
    weight: Float[Tensor, " m"],
) -> Float[Tensor, ""]:
    """Squared error of frame differences, plus that of frame 0, normalised like `masked_mse`."""
    start = torch.zeros_like(true[:, :1])
    difference = torch.diff(predicted, dim=1, prepend=start)
    wanted = torch.diff(true, dim=1, prepend=start)
    return masked_mse(difference, wanted, mask, weight)


def kl_divergence(
    z: Float[Tensor, "b z u"],
    prior: Float[Tensor, "b z u"],
    mean: Float[Tensor, "b z u"],
    log_std: Float[Tensor, "b z u"],
    mask: Float[Tensor, "b 1 u"],
) -> Float[Tensor, ""]:
    """Single-sample KL(q || p) per latent step and channel: log q(z) - log N(f(z); 0, 1).

    z: a draw from q = N(mean, exp(log_std)); prior: f(z), the flow's image (log-determinant 0).
    """
    posterior_log = -log_std - 0.5 * ((z - mean) * torch.exp(-log_std)) ** 2
    prior_log = -0.5 * prior**2
    return ((posterior_log - prior_log) * mask).sum() / mask.sum() / z.shape[1]


class MotionTask(Task):
    """Trains a generator: reconstruction, continuity, KL and, once it makes sense, sync.

    train, held_out: utterances and their motions in network units. expert: the frozen sync
    expert, or None when `sync_weight` is 0.
    """

    def __init__(self, vae, expert, train, held_out, config: MotionConfig) -> None:
        self.vae, self.expert, self.config = vae, expert, config
        self.train, self.held_out = train, held_out
        self.modules = {"motion": vae}
        self.adam = torch.optim.Adam(vae.parameters(), lr=config.lr)
        self.optimizers = {"motion": self.adam}
        self.sync_on = False
        self.weight = mouth_weights(config.mouth_weight)

    def step(self, index: int, generator: torch.Generator) -> dict[str, float]:
        """One update on random pieces."""
        config = self.config
        warm = min(1.0, (index + 1) / max(1, config.warmup))
        self.adam.param_groups[0]["lr"] = config.lr * warm * 0.1 ** (index / config.decay)
        batch = corpus.draw_batch(
            *self.train, size=config.batch, frames=config.frames, generator=generator
        )
        losses = self.losses(batch, generator)
        total = sum(self.weights()[name] * loss for name, loss in losses.items())
        self.adam.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
        self.adam.step()
        return {name: loss.item() for name, loss in losses.items()} | {"total": total.item()}

    def weights(self) -> dict[str, float]:
        """The weight in force of each loss; the sync loss waits for its switch."""
        config = self.config
        sync_weight = config.sync_weight if self.sync_on else 0.0
        weights = {"mse": 1.0, "continuity": config.continuity_weight, "kl": config.kl_weight}
        return weights | {"sync": sync_weight}

    def losses(self, batch: Sequences, generator: torch.Generator) -> dict[str, Tensor]:
        """Every loss whose weight is not 0, unweighted."""
        vae, active = self.vae, self.weights()
        condition, slow = vae.condition(batch.speech, batch.f0)
        slow_mask = batch.mask[:, None, :: vae.stride].float()
        mean, log_std = vae.posterior(batch.motion.transpose(1, 2), slow_mask, slow)
        noise = torch.randn(mean.shape, generator=generator)
        z = mean + noise * torch.exp(log_std)
        predicted = vae.decode(z, batch.mask, condition)
        compared = (predicted, batch.motion, batch.mask, self.weight)
        losses = {"mse": masked_mse(*compared)}
        if active["continuity"]:
            losses["continuity"] = continuity(*compared)
        if active["kl"]:
            prior = vae.flow(z, slow_mask, slow)
            losses["kl"] = kl_divergence(z, prior, mean, log_std, slow_mask)
        if active["sync"]:
            losses["sync"] = self._sync(batch, predicted, generator)
        return losses

    def validate(self, index: int) -> dict[str, float]:
        """Held-out speakers: correlation and variance of the mouth, error, sync loss.

        The score is 2 - r(opening) - r(width) of the motion at temperature 0.
        """
        measures = score_motion(self.vae, *self.held_out) if self.held_out[0] else {}
        if self.expert is not None and self.held_out[0] and not self.sync_on:
            measures["held_out_sync"] = self._held_out_sync()
            self.sync_on = measures["held_out_sync"] <= self.config.sync_below
        return measures

    def state(self) -> dict[str, Tensor]:
        """Whether the sync loss is on."""
        return {"sync_on": torch.tensor([int(self.sync_on)])}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Takes the switch back."""
        self.sync_on = bool(state["sync_on"].item())

    def _sync(self, batch: Sequences, predicted: Tensor, generator: torch.Generator) -> Tensor:
        return sync.judge(
            self.expert, batch.speech, predicted, batch.mask, self.config.sync_windows, generator
        )

    def _held_out_sync(self) -> float:
        utterances, motions = self.held_out
        generator = torch.Generator().manual_seed(0)
        losses = []
        for utterance, true in zip(utterances, motions, strict=True):
            predicted = torch.from_numpy(generate(self.vae, utterance.speech))[None]
            speech = torch.from_numpy(utterance.speech.features).float()[None]
            mask = torch.ones(1, predicted.shape[1], dtype=torch.bool)
            n_windows = self.config.sync_windows
            losses.append(
                float(sync.judge(self.expert, speech, predicted, mask, n_windows, generator))
            )
        return float(np.mean(losses))


@torch.no_grad()
def generate(
    vae: MotionVAE,
    speech: Speech,
    *,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> Float[np.ndarray, "t 204"]:
    """Motion in network units for speech of any length, s // 2 frames.

    Speech is padded to whole latent steps by repeating its last step, and the motion cut back.
    Temperature 0 takes the prior's mode and draws nothing.
    """
    n_frames = len(speech.features) // 2
    if n_frames < 1:
        raise ValueError(f"speech must have at least 2 steps, got {len(speech.features)}")
    n_latents = -(-n_frames // vae.stride)
    padded = speech.cut(n_latents * vae.stride)
    noise = torch.zeros(1, vae.latent, n_latents)
    if temperature > 0:
        if generator is None:
            raise ValueError("a temperature above 0 needs a generator")
        noise = temperature * torch.randn(noise.shape, generator=generator)
    features, f0 = (torch.from_numpy(part).float()[None] for part in (padded.features, padded.f0))
    return vae.sample(features, f0, noise)[0, :n_frames].numpy()


def mouth_opening(motion: Float[np.ndarray, "*t 204"]) -> Float[np.ndarray, "*t"]:
    """Height between the inner lips' midpoints (62 above 66)."""
    return motion[..., 3 * 62 + 1] - motion[..., 3 * 66 + 1]


def mouth_width(motion: Float[np.ndarray, "*t 204"]) -> Float[np.ndarray, "*t"]:
    """Distance of the mouth's corners along x (54 right of 48)."""
    return motion[..., 3 * 54] - motion[..., 3 * 48]


def score_motion(
    vae: MotionVAE,
    utterances: Sequence[corpus.Utterance],
    motions: Sequence[Float[np.ndarray, "_ 204"]],
    *,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> dict[str, float]:
    """Means over clips: Pearson r of mouth opening and width, variance ratio, lip error."""
    rows = []
    for utterance, true in zip(utterances, motions, strict=True):
        drawn = generate(vae, utterance.speech, temperature=temperature, generator=generator)
        pairs = [(f(drawn), f(true)) for f in (mouth_opening, mouth_width)]
        lip_error = np.linalg.norm((drawn - true).reshape(-1, 68, 3)[:, sync.LIPS], axis=-1)
        rows.append([*(_pearson(*pair) for pair in pairs)])
        rows[-1] += [pairs[0][0].var() / pairs[0][1].var(), lip_error.mean()]
    opening, width, ratio, error = (float(value) for value in np.mean(rows, axis=0))
    return {
        "score": 2 - opening - width,
        "r_opening": opening,
        "r_width": width,
        "variance_ratio": ratio,
        "lip_error": error,
    }


def mouth_weights(weight: float) -> Float[Tensor, " 204"]:
    """Error weights of the coordinates: `weight` on lips and lower jaw (4-12), 1 elsewhere."""
    weights = torch.ones(68)
    weights[4:13] = weights[sync.LIPS] = weight
    return weights.repeat_interleave(3)


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    spread = a.std() * b.std()
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0 else 0.0
