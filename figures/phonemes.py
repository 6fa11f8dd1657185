"""Phonemes: sound -> when the lips must close, open, round or touch the teeth.

What the phoneme network hears decides which frames of a video are looked at, by a rule and not by
hand: those where it is most certain.
"""

import functools
import json
from dataclasses import dataclass
from importlib import resources

import numpy as np
import torch
from jaxtyping import Float

from geneface_kit.person.speech.acoustics import STEP
from geneface_kit.person.speech.conformer import CHANNELS, N_BLOCKS, load_conformer
from geneface_kit.person.speech.encoders import fit_length, in_pieces, levelled

__all__ = ["SHAPES", "Mark", "certain_marks", "hama_layers", "shape_probabilities"]

SHAPES = {
    "m b p": ("m", "b", "p", "pʰ", "p͈", "ɓ"),
    "f v": ("f", "v", "ʋ"),
    "o u w": ("o", "oʊ", "u", "ʊ", "ɔ", "ɔɪ", "w"),
    "a": ("a", "aɪ", "aʊ", "ɑ", "æ", "ɐ"),
}
"""Shape that is seen on the lips -> the network's symbols for it: closed, lip on teeth, rounded,
open."""

LEADS = {"m b p": 2, "f v": 2, "o u w": 1, "a": 1}
"""Frames by which lips take their shape before the network is sure of the sound (ours): over the
marks of three tracked persons and the demo the mouth is smallest 2 frames before m b p and f v, and
widest 1 to 2 before a."""


@dataclass(frozen=True)
class Mark:
    """A moment of a recording: its video frame, the shape of SHAPES, and how certain it is."""

    frame: int
    shape: str
    probability: float


def hama_layers(audio: Float[np.ndarray, " n"]) -> dict[str, Float[np.ndarray, "s _"]]:
    """What the phoneme Conformer says inside: "block 1" to "block 4", and "log-probs".

    `encode` gives block 3 of the same sound; the others are there to be compared with it.
    """

    def everything(sound: torch.Tensor) -> torch.Tensor:
        network = load_conformer()
        blocks = network(sound, N_BLOCKS)
        log_probabilities = torch.log_softmax(network.proj(blocks[-1]), dim=-1)
        return torch.cat([*blocks, log_probabilities], dim=1)  # (s, 4 * 144 + 191)

    n_steps = max(1, len(audio) // STEP)
    steps = fit_length(in_pieces(levelled(audio), everything), n_steps)
    cuts = [CHANNELS * index for index in range(1, 5)]
    names = ["block 1", "block 2", "block 3", "block 4", "log-probs"]
    return dict(zip(names, np.split(steps, cuts, axis=1), strict=True))


def shape_probabilities(audio: Float[np.ndarray, " n"]) -> dict[str, Float[np.ndarray, " s"]]:
    """Shape -> its probability at each step of 20 ms: the sum over its symbols.

    audio: mono 16 kHz. The network marks a sound by a short peak and is silent between peaks.
    """
    probability = np.exp(hama_layers(audio)["log-probs"])
    symbols = _symbols()
    return {
        shape: probability[:, [symbols.index(one) for one in chosen]].sum(axis=1)
        for shape, chosen in SHAPES.items()
    }


def certain_marks(
    probabilities: dict[str, Float[np.ndarray, " s"]],
    n_frames: int,
    *,
    per_shape: int = 1,
    least: float = 0.5,
    apart: int = 3,
) -> list[Mark]:
    """The most certain moments of each shape, in order of time.

    n_frames: marks lie in frames 0 to n_frames - 1. A mark's frame is when the lips have the shape,
    LEADS before the network's peak; two steps are one frame. per_shape: at most so many of each.
    least: the probability that a mark needs; a shape that is not heard has none. apart: frames
    between any two marks, so that no face stands for two sounds. Of equals the earliest is taken.
    """
    left = {
        shape: values[2 * LEADS[shape] : 2 * (n_frames + LEADS[shape])].copy()
        for shape, values in probabilities.items()
    }
    marks: list[Mark] = []
    while left := {shape: v for shape, v in left.items() if len(v) and v.max() >= least}:
        shape = max(left, key=lambda name: float(left[name].max()))
        frame = int(left[shape].argmax()) // 2
        marks.append(Mark(frame, shape, round(float(left[shape].max()), 4)))
        for values in left.values():
            values[2 * max(0, frame - apart) : 2 * (frame + apart + 1)] = 0
        if sum(mark.shape == shape for mark in marks) == per_shape:
            del left[shape]
    return sorted(marks, key=lambda mark: mark.frame)


@functools.cache
def _symbols() -> list[str]:
    text = resources.files("hama.assets").joinpath("g2p_vocab.json").read_text(encoding="utf-8")
    return json.loads(text)["decoder"]
