"""Scenes: what the panels of the notebooks show: an avatar one moves, and motion one hears.

Both are plain functions of what is chosen, so that a notebook without a viewer draws the same.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from geneface_kit_figures.panel import Film, Ray, Scene, Shot
from jaxtyping import Float, UInt8
from torch import nn

from geneface_kit.motion.weights import Motion
from geneface_kit.nerf.avatar import Avatar
from geneface_kit.nerf.dataset import BOX, windows_of
from geneface_kit.nerf.renderer import HeadRenderer
from geneface_kit.person import camera, speech
from geneface_kit.person.artefact import Person
from geneface_kit.person.clip import FPS
from geneface_kit.person.mouth import LIPS, mouth_opening, mouth_width
from geneface_kit.render.composite import composite
from geneface_kit.render.march import march
from geneface_kit.talk.plan import Actor, plan
from geneface_kit.talk.postprocess import BROWS, EYES, JAW, TalkConfig

__all__ = ["avatar_scene", "measures", "motion_scene", "movements", "moved", "ray_of", "turned"]

VIEWS = ("picture", "opacity", "depth", "occupancy")
UNITS = {
    **dict.fromkeys(("opening", "width", "lids", "brows"), "eye distances"),
    **dict.fromkeys(("yaw", "pitch"), "degrees"),
    "seconds": "s",
}
OCCUPANCY_SIDE = 64  # rays a side of the picture of the occupancy
REACH = 1.0  # eye distances on both sides of the mean face in the picture of motion


def measures(landmarks: Float[np.ndarray, "t 68 3"]) -> dict[str, Float[np.ndarray, " t"]]:
    """Opening and width of the mouth, gap of the lids, height of the brows over the eyes; inter-
    ocular distances."""
    lids = landmarks[:, [37, 38, 43, 44], 1] - landmarks[:, [41, 40, 47, 46], 1]
    brows = landmarks[:, BROWS, 1].mean(1) - landmarks[:, [36, 39, 42, 45], 1].mean(1)
    opening, width = mouth_opening(landmarks), mouth_width(landmarks)
    return {"opening": opening, "width": width, "lids": lids.mean(1), "brows": brows}


def movements(landmarks: Float[np.ndarray, "t 68 3"]) -> dict[str, Float[np.ndarray, "68 3"]]:
    """How the points of a person move when a measure grows by 1: the slopes of a regression over
    the clip, of jaw and lips together for the mouth, of the eyes for the lids, of the brows."""
    found = {}
    for names, parts in (
        (("opening", "width"), (JAW, LIPS)),
        (("lids",), (EYES,)),
        (("brows",), (BROWS,)),
    ):
        measured = measures(landmarks)
        columns = np.stack([measured[name] - measured[name].mean() for name in names], axis=1)
        centred = (landmarks - landmarks.mean(axis=0)).reshape(len(landmarks), -1)
        slopes = np.linalg.lstsq(columns, centred, rcond=None)[0].reshape(-1, 68, 3)
        for name, slope in zip(names, slopes, strict=True):
            found[name] = np.zeros((68, 3), np.float32)
            for part in parts:
                found[name][part] = slope[part]
    return found


def moved(
    landmarks: Float[np.ndarray, "68 3"],
    ways: Mapping[str, Float[np.ndarray, "68 3"]],
    wanted: Mapping[str, float],
) -> Float[np.ndarray, "68 3"]:
    """A face whose measures are the wanted ones, moved as `movements` says."""
    has = {name: float(value[0]) for name, value in measures(landmarks[None]).items()}
    steps = [(value - has[name]) * ways[name] for name, value in wanted.items()]
    return (landmarks + sum(steps)).astype(np.float32)


def turned(
    poses: Float[np.ndarray, "*b 4 4"], yaw: float, pitch: float
) -> Float[np.ndarray, "*b 4 4"]:
    """Camera poses from which the head, about its own centre, is seen turned further, degrees."""
    (sin_y, sin_p), (cos_y, cos_p) = (f(np.radians([yaw, pitch])) for f in (np.sin, np.cos))
    about_y = np.array([[cos_y, 0, -sin_y], [0, 1, 0], [sin_y, 0, cos_y]])
    about_x = np.array([[1, 0, 0], [0, cos_p, sin_p], [0, -sin_p, cos_p]])
    turn = np.eye(4)
    turn[:3, :3] = about_x @ about_y
    turn[:3, 3] = camera.BOX_CENTRE - turn[:3, :3] @ camera.BOX_CENTRE
    return (turn @ poses).astype(np.float32)


@torch.no_grad()
def ray_of(
    avatar: Avatar,
    window: Float[np.ndarray, "w 68 3"],
    pose: Float[np.ndarray, "4 4"],
    column: float,
    row: float,
) -> Ray:
    """The samples of the ray through a pixel, as `composite` weighs them into its colour.

    column, row: shares of the picture's side. Depths are of the whole head box.
    """
    at = torch.tensor([[column, row]]).mul(avatar.size).long().clamp(0, avatar.size - 1)
    ray = camera.rays(torch.from_numpy(pose).float(), avatar.focal, avatar.size, at)
    origin, head, step = camera.to_box(ray.origins), avatar.head, avatar.renderer.step
    samples = march(origin, ray.directions, avatar.renderer.occupancy, step=step)
    track = torch.from_numpy(np.asarray(window, np.float32))
    middle = torch.tensor([len(track) // 2])
    condition = head.condition(windows_of(track, middle, head.config.attention_frames))
    field = head.at(condition, head.mean_appearance(), None)
    said = field(samples.positions, ray.directions, samples.ray_index)
    drawn = composite(said.density.float(), said.colour.float(), samples)
    centre = float(np.linalg.norm(pose[:3, 3] - np.array(camera.BOX_CENTRE)))
    return Ray(
        depth=BOX * samples.distances.numpy(),
        weight=drawn.weights.numpy(),
        colour=said.colour.float().numpy(),
        step=BOX * step,
        range=(centre - BOX / 2, centre + BOX / 2),
        opacity=float(drawn.alpha[0]),
    )


def avatar_scene(
    actor: Actor, config: TalkConfig, recordings: Mapping[str, Float[np.ndarray, " n"]]
) -> Scene:
    """An avatar whose head and face one moves, whose rays one looks at, and that talks.

    Measures are absolute, from the least to a little more than the most of the clip; `frame` gives
    the rest of the face and the pose that yaw and pitch are added to.
    """
    return _AvatarScene(actor, config, _whole(actor.avatar)).scene(recordings)


@dataclass(frozen=True)
class _AvatarScene:
    actor: Actor
    config: TalkConfig
    avatar: Avatar

    def scene(self, recordings: Mapping[str, Float[np.ndarray, " n"]]) -> Scene:
        who = self.actor.person
        found = measures(np.asarray(who.landmarks))
        values = {name: _range_of(measured) for name, measured in found.items()}
        values |= {"yaw": range(-20, 21), "pitch": range(-12, 13)}
        values |= {"frame": range(0, len(who.landmarks), 5), "view": VIEWS}
        ways = movements(np.asarray(who.landmarks))

        def posed(frame: int, yaw: int, pitch: int, **wanted: float) -> tuple:
            face = moved(np.asarray(who.landmarks[frame]), ways, wanted)
            return face, turned(np.asarray(who.poses[frame]), yaw, pitch)

        def draw(view: str = "picture", **chosen: float) -> Shot:
            face, pose = posed(**chosen)
            return Shot(self.picture(face, pose, view), self.places(face, pose))

        def ray(column: float, row: float, view: str = "picture", **chosen: float) -> Ray:
            face, pose = posed(**chosen)
            return ray_of(self.avatar, face[None], pose, column, row)

        def say(sound: np.ndarray, yaw: int = 0, pitch: int = 0, **chosen: object) -> Film:
            draws = torch.Generator().manual_seed(0)
            planned = plan(self.actor, sound, self.config, draws)
            poses = turned(planned.poses, yaw, pitch)
            track = self.actor.avatar.driving(planned.landmarks, planned.speech)
            pictures = self.actor.avatar.render(track, poses, torso_shifts=planned.torso_shifts)
            points = self.places(planned.landmarks, poses)
            return Film(planned.audio, points, pictures=pictures)

        return Scene(draw, values, UNITS, ray, say, recordings)

    def picture(self, face: np.ndarray, pose: np.ndarray, view: str) -> UInt8[np.ndarray, "h w 3"]:
        if view == "occupancy":
            return self.occupancy(pose)
        frame = self.avatar.render_frame(face[None], pose)
        if view == "picture":
            return (255 * frame.rgb.numpy()).round().astype(np.uint8)
        alpha = frame.head.alpha.numpy()
        if view == "opacity":
            return _grey(alpha)
        inside, depth = alpha > 0.5, frame.head.depth.numpy()
        near, far = depth[inside].min(initial=np.inf), depth[inside].max(initial=-np.inf)
        return _grey(np.where(inside, 1 - 0.8 * (depth - near) / max(far - near, 1e-6), 0))

    def occupancy(self, pose: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
        """How many samples each ray of a coarse picture has: white is most."""
        avatar, n = self.avatar, OCCUPANCY_SIDE
        rows, columns = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
        pixels = torch.stack([columns.flatten(), rows.flatten()], dim=-1)
        rays = camera.rays(torch.from_numpy(pose), avatar.focal * n / avatar.size, n, pixels)
        step, origins = avatar.renderer.step, camera.to_box(rays.origins)
        samples = march(origins, rays.directions, avatar.renderer.occupancy, step=step)
        counts = torch.bincount(samples.ray_index, minlength=n * n).reshape(n, n).numpy()
        return _grey(counts / max(int(counts.max()), 1))

    def places(self, face: np.ndarray, pose: np.ndarray) -> Float[np.ndarray, "*t 68 2"]:
        """Landmarks in the picture, shares of its side."""
        avatar = self.avatar
        return camera.project(face, pose, avatar.focal, avatar.size) / avatar.size


def motion_scene(
    motion: Motion, who: Person, recordings: Mapping[str, Float[np.ndarray, " n"]]
) -> Scene:
    """The generator's landmarks on a person's mean face, heard and seen; in grey the person's own,
    tracked, for the recording that bears the person's name.

    prior: where the latent is drawn from; "Gaussian" leaves the flow out and decodes the draw.
    """
    priors = {"flow": motion, "Gaussian": _without_flow(motion)}
    heard = {name: speech.encode(sound, motion.encoder) for name, sound in recordings.items()}
    centre = who.landmark_mean.mean(axis=0)
    longest = min(len(one) for one in heard.values()) / 2 / FPS

    def places(points: np.ndarray) -> np.ndarray:
        flat = (points - centre)[..., :2] * (1, -1)
        return 0.5 + 0.5 * flat / REACH

    def predicted(features: speech.Speech, temperature: float, prior: str) -> np.ndarray:
        draws = torch.Generator().manual_seed(0)
        moves = priors[prior].sample(features, temperature=temperature, generator=draws)
        return places(who.landmark_mean + moves)

    def own(name: str) -> np.ndarray | None:
        return places(np.asarray(who.landmarks)) if name == who.name else None

    def draw(seconds: float, temperature: float, prior: str, recording: str) -> Shot:
        points, frame = predicted(heard[recording], temperature, prior), int(seconds * FPS)
        tracked = own(recording)
        return Shot(points=points[frame], ghost=None if tracked is None else tracked[frame])

    def say(sound: np.ndarray, temperature: float, prior: str, **chosen: object) -> Film:
        features = speech.encode(sound, motion.encoder)
        points = predicted(features, temperature, prior)
        name = next((name for name, one in recordings.items() if np.array_equal(one, sound)), "")
        tracked = own(name)
        n = len(points) if tracked is None else min(len(points), len(tracked))
        return Film(sound, points[:n], None if tracked is None else tracked[:n])

    values = {"seconds": np.arange(0, longest, 0.2).round(1), "prior": tuple(priors)}
    values |= {"temperature": np.arange(0, 1.6, 0.1).round(1), "recording": tuple(recordings)}
    return Scene(draw, values, UNITS, say=say, recordings=recordings)


class _NoFlow(nn.Module):
    """A prior that leaves a draw as it is."""

    def inverse(self, noise: torch.Tensor, mask: torch.Tensor, slow: torch.Tensor) -> torch.Tensor:
        return noise


def _without_flow(motion: Motion) -> Motion:
    vae = copy.copy(motion.vae)
    vae._modules = {**motion.vae._modules, "flow": _NoFlow()}
    return replace(motion, vae=vae)


def _whole(avatar: Avatar) -> Avatar:
    """The same avatar, looked at wherever its head is not empty: what the clip's cameras see is too
    little for a head that is turned further."""
    renderer = HeadRenderer(avatar.head, avatar.renderer.config)
    return Avatar(renderer, avatar.torso, avatar.background, avatar.focal, avatar.torso_shifts)


def _range_of(measured: Float[np.ndarray, " t"], n: int = 25) -> Float[np.ndarray, " n"]:
    """From the least to the most of a clip, and a quarter of that beyond at the upper end."""
    least, most = float(measured.min()), float(measured.max())
    return np.linspace(least, most + 0.25 * (most - least), n).round(3)


def _grey(values: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    return np.repeat((255 * values.clip(0, 1)).astype(np.uint8)[..., None], 3, axis=2)
