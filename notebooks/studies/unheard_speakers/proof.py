"""Proof: does the motion of speakers never heard come out right? Methods and encoders compared.

`python -m geneface_kit prove FOLDER` trains every row of a table on all speakers but some, and
judges it on these; every speaker is held out once. The unit of work is one row, one fold and one
seed. Each leaves one small file, so a cut proof goes on where it was.
"""

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from geneface_kit.motion.stage import MotionTask, by_speaker
from geneface_kit.motion.sync_expert import Part, SyncExpert, SyncTask
from geneface_kit.motion.vae import MotionVAE
from geneface_kit.person import corpus
from geneface_kit.person.corpus.manifest import digest
from geneface_kit.person.mouth import LIPS
from geneface_kit.pipeline.settings import Settings
from geneface_kit.runs import live
from geneface_kit.runs.arrays import write_npz
from geneface_kit.runs.record import home_of
from geneface_kit.runs.training import fit
from geneface_kit.runs.weights import load_weights, save_weights
from notebooks.studies.unheard_speakers.baselines import Regressor, RegressorTask, Ridge
from notebooks.studies.unheard_speakers.listening import hear
from notebooks.studies.unheard_speakers.measures import Lips

log = logging.getLogger(__name__)

FEWEST_SPEAKERS = 8
"""Below it the proof runs, and warns."""
N_DRAWS = 3
"""Samples at temperature 1 of each sound, for the diversity."""


@dataclass(frozen=True)
class Row:
    """One row of a table.

    network: "ridge", "regressor", or the generator with its "gaussian" or "flow" prior;
    sync: with the sync loss; features, rates, spoilt: see `listening.hear`.
    """

    name: str
    network: str
    sync: bool = False
    features: str = "corpus"
    rates: bool = True
    spoilt: str = ""


METHODS = (
    Row("ridge on log-mel", "ridge", features="log-mel"),
    Row("ridge", "ridge"),
    Row("regressor", "regressor"),
    Row("regressor, sync", "regressor", sync=True),
    Row("VAE, Gaussian prior", "gaussian"),
    Row("VAE, Gaussian prior, sync", "gaussian", sync=True),
    Row("VAE, flow prior", "flow"),
    Row("VAE, flow prior, sync", "flow", sync=True),
)
"""Methods compared, all but the first on the features of the corpus."""
ENCODERS = (
    Row("hama block 2", "regressor", features="hama block 2"),
    Row("hama block 3", "regressor", features="hama block 3"),
    Row("hama block 4", "regressor", features="hama block 4"),
    Row("hama blocks 3+4", "regressor", features="hama blocks 3+4"),
    Row("hama log-probs", "regressor", features="hama log-probs"),
    Row("log-mel, deltas, each clip standardised", "regressor", features="log-mel, deltas"),
    Row("block 3, no copies", "regressor", features="hama block 3", rates=False),
    Row("block 3, also noisy copies", "regressor", features="hama block 3", spoilt="~noise"),
    Row("block 3, also telephone copies", "regressor", features="hama block 3", spoilt="~channel"),
)
"""Speech features compared, then augmentations, all with the same network."""


@dataclass(frozen=True)
class Proof:
    """What is to be proved. folds: the speakers held out together; folder: keeps every unit."""

    data: corpus.Corpus
    settings: Settings
    rows: tuple[Row, ...]
    folds: list[list[str]]
    seeds: tuple[int, ...]
    folder: Path

    def file(self, row: Row, fold: int, seed: int) -> Path:
        """Where the lips of one unit of work are kept."""
        return self.folder / f"fold{fold}" / f"{_slug(row.name)}-{seed}.npz"


def deal(speakers: Sequence[str], n_folds: int) -> list[list[str]]:
    """Speakers dealt into n groups, for validation by speaker: a b c d e in 2 -> ace, bd."""
    return [list(speakers[index::n_folds]) for index in range(min(n_folds, len(speakers)))]


def prepare(
    data: corpus.Corpus,
    settings: Settings,
    rows: Sequence[Row],
    *,
    n_folds: int,
    seeds: tuple[int, ...],
    out: Path | str = "",
    heard: Collection[str] = (),
) -> Proof:
    """Checks what is asked for and finds its folder, OUT/proof/NAME-x, another for other settings.

    n_folds: groups of speakers, 0 for each speaker alone (leave-one-speaker-out proper); heard:
    speakers that always train and are never judged, such as those the settings were chosen on.
    Raises: ValueError for a corpus of one speaker, numbers that make no sense, features with NaN.
    """
    if unknown := sorted(set(heard) - set(data.speakers)):
        raise ValueError(f"no such speaker in the corpus: {', '.join(unknown)}")
    speakers = [speaker for speaker in data.speakers if speaker not in heard]
    if len(speakers) < 2:
        raise ValueError(f"a proof needs two speakers at least, got {speakers}: add videos")
    if n_folds and not 2 <= n_folds <= len(speakers):
        raise ValueError(f"folds must be 0 or 2 to {len(speakers)} (speakers), got {n_folds}")
    if not seeds:
        raise ValueError("a proof needs at least one seed")
    for one in data.utterances:
        if not (np.isfinite(one.speech.features).all() and np.isfinite(one.landmarks).all()):
            raise ValueError(f"{one.name} holds NaN: delete its corpus and read it again")
    if len(speakers) < FEWEST_SPEAKERS:
        log.warning("only %d speakers: their scores say little of others", len(speakers))
    chosen = [settings.corpus, settings.sync, settings.motion, n_folds, len(data.utterances)]
    chosen += [sorted(heard)] * bool(heard)
    name = Path(settings.corpus.folder or "demo").name
    above = home_of(out) / "proof"
    folder = above / f"{name}-{digest(chosen)[:8]}"
    return Proof(data, settings, tuple(rows), deal(speakers, n_folds or 10**6), seeds, folder)


