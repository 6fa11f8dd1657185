"""Artefact: a prepared person as the other stages see it, read from its folder."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from geneface_kit.person import clip, speech
from geneface_kit.person.spans import ONE, held_out_from, stretches
from geneface_kit.runs.arrays import read_image, read_npy, read_npz
from geneface_kit.runs.files import Damaged, Facts, read_json

SCHEMA = 5

TOLD = {"name": str, "data_kind": str, "size": int, "focal": float, "report": dict, "consent": str}
TRACKS = {
    "poses": "real t 4 4",
    "landmarks": "real t 68 3",
    "landmarks2d": "real t 68 2",
    "landmark_mean": "real 68 3",
    "landmark_std": "real 68 3",
    "face_rects": "whole t 4",
    "lip_rects": "whole t 4",
    "found": "bool t",
    "spans": "whole k",
}
HEARD = {
    "features": "real s c",
    "f0": "real s",
    "mel": "real s 80",
    "encoder": "word",
    "version": "word",
}
PICTURES = {
    "frames": "byte n p p 3",
    "labels": "byte n p p",
    "kinds": "byte n p p",
    "torso": "byte n p p 4",
}


@dataclass(frozen=True)
class Person:
    """A prepared person; pictures are memory maps, t frames at 25 fps of size x size pixels (the
    avatar that comes with the kit has none, m = 0).

    labels: 0 background, 1 head, 2 neck, 3 torso; kinds: whether a label is sure, see
    `segmentation.label_kinds`; torso: RGBA painted on behind the chin; poses: camera-to-world, see
    `camera`; focal: pixels; landmarks: pose-free in eye distances, landmarks2d in pixels, with the
    mean and std of the former that train; face_rects, lip_rects: x0, y0, x1, y1; found: whether a
    frame shows the whole face and has sound: only such train; spans: first frame of each stretch,
    across whose joints no frames are neighbours; speech: 2t steps and audio: t / 25 s at 16 kHz,
    both with the offset corrected; n_train: the first frames that train, the rest is held out, see
    `held_out_from`; data_kind: "synthetic" or "real"; report: see person.json; consent: the
    subject's statement, from NAME.consent.txt beside the clip, "" without one.
    """

    folder: Path
    name: str
    data_kind: str
    size: int
    focal: float
    frames: UInt8[np.ndarray, "m h w 3"]
    labels: UInt8[np.ndarray, "m h w"]
    kinds: UInt8[np.ndarray, "m h w"]
    torso: UInt8[np.ndarray, "m h w 4"]
    background: UInt8[np.ndarray, "h w 3"]
    poses: Float[np.ndarray, "t 4 4"]
    landmarks: Float[np.ndarray, "t 68 3"]
    landmarks2d: Float[np.ndarray, "t 68 2"]
    landmark_mean: Float[np.ndarray, "68 3"]
    landmark_std: Float[np.ndarray, "68 3"]
    face_rects: Int[np.ndarray, "t 4"]
    lip_rects: Int[np.ndarray, "t 4"]
    found: Bool[np.ndarray, " t"]
    speech: speech.Speech
    audio: Float[np.ndarray, " n"]
    n_train: int
    report: Facts
    consent: str = ""
    spans: Int[np.ndarray, " k"] = field(default_factory=ONE.copy)

    def __len__(self) -> int:
        return len(self.poses)

    @property
    def trains(self) -> Bool[np.ndarray, " t"]:
        """The frames that head, torso and lips are learned from: found, and not held out."""
        return self.found & (np.arange(len(self)) < self.n_train)

    def stretches(self, start: int = 0, stop: int | None = None) -> list[slice]:
        """The parts of frames start .. stop - 1, all if not given, that hold no joint."""
        return stretches(self.spans, len(self) if stop is None else stop, start)


def load(folder: Path, *, judged: bool = True) -> Person:
    """The artefact of a folder. judged: refuse a person whose verdict is "not usable", unless made
    with `person.force`. Raises: FileNotFoundError or ValueError, also when it is not complete."""
    path = folder / "person.json"
    facts = read_json(path, schema=SCHEMA, n_frames=int, forced=bool, **TOLD)
    report = facts["report"]
    if judged and report["verdict"] == "not usable" and not facts["forced"]:
        raise ValueError(
            f"the clip of {facts['name']} is not usable: {'; '.join(report['obstacles'])}. See "
            f"{folder / 'report.html'}; `--set person.force=true` goes on all the same"
        )
    return assemble(folder, facts)


def assemble(folder: Path, facts: Facts) -> Person:
    """The person that the files of a folder and the content of its person.json make up."""
    n_frames = facts["n_frames"]
    n_pictures = facts.get("n_pictures", n_frames)  # an avatar that ships has none
    lengths = {"t": n_frames, "s": 2 * n_frames, "n": n_pictures, "p": facts["size"]}
    tracks = read_npz(folder / "tracks.npz", TRACKS, lengths)
    heard = read_npz(folder / "speech.npz", HEARD, lengths)
    heard |= {word: str(heard[word]) for word in ("encoder", "version")}
    pictures = {
        name: read_npy(folder / f"{name}.npy", PICTURES[name], lengths) for name in PICTURES
    }
    audio = clip.read_audio(folder / "audio.wav")
    if len(audio) != n_frames * clip.SAMPLES:
        raise Damaged(f"{folder}/audio.wav is not as long as its pictures: run its stage again")
    return Person(
        folder=folder,
        background=read_image(folder / "background.png", facts["size"]),
        speech=speech.Speech(**heard),
        audio=audio,
        n_train=held_out_from(tracks["spans"], n_frames),
        **pictures,
        **tracks,
        **{key: facts[key] for key in TOLD},
    )
