"""Ship: makes of talking clips the voices that come with the kit, which the adaptation hears.

`python -m notebooks.studies.ship_voices CLIP...`, one to three short clips of each voice. What is
kept is what a speech encoder and a pitch tracker give, in half precision: no sound and no picture.
"""

import sys
from pathlib import Path

import numpy as np

from geneface_kit.adaptation.domains import VOICES
from geneface_kit.person import clip, speech
from geneface_kit.runs.arrays import write_npz
from geneface_kit.talk.audio import loudness

SILENCE, LOUD = 4, 0.1  # frames; share of the loudest tenth, 20 dB below, above a studio's hiss


def ship(clips: list[Path], out: Path = VOICES) -> None:
    """Writes the features, the pitch and the lengths of some clips, in this order."""
    heard = [spoken(clip.sound_of(path)) for path in clips]
    arrays = {name: [getattr(one, name) for one in heard] for name in ("features", "f0")}
    kept = {name: np.concatenate(values).astype(np.float16) for name, values in arrays.items()}
    write_npz(out, steps=np.array([len(one) for one in heard]), **kept)


def spoken(sound: np.ndarray) -> speech.Speech:
    """The speech of a sound, and SILENCE frames of what is silent around it."""
    level = loudness(sound)
    (loud,) = np.nonzero(level > LOUD * np.percentile(level, 90))
    return speech.encode(sound).part(slice(max(0, loud[0] - SILENCE), loud[-1] + 1 + SILENCE))


if __name__ == "__main__":
    ship([Path(path) for path in sys.argv[1:]])
