"""Shipped: the kit's generator on speakers it never heard, beside a ridge regression.

`python -m notebooks.studies.unheard_speakers.shipped FOLDER --heard a,b,c --to figures`

Writes unheard_speakers.csv, a line a speaker and method, and unheard_speakers.json: means over
speakers with 95 % bootstrap intervals. Nothing is searched or calibrated: each clip as `corpus` has
it in step.
"""

import sys
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from jaxtyping import Float

from geneface_kit.metrics.formulas import closed_below, closures, closures_met, pearson
from geneface_kit.motion.weights import load
from geneface_kit.person import corpus
from geneface_kit.person.clip import FPS
from geneface_kit.person.mouth import mouth_shape
from geneface_kit.pipeline.options import CommandLine, several
from geneface_kit.pipeline.settings import resolve
from geneface_kit.runs import root, write_json
from notebooks import commands
from notebooks.studies.unheard_speakers.baselines import Ridge

MEASURES = ("r_opening", "r_width", "r_velocity", "std_ratio", "closures_met")
N_DRAWS = 4000
"""Bootstrap samples of speakers."""


def scores(
    drawn: Float[np.ndarray, "t 2"], true: Float[np.ndarray, "_ 2"]
) -> tuple[float, float, float, float, float]:
    """The MEASURES of one clip, from opening and width, predicted and tracked."""
    ours, theirs = drawn[:, 0], true[: len(drawn), 0]
    limit = closed_below(theirs)
    return (
        pearson(ours, theirs, still=0.0),
        pearson(drawn[:, 1], true[: len(drawn), 1], still=0.0),
        pearson(np.diff(ours), np.diff(theirs), still=0.0),
        float(ours.std() / theirs.std()),
        closures_met(closures(theirs < limit), ours < limit),
    )


def judged(data: corpus.Corpus, config: corpus.CorpusConfig, heard: set[str]) -> pd.DataFrame:
    """One line a clip and method, of all speakers but those that the weights have heard; these
    train the ridge regression, on the recordings as they are (with copies it does worse)."""
    motions = corpus.displacements(data.utterances, config)
    pairs = list(zip(data.utterances, motions, strict=True))
    known = [(one, m) for one, m in pairs if one.speaker in heard and one.name == one.clip]
    ridge = Ridge([one.speech.features for one, _ in known], [moved[:] for _, moved in known])
    vae, lines = load().vae, []
    for one, moved in pairs:
        if one.speaker in heard or one.name != one.clip:
            continue
        drawn = {"generator": vae.generate(one.speech), "ridge": ridge.predict(one.speech.features)}
        true = mouth_shape(moved[:].reshape(-1, 68, 3))
        for method, points in drawn.items():
            found = scores(mouth_shape(points[: len(true)].reshape(-1, 68, 3)), true)
            line = {"speaker": one.speaker, "method": method, "seconds": len(one) / FPS}
            lines.append(line | dict(zip(MEASURES, found, strict=True)))
    return pd.DataFrame(lines)


def summary(clips: pd.DataFrame, speakers: pd.DataFrame) -> dict[str, object]:
    """Means over speakers with intervals, of each method and of their difference."""
    wide = {name: part.set_index("speaker") for name, part in speakers.groupby("method")}
    draw = np.random.default_rng(0)
    n = len(wide["ridge"])
    picks = draw.integers(n, size=(N_DRAWS, n))
    found: dict[str, object] = {"n_speakers": n, "n_clips": len(clips) // 2, "seed": 0}
    wide["difference"] = wide["generator"][list(MEASURES)] - wide["ridge"][list(MEASURES)]
    for method, table in wide.items():
        for name in MEASURES:
            values = table[name].to_numpy()
            low, high = np.nanpercentile(np.nanmean(values[picks], axis=1), [2.5, 97.5])
            interval = [round(float(np.nanmean(values)), 3), round(low, 3), round(high, 3)]
            found[f"{method} {name}"] = interval
    for method, part in clips.groupby("method"):
        inside = part["std_ratio"].between(0.6, 1.6).mean()
        found[f"{method} share of clips with a std ratio of 0.6 to 1.6"] = round(float(inside), 3)
    return found


def shipped(
    folder: commands.Videos,
    heard: Annotated[str, typer.Option(metavar="a,b,c", help="speakers the weights have heard")],
    to: commands.To = None,
) -> None:
    """Judge the shipped generator on the speakers of a folder and write what it scores."""
    config = resolve("cpu", {"corpus.folder": folder}).corpus
    to = to or root() / "figures"
    clips = judged(corpus.prepare(config), config, set(several(heard)))
    speakers = clips.groupby(["speaker", "method"], as_index=False).mean()
    speakers.to_csv(to / "unheard_speakers.csv", index=False, float_format="%.4g")
    command = "python -m notebooks.studies.unheard_speakers.shipped FOLDER --heard"
    about = {"command": f"{command} {heard}"}
    write_json(to / "unheard_speakers.json", summary(clips, speakers) | about)


main = CommandLine(shipped)


if __name__ == "__main__":
    sys.exit(main())
