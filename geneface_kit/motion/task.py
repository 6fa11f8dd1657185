"""Training: the sync expert, then the generator, scored on speakers that are held out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from geneface_kit.motion import sync
from geneface_kit.motion.config import MotionSettings
from geneface_kit.motion.vae import (
    MotionVAE,
    continuity,
    kl_divergence,
    masked_mse,
    score_motion,
    sync_of,
)
from geneface_kit.motion.wavenet import STRIDE
from geneface_kit.motion.weights import Motion
from geneface_kit.person import corpus
from geneface_kit.person.corpus import Sequences
from geneface_kit.person.mouth import LIPS
from geneface_kit.runs.fitting import Task, Team, fit

__all__ = ["MotionTask", "cross_validate", "mouth_weights", "train"]

Part = tuple[Sequence[corpus.Utterance], Sequence[corpus.Track]]
"""Utterances and their motions in network units."""


def train(
    data: corpus.Corpus,
    held_out: Sequence[str],
    settings: MotionSettings,
    folder: Path,
    generator: torch.Generator,
    *,
    fabric: Any = None,
) -> tuple[Motion, dict[str, float]]:
    """Trains the sync expert, then the generator; returns them with their held-out measures.

    held_out: speakers that only validate. folder: receives histories and checkpoints.
    fabric: see `fit`. On CUDA networks run in bfloat16 under autocast, weights and losses stay
    float32; on a CPU all is float32. Not yet run on CUDA.
    """
    config, device = settings.motion, Team(fabric).device
    motions = corpus.displacements(data.utterances, settings.corpus)
    train_part, held_part = _split(data.utterances, motions, held_out)
    channels = train_part[0][0].speech.features.shape[1]
    statistics = corpus.feature_statistics(train_part[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        vae = MotionVAE(channels, config)
        width, dropout = settings.sync.width, settings.sync.dropout
        expert = sync.SyncExpert(channels, width=width, dropout=dropout)
        for network in (vae, expert):
            network.standardise.take(*statistics)
            network.to(device)
        sync_task = sync.SyncTask(expert, train_part, held_part, settings.sync)
        steps = settings.sync.steps
        every = max(1, steps // 10)
        history = fit(
            sync_task, folder, name="sync", steps=steps, generator=generator,
            validate_every=every, fabric=fabric,
        )  # fmt: skip
        scores = _last(history, "sync_")
        expert.eval().requires_grad_(False)
        task = MotionTask(vae, expert, train_part, held_part, settings)
        every = max(1, config.steps // 10)
        history = fit(
            task, folder, name="motion", steps=config.steps, generator=generator,
            validate_every=every, fabric=fabric,
        )  # fmt: skip
    scores |= _last(history, "")
    ratio = scores.get("variance_ratio", 1.0)
    vae.amplitude.fill_(config.amplitude or min(2.0, max(1.0, ratio**-0.5)))
    scores["amplitude"] = float(vae.amplitude)
    for network in (vae, expert):
        network.eval().requires_grad_(False).cpu()
    return Motion(vae, expert, settings.corpus.encoder, settings.corpus.unit), scores


def cross_validate(
    data: corpus.Corpus,
    settings: MotionSettings,
    folder: Path,
    generator: torch.Generator,
    n_folds: int,
) -> dict[str, dict[str, float]]:
    """Held-out measures of every clip: clip -> measures, each from a generator that never heard
    its speaker."""
    rows = {}
    for index, speakers in enumerate(corpus.folds(data.speakers, n_folds)):
        place = folder / f"fold{index}"
        place.mkdir(parents=True, exist_ok=True)
        motion, scores = train(data, speakers, settings, place, generator)
        motions = corpus.displacements(data.utterances, settings.corpus)
        for utterance, true in zip(*_split(data.utterances, motions, speakers)[1], strict=True):
            measures = score_motion(motion.vae, [utterance], [true])
            rows[utterance.name] = measures | {"amplitude": scores["amplitude"]}
    return rows


class MotionTask(Task):
    """Trains a generator: reconstruction, continuity, KL and, once it makes sense, sync.

    expert: the frozen sync expert, None without the sync loss. part, held_out: what trains and
    what validates. Several processes share the pieces of a batch.
    """

    shares = True

    def __init__(
        self,
        vae: MotionVAE,
        expert: sync.SyncExpert | None,
        part: Part,
        held_out: Part,
        settings: MotionSettings,
    ) -> None:
        config = settings.motion
        self.vae, self.expert, self.config = vae, expert, config
        self.n_windows = settings.sync.pairs
        self.part, self.held_out = part, held_out
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
            *self.part, size=config.batch, frames=config.frames, generator=generator
        )
        losses = self.losses(batch, generator)
        total = sum(self.weights()[name] * loss for name, loss in losses.items())
        self.team.update(self.adam, self.vae, total)
        return {name: loss.item() for name, loss in losses.items()} | {"total": total.item()}

    def weights(self) -> dict[str, float]:
        """The weight in force of each loss; the sync loss waits for its switch."""
        config = self.config
        sync_weight = config.sync_weight if self.sync_on else 0.0
        weights = {"mse": 1.0, "continuity": config.continuity_weight, "kl": config.kl_weight}
        return weights | {"sync": sync_weight}

    def losses(self, batch: Sequences, generator: torch.Generator) -> dict[str, Tensor]:
        """Every loss whose weight is not 0, unweighted, over the batch of all processes."""
        team, active = self.team, self.weights()
        device = self.vae.amplitude.device
        batch = batch.each(lambda values: values.to(device))
        slow_mask = batch.mask[:, None, ::STRIDE].float()
        noise_size = (len(slow_mask), self.vae.latent, slow_mask.shape[2])
        noise = torch.randn(noise_size, generator=generator).to(device)
        with team.autocast():
            outputs = self._outputs(batch.each(team.part), team.part(noise), prior=active["kl"] > 0)
        predicted, z, mean, log_std, prior = (team.whole(output) for output in outputs)
        compared = (predicted, batch.motion, batch.mask, self.weight.to(device))
        losses = {"mse": masked_mse(*compared)}
        if active["continuity"]:
            losses["continuity"] = continuity(*compared)
        if active["kl"]:
            losses["kl"] = kl_divergence(z, prior, mean, log_std, slow_mask)
        if active["sync"]:
            losses["sync"] = self._sync(batch, predicted, generator)
        return losses

    def _outputs(self, batch: Sequences, noise: Tensor, *, prior: bool) -> tuple[Tensor, ...]:
        """Motion, the latent draw, its mean and log std, and its image under the flow if asked."""
        vae = self.vae
        condition, slow = vae.condition(batch.speech, batch.f0)
        slow_mask = batch.mask[:, None, ::STRIDE].float()
        mean, log_std = vae.posterior(batch.motion.transpose(1, 2), slow_mask, slow)
        z = mean + noise * torch.exp(log_std)
        predicted = vae.decode(z, batch.mask, condition)
        return predicted, z, mean, log_std, vae.flow(z, slow_mask, slow) if prior else z

    def validate(self, index: int) -> dict[str, float]:
        """Measures of held-out speakers at temperature 0, and the switch of the sync loss.

        The switch looks at held-out speakers, or without any at the first training clips.
        """
        measures = score_motion(self.vae, *self.held_out) if self.held_out[0] else {}
        if self.config.sync_weight:
            judged = self.held_out if self.held_out[0] else [part[:4] for part in self.part]
            measures["held_out_sync"] = sync_of(self.vae, self.expert, judged[0], self.n_windows)
            self.sync_on = self.sync_on or measures["held_out_sync"] <= self.config.sync_below
        return measures

    def state(self) -> dict[str, Tensor]:
        """Whether the sync loss is on."""
        return {"sync_on": torch.tensor([int(self.sync_on)])}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Takes the switch back."""
        self.sync_on = bool(state["sync_on"].item())

    def _sync(self, batch: Sequences, predicted: Tensor, generator: torch.Generator) -> Tensor:
        return sync.judge(
            self.expert, batch.speech, predicted, batch.mask, self.n_windows, generator
        )


def mouth_weights(weight: float) -> Float[Tensor, " 204"]:
    """Error weights of the coordinates: `weight` on lips and lower jaw (4-12), 1 elsewhere."""
    weights = torch.ones(68)
    weights[4:13] = weights[LIPS] = weight
    return weights.repeat_interleave(3)


def _split(
    utterances: Sequence[corpus.Utterance],
    motions: Sequence[corpus.Track],
    held_out: Sequence[str],
) -> tuple[Part, Part]:
    """What trains (every copy) and what validates (only recordings as they are)."""
    pairs = list(zip(utterances, motions, strict=True))
    train_pairs = [pair for pair in pairs if pair[0].speaker not in held_out]
    held_pairs = [
        pair for pair in pairs if pair[0].speaker in held_out and pair[0].name == pair[0].clip
    ]
    if not train_pairs:
        raise ValueError("every speaker is held out; use a corpus of more speakers")
    return tuple(  # type: ignore[return-value]
        ([pair[0] for pair in part], [pair[1] for pair in part])
        for part in (train_pairs, held_pairs)
    )


def _last(history: Any, prefix: str) -> dict[str, float]:
    """The last row of a history, without its step."""
    return {prefix + name: value for name, value in history.rows[-1].items() if name != "step"}
