"""Domains: whose speech moves the face, and how alike that motion and a person's own are.

Foreign speech is of real voices that train nothing else: eight come with the kit, as features
(credit: NOTICE), or those of the corpus' folder. The person's own speech is never among it.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geneface_kit.person import corpus, speech
from geneface_kit.person.corpus import CorpusConfig
from geneface_kit.person.speech import Speech
from geneface_kit.runs.arrays import read_npz

log = logging.getLogger(__name__)

VOICES = Path(speech.__file__).parent / "voices.npz"
BLOCK = 10  # frames that train or judge a classifier together (ours)
WAVES, WIDTH, RIDGE = 256, 3.0, 1e-2  # of the classifier (ours)


def foreign_speech(config: CorpusConfig, own: Speech) -> list[Speech]:
    """Speech of others than the person: of the corpus' folder, else the voices that come with the
    kit; encoders other than theirs hear the demo's two clips instead, which is a trial."""
    if hears_shipped(config):
        return shipped_voices()
    spoken = {str(number): one for number, one in enumerate(corpus.cached_speech(config))}
    twins = corpus.duplicates({name: one.mel for name, one in spoken.items()} | {"own": own.mel})
    for name in [twins.get("own"), *(name for name, of in twins.items() if of == "own")]:
        if spoken.pop(name, None):
            log.info("a recording of the corpus is the person's own: left out")
    return list(spoken.values())


def hears_shipped(config: CorpusConfig) -> bool:
    """Whether the voices that come with the kit are the foreign ones."""
    return not config.folder and config.encoder == "hama"


def shipped_voices() -> list[Speech]:
    """Nine recordings of eight talkers, 20 s, as "hama" features and pitch, without a mel."""
    kept = read_npz(VOICES)
    parts = {name: kept[name].astype(np.float32) for name in ("features", "f0")}
    ends = np.cumsum(kept["steps"])[:-1]
    parts["mel"] = np.zeros((len(parts["f0"]), 80), np.float32)
    cut = (np.split(values, ends) for values in parts.values())
    return [Speech(features, "hama", f0, mel) for features, f0, mel in zip(*cut, strict=True)]


def told_apart(one: Sequence[Float[Tensor, "_ k"]], other: Sequence[Float[Tensor, "_ k"]]) -> float:
    """How well a fresh classifier tells the frames of two sets of pieces apart: the share that it
    is right about, the mean of both sides, of frames that it was not trained on. 0.5 is chance.

    Least squares on WAVES random waves (Rahimi and Recht 2007), about a Gaussian kernel WIDTH
    wide; every other BLOCK of both sides trains it and judges it, then the others.
    """
    blocks = [[b for piece in side for b in piece.double().split(BLOCK)] for side in (one, other)]
    if min(map(len, blocks)) < 2:
        raise ValueError(f"both sides need more than {BLOCK} frames to be told apart")
    draw = torch.Generator().manual_seed(0)
    rates = torch.randn(blocks[0][0].shape[1], WAVES, generator=draw).double() / WIDTH
    sides = [[torch.cat([(b @ rates).cos(), (b @ rates).sin()], 1) for b in s] for s in blocks]
    right = []
    for first in (0, 1):
        (a, b), judged = ([torch.cat(s[k::2]) for s in sides] for k in (first, 1 - first))
        centre = (a.mean(0) + b.mean(0)) / 2
        spread = sum((x - centre).T @ (x - centre) / len(x) for x in (a, b))
        weights = torch.linalg.solve(spread + RIDGE * torch.eye(2 * WAVES), b.mean(0) - a.mean(0))
        scores = [(x - centre) @ weights for x in judged]  # above 0: of the other side
        right += [(scores[0] <= 0).double().mean(), (scores[1] > 0).double().mean()]
    return float(sum(right)) / 4
