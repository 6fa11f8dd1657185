"""Budgets: how good a head gets with more minutes of training, and with fewer seconds of video.

`python -m notebooks.studies.budgets minutes obama --numbers 2000,4000` trains a head anew for each
number of updates and looks at the last tenth of the frames that train otherwise: budgets are chosen
here, and the held-out part of the tables stays unseen. `seconds lieu --numbers 3,5` trains on the
first seconds alone and looks at the clip's held-out part; tracking and focal length are the whole
clip's. Heads are seen over the empty background, driven by tracked landmarks. Writes minutes.csv or
few_seconds.csv, rows of other persons and numbers kept, and how they were made beside it.
"""

import dataclasses
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer

from geneface_kit.evaluation.scores import score_pictures
from geneface_kit.metrics.networks import NotMeasured
from geneface_kit.nerf.dataset import RayDataset
from geneface_kit.nerf.head_training import HeadTask
from geneface_kit.nerf.renderer import HeadRenderer, to_uint8
from geneface_kit.nerf.verdict import DETAIL, Look
from geneface_kit.person import stage as person_stage
from geneface_kit.person.artefact import Person
from geneface_kit.person.clip import FPS
from geneface_kit.pipeline import options as given
from geneface_kit.pipeline.options import CommandLine, argument, one_of
from geneface_kit.pipeline.require import require
from geneface_kit.pipeline.settings import Settings, parse, resolve
from geneface_kit.runs import root, training, write_json
from geneface_kit.runs.files import read_json
from notebooks import commands

FILES = {"minutes": "minutes", "seconds": "few_seconds"}
MEASURES = {
    "PSNR head": "head_psnr",
    "LMD lips": "lips_px",
    "mouth correlation seen": "mouth_r",
}
N_FRAMES = 48  # at most, that are looked at


def learned(
    person: Person, settings: Settings, n_train: int, end: int, seed: int
) -> dict[str, float | int]:
    """A head that learned the first n_train frames, on frames from there or from the held-out part
    on to `end`: minutes of updates, dB, px of 512, r, and detail, the energy of what is finer than
    a quarter of the sampling rate over the true frames'."""
    first = max(n_train, 0 if end <= person.n_train else person.n_train)
    frames = np.unique(np.linspace(first, end - 1, min(N_FRAMES, end - first)).astype(int))
    dataset = RayDataset(dataclasses.replace(person, n_train=n_train))
    generator = torch.Generator().manual_seed(seed)
    task = HeadTask.make(settings.head, dataset, generator, settings.avatar)
    with tempfile.TemporaryDirectory() as folder:
        how = {"name": "head", "steps": settings.head.steps, "generator": generator}
        history = training.fit(task, Path(folder), **how)
    images = HeadRenderer(task.field, settings.avatar).of_frames(dataset, frames.tolist())
    pictures = np.stack([to_uint8(one.over(dataset.background())).numpy() for one in images])
    scores = score_pictures(person, frames, pictures)
    found = {ours: scores[name] for name, ours in MEASURES.items()}
    labels = person.labels[frames]
    seen, true = (Look(zip(p, labels, strict=True)) for p in (pictures, person.frames[frames]))
    found["detail"] = seen.value(DETAIL) / true.value(DETAIL)
    found = {k: np.nan if isinstance(v, NotMeasured) else round(v, 3) for k, v in found.items()}
    minutes = round(history.seconds / 60, 2)
    return {"updates": settings.head.steps, "minutes": minutes, "n_frames": len(frames)} | found


def budgets(
    what: Annotated[str, argument("WHAT", ", ".join(FILES), **one_of("budget", FILES))],
    persons: commands.Persons,
    numbers: Annotated[str, typer.Option(metavar="1000,3000", help="of updates, or of seconds")],
    profile: commands.Profile = "cpu",
    overrides: given.Overrides = "",
    seed: given.Seed = 0,
    out: given.Out = "",
    to: commands.To = None,
) -> None:
    """Train heads of several budgets and write, after each, how good they are."""
    updates, settings = what == "minutes", {}
    for number in commands.seeds_of(numbers, "--numbers"):
        changes = {"head.steps": number} if updates else {}
        settings[number] = resolve(profile, parse(overrides) | changes)
    told = {"--numbers": numbers, "--profile": profile, "--set": overrides, "--seed": str(seed)}
    options = [one for option in told.items() if option[1] for one in option]
    command = shlex.join(["python", "-m", "notebooks.studies.budgets", what, *persons, *options])
    path = (to or root() / "figures") / f"{FILES[what]}.csv"
    about = path.with_suffix(".json")
    table = pd.read_csv(path) if path.exists() else pd.DataFrame()
    facts = read_json(about) if about.exists() else {}
    for name in persons:
        run = require("person", name, profile=profile, overrides=overrides, out=out)
        person = person_stage.load(run.folder)
        facts[f"run of {name}"] = run.folder.name
        for number, chosen in settings.items():
            n_train, end, key = int(0.9 * person.n_train), person.n_train, {}
            if not updates:
                n_train, end = min(FPS * number, person.n_train), len(person)
                key = {"seconds": n_train / FPS}
            row = {"person": name, "seed": seed} | key
            row |= learned(person, chosen, n_train, end, seed)
            table = pd.concat([table, pd.DataFrame([row])])
            same = ["person", "seed", *(key or ["updates"])]
            table = table.drop_duplicates(same, keep="last").sort_values(same)
            table.to_csv(path, index=False, float_format="%g")
            calls = [*facts.get(f"commands of {name}", ()), command]
            facts |= {f"commands of {name}": [*dict.fromkeys(calls)], "n": len(table)}
            write_json(about, facts)
    typer.echo(table.to_string(index=False))


main = CommandLine(budgets)


if __name__ == "__main__":
    sys.exit(main())
