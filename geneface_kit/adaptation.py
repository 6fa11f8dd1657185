"""Adaptation: motion of any face -> landmarks of this person. Reads person/, motion/, corpus sound.

A post-net is trained against a critic so that motion for foreign speech looks like the person's
own, while lips stay in sync (GeneFace, sec. 3.3; method.md 4). Writes adaptation/.
"""

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from geneface_kit import corpus, motion, person, sync
from geneface_kit.fitting import Task, fit, load_weights, save_weights
from geneface_kit.postnet import Critic, PostNet
from geneface_kit.speech import Speech, mouth_shape
from geneface_kit.vae import generate

__all__ = [
    "CPU",
    "PAPER",
    "Adaptation",
    "AdaptationConfig",
    "AdaptationTask",
    "load",
    "make",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdaptationConfig:
    """Settings of the post-net's training; the defaults are the smoke profile's."""

    steps: int = 80  # updates; official 20,000
    lr: float = 5e-4  # RMSprop of the post-net (in force in the code, config says 1e-4)
    critic_lr: float = 1e-4  # RMSprop of the critic (code)
    warmup: int = 40  # updates of linear warm-up of the post-net; official 1,000
    decay: int = 250_000  # updates in which lr falls to a tenth (code)
    adversarial_weight: float = 0.85  # of fooling the critic (code)
    sync_weight: float = 0.1  # of the sync expert's loss on corpus speech (code)
    mse_weight: float = 0.5  # of the error on the person's own speech; ours, 0.05 in the code
    continuity_weight: float = 0.0  # of frame differences on the person's own speech (code: pitch)
    batch: int = 4  # pieces of corpus speech a step; official a whole batch of clips
    frames: int = 100  # frames of a piece, a multiple of 4
    temperature: float = 1.0  # of the generator for corpus speech (code)
    own_temperature: float = 0.0  # for the person's own speech; ours, 1 in the code blurs the mse
    sync_windows: int = 128  # windows a step; official 1,024
    validate_every: int = 20  # updates between two looks at the measures; official 1,000
    least_motion: float = 0.3  # variance ratio of the mouth below which the run has collapsed; ours


CPU = {"steps": 600, "warmup": 60, "validate_every": 50, "batch": 8, "sync_windows": 256}
PAPER = {
    "steps": 20_000,
    "warmup": 1000,
    "validate_every": 1000,
    "batch": 64,
    "own_temperature": 1.0,
    "mse_weight": 0.05,
    "sync_windows": 1024,
}


@dataclass(frozen=True)
class Adaptation:
    """A person's post-net. mean: the person's mean landmarks; unit: see `motion.Motion`."""

    postnet: PostNet
    mean: Float[np.ndarray, "68 3"]
    unit: float

    @torch.no_grad()
    def apply(
        self, displacements: Float[np.ndarray, "t 68 3"], speech: Speech | None = None
    ) -> Float[np.ndarray, "t 68 3"]:
        """This person's canonical landmarks for the generator's displacements.

        speech: not used by the plain post-net; the pitch variant will read its f0.
        """
        if displacements.ndim != 3 or displacements.shape[1:] != (68, 3):
            raise ValueError(f"displacements must be (t, 68, 3), got {displacements.shape}")
        flat = torch.from_numpy(np.ascontiguousarray(displacements / self.unit)).float()
        adapted = self.postnet(flat.reshape(1, -1, 204))[0].numpy()
        return self.mean + self.unit * adapted.reshape(-1, 68, 3)


def make(run: Any, settings: Any) -> None:
    """Trains the post-net of the run's person; keeps the best weights by the score's rule."""
    config = settings.adaptation
    who = person.load(run.parents["person"].folder)
    generator = motion.load(run.parents["motion"].folder)
    run.data_kind = who.data_kind
    if who.speech.encoder != generator.encoder:
        raise ValueError(
            f"{who.name} was prepared with {who.speech.encoder!r} features, the generator reads "
            f"{generator.encoder!r}; prepare the person again with that encoder"
        )
    foreign = corpus.speeches(settings.corpus) + [_speech_part(who.speech, 0, who.n_train)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=run.generator("init"))))
        task = AdaptationTask(generator, who, foreign, config)
        history = fit(
            task,
            run.folder,
            name="adaptation",
            steps=config.steps,
            generator=run.generator("train"),
            validate_every=config.validate_every,
            keep="best",
        )
    measures = task.validate(history.best_step) if history.rows else {}
    run.record("best_step", history.best_step)
    for name, value in measures.items():
        run.record(name, round(value, 5))
    if measures and measures["variance_ratio"] < config.least_motion:
        log.warning(
            "the mouth of %s moves %.0f %% of its own variance: the post-net has collapsed",
            who.name,
            100 * measures["variance_ratio"],
        )
    save_weights(
        run.folder / "adaptation.safetensors",
        task.postnet,
        kind="adaptation",
        encoder=generator.encoder,
        unit=repr(generator.unit),
        person=who.name,
    )
    _save_mean(run.folder / "landmark_mean.npy", task.mean)


