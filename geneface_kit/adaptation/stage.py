"""Adaptation: motion of any face -> landmarks of this person. Reads person/, motion/, corpus sound.

A post-net is trained against a discriminator so that motion for foreign speech looks like the
person's own, while lips stay in sync (arXiv:2301.13430, sec. 3.3). Writes adaptation/.
"""

import logging
from pathlib import Path

import numpy as np
import torch

from geneface_kit.adaptation import training
from geneface_kit.adaptation.domains import VOICES, foreign_speech, hears_shipped, told_apart
from geneface_kit.adaptation.postnet import load as load  # as every stage has it
from geneface_kit.adaptation.training import AdaptationConfig, AdaptationTask
from geneface_kit.metrics.formulas import pearson
from geneface_kit.motion import stage as motion
from geneface_kit.person import corpus
from geneface_kit.person import stage as person
from geneface_kit.person.corpus import CorpusConfig
from geneface_kit.runs import Run
from geneface_kit.runs.files import named
from geneface_kit.runs.training import fit
from geneface_kit.runs.weights import save_weights

log = logging.getLogger(__name__)


def inputs(subject: str, speech_corpus: CorpusConfig, config: AdaptationConfig) -> dict[str, Path]:
    """The files this stage reads besides its upstream runs: the foreign voices, or the corpus'
    clips for their sound."""
    if hears_shipped(speech_corpus):
        return named([VOICES])
    return corpus.clip_files(speech_corpus.folder)


def make(run: Run, speech_corpus: CorpusConfig, config: AdaptationConfig) -> None:
    """Trains the post-net of the run's person; keeps the best weights by the score's rule."""
    who = person.load(run.parents["person"].folder)
    generator = motion.load(run.parents["motion"].folder)
    run.data_kind = who.data_kind
    try:
        generator.check(who.speech)
    except ValueError as error:
        raise ValueError(f"{who.name}: {error}; then prepare the person again") from None
    foreign = foreign_speech(speech_corpus, who.speech)  # before the seed: reading may draw
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=run.generator("init"))))
        task = AdaptationTask(generator, who, foreign, config)
        task.networks.eval()
        start = task.validate(-1)["score"]  # of a post-net that changes nothing yet
        task.n_collapsed, task.ended = 0, ""
        if config.postnet:
            draw, every = run.generator("train"), config.validate_every
            options = {"steps": config.steps, "generator": draw, "validate_every": every}
            fit(task, run.folder, name="adaptation", **options)
    task.adapter.load_state_dict(task.best_weights)
    if config.postnet and not task.best_step:
        log.info("%s: no trained post-net scores better than the amplitude alone", who.name)
    run.record("best_step", task.best_step)
    run.record("collapsed", bool(task.ended))
    found = {"score_start": start} | task.validate(task.best_step - 1) | _domains(task)
    run.record("amplitude", round(task.adapter.amplitude.item(), 4))
    for name, value in found.items():
        run.record(name, round(value, 5))
    if found["variance_ratio"] < training.LEAST_MOTION:
        sentence = "the mouth of %s moves %.0f %% of its own variance: the post-net has collapsed"
        log.warning(sentence, who.name, 100 * found["variance_ratio"])
    adapter = task.adapter.eval()
    about = {"kind": "adaptation", "encoder": generator.encoder, "unit": repr(adapter.unit)}
    about |= {"person": who.name, "postnet": config.postnet_class}
    about["pitch"] = str(adapter.pitch.embedding_dim if adapter.pitch is not None else 0)
    save_weights(run.folder / "adaptation.safetensors", adapter, **about)


def _domains(task: AdaptationTask) -> dict[str, float]:
    """What motion for the test parts is like, before and after the adaptation.

    distance: squared inter-ocular distances, and told_apart: accuracy of a fresh classifier, of
    motion for foreign speech and the person's own that trains; beside them what two halves of the
    latter give. mouth_r: Pearson r of the mouth's opening with the tracked one on the person's
    held-out sound, if the mouth moves there.
    """
    own, axes, unit = task.own_seen, task.axes, task.generator.unit
    halves = own.split(-(-len(own) // 2))
    found = {"distance_floor": unit**2 * axes.distance(*halves)}
    found["told_apart_floor"] = told_apart(*([axes(half)] for half in halves))
    for side, move in {"before": None, "after": task.adapter}.items():
        moved = training.moved(task.foreign_heard["test"], move)
        found[f"distance_{side}"] = unit**2 * axes.distance(torch.cat(moved), own)
        found[f"told_apart_{side}"] = told_apart([axes(own)], [axes(one) for one in moved])
        r = pearson(*map(training.opening_of, task.own_pair("test", move)))
        if not np.isnan(r):
            found[f"mouth_r_{side}"] = r
    return found
