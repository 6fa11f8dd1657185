"""Adversary: whether a person's adaptation makes motion harder to tell from their own.

`python -m notebooks.studies.adversary PERSON... --seeds 0,1,2 [--out FOLDER] [--to FOLDER]` makes
the adaptation of each person with each seed and collects what its run says of foreign speech
that neither trained nor picked the weights, beside the person's own frames that train. Writes
adversary.csv, a line a run, and adversary.json, means and standard deviations over persons.
"""

import shlex
import sys
from collections.abc import Sequence

import pandas as pd

from geneface_kit.pipeline import options as given
from geneface_kit.pipeline.options import CommandLine
from geneface_kit.pipeline.require import require
from geneface_kit.runs import Run, root, write_json
from notebooks import commands

__all__ = ["main", "row_of", "summary"]

SIDES = ("floor", "before", "after")
MEASURES = ("told_apart", "distance", "mouth_r")
"""Accuracy of a fresh classifier (0.5: the domains are one), Frechet distance in squared eye
distances, and Pearson r of the mouth's opening on the person's held-out sound. The floor is that of
two halves of the person's own motion, which has no r."""
Row = dict[str, float | int | str]


def row_of(run: Run) -> Row:
    """What one run of the adaptation found; `step` is the update kept, 0 is none."""
    row: Row = {"person": run.subject, "seed": run.seed, "run": run.id}
    row["step"] = run.metrics["best_step"]
    names = [f"{measure}_{side}" for measure in MEASURES for side in SIDES]
    return row | {name: run.metrics[name] for name in names if name in run.metrics}


def summary(rows: Sequence[Row]) -> dict[str, float | int | list[float]]:
    """[mean, standard deviation] over persons, each the mean over seeds, of each measure and of the
    change of r that the adaptation makes; `kept` counts runs with a trained post-net."""
    table = pd.DataFrame(rows)
    table["mouth_r_change"] = table["mouth_r_after"] - table["mouth_r_before"]
    told = table["told_apart_after"] < table["told_apart_before"]
    found: dict[str, float | int | list[float]] = {
        "n_persons": table["person"].nunique(),
        "n_seeds": table["seed"].nunique(),
        "n": len(table),
        "kept": int((table["step"] > 0).sum()),
        "harder_to_tell_apart": int(told.sum()),
    }
    persons = table.groupby("person").mean(numeric_only=True).drop(columns=["seed", "step"])
    spreads = persons.std().fillna(0.0)  # of one person there is none
    for name, mean in persons.mean().items():
        found[name] = [round(float(mean), 4), round(float(spreads[name]), 4)]
    return found


def adversary(
    persons: commands.Persons,
    seeds: commands.Seeds = "0,1,2",
    profile: commands.Profile = "cpu",
    overrides: given.Overrides = "",
    out: given.Out = "",
    to: commands.To = None,
) -> None:
    """Adapt to each person with each seed and write what the runs say."""
    how = {"profile": profile, "overrides": overrides, "out": out}
    to = to or root() / "figures"
    rows = [
        row_of(require("adaptation", name, seed=seed, **how))
        for seed in commands.seeds_of(seeds)
        for name in persons
    ]
    pd.DataFrame(rows).to_csv(to / "adversary.csv", index=False)
    told = {"--seeds": seeds, "--profile": profile, "--set": overrides}
    options = [one for option in told.items() if option[1] for one in option]
    command = ["python", "-m", "notebooks.studies.adversary", *persons, *options]
    write_json(to / "adversary.json", summary(rows) | {"command": shlex.join(command)})


main = CommandLine(adversary)


if __name__ == "__main__":
    sys.exit(main())