def load(folder: Path) -> Adaptation:
    """The post-net of an adaptation run, with the person's mean landmarks."""
    postnet = PostNet()
    about = load_weights(folder / "adaptation.safetensors", postnet, kind="adaptation")
    postnet.eval().requires_grad_(False)
    mean = np.load(folder / "landmark_mean.npy", allow_pickle=False)
    return Adaptation(postnet, mean, float(about["unit"]))


class AdaptationTask(Task):
    """Post-net against critic: corpus speech must look like the person and stay in sync; the
    person's own speech must give the person's own motion.

    foreign: speech of the corpus, without faces.
    """

    def __init__(
        self,
        generator: motion.Motion,
        who: person.Person,
        foreign: Sequence[Speech],
        config: AdaptationConfig,
    ) -> None:
        self.generator, self.config = generator, config
        self.foreign = [speech for speech in foreign if len(speech) >= 2 * sync.WINDOW]
        self.postnet, self.critic = PostNet(), Critic()
        self.modules = {"postnet": self.postnet, "critic": self.critic}
        self.postnet_optimizer = torch.optim.RMSprop(self.postnet.parameters(), lr=config.lr)
        self.critic_optimizer = torch.optim.RMSprop(self.critic.parameters(), lr=config.critic_lr)
        self.optimizers = {"postnet": self.postnet_optimizer, "critic": self.critic_optimizer}
        self.mean = who.landmarks[: who.n_train].mean(0)
        displaced = (who.landmarks - self.mean) / generator.unit
        own = torch.from_numpy(displaced.reshape(-1, 204).astype(np.float32))
        self.own, self.own_held_out = own[: who.n_train], own[who.n_train :]
        self.own_speech = _speech_part(who.speech, 0, who.n_train)
        self.held_out_speech = _speech_part(who.speech, who.n_train, len(own))
        self.own_still = self._own_raw(self.own_speech)

    def step(self, index: int, generator: torch.Generator) -> dict[str, float]:
        """One update of the post-net, then one of the critic."""
        config = self.config
        warm = min(1.0, (index + 1) / max(1, config.warmup))
        group = self.postnet_optimizer.param_groups[0]
        group["lr"] = config.lr * warm * 0.1 ** (index / config.decay)
        losses, fake = self.losses(generator)
        weights = self.weights()
        total = sum((weights[name] * loss for name, loss in losses.items()), torch.zeros(()))
        if losses:
            _update(self.postnet_optimizer, self.postnet, total)
        measures = {name: loss.item() for name, loss in losses.items()}
        if config.adversarial_weight:
            score_fake, score_real = self.critic(fake.detach()), self.critic(self.own)
            critic = (score_fake**2).mean() + ((1 - score_real) ** 2).mean()
            _update(self.critic_optimizer, self.critic, critic)
            measures |= {
                "critic": critic.item(),
                "score_fake": score_fake.mean().item(),
                "score_real": score_real.mean().item(),
            }
        return measures | {"total": total.item()}

    def weights(self) -> dict[str, float]:
        """Name of each loss -> its weight."""
        config = self.config
        return {
            "adversarial": config.adversarial_weight,
            "sync": config.sync_weight,
            "mse": config.mse_weight,
            "continuity": config.continuity_weight,
        }

    def losses(self, generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
        """Every loss whose weight is not 0, unweighted, and the adapted corpus frames."""
        config, losses = self.config, {}
        speech, f0 = self._foreign_batch(generator)
        noise_size = (len(speech), self.generator.vae.latent, speech.shape[1] // 8)
        noise = config.temperature * torch.randn(noise_size, generator=generator)
        with torch.no_grad():
            raw = self._amplified(speech, f0, noise)
        fake = self.postnet(raw)
        if config.adversarial_weight:
            losses["adversarial"] = ((1 - self.critic(fake.flatten(0, 1))) ** 2).mean()
        if config.sync_weight:
            mask = torch.ones(fake.shape[:2], dtype=torch.bool)
            losses["sync"] = sync.judge(
                self.generator.expert, speech, fake, mask, config.sync_windows, generator
            )
        if config.mse_weight or config.continuity_weight:
            adapted = self._adapt_own(generator)
            error = adapted - self.own
            if config.mse_weight:
                losses["mse"] = (error**2).mean()
            if config.continuity_weight:
                losses["continuity"] = (torch.diff(error, dim=0) ** 2).mean()
        return losses, fake.flatten(0, 1)

    def validate(self, index: int) -> dict[str, float]:
        """How the post-net does, without randomness. The score adds what it must not lose:

        mse on the person's held-out frames and sync loss on corpus speech, each over its value
        without adaptation, and |ln| of the variance ratio of the mouth's opening.
        """
        generator = torch.Generator().manual_seed(0)
        speech, f0 = self._foreign_batch(generator)
        raw = self._amplified(
            speech, f0, torch.zeros(len(speech), self._latent, speech.shape[1] // 8)
        )
        before = self._measures(raw, self._own_raw(self.held_out_speech), speech)
        adapted = self._measures(
            self.postnet(raw), self.postnet(self._own_raw(self.held_out_speech)), speech
        )
        everywhere = self.postnet(self.own_still)
        ratio = _opening_variance(everywhere) / max(_opening_variance(self.own[None]), 1e-9)
        parts = {name: adapted[name] / max(before[name], 1e-9) for name in adapted}
        score = sum(parts.values()) + abs(math.log(max(ratio, 1e-6)))
        return {
            "score": score,
            "held_out_mse": adapted["mse"],
            "corpus_sync": adapted["sync"],
            "mse_over_raw": parts["mse"],
            "sync_over_raw": parts["sync"],
            "variance_ratio": ratio,
        }

    @property
    def _latent(self) -> int:
        return self.generator.vae.latent

    def _measures(
        self, corpus_motion: Tensor, own_motion: Tensor, speech: Tensor
    ) -> dict[str, float]:
        true = self.own_held_out
        mask = torch.ones(corpus_motion.shape[:2], dtype=torch.bool)
        fixed = torch.Generator().manual_seed(1)
        n_windows = self.config.sync_windows
        judged = sync.judge(self.generator.expert, speech, corpus_motion, mask, n_windows, fixed)
        return {"mse": ((own_motion[0] - true) ** 2).mean().item(), "sync": judged.item()}

    def _foreign_batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random pieces of corpus speech, all of one length: the shortest clip or `frames`."""
        config = self.config
        shortest = min(len(speech) for speech in self.foreign) // 8 * 8
        n_steps = min(2 * config.frames, shortest)
        lengths = torch.tensor([float(len(speech)) for speech in self.foreign])
        picks = torch.multinomial(lengths, config.batch, replacement=True, generator=generator)
        features, f0 = [], []
        for pick in picks.tolist():
            last = (len(self.foreign[pick]) - n_steps) // 2
            start = 2 * int(torch.randint(last + 1, (1,), generator=generator))
            features.append(self.foreign[pick].features[start : start + n_steps])
            f0.append(self.foreign[pick].f0[start : start + n_steps])
        return torch.from_numpy(np.stack(features)).float(), torch.from_numpy(np.stack(f0)).float()

    def _amplified(self, speech: Tensor, f0: Tensor, noise: Tensor) -> Tensor:
        vae = self.generator.vae
        return vae.amplitude * vae.sample(speech, f0, noise)

    def _own_raw(
        self, speech: Speech, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> Tensor:
        drawn = generate(self.generator.vae, speech, temperature=temperature, generator=generator)
        return torch.from_numpy(drawn)[None]

    def _adapt_own(self, generator: torch.Generator) -> Tensor:
        temperature = self.config.own_temperature
        raw = self.own_still
        if temperature:
            raw = self._own_raw(self.own_speech, temperature, generator)
        return self.postnet(raw)[0]


def _update(optimizer: torch.optim.Optimizer, network: nn.Module, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()


def _opening_variance(flat: Tensor) -> float:
    """Variance of the mouth's opening over all frames of (b, t, 204)."""
    return float(mouth_shape(flat.detach().numpy().reshape(-1, 68, 3))[:, 0].var())


def _speech_part(speech: Speech, start: int, stop: int) -> Speech:
    """The speech of frames [start, stop)."""
    steps = slice(2 * start, 2 * stop)
    return replace(
        speech, features=speech.features[steps], f0=speech.f0[steps], mel=speech.mel[steps]
    )


def _save_mean(path: Path, mean: np.ndarray) -> None:
    partial = path.with_name(f".{path.name}")
    np.save(partial, mean.astype(np.float32))
    os.replace(partial, path)