def prove(proof: Proof) -> None:
    """Works off every unit that has no file yet: all folds of the first seed, then of the next."""
    proof.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{proof.folder}.lock"):
        todo = [
            (row, fold, seed)
            for seed in proof.seeds
            for fold in range(len(proof.folds))
            for row in proof.rows
            if seed == proof.seeds[0]
            or row.network != "ridge"  # a regression in closed form draws nothing
            if not proof.file(row, fold, seed).exists()
        ]
        for row, fold, seed in live.progress(todo, "proof"):
            _work(proof, row, fold, seed)


def _work(proof: Proof, row: Row, fold: int, seed: int) -> None:
    """Trains one row on one fold with one seed, and keeps the lips of the held-out clips."""
    file = proof.file(row, fold, seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    config = proof.settings.corpus
    heard = hear(
        proof.data,
        config,
        proof.folder / "heard",
        features=row.features,
        rates=row.rates,
        spoilt=row.spoilt,
    )
    motions = corpus.displacements(heard, config)
    part, held = by_speaker(heard, motions, proof.folds[fold])
    start = time.process_time()
    if row.network == "ridge":
        ridge = Ridge([one.speech.features for one in part[0]], [motion[:] for motion in part[1]])
        drawn = [ridge.predict(one.speech.features)[: len(one)] for one in held[0]]
        lips = [_lips(*both, found, [], config.unit) for *both, found in zip(*held, drawn)]  # noqa: B905
    else:
        vae = _network(proof, row, fold, seed, part)
        lips = [_generated(vae, *both, config.unit) for both in zip(*held, strict=True)]
    names = [one.name for one in held[0]]
    _save(file, names, lips, time.process_time() - start)
    log.info("%s, fold %d, seed %d: done", row.name, fold, seed)


def _network(proof: Proof, row: Row, fold: int, seed: int, part: Part) -> MotionVAE:
    """A network trained on one part of the corpus, ready for use."""
    config = replace(
        proof.settings.motion,
        sync_weight=proof.settings.motion.sync_weight if row.sync else 0.0,
        flow_steps=proof.settings.motion.flow_steps if row.network == "flow" else 0,
    )
    expert = _expert(proof, fold, part) if row.sync else None
    channels = part[0][0].speech.features.shape[1]
    network = Regressor if row.network == "regressor" else MotionVAE
    generator = torch.Generator().manual_seed(1000 * seed + fold)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        vae = network(channels, config)
        vae.standardise.take(*corpus.feature_statistics(part[0]))
        kind = RegressorTask if row.network == "regressor" else MotionTask
        task = kind(vae, expert, part, ([], []), config, proof.settings.sync.pairs)
        place, name = proof.folder / f"fold{fold}", f"{_slug(row.name)}-{seed}"
        every = max(1, config.steps // 10)
        fit(task, place, name=name, steps=config.steps, generator=generator, validate_every=every)
    (place / f"{name}_checkpoint.safetensors").unlink()
    return vae.eval().requires_grad_(False)


def _expert(proof: Proof, fold: int, part: Part) -> SyncExpert:
    """The fold's sync expert, trained once: it never heard the held-out speakers either."""
    config = proof.settings.sync
    channels = part[0][0].speech.features.shape[1]
    place = proof.folder / f"fold{fold}"
    file = place / "sync.safetensors"
    generator = torch.Generator().manual_seed(fold)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fold)
        expert = SyncExpert(channels, width=config.width, dropout=config.dropout)
        expert.standardise.take(*corpus.feature_statistics(part[0]))
        if not file.exists():
            task = SyncTask(expert, part, ([], []), config)
            fit(task, place, name="sync", steps=config.steps, generator=generator)
            save_weights(file, expert, kind="sync")
            (place / "sync_checkpoint.safetensors").unlink()
    load_weights(file, expert, kind="sync")
    return expert.eval().requires_grad_(False)


def _generated(
    vae: MotionVAE, one: corpus.Utterance, motion: corpus.Displacement, unit: float
) -> Lips:
    """The most likely lips of a clip, and how far samples of the same sound lie apart."""
    draw = torch.Generator().manual_seed(0)
    drawn = vae.generate(one.speech)
    samples = [vae.generate(one.speech, temperature=1.0, generator=draw) for _ in range(N_DRAWS)]
    return _lips(one, motion, drawn, samples, unit)


def _lips(
    one: corpus.Utterance,
    motion: corpus.Displacement,
    drawn: np.ndarray,
    samples: list[np.ndarray],
    unit: float,
) -> Lips:
    """Lips in inter-ocular distances from motion in network units."""
    moved = unit * drawn.reshape(-1, 68, 3)[:, LIPS]
    rest = motion.mean[LIPS]
    apart = 0.0
    if samples:
        points = unit * np.stack(samples).reshape(len(samples), -1, 68, 3)[:, :, LIPS]
        apart = float(np.sqrt(points.var(0, ddof=1).sum(-1)).mean())
    return Lips(one.landmarks[:, LIPS], rest + moved, rest, apart)


def _save(file: Path, names: list[str], lips: list[Lips], cpu_s: float) -> None:
    """One unit's result: names, and of each clip what `measures.Lips` holds."""
    arrays: dict[str, np.ndarray] = {"names": np.array(names), "cpu_s": np.array(cpu_s)}
    for index, found in enumerate(lips):
        for kind in ("seen", "drawn", "rest"):
            arrays[f"{kind}{index}"] = getattr(found, kind).astype(np.float32)
        arrays[f"diversity{index}"] = np.array(found.diversity)
    write_npz(file, **arrays)


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())
