"""Motion: speech -> landmarks of any face. Reads a corpus; writes motion/ (sync expert, generator).

The generator is GeneFace's VAE with a flow prior (arXiv:2301.13430, sec. 3.2). It gives
displacements from a speaker's mean landmarks; `adaptation` makes them this person's own. The sync
expert is trained first, then the generator; both are scored on speakers held out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from geneface_kit.metrics.formulas import pearson
from geneface_kit.motion.losses import continuity_loss, kl_divergence, reconstruction_loss
from geneface_kit.motion.sync_expert import Part, SyncConfig, SyncExpert, SyncTask
from geneface_kit.motion.vae import STRIDE, MotionVAE, VAESizes
from geneface_kit.motion.weights import MOTION, SHIPPED, SYNC, Motion, load, save
from geneface_kit.person import corpus
from geneface_kit.person.corpus import CorpusConfig, Sequences
from geneface_kit.person.mouth import LIPS, mouth_shape
from geneface_kit.person.speech.encoders import weight_files
from geneface_kit.runs import Run
from geneface_kit.runs.files import named
from geneface_kit.runs.ranges import Count, Natural, NotNegative, Positive, Range
from geneface_kit.runs.training import Task, fit, warmed_up
from geneface_kit.runs.weights import read_metadata

LARGEST_AMPLITUDE = 2.0  # no factor on the motion beyond this (ours)


@dataclass(frozen=True)
class MotionConfig(VAESizes):
    """Settings of the generator besides its sizes; the defaults are the smoke profile's."""

    weights: Literal["shipped", "train"] = "shipped"  # those in the kit, or new ones
    steps: Count = 100  # updates; official 40,000
    batch: Count = 8  # pieces a step; official up to 512 clips
    frames: Annotated[int, Range(8, step=4)] = 100  # of a piece; official whole clips
    lr: Positive = 1e-3  # Adam; official 5e-4
    warmup: Natural = 30  # updates of linear warm-up; official 1,000
    decay: Count = 250  # updates in which lr falls to a tenth; official 250,000
    continuity_weight: NotNegative = 3.0  # of the frame-difference loss (code)
    kl_weight: NotNegative = 0.4  # of the KL divergence (code, LRS3)
    sync_weight: NotNegative = 0.01  # of the sync expert's loss (code)
    sync_below: NotNegative = 0.75  # validation sync loss that switches the sync loss on (code)
    mouth_weight: NotNegative = 6.0  # of lips and lower jaw in the errors; ours, 1 in the code
    held_out: Natural = 2  # every n-th speaker validates, 0 none; ours (the code splits clips)
    amplitude: NotNegative = 0.0  # factor on the motion; 0 measures it on held-out speakers; ours


def inputs(
    subject: str, corpus_config: CorpusConfig, sync: SyncConfig, config: MotionConfig
) -> dict[str, Path]:
    """The files this stage reads: the shipped weights, or the corpus' videos and its encoder's
    weights. Raises: ValueError for a corpus or numbers that the training could not use."""
    if config.weights == "train":
        if config.held_out == 1:
            raise ValueError("motion.held_out=1 leaves no speaker to train on: set 0, 2 or more")
        return corpus.clip_files(corpus_config.folder) | weight_files(corpus_config.encoder)
    reads = read_metadata(SHIPPED / MOTION, kind="motion")["encoder"]
    if reads != corpus_config.encoder:
        raise ValueError(
            f"the shipped weights read {reads!r} features, not {corpus_config.encoder!r}; set "
            "motion.weights=train to train new ones"
        )
    return named([SHIPPED / SYNC, SHIPPED / MOTION])


def make(run: Run, corpus_config: CorpusConfig, sync: SyncConfig, config: MotionConfig) -> None:
    """Writes sync.safetensors and motion.safetensors: the shipped weights, or fresh ones."""
    if config.weights == "shipped":
        save(run.folder, load(), "shipped")
        run.record("origin", "shipped")
        return
    data = corpus.prepare(corpus_config)
    run.data_kind = "real" if corpus_config.folder else "synthetic"
    run.record("broken_clips", data.broken)
    for name, value in train(run, data, corpus_config, sync, config).items():
        run.record(name, value)


