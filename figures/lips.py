"""Lips: talks and persons -> what a figure of mouths shows: grids, strips, opening over time."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from geneface_kit_figures.phonemes import SHAPES, Mark, certain_marks, shape_probabilities
from jaxtyping import Float, UInt8

from geneface_kit.evaluation.stage import RIDGE, own_plan
from geneface_kit.person import camera, speech
from geneface_kit.person.artefact import Person
from geneface_kit.person.clip import FPS
from geneface_kit.person.mouth import mouth_opening
from geneface_kit.runs import Run
from geneface_kit.runs.arrays import read_npz
from geneface_kit.talk.plan import Actor, Plan, load_actor
from geneface_kit.talk.postprocess import TalkConfig, postprocess

__all__ = [
    "filmstrips_data",
    "grid_data",
    "moments",
    "opening_data",
    "rendered_at",
    "spoken_row",
    "strip_row",
    "true_row",
]

MARGIN = 1.3
"""Side of the square around a face, over the extent of its landmarks (ours)."""


def moments(
    audio: Float[np.ndarray, " n"], n_frames: int, *, per_shape: int = 1, apart: int = 3
) -> list[Mark]:
    """The frames that are looked at: where the recording is most certain of each shape of lips.

    The rule of grid and strips: the peaks of the phoneme network, no frame is picked by hand.
    """
    heard = shape_probabilities(audio)
    return certain_marks(heard, n_frames, per_shape=per_shape, apart=apart)


def spoken_row(
    actor: Actor,
    planned: Plan,
    frames: Sequence[int],
    config: TalkConfig,
    *,
    poses: Float[np.ndarray, "p 4 4"] | None = None,
    adapted: bool = True,
) -> UInt8[np.ndarray, "k s s 3"]:
    """The faces of a plan at some frames, cut out and rendered without a codec between.

    poses: of the head, by default the plan's. adapted: with the post-net, or the generator's
    displacements put on the person's mean face, finished in the same way.
    """
    landmarks = planned.landmarks
    if not adapted:
        raw = actor.person.landmark_mean + planned.displacements
        landmarks = postprocess(raw, planned.silent, actor.person, config)
    poses = planned.poses if poses is None else poses
    n = min(len(poses), len(landmarks))
    return rendered_at(actor, landmarks[:n], poses[:n], frames, planned.speech)


def rendered_at(
    actor: Actor,
    landmarks: Float[np.ndarray, "t 68 3"],
    poses: Float[np.ndarray, "t 4 4"],
    frames: Sequence[int],
    heard: speech.Speech | None = None,
) -> UInt8[np.ndarray, "k s s 3"]:
    """The faces that landmarks and head poses give at some frames, cut out.

    heard: the speech, which only a head that speech drives needs.
    """
    track = landmarks if heard is None else actor.avatar.driving(landmarks, heard)
    pictures = np.stack(list(actor.avatar.render(track, poses, only=list(frames))))
    return _faces(pictures, landmarks[list(frames)], poses[list(frames)], actor.person)


def grid_data(
    rows: Mapping[str, UInt8[np.ndarray, "k h w 3"]], marks: Sequence[Mark], *, size: int = 144
) -> dict[str, np.ndarray]:
    """Methods x shapes of the lips: rows of pictures at the same moments.

    rows: name of the method -> its picture at each mark; every row must have one for each.
    """
    for name, pictures in rows.items():
        if len(pictures) != len(marks):
            raise ValueError(f"row {name!r} has {len(pictures)} pictures for {len(marks)} marks")
    return {
        "pictures": np.stack([_small(pictures, size) for pictures in rows.values()]),
        "methods": np.array(list(rows)),
        "shapes": np.array([mark.shape for mark in marks]),
        "frames": np.array([mark.frame for mark in marks]),
        "probabilities": np.array([mark.probability for mark in marks]),
    }


def strip_row(talked: Run, *, per_shape: int = 2) -> dict[str, np.ndarray]:
    """One talk as a row of a strip: faces at its moments, its loudness, all its marks.

    Raises: ValueError when none of the sounds is heard that lips are seen by.
    """
    layout = {"audio": "real n", "landmarks": "real t 68 3"}
    layout |= {"poses": "real t 4 4", "loudness": "real t"}
    kept = read_npz(talked.folder / "talk.npz", layout)
    n_frames = len(kept["landmarks"])
    chosen = moments(kept["audio"], n_frames, per_shape=per_shape)
    if not chosen:
        raise ValueError(f"run {talked.id}: no sound of {', '.join(SHAPES)} is heard in it")
    frames = [mark.frame for mark in chosen]
    actor = load_actor(talked.parents)
    marks = moments(kept["audio"], n_frames, per_shape=n_frames, apart=0)
    return {
        "pictures": rendered_at(actor, kept["landmarks"], kept["poses"], frames),
        "frames": np.array(frames),
        "shapes": np.array([mark.shape for mark in chosen]),
        "loudness": kept["loudness"].astype(np.float32),
        "mark_frames": np.array([mark.frame for mark in marks]),
        "mark_shapes": np.array([mark.shape for mark in marks]),
    }


def filmstrips_data(
    rows: Mapping[str, Mapping[str, np.ndarray]], *, size: int = 144
) -> dict[str, np.ndarray]:
    """Several persons and recordings under each other: arrays named ROW/KEY, rows in order.

    rows: label, such as "lieu · zozo.wav" -> what `strip_row` gave.
    """
    data = {"labels": np.array(list(rows))}
    for number, row in enumerate(rows.values()):
        for key, values in row.items():
            data[f"{number}/{key}"] = _small(values, size) if key == "pictures" else values
    return data


def opening_data(actor: Actor, config: TalkConfig, run: Run) -> pd.DataFrame:
    """Mouth opening over the person's own clip: tracked, by the kit, by a ridge, and the mean.

    The kit's comes from the clip's sound through generator and post-net; the ridge is a linear
    regression from the same features, fitted on other speakers and scaled to nobody; the mean is
    the face of no movement at all. held_out: frames that the post-net never saw. A prediction that
    is flat where the tracked curve moves is the mean-face effect.
    """
    person = actor.person
    planned = own_plan(actor, config, run.generator("opening"))
    n = min(len(planned.landmarks), len(person.landmarks))
    tracked = mouth_opening(person.landmarks[:n])
    columns = {
        "seconds": np.arange(n) / FPS,
        "held_out": (np.arange(n) >= person.n_train).astype(int),
        "tracked": tracked,
        "kit": mouth_opening(planned.landmarks[:n]),
    }
    if planned.speech.encoder == "hama":  # the features that the ridge reads
        heard = speech.mouth_from_speech(planned.speech, person.spans, RIDGE)[:n, 0]
        columns["ridge"] = heard - heard.mean() + tracked[: person.n_train].mean()
    columns["mean"] = np.full(n, tracked[: person.n_train].mean())
    return pd.DataFrame(columns).round(5)


def true_row(person: Person, frames: Sequence[int]) -> UInt8[np.ndarray, "k s s 3"]:
    """The faces of a person's own frames, cut out.

    Raises: ValueError for a real person: frames of somebody's clip enter no figure.
    """
    if person.data_kind != "synthetic":
        raise ValueError(f"{person.name} is a real person: true frames are drawn of the demo only")
    chosen = list(frames)
    pictures = np.asarray(person.frames[chosen])
    return _faces(pictures, person.landmarks[chosen], person.poses[chosen], person)


def _faces(
    pictures: UInt8[np.ndarray, "k h w 3"], landmarks: np.ndarray, poses: np.ndarray, person: Person
) -> UInt8[np.ndarray, "k s s 3"]:
    """A square around the landmarks of each picture, all of the size of the largest."""
    size = pictures.shape[1]
    places = [
        camera.project(points, pose, float(person.focal), size)
        for points, pose in zip(landmarks, poses, strict=True)
    ]
    low, high = (np.array([edge(place, axis=0) for place in places]) for edge in (np.min, np.max))
    side = min(size, int(np.ceil(MARGIN * float((high - low).max()))))
    corners = np.clip(np.round((low + high - side) / 2).astype(int), 0, size - side)
    cut = [
        picture[y : y + side, x : x + side]
        for picture, (x, y) in zip(pictures, corners, strict=True)
    ]
    return np.stack(cut)


def _small(pictures: UInt8[np.ndarray, "k h w 3"], size: int) -> UInt8[np.ndarray, "k s s 3"]:
    from PIL import Image

    if pictures.shape[1:3] == (size, size):
        return pictures
    small = [
        Image.fromarray(one).resize((size, size), Image.Resampling.LANCZOS) for one in pictures
    ]
    return np.stack([np.asarray(one) for one in small])
