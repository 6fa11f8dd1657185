"""Training of stage 2: how a person's post-net is trained, measured, and kept from collapsing.

GeneFace (arXiv:2301.13430), sec. 3.3; the settings are `AdaptationConfig`'s.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geneface_kit.adaptation import losses
from geneface_kit.adaptation.postnet import BUILT_IN, Adapter, Discriminator, f0_of, postnet_class
from geneface_kit.motion import stage as motion
from geneface_kit.motion.sync_expert import WINDOW
from geneface_kit.person import corpus
from geneface_kit.person.artefact import Person
from geneface_kit.person.clip import FPS
from geneface_kit.person.mouth import mouth_opening
from geneface_kit.person.speech import Speech
from geneface_kit.runs.ranges import Count, Named, Natural, NotNegative, Positive, Range
from geneface_kit.runs.training import Task

PARTS = {"fit": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}
"""Shares of the foreign speech: what trains, what picks the weights, what only the last measures
hear. Ours."""
VALIDATED = 0.1  # share at the end of the person's training frames that picks the weights (ours)
UNHEARD_S = 1200.0  # of foreign speech that is measured on, at most, whatever the corpus (ours)
AMPLITUDES = (0.25, 4.0)  # of a person, at least and at most (ours)
POSTNET_REACH = 7  # frames that the post-net sees on both sides of one
DISCRIMINATOR_LR = 1e-3  # of its Adam, with beta 0.5; ours, RMSprop with 1e-4 in the code
PENALTY = 0.3  # weight of the discriminator's gradient penalty (ours)
TURNS, HEAD_START = 3, 99
"""Updates of the discriminator for each of the post-net, and before the first. Ours, 1 and 0 in the
code: there it never tells the domains apart, the post-net outruns it."""
LEAST_MOTION = 0.3  # share of the mouth's variance below which a run has collapsed (ours)
Move = Callable[[Tensor, Tensor], Tensor]  # raw motion (1, t, 204) and its f0 -> moved motion
Heard = tuple[Speech, Float[Tensor, "1 _ 204"]]
PostNetClass = Annotated[str, Named((BUILT_IN,), "torch.nn:Module")]


@dataclass(frozen=True)
class AdaptationConfig:
    """Settings of the post-net's training; the defaults are the smoke profile's."""

    postnet: bool = True  # false leaves the amplitude alone (an ablation)
    postnet_class: PostNetClass = BUILT_IN  # an own one, see postnet.postnet_class
    steps: Count = 80  # updates; official 20,000
    lr: Positive = 5e-4  # of the post-net's Adam, falling to 0; ours, RMSprop in the code
    warmup: Natural = 10  # updates of linear warm-up of the post-net; official 1,000
    adversarial_weight: NotNegative = 0.85  # of fooling the discriminator (code)
    sync_weight: NotNegative = 0.1  # of the sync expert's loss on foreign speech (code)
    mse_weight: NotNegative = 1.0  # of the error on the person's own speech; ours, 0.05 in the code
    pitch: bool = False  # the pitch variant: the post-net also hears f0 (official option)
    batch: Count = 4  # pieces of foreign speech a step; official a whole batch of clips
    frames: Annotated[int, Range(8, step=4)] = 100  # frames of a piece, a multiple of 4
    temperature: NotNegative = 0.2  # of the generator for foreign speech; ours, as in talk; code 1
    own_temperature: NotNegative = 0.0  # for the person's own speech; ours, 1 in the code blurs
    amplitude: bool = True  # scale motion to the person's own (ours); false: as the generator's
    talk_temperature: NotNegative = 0.2  # of motion that is measured, talk's (ours)
    sync_windows: Count = 128  # windows a step; official 1,024
    validate_every: Count = 20  # updates between two looks at the measures; official 1,000


class AdaptationTask(Task):
    """Post-net against discriminator: foreign speech must look like the person and stay
    in sync; the person's own speech must give the person's own motion."""

    kept = ("ended", "n_collapsed", "best_step", "best_score", "best_weights")

    def __init__(
        self,
        generator: motion.Motion,
        who: Person,
        foreign: Sequence[Speech],
        config: AdaptationConfig,
    ) -> None:
        self.generator, self.config = generator, config
        self.foreign = _parted(foreign)
        if config.pitch and generator.vae.pitch is None:
            raise ValueError("adaptation.pitch needs a generator trained with motion.pitch=true")
        pitch = generator.vae.pitch.embedding if config.pitch else None
        extra = pitch.embedding_dim if pitch else 0
        postnet = postnet_class(config.postnet_class)(motion=204, extra=extra)
        self.adapter = Adapter(postnet, pitch, unit=generator.unit)
        self.discriminator = Discriminator(motion=losses.N_AXES, dropout=0.0)
        self.modules = {"adapter": self.adapter, "discriminator": self.discriminator}
        adam = functools.partial(torch.optim.Adam, betas=(0.5, 0.99))
        self.optimizers = {
            "postnet": adam(postnet.parameters(), config.lr),
            "discriminator": adam(self.discriminator.parameters(), DISCRIMINATOR_LR),
        }
        mean = who.landmarks[who.trains].mean(0)
        corpus.check_unit(mean, who.name)
        self.adapter.mean.copy_(torch.from_numpy(mean))
        displaced = (who.landmarks - mean) / generator.unit
        n_fit = who.n_train - round(VALIDATED * who.n_train)
        edges = {"fit": (0, n_fit), "validation": (n_fit, who.n_train), "test": (who.n_train, None)}
        own = torch.from_numpy(displaced.reshape(-1, 204).astype(np.float32))
        self.own = {part: own[slice(*edge)] for part, edge in edges.items()}
        self.own_heard = {
            part: [self._heard(who.speech.part(one)) for one in who.stretches(*edge)]
            for part, edge in edges.items()
        }
        seen = {part: torch.tensor(who.found[slice(*edge)]) for part, edge in edges.items()}
        # frames whose mouth is not hidden; all, where a part has none
        self.shown = {part: flags | ~flags.any() for part, flags in seen.items()}
        self.own_inside = self.shown["fit"].clone()
        self.own_seen = self.own["fit"][self.own_inside]
        for joint in who.spans[(who.spans > 0) & (who.spans < n_fit)]:
            # what the post-net sees of them is of two stretches
            self.own_inside[max(0, joint - POSTNET_REACH) : joint + POSTNET_REACH] = False
        self.axes = losses.MouthAxes(self.own_seen)
        draw = torch.Generator().manual_seed(0)
        talked = {"temperature": config.talk_temperature, "generator": draw}
        if config.amplitude:
            raw = self.own_pair("fit", None)[0]
            self.adapter.amplitude.fill_(amplitude_of(self.own_seen, raw))
        self.foreign_heard = {
            part: [self._heard(one, **talked) for one in _at_most(UNHEARD_S, self.foreign[part])]
            for part in ("validation", "test")
        }
        self.before = self.measures(None)
        self.n_collapsed = 0
        self.best_step, self.best_score, self.best_weights = 0, math.inf, {}

    def step(self, index: int, generator: torch.Generator) -> dict[str, float]:
        """One update of the post-net, then TURNS of the discriminator, which has a head start."""
        config, optimizer = self.config, self.optimizers["postnet"]
        if config.adversarial_weight and not index:
            for _ in range(HEAD_START // TURNS):
                with torch.no_grad():
                    fake = self._fake(generator)[0]
                self._teach(fake)
        warmth = min(1.0, (index + 1) / max(1, config.warmup))
        optimizer.param_groups[0]["lr"] = config.lr * warmth * (1 - index / config.steps)
        found, fake = self.losses(generator)
        weighted = (getattr(config, f"{name}_weight") * loss for name, loss in found.items())
        total = sum(weighted, torch.zeros(()))
        if found:
            self.update(self.adapter.postnet, optimizer, total)
        measures = {name: loss.item() for name, loss in found.items()}
        if config.adversarial_weight:
            measures |= self._teach(fake.detach())
        return measures | {"total": total.item()}

    def losses(self, generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
        """Every loss whose weight, the setting NAME_weight, is not 0, unweighted; and the adapted
        foreign motion."""
        config, found = self.config, {}
        fake, speech = self._fake(generator)
        if config.adversarial_weight:
            scores = self.discriminator(self.axes(fake).flatten(0, 1))
            found["adversarial"] = losses.adversarial_loss(scores)
        if config.sync_weight:
            heard = (speech, fake, config.sync_windows, generator)
            found["sync"] = self.generator.expert.sync_loss(*heard)
        if config.mse_weight:
            heard, inside = self.own_heard["fit"], self.own_inside
            if config.own_temperature:
                drawn = {"temperature": config.own_temperature, "generator": generator}
                heard = [self._heard(one, **drawn) for one, _ in heard]
            # one pass, for the statistics of batch norms; what sees over a joint does not count
            f0 = torch.cat([f0_of(one) for one, _ in heard], dim=1)
            adapted = self.adapter(torch.cat([raw for _, raw in heard], dim=1), f0)[0]
            found["mse"] = losses.mse_loss(adapted[inside], self.own["fit"][inside])
        return found, fake

    def _fake(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Adapted motion (b, t, 204) for a batch of foreign speech, and its features."""
        vae, (speech, f0) = self.generator.vae, self._foreign_batch(generator)
        noise = torch.randn((len(speech), vae.latent, speech.shape[1] // 8), generator=generator)
        with torch.no_grad():
            raw = vae.sample(speech, f0, self.config.temperature * noise)
        return self.adapter(raw, f0), speech

    def _teach(self, fake: Float[Tensor, "b t 204"]) -> dict[str, float]:
        """TURNS updates of the discriminator on adapted motion and all of the person's own; the
        last one's loss and mean scores."""
        seen, real = self.axes(fake).flatten(0, 1), self.axes(self.own_seen).requires_grad_()
        for _ in range(TURNS):
            score_fake, score_real = self.discriminator(seen), self.discriminator(real)
            loss = losses.discriminator_loss(score_fake, score_real)
            loss = loss + PENALTY * losses.gradient_penalty(score_real, real)
            self.update(self.discriminator, self.optimizers["discriminator"], loss)
        scores = {"score_fake": score_fake.mean().item(), "score_real": score_real.mean().item()}
        return {"discriminator": loss.item()} | scores

    def validate(self, index: int) -> dict[str, float]:
        """Four measures, and the score: `best_weights` are those of the lowest.

        own_mse: on the person's own frames that validate. foreign_sync: the sync expert's loss on
        foreign speech. distance: Frechet distance of motion for that speech from the person's own
        that trains, see MouthAxes. variance_ratio: variance of the mouth's opening over that.
        score: the first three over their values without adaptation, plus |ln variance_ratio|.
        Motion that has lost its variance twice in a row ends the run: it has collapsed.
        """
        after = self.measures(self.adapter)
        names = ("own_mse", "foreign_sync", "distance", "spread")
        *parts, spread = (after[name] / max(self.before[name], 1e-9) for name in names)
        del after["spread"]
        left = spread / self.adapter.amplitude.item() ** 2  # what the amplitude takes is no loss
        self.n_collapsed = self.n_collapsed + 1 if left < LEAST_MOTION else 0
        if self.n_collapsed == 2:
            self.ended = (
                f"collapsed: of the variance that sounds give the mouth {100 * left:.0f} % are "
                "left; lower adaptation.mse_weight or adaptation.lr"
            )
        score = sum(parts) + abs(math.log(max(after["variance_ratio"], 1e-6)))
        if score < self.best_score:
            weights = {key: value.clone() for key, value in self.adapter.state_dict().items()}
            self.best_step, self.best_score, self.best_weights = index + 1, score, weights
        return {"score": score, **after, "spread_over_raw": spread}

    def own_motion(self, part: str, move: Move | None) -> Float[Tensor, "t 204"]:
        """`moved` of the person's own sound in a part ("fit", "validation" or "test")."""
        return torch.cat(moved(self.own_heard[part], move))

    def own_pair(self, part: str, move: Move | None) -> tuple[Tensor, Tensor]:
        """`own_motion` and the tracked motion of a part, where the mouth is not hidden."""
        return self.own_motion(part, move)[self.shown[part]], self.own[part][self.shown[part]]

    def measures(self, move: Move | None) -> dict[str, float]:
        """What `validate` compares, of some way to move raw motion."""
        foreign, expert = moved(self.foreign_heard["validation"], move), self.generator.expert
        heard = [one for one, _ in self.foreign_heard["validation"]]
        n_windows = max(8, self.config.sync_windows // len(foreign))
        frames, own = torch.cat(foreign), self.own_seen
        opened = [opening_of(one).var() for one in (self.own_motion("fit", move), own, frames)]
        return {
            "own_mse": losses.mse_loss(*self.own_pair("validation", move)).item(),
            "foreign_sync": expert.sync_loss_of_clips(heard, foreign, n_windows, seed=1),
            "distance": self.axes.distance(frames, own),
            "variance_ratio": float(opened[0]) / max(float(opened[1]), 1e-9),
            "spread": float(opened[2]),
        }

    def _foreign_batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random pieces of foreign speech, all of one length: `frames`, or less if more than a
        tenth of the speech lies in shorter recordings, so that those can be drawn."""
        lengths = np.sort([len(speech) for speech in self.foreign["fit"]])[::-1]
        common = int(lengths[np.searchsorted(lengths.cumsum(), 0.9 * lengths.sum())])
        n_steps = min(2 * self.config.frames, common // 8 * 8)
        speeches = [speech for speech in self.foreign["fit"] if len(speech) >= n_steps]
        lengths = torch.tensor([float(len(speech)) for speech in speeches])
        picks = torch.multinomial(lengths, self.config.batch, replacement=True, generator=generator)
        pieces = []
        for speech in (speeches[pick] for pick in picks.tolist()):
            last = (len(speech) - n_steps) // 2
            start = 2 * int(torch.randint(last + 1, (1,), generator=generator))
            pieces.append([one[start : start + n_steps] for one in (speech.features, speech.f0)])
        return tuple(torch.from_numpy(np.stack(one)).float() for one in zip(*pieces, strict=True))

    def _heard(self, speech: Speech, **drawn: float | torch.Generator) -> Heard:
        """Speech with the generator's motion for it, network units."""
        return speech, torch.from_numpy(self.generator.vae.generate(speech, **drawn))[None]


@torch.no_grad()
def moved(heard: Sequence[Heard], move: Move | None) -> list[Float[Tensor, "_ 204"]]:
    """Moved motion of some speech, network units; without a move as the generator gives it."""
    return [(raw if move is None else move(raw, f0_of(one)))[0] for one, raw in heard]


def _parted(foreign: Sequence[Speech]) -> dict[str, list[Speech]]:
    """The recordings of each of PARTS, one after the other; at an edge a recording is cut, and what
    is too short is left out."""
    *starts, end = np.cumsum([0, *(len(speech) // 2 for speech in foreign)]).tolist()
    found: dict[str, list[Speech]] = {part: [] for part in PARTS}
    for part, shares in PARTS.items():
        first, last = (round(share * end) for share in shares)
        for speech, start in zip(foreign, starts, strict=True):
            piece = slice(max(0, first - start), min(len(speech) // 2, last - start))
            if piece.stop - piece.start >= WINDOW:
                found[part].append(speech.part(piece))
    if not all(found.values()):
        raise ValueError("the foreign speech is too short: name a folder of clips in corpus.folder")
    return found


def _at_most(seconds: float, speeches: Sequence[Speech]) -> list[Speech]:
    """Every k-th recording, with the least k for which they last no longer; one at least."""
    lengths = [len(speech) / 2 / FPS for speech in speeches]
    fits = (k for k in range(1, len(lengths)) if sum(lengths[::k]) <= seconds)
    return list(speeches[:: next(fits, len(lengths))])


def opening_of(motion: Float[Tensor, "t 204"]) -> Float[np.ndarray, " t"]:
    """The mouth's opening in some motion, network units."""
    return mouth_opening(motion.detach().numpy().reshape(-1, 68, 3))


def amplitude_of(own: Float[Tensor, "t 204"], raw: Float[Tensor, "t 204"]) -> float:
    """How far a person opens the mouth: the opening's standard deviation in their own motion over
    that of the generator's for the same sound, within AMPLITUDES; 1 where the latter is still."""
    spread = float(opening_of(raw).std())
    return float(np.clip(opening_of(own).std() / spread, *AMPLITUDES)) if spread else 1.0