def train(
    run: Run, data: corpus.Corpus, speakers: CorpusConfig, sync: SyncConfig, config: MotionConfig
) -> dict[str, object]:
    """Trains the sync expert, then the generator, into a run's folder.

    Returns what is to be recorded: their measures on the held-out speakers, and who these are.
    Cut off, the same call goes on.
    """
    motions = corpus.displacements(data.utterances, speakers)
    every, generator = config.held_out, run.generator("train")
    held_out = data.speakers[every - 1 :: every] if every else []
    parts = by_speaker(data.utterances, motions, held_out)
    heard = parts[0][0]  # only what trains
    channels, statistics = heard[0].speech.features.shape[1], corpus.feature_statistics(heard)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        vae = MotionVAE(channels, config)
        expert = SyncExpert(channels, width=sync.width, dropout=sync.dropout)
        for network in (vae, expert):
            network.standardise.take(*statistics)
            network.to(device)
        task = SyncTask(expert, *parts, sync)
        scores = _fit(task, run.folder, "sync", sync.steps, generator, "sync_")
        expert.eval().requires_grad_(False)
        task = MotionTask(vae, expert, *parts, config, sync.pairs)
        scores |= _fit(task, run.folder, "motion", config.steps, generator)
    ratio = scores.get("variance_ratio", 1.0)
    vae.amplitude.fill_(config.amplitude or min(LARGEST_AMPLITUDE, max(1.0, ratio**-0.5)))
    save(run.folder, Motion(vae, expert, speakers.encoder, speakers.unit), run.id)
    return scores | {"amplitude": float(vae.amplitude), "held_out_speakers": held_out}


