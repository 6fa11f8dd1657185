"""Demo film: identity + text -> mp4 with sound, and the truth beside it."""

from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from geneface_kit.person import camera
from geneface_kit.person.clip import FPS, SAMPLE_RATE, write_video
from geneface_kit.runs import replacing
from geneface_kit.runs.live import progress
from notebooks.studies.demo_person.identity import Identity
from notebooks.studies.demo_person.performance import Performance, perform
from notebooks.studies.demo_person.picks import PICKS
from notebooks.studies.demo_person.scene import FOCAL, SIZE, Scene
from notebooks.studies.demo_person.visemes import Sounds, sounds
from notebooks.studies.demo_person.voice import speak

__all__ = ["film"]


def film(
    name: str,
    identity: Identity,
    text: str,
    *,
    seed: int,
    folder: Path,
    speed: float = 1.0,
    deeper: Fraction = Fraction(1),
) -> tuple[Path, Path]:
    """Write folder/NAME.mp4 and folder/NAME_truth.npz and give their paths."""
    speech = speak(text, seed=seed, speed=speed, deeper=deeper)
    spoken = sounds(speech.phonemes, speech.starts_s, speech.ends_s)
    n_frames = int(np.ceil(len(speech.audio) / SAMPLE_RATE * FPS))
    audio = np.zeros(n_frames * SAMPLE_RATE // FPS, np.float32)
    audio[: len(speech.audio)] = speech.audio
    act = perform(spoken, n_frames, seed)
    scene = Scene(identity, seed)
    folder.mkdir(parents=True, exist_ok=True)
    labels = []

    def frames():
        for frame in progress(range(n_frames), f"render {name}"):
            seen = scene.render(act.moment(frame), act.heads[frame], act.sways[frame])
            labels.append(seen.labels)
            yield seen.image

    about = {"title": f"{name} (synthetic)", "comment": text}
    clip = folder / f"{name}.mp4"
    write_video(clip, frames(), audio, metadata=about)
    path = folder / f"{name}_truth.npz"
    _write_truth(path, _landmarks(scene, act, n_frames), np.stack(labels), spoken, text)
    return clip, path


def _write_truth(
    path: Path, known: dict[str, np.ndarray], labels: np.ndarray, spoken: Sounds, text: str
) -> None:
    """An npz without pickle; the labels (0..3) as two bit planes. demo.truth reads it."""
    bits = np.stack([np.packbits(labels & 1, axis=-1), np.packbits(labels >> 1, axis=-1)])
    with replacing(path) as partial:
        np.savez_compressed(
            partial,
            **known,
            focal=np.float64(FOCAL),
            labels=bits,
            labels_shape=np.array(labels.shape),
            phonemes=np.array(spoken.symbols),
            starts_s=spoken.starts_s,
            ends_s=spoken.ends_s,
            text=np.array(text),
        )


def _landmarks(
    scene: Scene, act: Performance, n_frames: int
) -> dict[str, Float[np.ndarray, "..."]]:
    """landmarks in the head frame of camera.py, poses and landmarks2d."""
    picks = scene.bust.picks[np.array(PICKS)]
    still = np.stack([scene.still(act.moment(frame))[picks] for frame in range(n_frames)])
    corners = still.mean(0)[[36, 45]]
    origin, unit = corners.mean(0), float(np.linalg.norm(corners[1] - corners[0]))
    rotations = Rotation.from_rotvec(act.heads).as_matrix()
    moved = [scene.motion_in_camera(h, s) for h, s in zip(act.heads, act.sways, strict=True)]
    # still x -> rotation @ x + shift; with x = origin + unit * X and the camera in units too
    translations = np.stack([r @ origin + shift for r, shift in moved]) / unit
    poses = camera.pose_from_head(rotations, translations)
    landmarks = ((still - origin) / unit).astype(np.float32)
    return {
        "landmarks": landmarks,
        "poses": poses,
        "landmarks2d": camera.project(landmarks, poses, FOCAL, SIZE).astype(np.float32),
    }
