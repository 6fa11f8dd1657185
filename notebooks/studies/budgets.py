"""Budgets: how good a head gets with more minutes of training, and with fewer seconds of video.

`python -m notebooks.studies.budgets minutes obama --numbers 2000,4000` trains a head anew for each
number of updates and looks at the last tenth of the frames that train otherwise: budgets are chosen
here, and the held-out part of the tables stays unseen. `seconds lieu --numbers 3,5` trains on the
first seconds alone and looks at the clip's held-out part; tracking and focal length are the whole
clip's. Heads are seen over the empty background, driven by tracked landmarks. Writes minutes.csv or
few_seconds.csv, rows of other persons and numbers kept, and how they were made beside it.
"""

import argparse
import dataclasses
import shlex
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from geneface_kit.evaluation.scores import score_pictures
from geneface_kit.metrics.networks import NotMeasured
from geneface_kit.nerf.dataset import RayDataset
from geneface_kit.nerf.head_training import HeadTask
from geneface_kit.nerf.renderer import HeadRenderer, to_uint8
from geneface_kit.nerf.verdict import DETAIL, Look
from geneface_kit.person import stage as person_stage
from geneface_kit.person.artefact import Person
from geneface_kit.person.clip import FPS
from geneface_kit.pipeline.require import require
from geneface_kit.pipeline.settings import Settings, parse, resolve
from geneface_kit.runs import root, training, write_json
from geneface_kit.runs.files import read_json
from notebooks.commands import seeds_of

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


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line, trains and writes after every head."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=FILES)
    parser.add_argument("persons", nargs="+", metavar="PERSON")
    parser.add_argument("--numbers", required=True, type=seeds_of, help="of updates, or of seconds")
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--set", default="", metavar="a.b=1,c.d=x", help="override settings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="", help="folder of all runs (default: runs/)")
    parser.add_argument("--to", default=root() / "figures", type=Path)
    given = sys.argv[1:] if arguments is None else arguments
    chosen = parser.parse_args(arguments)
    path = chosen.to / f"{FILES[chosen.what]}.csv"
    about = path.with_suffix(".json")
    table = pd.read_csv(path) if path.exists() else pd.DataFrame()
    facts = read_json(about) if about.exists() else {}
    for name in chosen.persons:
        how = {"profile": chosen.profile, "overrides": chosen.set, "out": chosen.out}
        run = require("person", name, **how)
        person = person_stage.load(run.folder)
        facts[f"run of {name}"] = run.folder.name
        for number in chosen.numbers:
            if chosen.what == "minutes":
                changes, key = {"head.steps": number}, {}
                n_train, end = int(0.9 * person.n_train), person.n_train
            else:
                n_train, end = min(FPS * number, person.n_train), len(person)
                changes, key = {}, {"seconds": n_train / FPS}
            settings = resolve(chosen.profile, parse(chosen.set) | changes)
            row = {"person": name, "seed": chosen.seed} | key
            row |= learned(person, settings, n_train, end, chosen.seed)
            table = pd.concat([table, pd.DataFrame([row])])
            same = ["person", "seed", *(key or ["updates"])]
            table = table.drop_duplicates(same, keep="last").sort_values(same)
            table.to_csv(path, index=False, float_format="%g")
            kept = [
                arg for arg in given if arg not in ("--out", chosen.out, "--to", str(chosen.to))
            ]
            command = f"python -m notebooks.studies.budgets {shlex.join(kept)}"
            commands = [*facts.get(f"commands of {name}", ()), command]
            facts |= {f"commands of {name}": [*dict.fromkeys(commands)], "n": len(table)}
            write_json(about, facts)
    sys.stdout.write(f"{table.to_string(index=False)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