def _fit(
    task: Task, folder: Path, name: str, steps: int, generator: torch.Generator, prefix: str = ""
) -> dict[str, float]:
    """Trains a task, ten validations on the way; the last row of its history without its step."""
    every = max(1, steps // 10)
    history = fit(task, folder, name=name, steps=steps, generator=generator, validate_every=every)
    return {prefix + key: value for key, value in history.rows[-1].items() if key != "step"}


class MotionTask(Task):
    """Trains a generator: reconstruction, continuity, KL and, once it makes sense, sync.

    expert: the frozen sync expert, None without the sync loss; n_windows: what it looks at in a
    step.
    """

    kept = ("sync_on",)

    def __init__(
        self,
        vae: MotionVAE,
        expert: SyncExpert | None,
        part: Part,
        held_out: Part,
        config: MotionConfig,
        n_windows: int,
    ) -> None:
        self.vae, self.expert, self.config, self.n_windows = vae, expert, config, n_windows
        self.part, self.held_out = part, held_out
        self.modules = {"motion": vae}
        self.adam = torch.optim.Adam(vae.parameters(), lr=config.lr)
        self.optimizers = {"motion": self.adam}
        self.sync_on = False
        points = torch.ones(68)
        points[4:13] = points[LIPS] = config.mouth_weight  # lower jaw and lips
        self.weight = points.repeat_interleave(3)  # of the coordinates' errors

    def step(self, index: int, generator: torch.Generator) -> dict[str, float]:
        """One update on random pieces."""
        config = self.config
        rate = warmed_up(config.lr, index, warmup=config.warmup, decay=config.decay)
        self.adam.param_groups[0]["lr"] = rate
        sizes = {"size": config.batch, "frames": config.frames}
        losses = self.losses(corpus.draw_batch(*self.part, **sizes, generator=generator), generator)
        total = sum(self.weights()[name] * loss for name, loss in losses.items())
        self.update(self.vae, self.adam, total)
        return {name: loss.item() for name, loss in losses.items()} | {"total": total.item()}

    def weights(self) -> dict[str, float]:
        """The weight in force of each loss; the sync loss waits for its switch."""
        config = self.config
        weights = {"mse": 1.0, "continuity": config.continuity_weight, "kl": config.kl_weight}
        return weights | {"sync": config.sync_weight if self.sync_on else 0.0}

    def losses(self, batch: Sequences, generator: torch.Generator) -> dict[str, Tensor]:
        """Every loss whose weight is not 0, unweighted."""
        active, device = self.weights(), next(self.vae.parameters()).device
        n_pieces, n_latents = len(batch.mask), batch.mask.shape[1] // STRIDE
        noise = torch.randn((n_pieces, self.vae.latent, n_latents), generator=generator)
        batch = Sequences(*(one.to(device) for one in vars(batch).values()))
        slow_mask = batch.mask[:, None, ::STRIDE].float()
        inputs = (batch.speech, batch.f0, batch.motion, batch.mask, noise.to(device))
        predicted, z, mean, log_std, prior = self.vae(*inputs)
        compared = (predicted, batch.motion, batch.mask, self.weight.to(device))
        losses = {"mse": reconstruction_loss(*compared)}
        if active["continuity"]:
            losses["continuity"] = continuity_loss(*compared)
        if active["kl"]:
            losses["kl"] = kl_divergence(z, prior, mean, log_std, slow_mask)
        if active["sync"]:
            heard = (batch.speech, predicted, self.n_windows, generator, batch.mask)
            losses["sync"] = self.expert.sync_loss(*heard)
        return losses

    def validate(self, index: int) -> dict[str, float]:
        """Measures of held-out speakers at temperature 0; and the switch of the sync loss, which
        looks at them, or without any at the first training clips."""
        measures = measure_motion(self.vae, *self.held_out) if self.held_out[0] else {}
        if self.config.sync_weight:
            heard = [one.speech for one in self.held_out[0] or self.part[0][:4]]
            drawn = (torch.from_numpy(self.vae.generate(speech)) for speech in heard)
            found = self.expert.sync_loss_of_clips(heard, drawn, self.n_windows, seed=0)
            measures["held_out_sync"] = found
            self.sync_on = self.sync_on or found <= self.config.sync_below
        return measures


def measure_motion(
    vae: MotionVAE, utterances: Sequence[corpus.Utterance], motions: Sequence[corpus.Track]
) -> dict[str, float]:
    """Means over clips, at temperature 0, of r_opening and r_width, Pearson's r of the mouth; of
    variance_ratio, predicted over tracked variance of the opening (the median; 1 is right, 0 the
    mean face); of lip_error, network units. score: 2 - r_opening - r_width."""
    rows = []
    for utterance, true in zip(utterances, motions, strict=True):
        drawn = vae.generate(utterance.speech).reshape(-1, 68, 3)
        seen = true[:].reshape(-1, 68, 3)
        ours, theirs = mouth_shape(drawn), mouth_shape(seen)
        r_opening, r_width = (pearson(ours[:, k], theirs[:, k], still=0.0) for k in (0, 1))
        ratio = ours[:, 0].var() / max(theirs[:, 0].var(), 1e-12)
        error = np.linalg.norm((drawn - seen)[:, LIPS], axis=-1).mean()
        rows.append((r_opening, r_width, ratio, error))
    r_opening, r_width, _, error = np.mean(rows, axis=0).tolist()
    ratio = float(np.median([row[2] for row in rows]))
    score = {"score": 2 - r_opening - r_width, "r_opening": r_opening, "r_width": r_width}
    return score | {"variance_ratio": ratio, "lip_error": error}


def by_speaker(
    utterances: Sequence[corpus.Utterance], motions: Sequence[corpus.Track], held_out: Sequence[str]
) -> tuple[Part, Part]:
    """What trains (every copy) and what validates (only recordings as they are)."""
    train, held = ([], []), ([], [])
    for one, moved in zip(utterances, motions, strict=True):
        if one.speaker not in held_out or one.name == one.clip:
            part = held if one.speaker in held_out else train
            part[0].append(one)
            part[1].append(moved)
    if not train[0]:
        raise ValueError("every speaker is held out; use a corpus of more speakers")
    return train, held
