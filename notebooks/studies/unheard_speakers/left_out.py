"""Left out: the shipped kind of generator on speakers left out of its training, beside a ridge.

`python -m notebooks.studies.unheard_speakers.left_out FOLDER --folds 3 --heard a,b,c --to figures`

The shipped weights have heard every speaker of their corpus, so that networks of the same settings
stand for them, each trained without one fold. Writes unheard_speakers.csv, a line a speaker and
method, and unheard_speakers.json: means over speakers with 95 % bootstrap intervals. No lag is
searched: each clip as `corpus` has it in step.
"""

import sys
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from geneface_kit.person import corpus
from geneface_kit.pipeline import options as given
from geneface_kit.pipeline.options import CommandLine, several
from geneface_kit.pipeline.settings import parse, resolve
from geneface_kit.runs import root, write_json
from notebooks import commands
from notebooks.studies.unheard_speakers import proof, scores

METHODS = {
    "generator": proof.METHODS[-1],
    "ridge": proof.Row("ridge, no copies", "ridge", rates=False),
}
"""Methods compared: the shipped kind, and a ridge regression on the same features of the same
speakers' recordings as they are (with copies at other speeds it does worse)."""
MEASURES = (
    "r_opening",
    "r_width",
    "r_velocity",
    "std_ratio",
    "raw_std_ratio",
    "closure_recall",
    "closure_precision",
)
"""std_ratio: predicted over tracked deviation of the opening; raw: without the factor on the
motion, which the other folds tell, of the ridge too."""
N_DRAWS = 4000
"""Bootstrap samples of speakers."""


def by_clip(ready: proof.Proof) -> pd.DataFrame:
    """One line a clip and method, means over seeds: its speaker and the MEASURES."""
    found = scores.clip_scores(ready)
    found["std_ratio"] = found.variance_ratio**0.5
    found["raw_std_ratio"] = found.raw_variance_ratio**0.5
    names = {row.name: method for method, row in METHODS.items()}
    found["method"] = found["row"].map(names)
    speakers = {one.clip: one.speaker for one in ready.data.utterances}
    found["speaker"] = found["clip"].map(speakers)
    keys = ["speaker", "clip", "method"]
    return found.groupby(keys, as_index=False)[[*MEASURES, "amplitude"]].mean()


def by_speaker(clips: pd.DataFrame) -> pd.DataFrame:
    """Means over a speaker's clips, one line a speaker and method."""
    return clips.groupby(["speaker", "method"], as_index=False)[[*MEASURES]].mean()


def summary(clips: pd.DataFrame) -> dict[str, object]:
    """Means over speakers with intervals, of each method and of their difference."""
    parts = by_speaker(clips).groupby("method")
    wide = {name: part.set_index("speaker")[list(MEASURES)] for name, part in parts}
    n = len(wide["ridge"])
    picks = np.random.default_rng(0).integers(n, size=(N_DRAWS, n))
    found: dict[str, object] = {"n_speakers": n, "n_clips": clips["clip"].nunique()}
    wide["difference"] = wide["generator"] - wide["ridge"]
    for method, table in wide.items():
        for name in MEASURES:
            values = table[name].to_numpy()
            low, high = np.nanpercentile(np.nanmean(values[picks], axis=1), [2.5, 97.5])
            interval = [round(float(np.nanmean(values)), 3), round(low, 3), round(high, 3)]
            found[f"{method} {name}"] = interval
    for method, part in clips.groupby("method"):
        for kind in ("", "raw "):
            inside = part[f"{kind}std_ratio".replace(" ", "_")].between(0.6, 1.6).mean()
            key = f"{method} share of clips with a {kind}std ratio of 0.6 to 1.6"
            found[key] = round(float(inside), 3)
    found["amplitude"] = round(float(clips.amplitude[clips.method == "generator"].mean()), 3)
    return found


def left_out(
    folder: commands.Videos,
    profile: commands.Profile = "cpu",
    overrides: given.Overrides = "",
    folds: Annotated[int, typer.Option(min=0, help="groups of speakers; 0: each alone")] = 3,
    seeds: commands.Seeds = "0",
    heard: Annotated[
        str, typer.Option(metavar="a,b,c", help="speakers that always train and are not judged")
    ] = "",
    out: given.Out = "",
    to: commands.To = None,
) -> None:
    """Train the shipped kind of generator without some speakers and write what it scores there."""
    chosen = resolve(profile, parse(overrides) | {"corpus.folder": folder})
    ready = proof.prepare(
        corpus.prepare(chosen.corpus),
        chosen,
        tuple(METHODS.values()),
        n_folds=folds,
        seeds=commands.seeds_of(seeds),
        out=out,
        heard=several(heard),
    )
    proof.prove(ready)
    clips, to = by_clip(ready), to or root() / "figures"
    to.mkdir(parents=True, exist_ok=True)
    by_speaker(clips).to_csv(to / "unheard_speakers.csv", index=False, float_format="%.4g")
    parts = ["python -m notebooks.studies.unheard_speakers.left_out FOLDER", f"--folds {folds}"]
    parts += [f"--profile {profile} --seeds {seeds}", f'--set "{overrides}"', f"--heard {heard}"]
    trained = len(ready.data.speakers)
    about = {"command": " ".join(parts), "n_seeds": len(ready.seeds), "n_in_corpus": trained}
    write_json(to / "unheard_speakers.json", summary(clips) | about)


main = CommandLine(left_out)


if __name__ == "__main__":
    sys.exit(main())
