"""Training of stage 2: how a person's post-net is trained, measured, and kept from collapsing.

GeneFace (arXiv:2301.13430), sec. 3.3; the settings are `AdaptationConfig`'s.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geneface_kit.adaptation.losses import (
    MomentsLoss,
    adversarial_loss,
    discriminator_loss,
    mse_loss,
)
from geneface_kit.adaptation.postnet import BUILT_IN, Adapter, Discriminator, f0_of, postnet_class
from geneface_kit.metrics.formulas import frechet_distance
from geneface_kit.motion import stage as motion
from geneface_kit.motion.sync_expert import WINDOW
from geneface_kit.person import corpus
from geneface_kit.person import stage as person
from geneface_kit.person.clip import FPS
from geneface_kit.person.mouth import mouth_opening
from geneface_kit.person.speech import Speech
from geneface_kit.runs.ranges import Count, Named, Natural, NotNegative, Positive, Range
from geneface_kit.runs.training import Task, warmed_up

HELD_OUT = 0.2  # share at the end of every corpus recording that only validates (ours)
TRANSPORT_S, UNHEARD_S = 7200.0, 1200.0
"""Seconds of corpus speech that the transport is fitted to, and that is measured on, at most: so
memory and time do not grow with the corpus (ours)."""
POSTNET_REACH = 7  # frames that the post-net sees on both sides of one
DECAY = 250_000  # updates in which the post-net's learning rate falls to a tenth (code)
DISCRIMINATOR_LR = 1e-4  # learning rate of the discriminator's RMSprop (code)
LEAST_MOTION = 0.3  # variance ratio of the mouth below which a run has collapsed (ours)
PostNetClass = Annotated[str, Named((BUILT_IN,), "torch.nn:Module")]


@dataclass(frozen=True)
class AdaptationConfig:
    """Settings of the post-net's training; the defaults are the smoke profile's."""

    postnet: bool = True  # false leaves the transport alone (an ablation)
    postnet_class: PostNetClass = BUILT_IN  # an own one, see postnet.postnet_class
    steps: Count = 80  # updates; official 20,000
    lr: Positive = 5e-4  # RMSprop of the post-net (in force in the code, config says 1e-4)
    warmup: Natural = 40  # updates of linear warm-up of the post-net; official 1,000
    adversarial_weight: NotNegative = 0.85  # of fooling the discriminator (code)
    sync_weight: NotNegative = 0.1  # of the sync expert's loss on corpus speech (code)
    mse_weight: NotNegative = 0.3  # of the error on the person's own speech; ours, 0.05 in the code
    moments_weight: NotNegative = 0.1  # of mean and covariance on corpus speech, see Moments; ours
    pitch: bool = False  # the pitch variant: the post-net also hears f0 (official option)
    batch: Count = 4  # pieces of corpus speech a step; official a whole batch of clips
    frames: Annotated[int, Range(8, step=4)] = 100  # frames of a piece, a multiple of 4
    temperature: NotNegative = 0.2  # of the generator for corpus speech; ours, as in talk; code 1
    own_temperature: NotNegative = 0.0  # for the person's own speech; ours, 1 in the code blurs
    transport_noise: NotNegative = 0.01  # iod, see postnet.Transport; 0 = no transport (official)
    talk_temperature: NotNegative = 0.2  # of motion that is transported and measured, talk's (ours)
    sync_windows: Count = 128  # windows a step; official 1,024
    validate_every: Count = 20  # updates between two looks at the measures; official 1,000


class AdaptationTask(Task):
    """Post-net against discriminator: corpus speech (`foreign`) must look like the person and stay
    in sync; the person's own speech must give the person's own motion."""

    kept = ("ended", "n_collapsed", "best_step", "best_score", "best_weights")

    def __init__(
        self,
        generator: motion.Motion,
        who: person.Person,
        foreign: Sequence[Speech],
        config: AdaptationConfig,
    ) -> None:
        self.generator, self.config = generator, config
        self.own_speech = [who.speech.part(part) for part in who.stretches(0, who.n_train)]
        self.train_speech, self.unheard = _split([*foreign, *self.own_speech])
        if config.pitch and generator.vae.pitch is None:
            raise ValueError("adaptation.pitch needs a generator trained with motion.pitch=true")
        pitch = generator.vae.pitch.embedding if config.pitch else None
        extra = pitch.embedding_dim if pitch else 0
        postnet = postnet_class(config.postnet_class)(motion=204, extra=extra)
        self.adapter = Adapter(postnet, pitch, unit=generator.unit)
        self.discriminator = Discriminator()
        self.modules = {"adapter": self.adapter, "discriminator": self.discriminator}
        self.optimizers = {
            "postnet": torch.optim.RMSprop(postnet.parameters(), lr=config.lr),
            "discriminator": torch.optim.RMSprop(self.discriminator.parameters(), DISCRIMINATOR_LR),
        }
        mean = who.landmarks[: who.n_train].mean(0)
        corpus.check_unit(mean, who.name)
        self.adapter.mean.copy_(torch.from_numpy(mean))
        displaced = (who.landmarks - mean) / generator.unit
        own = torch.from_numpy(displaced.reshape(-1, 204).astype(np.float32))
        self.own, self.own_held_out = own[: who.n_train], own[who.n_train :]
        self.own_inside = _far_from_joints(who.spans, who.n_train)
        self.moments = MomentsLoss(self.own)
        self.held_out_speech = [who.speech.part(part) for part in who.stretches(who.n_train)]
        draw = torch.Generator().manual_seed(0)
        if config.transport_noise:
            heard = _at_most(TRANSPORT_S, self.train_speech)
            raw = (self._raw(one, config.talk_temperature, draw)[0] for one in heard)
            noise = config.transport_noise / generator.unit
            self.adapter.transport.fit(raw, self.own, noise=noise)
        self.unheard = _at_most(UNHEARD_S, self.unheard)
        self.own_still = [self._raw(one) for one in self.own_speech]
        self.own_held_out_still = [self._raw(one) for one in self.held_out_speech]
        self.unheard_raw = [self._raw(one, config.talk_temperature, draw) for one in self.unheard]
        self.before = self._measures(adapted=False)
        self.n_collapsed = 0
        self.best_step, self.best_score, self.best_weights = 0, math.inf, {}

    def step(self, index: int, generator: torch.Generator) -> dict[str, float]:
        """One update of the post-net, then one of the discriminator."""
        config, optimizer = self.config, self.optimizers["postnet"]
        rate = warmed_up(config.lr, index, warmup=config.warmup, decay=DECAY)
        optimizer.param_groups[0]["lr"] = rate
        losses, fake = self.losses(generator)
        weighted = (getattr(config, f"{name}_weight") * loss for name, loss in losses.items())
        total = sum(weighted, torch.zeros(()))
        if losses:
            self.update(self.adapter.postnet, optimizer, total)
        measures = {name: loss.item() for name, loss in losses.items()}
        if config.adversarial_weight:
            score_fake, score_real = self.discriminator(fake.detach()), self.discriminator(self.own)
            loss = discriminator_loss(score_fake, score_real)
            self.update(self.discriminator, self.optimizers["discriminator"], loss)
            measures |= {"discriminator": loss.item(), "score_fake": score_fake.mean().item()}
            measures["score_real"] = score_real.mean().item()
        return measures | {"total": total.item()}

    def losses(self, generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
        """Every loss whose weight, the setting NAME_weight, is not 0, unweighted; and the adapted
        corpus frames."""
        config, vae, losses = self.config, self.generator.vae, {}
        speech, f0 = self._foreign_batch(generator)
        noise_size = (len(speech), vae.latent, speech.shape[1] // 8)
        noise = config.temperature * torch.randn(noise_size, generator=generator)
        with torch.no_grad():
            raw = vae.sample(speech, f0, noise)
        fake = self.adapter(raw, f0)
        if config.adversarial_weight:
            losses["adversarial"] = adversarial_loss(self.discriminator(fake.flatten(0, 1)))
        if config.sync_weight:
            heard = (speech, fake, config.sync_windows, generator)
            losses["sync"] = self.generator.expert.sync_loss(*heard)
        if config.moments_weight:
            losses["moments"] = self.moments(fake.flatten(0, 1))
        if config.mse_weight:
            raw, inside = self.own_still, self.own_inside
            if config.own_temperature:
                raw = [self._raw(s, config.own_temperature, generator) for s in self.own_speech]
            # one pass, for the statistics of batch norms; what sees over a joint does not count
            f0 = torch.cat([f0_of(one) for one in self.own_speech], dim=1)
            adapted = self.adapter(torch.cat(raw, dim=1), f0)[0]
            losses["mse"] = mse_loss(adapted[inside], self.own[inside])
        return losses, fake.flatten(0, 1)

    def validate(self, index: int) -> dict[str, float]:
        """Four measures on what was not trained on, and the score that picks the weights: those of
        the lowest one are kept in `best_weights`.

        held_out_mse: on the person's held-out frames. corpus_sync: the sync expert's loss on
        held-out corpus speech. distance: Frechet distance of motion for that speech from the
        person's own. variance_ratio: variance of the mouth's opening over the person's own.
        score: the first three over their values without adaptation, plus |ln variance_ratio|.
        Motion that has lost its variance twice in a row ends the run: it has collapsed.
        """
        after, before = self._measures(adapted=True), self.before
        compared = ("held_out_mse", "corpus_sync", "distance")
        parts = [after[name] / max(before[name], 1e-9) for name in compared]
        spread = after.pop("spread") / max(before["spread"], 1e-9)
        self.n_collapsed = self.n_collapsed + 1 if spread < LEAST_MOTION else 0
        if self.n_collapsed == 2:
            self.ended = (
                f"collapsed: sounds move the mouth {100 * spread:.0f} % as much as before the "
                "adaptation; lower adaptation.mse_weight or adaptation.lr"
            )
        score = sum(parts) + abs(math.log(max(after["variance_ratio"], 1e-6)))
        if score < self.best_score:
            weights = {key: value.clone() for key, value in self.adapter.state_dict().items()}
            self.best_step, self.best_score, self.best_weights = index + 1, score, weights
        return {"score": score, **after, "spread_over_raw": spread}

    def predictions(self, *, adapted: bool) -> list[Float[Tensor, "t 204"]]:
        """Motion for the held-out corpus speech, network units, before or after adaptation."""
        return self._moved(self.unheard_raw, self.unheard, adapted)

    def held_out(self, *, adapted: bool) -> Float[Tensor, "t 204"]:
        """Motion for the person's own held-out sound, network units, before or after adaptation."""
        return torch.cat(self._moved(self.own_held_out_still, self.held_out_speech, adapted))

    @torch.no_grad()
    def _moved(
        self, raw: Sequence[Tensor], heard: Sequence[Speech], adapted: bool
    ) -> list[Float[Tensor, "_ 204"]]:
        pairs = zip(raw, heard, strict=True)
        return [(self.adapter(r, f0_of(h)) if adapted else r)[0] for r, h in pairs]

    @torch.no_grad()
    def _measures(self, *, adapted: bool) -> dict[str, float]:
        still = torch.cat(self._moved(self.own_still, self.own_speech, adapted))
        moved = self.predictions(adapted=adapted)
        share, expert = max(8, self.config.sync_windows // len(moved)), self.generator.expert
        frames = torch.cat(moved)
        opened = [float(opening_of(motion).var()) for motion in (still, self.own, frames)]
        return {
            "held_out_mse": mse_loss(self.held_out(adapted=adapted), self.own_held_out).item(),
            "corpus_sync": expert.sync_loss_of_clips(self.unheard, moved, share, seed=1),
            "distance": frechet_distance(frames.numpy(), self.own.numpy()),
            "variance_ratio": opened[0] / max(opened[1], 1e-9),
            "spread": opened[2],
        }

    def _foreign_batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random pieces of corpus speech, all of one length: `frames`, or less if more than a tenth
        of the speech lies in shorter recordings, so that those can be drawn."""
        config = self.config
        n_steps = min(2 * config.frames, _common_length(self.train_speech) // 8 * 8)
        speeches = [speech for speech in self.train_speech if len(speech) >= n_steps]
        lengths = torch.tensor([float(len(speech)) for speech in speeches])
        picks = torch.multinomial(lengths, config.batch, replacement=True, generator=generator)
        features, f0 = [], []
        for pick in picks.tolist():
            last = (len(speeches[pick]) - n_steps) // 2
            start = 2 * int(torch.randint(last + 1, (1,), generator=generator))
            features.append(speeches[pick].features[start : start + n_steps])
            f0.append(speeches[pick].f0[start : start + n_steps])
        return torch.from_numpy(np.stack(features)).float(), torch.from_numpy(np.stack(f0)).float()

    def _raw(
        self, speech: Speech, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> Float[Tensor, "1 t 204"]:
        """The generator's motion as it is, network units."""
        vae = self.generator.vae
        drawn = vae.generate(speech, temperature=temperature, generator=generator)
        return torch.from_numpy(drawn)[None]


def _far_from_joints(spans: Int[np.ndarray, " k"], n_frames: int) -> Bool[Tensor, " t"]:
    """The frames whose neighbours that a post-net sees lie all in one stretch."""
    inside = torch.ones(n_frames, dtype=torch.bool)
    for joint in spans[(spans > 0) & (spans < n_frames)]:
        inside[max(0, joint - POSTNET_REACH) : joint + POSTNET_REACH] = False
    return inside


def _common_length(speeches: Sequence[Speech]) -> int:
    """The largest number of steps with which nine tenths of the speech are in pieces as long."""
    lengths = np.sort([len(speech) for speech in speeches])[::-1]
    return int(lengths[np.searchsorted(lengths.cumsum(), 0.9 * lengths.sum())])


def _split(foreign: Sequence[Speech]) -> tuple[list[Speech], list[Speech]]:
    """What trains, and the last part of each recording, which does not; too short ones left out."""
    train, unheard = [], []
    for speech in foreign:
        n_frames = len(speech) // 2
        start = round((1 - HELD_OUT) * n_frames)
        if start >= WINDOW:
            train.append(speech.part(slice(0, start)))
        if n_frames - start >= WINDOW:
            unheard.append(speech.part(slice(start, n_frames)))
    if not train or not unheard:
        raise ValueError(
            "the corpus holds no recording of a second or more; name a folder of talking clips "
            "in corpus.folder"
        )
    return train, unheard


def _at_most(seconds: float, speeches: Sequence[Speech]) -> list[Speech]:
    """Every k-th recording, with the least k for which they last no longer; one at least."""
    every, lengths = 1, [len(speech) / 2 / FPS for speech in speeches]
    while sum(lengths[::every]) > seconds and every < len(lengths):
        every += 1
    return list(speeches[::every])


def opening_of(motion: Float[Tensor, "t 204"]) -> Float[np.ndarray, " t"]:
    """The mouth's opening in some motion, network units."""
    return mouth_opening(motion.detach().numpy().reshape(-1, 68, 3))
