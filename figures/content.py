"""Content: finished runs -> the data of a figure: a table for csv, or arrays for npz."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8

from geneface_kit import runs
from geneface_kit.person import corpus
from geneface_kit.person import stage as person_stage
from geneface_kit.person.mouth import mouth_opening
from geneface_kit.pipeline.stages import STAGES
from geneface_kit.runs.arrays import read_npz
from geneface_kit.runs.files import readable

__all__ = [
    "ablations_data",
    "bars_data",
    "domain_groups",
    "domains_data",
    "filmstrip_data",
    "mouth_data",
    "pipeline_data",
    "training_data",
]

ABLATED = ("lip error", "mouth correlation", "sync expert", "domain distance", "PSNR", "LMD lips")
"""Metrics of Table C that are drawn."""
GIVES = {
    "person": "landmarks, pose,\nlayers, speech",
    "motion": "speech to landmarks,\nany voice",
    "adaptation": "landmarks as\nthis person",
    "nerf": "landmarks to\npictures",
    "talk": "a video of\nany recording",
    "evaluation": "tables",
}
ENTERS = {"person": "video", "motion": "corpus", "talk": "recording"}
PLACES = {
    "person": (0, 1),
    "motion": (0, 0),
    "adaptation": (1, 0),
    "nerf": (1, 1),
    "talk": (2, 0),
    "evaluation": (2, 1),
}


def pipeline_data() -> pd.DataFrame:
    """One row per stage: what it gives, what it needs; from the table of stages."""
    rows = [
        {
            "stage": name,
            "gives": GIVES[name],
            "enters": ENTERS.get(name, ""),
            "parents": " ".join(spec.parents),
            "column": PLACES[name][0],
            "row": PLACES[name][1],
        }
        for name, spec in STAGES.items()
    ]
    return pd.DataFrame(rows)


def mouth_data(
    loudness: Float[np.ndarray, " t"],
    predicted: Float[np.ndarray, "t 68 3"],
    finished: Float[np.ndarray, "t 68 3"],
) -> pd.DataFrame:
    """Mouth opening over time, as the post-net gave it and as it was rendered, and the sound."""
    return pd.DataFrame(
        {
            "seconds": np.arange(len(loudness)) / 25,
            "loudness": loudness,
            "adapted": mouth_opening(predicted),
            "rendered": mouth_opening(finished),
        }
    ).round(5)


def filmstrip_data(
    stills: UInt8[np.ndarray, "k h w 3"],
    still_frames: np.ndarray,
    loudness: Float[np.ndarray, " t"],
    *,
    size: int = 144,
) -> dict[str, np.ndarray]:
    """Rendered frames, made small, with their frame numbers and the loudness of all frames."""
    from PIL import Image

    small = [
        Image.fromarray(frame).resize((size, size), Image.Resampling.LANCZOS) for frame in stills
    ]
    return {
        "stills": np.stack([np.asarray(picture) for picture in small]),
        "still_frames": np.asarray(still_frames),
        "loudness": loudness.astype(np.float32),
    }


def domain_groups(
    talked: runs.Run, config: corpus.CorpusConfig
) -> dict[str, Float[np.ndarray, "_ 68 3"]]:
    """Displacements from the mean face: corpus, person, a talk before and after adaptation."""
    person = person_stage.load(talked.parents["person"].folder)
    speakers = corpus.displacements(corpus.prepare(config).utterances, config)
    layout = {"displacements": "real t 68 3", "adapted": "real t 68 3"}
    made = read_npz(talked.folder / "talk.npz", layout)
    before, after = made["displacements"], made["adapted"] - person.landmark_mean
    return {
        "corpus": config.unit * np.concatenate([one[:] for one in speakers]).reshape(-1, 68, 3),
        "person": person.landmarks - person.landmark_mean,
        "without adaptation": before,
        "with adaptation": after,
    }


def domains_data(
    groups: Mapping[str, Float[np.ndarray, "_ 68 3"]],
    *,
    n_points: int = 400,
    neighbours: bool = False,
) -> pd.DataFrame:
    """Landmark displacements of several origins in the plane of their first two components.

    groups: origin -> displacements from the mean face. The components (columns x, y) are those of
    all groups together, each group with the same weight. At most n_points frames of each, evenly
    spaced. neighbours: also columns u, v of a t-SNE (scikit-learn, perplexity 30, seed 0), which
    keeps neighbours together and means nothing by its distances.
    """
    flat = {}
    for name, values in groups.items():
        step = np.linspace(0, len(values) - 1, min(n_points, len(values))).round().astype(int)
        flat[name] = values[step].reshape(len(step), -1).astype(np.float64)
    centre = np.mean([values.mean(axis=0) for values in flat.values()], axis=0)
    spread = np.mean([(v - centre).T @ (v - centre) / len(v) for v in flat.values()], axis=0)
    axes = np.linalg.eigh(spread)[1][:, [-1, -2]]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])  # a sign that does not flip
    points = [
        pd.DataFrame((values - centre) @ axes, columns=["x", "y"]).assign(origin=name)
        for name, values in flat.items()
    ]
    data = pd.concat(points)[["origin", "x", "y"]]
    if neighbours:
        data[["u", "v"]] = _neighbour_plane(np.concatenate(list(flat.values())))
    return data.round(5)


def training_data(made: list[runs.Run]) -> pd.DataFrame:
    """Every history of some runs, long: stage, part, measure, step, value."""
    rows = []
    for run in made:
        for path in sorted(run.folder.glob("*_history.csv")):
            with readable(path):
                history = pd.read_csv(path, dtype=float)
            history = history.drop(columns=["rays", "samples"], errors="ignore")  # no measures
            long = history.melt("step", var_name="measure", value_name="value").dropna()
            part = path.stem.removesuffix("_history")
            rows.append(long.assign(stage=run.stage, part=part))
    columns = ["stage", "part", "measure", "step", "value"]
    return pd.concat(rows)[columns] if rows else pd.DataFrame(columns=columns)


def bars_data(tables: list[pd.DataFrame], metrics: tuple[str, ...]) -> pd.DataFrame:
    """The measured rows of some tables for the chosen metrics; what is missing stays out."""
    rows = pd.concat(tables)
    rows = rows[rows["metric"].isin(metrics) & (rows["value"] != "not measured")]
    columns = ["person", "protocol", "method", "metric", "value", "unit", "data_kind", "runs"]
    return rows[columns]


def ablations_data(tables: list[pd.DataFrame], person: str, profile: str) -> pd.DataFrame:
    """The rows of Table C that are drawn, of one person and profile; none without a table.

    tables: as `tables.read_table` gives them. Drawn are the metrics of ABLATED, driven by sound;
    what was measured on speech of the corpus stands apart from what was on the kit's voices.
    Raises: ValueError when rows of synthetic and of real data meet.
    """
    columns = ["person", "protocol", "method", "metric", "value", "unit", "seed"]
    columns += ["data_kind", "runs"]
    if not tables:
        return pd.DataFrame(columns=columns)
    rows = pd.concat(tables)
    rows = rows[(rows["person"] == person) & (rows["profile"] == profile)]
    rows = rows[rows["metric"].isin(ABLATED) & (rows["protocol"] != "landmark-driven")]
    if rows["data_kind"].nunique() > 1:
        raise ValueError(f"Table C mixes synthetic and real data of {person}")
    apart = rows["protocol"].str.startswith("corpus")
    rows = rows.assign(metric=rows["metric"].mask(apart, rows["metric"] + ", corpus"))
    return rows[columns]


def _neighbour_plane(frames: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n 2"]:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(frames) - 1) / 3)
    plane = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(frames)
    return plane.astype(np.float64)
