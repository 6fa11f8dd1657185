"""Scores: the files of a proof -> its table, mean and spread over seeds."""

from pathlib import Path

import pandas as pd

from geneface_kit.runs import replacing
from geneface_kit.runs.arrays import read_npz
from geneface_kit.runs.files import readable
from notebooks.studies.unheard_speakers.measures import (
    MEASURES,
    Lips,
    amplitude_for,
    measure,
    opening_ratio,
)
from notebooks.studies.unheard_speakers.proof import Proof, Row

SHOWN = ("r_opening", "r_width", "lip_error", "closure_recall", "variance_ratio", "diversity")
"""Measures that `report` prints; the csv holds all of them."""

Unit = dict[str, Lips]
"""Clip -> its lips."""


def report(proof: Proof, command: str, path: Path) -> str:
    """Writes the table, and beside the units clips.csv with every clip's scores; gives it as text.

    Raises: ValueError while no row has all its folds.
    """
    scores = clip_scores(proof)
    if not len(scores):
        raise ValueError(f"no row of {proof.folder} has all its folds yet: run the same again")
    save_table(scores, proof.folder / "clips.csv")
    found = table(proof, scores, command)
    save_table(found, path)
    lines = [f"{'':42}" + "".join(f"{name:>17}" for name in SHOWN)]
    for _, line in found.iterrows():
        cells = [f"{line[name]:.3f} +- {line[f'{name}_sd']:.3f}" for name in SHOWN]
        lines.append(f"{line['row']:42}" + "".join(f"{cell:>17}" for cell in cells))
    spread = f"mean and standard deviation over seeds ({found.n_seeds.max()} at most)"
    first = found.iloc[0]
    where = f"{first.n_clips} clips of {first.n_speakers} speakers in {first.n_folds} folds"
    return "\n".join([*lines, f"{spread}; {where}; nan: one seed; table: {path}"])


def clip_scores(proof: Proof) -> pd.DataFrame:
    """One line for each row, seed and clip, of every seed whose folds are all there.

    The factor on a fold's motion comes from the other folds: the one that would bring the median
    variance ratio of their held-out clips to 1. So no clip takes part in its own factor.
    """
    lines = []
    for row in proof.rows:
        for seed in proof.seeds:
            files = [proof.file(row, fold, seed) for fold in range(len(proof.folds))]
            if not all(file.exists() for file in files):
                continue
            units, costs = zip(*(read_unit(file) for file in files), strict=True)
            for fold, unit in enumerate(units):
                others = [other for index, other in enumerate(units) if index != fold]
                ratios = [opening_ratio(lips) for other in others for lips in other.values()]
                factor = amplitude_for(ratios)
                for clip, lips in unit.items():
                    found = measure(lips, factor)
                    facts = {"row": row.name, "seed": seed, "fold": fold, "clip": clip}
                    cost = {"amplitude": factor, "cpu_s": costs[fold]}
                    lines.append(facts | found | cost)
    columns = ["row", "seed", "fold", "clip", *MEASURES, "amplitude", "cpu_s"]
    return pd.DataFrame(lines, columns=columns)


def table(proof: Proof, scores: pd.DataFrame, command: str) -> pd.DataFrame:
    """One line a row: of each measure the mean over clips (variance ratios: the median), then its
    mean and its standard deviation over seeds.

    The deviation is NaN with a single seed. command: what makes this table, kept in it.
    """
    lines = []
    for row in proof.rows:
        own = scores[scores.row == row.name]
        if not len(own):
            continue
        seeds = own.groupby("seed")
        by_seed = pd.DataFrame(
            {
                name: seeds[name].median() if "ratio" in name else seeds[name].mean()
                for name in MEASURES
            }
        )
        line: dict[str, object] = {"row": row.name}
        for name in MEASURES:
            line |= {name: by_seed[name].mean(), f"{name}_sd": by_seed[name].std(ddof=1)}
        line |= _circumstances(proof, row, own) | {"command": command}
        lines.append(line)
    return pd.DataFrame(lines)


def save_table(found: pd.DataFrame, path: Path) -> None:
    """Writes a table as csv with 4 digits, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        found.to_csv(partial, index=False, float_format="%.4g")


def _circumstances(proof: Proof, row: Row, own: pd.DataFrame) -> dict[str, object]:
    config = proof.settings.motion
    trained = row.network != "ridge"
    return {
        "amplitude": own.amplitude.mean(),
        "n_seeds": own.seed.nunique(),
        "n_folds": len(proof.folds),
        "n_speakers": len(proof.data.speakers),
        "n_clips": own["clip"].nunique(),
        "updates": config.steps if trained else 0,
        "batch": config.batch if trained else 0,
        "sync_updates": proof.settings.sync.steps if row.sync else 0,
        "cpu_s": own.groupby(["seed", "fold"]).cpu_s.first().mean(),
    }


def read_unit(file: Path) -> tuple[Unit, float]:
    """The lips of one unit of work, and the CPU seconds it took."""
    stored = read_npz(file)
    with readable(file):
        lips = {
            str(name): Lips(
                seen=stored[f"seen{index}"],
                drawn=stored[f"drawn{index}"],
                rest=stored[f"rest{index}"],
                diversity=float(stored[f"diversity{index}"]),
            )
            for index, name in enumerate(stored["names"])
        }
        return lips, float(stored["cpu_s"])
