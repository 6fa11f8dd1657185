"""Portrait: a person's trained head and torso over the background plate -> frames."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from geneface_kit.nerf.head import HeadField
from geneface_kit.nerf.portrait.cores import on_cores
from geneface_kit.nerf.portrait.picture import Frame, Painter, PictureConfig
from geneface_kit.nerf.torso import TorsoField
from geneface_kit.nerf.views import driving, windows_of
from geneface_kit.person import camera
from geneface_kit.person.speech import Speech
from geneface_kit.render.occupancy import Occupancy

__all__ = ["Portrait"]


class Portrait:
    """A person's trained head and torso over the background plate.

    sway: (t, 2) how far the shoulders were shifted in each frame of the clip, as they were tracked,
    in pixel coordinates of [-1, 1]; None when the torso is not one that sways.
    """

    def __init__(
        self,
        head: HeadField,
        torso: TorsoField,
        plate: UInt8[np.ndarray, "h w 3"],
        focal: float,
        shell: Occupancy | None = None,
        config: PictureConfig | None = None,
        sway: Float[np.ndarray, "t 2"] | None = None,
    ):
        self.device = head.codes.device
        self.head, self.torso = head.train(False), torso.train(False)
        self.plate = torch.from_numpy(np.array(plate)).to(self.device).float() / 255
        self.focal, self.size = float(focal), int(plate.shape[0])
        self.painter = Painter(self.head, self.torso, shell, config)
        self.sway = sway

    def render_frame(
        self,
        window: Float[np.ndarray, "w ..."] | Float[Tensor, "w ..."],
        pose: Float[np.ndarray, "4 4"] | Float[Tensor, "4 4"],
        *,
        focal: float | None = None,
        sway: Float[np.ndarray, " 2"] | Float[Tensor, " 2"] | None = None,
    ) -> Frame:
        """One frame: head + (1 - head opacity) * (torso over plate).

        window: what drives the frames around this one, its own in the middle: absolute canonical
        landmarks (w, 68, 3), or a part of `driving`; w = 1 stands for a face at rest.
        pose: camera-to-world. sway: shift of the shoulders as in `Portrait.sway`; predicted from
        the pose if not given. The same input gives the same bytes: nothing is drawn at random.
        """
        window, pose = self._tensor(window), self._tensor(pose)
        for name, values in ((self.driven_by, window), ("pose", pose)):
            if not bool(torch.isfinite(values).all()):
                raise ValueError(f"{name} hold NaN or infinite values; nothing can be rendered")
        width = self.head.config.attention_frames
        window = windows_of(window, torch.tensor([len(window) // 2]), width)[0]
        focal = self.focal if focal is None else focal
        head = self.painter.head_image(window, pose, focal, self.size)
        torso, torso_alpha = self.painter.torso_image(
            pose, head, None if sway is None else self._tensor(sway)
        )
        behind = torso_alpha[..., None] * torso + (1 - torso_alpha)[..., None] * self.plate
        rgb = (head.colour + (1 - head.alpha)[..., None] * behind).clamp(0, 1)
        return Frame(rgb, head.alpha, head.depth, torso_alpha, head.n_samples)

    def render(
        self,
        track: Float[np.ndarray, "t ..."] | Float[Tensor, "t ..."],
        poses: Float[np.ndarray, "p 4 4"] | Float[Tensor, "p 4 4"],
        *,
        only: Sequence[int] | None = None,
        sway: Float[np.ndarray, "s 2"] | None = None,
    ) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """Frames (h, w, 3) uint8, one after the other.

        track: (t, 68, 3) absolute canonical landmarks, or what `driving` gives, of consecutive
        frames at 25 per second: the head looks at neighbours too. only: which of them to render;
        all if not given. sway: the shoulders' shift in each frame, see `render_frame`.
        """
        if len(track) != len(poses):
            raise ValueError(f"{len(track)} frames need as many poses, got {len(poses)}")
        if sway is not None and len(sway) != len(poses):
            raise ValueError(f"{len(poses)} frames need as many shifts of sway, got {len(sway)}")
        track, poses = self._tensor(track), self._tensor(poses)
        width = self.head.config.attention_frames

        def picture(frame: int) -> UInt8[np.ndarray, "h w 3"]:
            window = windows_of(track, torch.tensor([frame]), width)[0]
            shift = None if sway is None else sway[frame]
            rgb = self.render_frame(window, poses[frame], sway=shift).rgb
            return (rgb * 255).round().to(torch.uint8).contiguous().cpu().numpy()

        frames = range(len(track)) if only is None else [int(frame) for frame in only]
        yield from map(picture, frames) if self.device.type != "cpu" else on_cores(picture, frames)

    @property
    def driven_by(self) -> str:
        """What drives the head: landmarks or speech."""
        return self.head.config.driven_by

    def driving(
        self, landmarks: Float[np.ndarray, "t 68 3"], speech: Speech
    ) -> Float[Tensor, "t ..."]:
        """The track of a performance for `render`: its landmarks, or for a head that speech drives
        the features of its speech, as `views.driving` gives them."""
        features = self._tensor(speech.features)
        return driving(self.driven_by, self._tensor(landmarks), features)

    def resized(self, size: int) -> "Portrait":
        """The same person in another picture size; the plate is interpolated."""
        plate = self.plate.permute(2, 0, 1)[None]
        plate = functional.interpolate(plate, (size, size), mode="bilinear", antialias=True)
        plate = (plate[0].permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()
        focal = camera.crop_focal(self.focal, self.size, size)
        painter = self.painter
        return self._with(plate, focal, painter.shell, painter.config)

    def with_shell(self, shell: Occupancy) -> "Portrait":
        """The same person, its pictures looking only into the cells of a shell."""
        plate = (self.plate * 255).round().to(torch.uint8).cpu().numpy()
        return self._with(plate, self.focal, shell, self.painter.config)

    def configured(self, config: PictureConfig) -> "Portrait":
        """The same person, its pictures made another way; `picture.EXACT` is the reference."""
        plate = (self.plate * 255).round().to(torch.uint8).cpu().numpy()
        return self._with(plate, self.focal, self.painter.shell, config)

    def _with(self, *others: Any) -> "Portrait":
        return Portrait(self.head, self.torso, *others, self.sway)

    def _tensor(self, values: np.ndarray | Tensor) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.device)
