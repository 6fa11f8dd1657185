"""Dataset: frames of a person -> the rays, colours and masks that head and torso learn from.

Reads a person (frames stay memory-mapped); writes nothing.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from geneface_kit.nerf.config import HeadConfig
from geneface_kit.person import camera
from geneface_kit.person.artefact import Person
from geneface_kit.person.mouth import mouth_opening
from geneface_kit.person.segmentation import HEAD, SURE_HEAD, SURE_NOT

BOX = 2 * camera.BOX_HALF  # edge of the head box in inter-ocular distances (iod)

SPEECH_STEPS = 16  # steps of speech that drive a frame, 0.32 s about it (AD-NeRF)
INNER = (0.5, 0.8, 0.6)  # radii, iod, of an ellipsoid inside any skull: nothing of it is ever seen
OUTER = (2.1, 2.2, 1.6)  # radii, iod, of an ellipsoid about the box's centre that any head fits in
HANGING = -1.0  # height, iod, below which hair may leave that ellipsoid
DEPTHS = (-1.6, 0.8)
"""z behind which nothing is seen of one who looks at the camera; before which no head reaches."""


@dataclass(frozen=True)
class RayBatch:
    """Pixels drawn from several frames, those of one frame together.

    frames: their numbers; frame_of_pixel: index into `frames`; at: column, row; colour: of the
    video; kinds: FREE, SURE_HEAD or SURE_NOT; in_face, in_lips: inside those rectangles.
    """

    frames: Int[Tensor, " b"]
    frame_of_pixel: Int[Tensor, " n"]
    at: Int[Tensor, "n 2"]
    colour: Float[Tensor, "n 3"]
    kinds: UInt8[Tensor, " n"]
    in_face: Bool[Tensor, " n"]
    in_lips: Bool[Tensor, " n"]

    def beside(self, others: "RayBatch") -> "RayBatch":
        """These pixels and behind them others."""
        pairs = {name: (getattr(self, name), getattr(others, name)) for name in vars(self)}
        first, second = pairs["frame_of_pixel"]
        pairs["frame_of_pixel"] = (first, second + len(self.frames))
        return RayBatch(**{name: torch.cat(pair) for name, pair in pairs.items()})


class RayDataset:
    """A person's frames, ready to draw from. free: False to take every label as sure (paper)."""

    def __init__(self, person: Person, device: torch.device | str = "cpu", *, free: bool = True):
        n_frames = len(person.frames)
        for name in ("poses", "landmarks"):
            if not np.isfinite(getattr(person, name)).all():
                raise ValueError(
                    f"person {person.name} has NaN or infinite {name}; prepare the person again"
                )
        self.person, self.size, self.focal = person, int(person.size), float(person.focal)
        self.free = free
        self.n_frames, self.n_train = n_frames, min(int(person.n_train), n_frames)
        self.usable = torch.from_numpy(np.flatnonzero(person.trains[:n_frames]))  # whole faces
        if not len(self.usable):
            raise ValueError(f"no training frame of {person.name} shows a face; prepare it again")
        self.device = torch.device(device)
        self.poses = torch.tensor(person.poses, dtype=torch.float32, device=self.device)
        self.landmarks = torch.tensor(person.landmarks, dtype=torch.float32, device=self.device)
        self._tracks = {"landmarks": self.landmarks}
        edges = [(part.start, part.stop - 1) for part in person.stretches()]
        lengths = torch.tensor([last - first + 1 for first, last in edges])
        self.ends = torch.tensor(edges).repeat_interleave(lengths, dim=0)  # (t, 2), its stretch
        opening = mouth_opening(np.asarray(person.landmarks)[self.usable])
        order, n = opening.argsort(), len(opening)
        even = np.linspace(opening.min(), np.quantile(opening, 0.995), n)  # the widest may be wrong
        ranks = np.searchsorted(opening[order], even) + np.arange(n) % 7 - 3
        self.drawn = torch.cat([self.usable, self.usable[order[ranks.clip(0, n - 1)]]])
        """Training frames as they are drawn: each once, and again evenly by how mouths open."""
        self.face_rects = self._clipped(person.face_rects)
        self.lip_rects = self._clipped(person.lip_rects)
        self.head_rects = self._clipped(_label_rects(person.labels, margin=self.size // 32))

    def draw(
        self, n_frames: int, n_pixels: int, shares: tuple[float, float], generator: torch.Generator
    ) -> RayBatch:
        """Random training pixels. shares: which parts of a frame's come from its lip and from its
        face rectangle; the rest from a rectangle around the head, hair included."""
        frames = self.drawn[torch.randint(len(self.drawn), (n_frames,), generator=generator)]
        per_frame = max(4, n_pixels // n_frames)
        n_lips, n_face = (round(share * per_frame) for share in shares)
        kinds = (self.lip_rects, self.face_rects, self.head_rects)
        counts = (n_lips, min(n_face, per_frame - n_lips), max(0, per_frame - n_lips - n_face))
        rects = [r[frames, None].expand(-1, n, -1) for r, n in zip(kinds, counts, strict=True)]
        rects = torch.cat(rects, dim=1).flatten(0, 1)
        extent = (rects[:, 2:] - rects[:, :2]).clamp(min=1)
        at = rects[:, :2] + (torch.rand(len(rects), 2, generator=generator) * extent).long()
        at = at.clamp(max=self.size - 1)  # of a rectangle beyond the picture: its edge
        return self.read(frames, torch.arange(n_frames).repeat_interleave(per_frame), at)

    def draw_patches(
        self, rects: Int[Tensor, "t 4"], n: int, size: int, generator: torch.Generator
    ) -> RayBatch:
        """Square patches of the rectangles of n random training frames, row by row; size: edge of a
        patch, pixels, which lies about the middle of a rectangle that is smaller."""
        frames = self.drawn[torch.randint(len(self.drawn), (n,), generator=generator)]
        rects = rects[frames]
        room = rects[:, 2:] - rects[:, :2] - size
        shift = torch.rand(n, 2, generator=generator) * (room.clamp(min=0) + 1)
        corners = rects[:, :2] + shift.long() + room.clamp(max=0) // 2
        corners = corners.clamp(0, self.size - size)
        at = corners[:, None] + torch.cartesian_prod(*[torch.arange(size)] * 2).flip(-1)
        return self.read(frames, torch.arange(n).repeat_interleave(size**2), at.flatten(0, 1))

    def read(
        self, frames: Int[Tensor, " b"], frame_of_pixel: Int[Tensor, " n"], at: Int[Tensor, "n 2"]
    ) -> RayBatch:
        """The given pixels with their colours and masks."""
        numbers = frames[frame_of_pixel]
        where = (numbers.numpy(), at[:, 1].numpy(), at[:, 0].numpy())
        colour = torch.from_numpy(self.person.frames[where]).float() / 255
        kinds = torch.from_numpy(self.kinds_at(where))
        rects = (self.face_rects[numbers], self.lip_rects[numbers])
        inside = [((at >= one[:, :2]) & (at < one[:, 2:])).all(-1) for one in rects]
        parts = (frames, frame_of_pixel, at, colour, kinds, *inside)
        return RayBatch(*(part.to(self.device) for part in parts))

    def kinds_at(self, where: tuple[np.ndarray | np.integer, ...]) -> UInt8[np.ndarray, "*n"]:
        """What is known of the head at frames, or at their rows, columns: FREE, SURE_HEAD or
        SURE_NOT."""
        if self.free:
            return np.asarray(self.person.kinds[where])
        is_head = self.person.labels[where] == HEAD
        return np.where(is_head, SURE_HEAD, SURE_NOT).astype(np.uint8)

    def rays(self, pixels: RayBatch) -> camera.Rays:
        """One ray per pixel, in the head frame."""
        parts = [
            camera.rays(pose, self.focal, self.size, pixels.at[pixels.frame_of_pixel == k])
            for k, pose in enumerate(self.poses[pixels.frames])
        ]
        origins, directions = zip(*((part.origins, part.directions) for part in parts), strict=True)
        return camera.Rays(torch.cat(origins), torch.cat(directions))

    def behind(self, pixels: RayBatch) -> Float[Tensor, "n 3"]:
        """What is known to lie behind the head: the painted torso over the background."""
        numbers = pixels.frames[pixels.frame_of_pixel].cpu().numpy()
        columns, rows = pixels.at.cpu().numpy().T
        torso = torch.from_numpy(self.person.torso[numbers, rows, columns])
        wall = torch.from_numpy(self.person.background[rows, columns])
        return torch.where(torso[:, 3:] > 0, torso[:, :3], wall).to(self.device).float() / 255

    def hull(self, points: Float[Tensor, "n 3"], reach: float) -> Bool[Tensor, " n"]:
        """Which head-frame points the cameras may see as head: inside the mask, all that is not
        surely something else, in nearly every frame. reach: how far outside it they may fall, iod.
        """
        frames = self.usable.numpy()
        frames = frames[np.linspace(0, len(frames) - 1, min(48, len(frames))).astype(int)]
        seen_in, head_in = torch.zeros(len(points)), torch.zeros(len(points))
        world = points.numpy()
        for frame in frames:
            mask = torch.from_numpy(self.kinds_at((frame,)) != SURE_NOT).float()
            distance = float(np.linalg.norm(self.person.poses[frame][:3, 3]))
            radius = max(1, round(self.focal * reach / distance))
            mask = functional.max_pool2d(mask[None, None], 2 * radius + 1, 1, radius)[0, 0]
            place = camera.project(world, self.person.poses[frame], self.focal, self.size)
            column, row = torch.from_numpy(np.floor(place)).long().unbind(-1)
            inside = (column >= 0) & (column < self.size) & (row >= 0) & (row < self.size)
            at = row.clamp(0, self.size - 1) * self.size + column.clamp(0, self.size - 1)
            seen_in += inside
            head_in += inside & (mask.flatten()[at] > 0)
        from_centre = points - torch.tensor(camera.BOX_CENTRE)
        outside_skull = (from_centre / torch.tensor(INNER)).norm(dim=-1) > 1
        height, depth = points[:, 1:].unbind(-1)
        near_enough = ((from_centre / torch.tensor(OUTER)).norm(dim=-1) < 1) | (height < HANGING)
        shell = near_enough & outside_skull & (depth > DEPTHS[0]) & (depth < DEPTHS[1])
        return (seen_in > 0) & (head_in >= 0.93 * seen_in) & shell

    def track(self, driven_by: str) -> Float[Tensor, "t ..."]:
        """What drives every frame, see `driving`."""
        if driven_by not in self._tracks:
            heard = torch.tensor(np.asarray(self.person.speech.features), dtype=torch.float32)
            heard = heard.to(self.device)
            parts = [
                driving(driven_by, self.landmarks[part], heard[2 * part.start : 2 * part.stop])
                for part in self.person.stretches()
            ]
            self._tracks[driven_by] = torch.cat(parts)
        return self._tracks[driven_by]

    def windows(self, frames: Int[Tensor, " b"], config: HeadConfig) -> Float[Tensor, "b w ..."]:
        """What drives a head of these settings in frames: parts of its track, none over a joint."""
        track = self.track(config.driven_by)
        return windows_of(track, frames, config.attention_frames, self.ends[frames.cpu()])

    def background(self) -> Float[Tensor, "h w 3"]:
        """The picture behind the person, in [0, 1]."""
        return torch.from_numpy(np.array(self.person.background)).to(self.device).float() / 255

    def held_out(self, n: int) -> list[int]:
        """Up to n frames, 0 for all, spread over the held-out part (the end of a clip without)."""
        n = n or self.n_frames
        first = self.n_train if self.n_train < self.n_frames else max(0, self.n_frames - n)
        numbers = np.linspace(first, self.n_frames - 1, min(n, self.n_frames - first))
        return sorted({int(number) for number in numbers})

    def _clipped(self, rects: np.ndarray) -> Tensor:
        return torch.from_numpy(np.clip(np.asarray(rects), 0, self.size).astype(np.int64))


def driving(
    driven_by: str, landmarks: Float[Tensor, "t 68 3"], speech: Float[Tensor, "s c"]
) -> Float[Tensor, "t ..."]:
    """What drives a head, frame by frame: "landmarks", they themselves; "speech", the SPEECH_STEPS
    features around each frame, (t, 16, c): frame k hears steps 2k - 7 to 2k + 8, ends repeated."""
    if driven_by == "landmarks":
        return landmarks
    if len(speech) < 2:
        raise ValueError(f"speech must have at least 2 steps, got {len(speech)}")
    first = 2 * torch.arange(len(landmarks), device=speech.device) + 1 - SPEECH_STEPS // 2
    steps = first[:, None] + torch.arange(SPEECH_STEPS, device=speech.device)
    return speech[steps.clamp(0, len(speech) - 1)]


def windows_of(
    track: Float[Tensor, "t ..."],
    frames: Int[Tensor, " b"],
    width: int,
    ends: Int[Tensor, "_ 2"] | None = None,
) -> Float[Tensor, "b w ..."]:
    """Windows of a track, one entry a frame, centred on frames, the ends repeated.

    ends: the first and the last entry that each window may see; those of the track if not given.
    """
    ends = torch.tensor([[0, len(track) - 1]]) if ends is None else ends
    first, last = ends.to(track.device)[:, :, None].unbind(1)
    reach = torch.arange(width, device=track.device) - width // 2
    numbers = frames.to(track.device)[:, None] + reach
    return track[numbers.maximum(first).minimum(last)]


def _label_rects(labels: np.ndarray, margin: int) -> np.ndarray:
    """x0, y0, x1, y1 around the head label of each frame; frames without a head take the mean."""
    boxes = [cv2.boundingRect(np.asarray(label == HEAD).astype(np.uint8)) for label in labels]
    rects = np.array([(x, y, x + width, y + height) for x, y, width, height in boxes])
    found = rects[:, 2] > rects[:, 0]
    if not found.any():
        raise ValueError("no frame of the person has a head pixel in its labels; prepare it again")
    rects[~found] = np.round(rects[found].mean(0))
    return rects + np.array([-margin, -margin, margin, margin])
