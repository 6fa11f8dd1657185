"""Demo film: an actor and a spoken text -> mp4 with sound, and the truth beside it."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from geneface_kit.nerf.avatar import Avatar
from geneface_kit.nerf.renderer import to_uint8
from geneface_kit.person.clip import FPS, write_video
from geneface_kit.runs.arrays import write_npz
from geneface_kit.runs.live import progress
from geneface_kit.talk.plan import Actor, Plan, plan
from geneface_kit.talk.postprocess import TalkConfig
from notebooks.studies.demo_person.voice import Speech
from notebooks.studies.speed.render import configured

SLOW_S = 0.6
"""Time over which the head's wandering is smooth, s."""
FARTHEST = 1.5
"""How far the head goes from its mean pose, standard deviations of the clip's own poses."""
HEAD, TORSO = 1, 3
CREDIT = (
    "Synthetic: not said, seen or endorsed by the talker. Rendered from an avatar trained on clips "
    "of talker s1 of the GRID audiovisual sentence corpus (Cooke, Barker, Cunningham and Shao), "
    "CC BY 4.0, doi 10.5281/zenodo.3625687; changed: cut, cropped, learned and rendered anew with "
    "other words, motion and voice."
)
"""What is said wherever the demo is shown."""


def film(
    name: str,
    actor: Actor,
    spoken: Speech,
    config: TalkConfig,
    generator: torch.Generator,
    *,
    folder: Path,
) -> Plan:
    """Writes folder/NAME.mp4 and folder/NAME_truth.npz; gives the plan they were rendered from."""
    planned = plan(actor, spoken.audio, config, generator)
    rng = np.random.default_rng(generator.initial_seed())
    poses = wandering_poses(actor.person.poses, len(planned.poses), rng)
    planned = replace(planned, poses=poses, torso_shifts=None)
    camera_twice = twice_as_large(actor.avatar)
    labels = []

    def frames():
        for window, pose in zip(
            progress(planned.landmarks, f"rendering {name}"), planned.poses, strict=True
        ):
            frame = camera_twice.render_frame(window[None], pose)
            picture = to_uint8(frame.rgb).numpy()
            labels.append(labels_of(frame.head.alpha.numpy(), frame.torso_alpha.numpy()))
            yield cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)

    about = {"title": f"{name} (synthetic)", "comment": f"{spoken.text} {CREDIT}"}
    write_video(folder / f"{name}.mp4", frames(), planned.audio, metadata=about)
    (folder / f"{name}.consent.txt").write_text(CREDIT + "\n")
    focal = np.array(actor.avatar.focal)
    known = {"landmarks": planned.landmarks, "poses": planned.poses, "focal": focal}
    _write_truth(folder / f"{name}_truth.npz", known, np.stack(labels), spoken)
    return planned


def wandering_poses(
    poses: Float[np.ndarray, "c 4 4"], n_frames: int, rng: np.random.Generator
) -> Float[np.ndarray, "t 4 4"]:
    """A smooth random path of the head through the poses of a clip: along their principal
    components, never farther from the mean than FARTHEST standard deviations of each."""
    mean_turn = Rotation.from_matrix(poses[:, :3, :3]).mean()
    turns = (Rotation.from_matrix(poses[:, :3, :3]) * mean_turn.inv()).as_rotvec()
    moves = np.concatenate([turns, poses[:, :3, 3]], axis=1)
    centre = moves.mean(0)
    _, sizes, components = np.linalg.svd(moves - centre, full_matrices=False)
    pad = 4 * FPS
    noise = rng.standard_normal((n_frames + 2 * pad, len(sizes)))
    path = gaussian_filter1d(noise, SLOW_S * FPS, axis=0)[pad:-pad]
    path = np.clip(path / path.std(0), -FARTHEST, FARTHEST)
    moved = centre + (path * sizes / np.sqrt(len(poses))) @ components
    found = np.tile(np.eye(4), (n_frames, 1, 1))
    found[:, :3, :3] = (Rotation.from_rotvec(moved[:, :3]) * mean_turn).as_matrix()
    found[:, :3, 3] = moved[:, 3:]
    return found.astype(np.float32)


def twice_as_large(avatar: Avatar) -> Avatar:
    """The same person at twice the size, every pixel evaluated: halved, it has soft edges."""
    every = configured(avatar, tolerance=0.0, stop=1e-3)
    size = (2 * avatar.size, 2 * avatar.size)
    background = cv2.resize(
        avatar.background.cpu().numpy(), size, interpolation=cv2.INTER_CUBIC
    ).clip(0, 1)
    return Avatar(every.renderer, every.torso, torch.from_numpy(background), 2 * avatar.focal)


def labels_of(
    head: Float[np.ndarray, "h w"], torso: Float[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h2 w2"]:
    """What covers most of each pixel of the halved picture, from both opacities at full size."""
    head, behind = (
        cv2.resize(part, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        for part in (head, (1 - head) * torso)
    )
    return np.where(head > 0.5, HEAD, np.where(behind > 0.5, TORSO, 0)).astype(np.uint8)


def _write_truth(
    path: Path, known: dict[str, np.ndarray], labels: np.ndarray, spoken: Speech
) -> None:
    """As `geneface_kit_figures.truth` reads it: the labels (0..3) are two bit planes."""
    bits = np.stack([np.packbits(labels & 1, axis=-1), np.packbits(labels >> 1, axis=-1)])
    write_npz(
        path,
        **known,
        labels=bits,
        labels_shape=np.array(labels.shape),
        phonemes=np.array(spoken.phonemes),
        starts_s=spoken.starts_s,
        ends_s=spoken.ends_s,
        text=np.array(spoken.text),
    )
