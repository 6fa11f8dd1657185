"""Avatar: a person's trained head and torso over the background -> frames."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional
from torch.profiler import record_function

from geneface_kit.nerf.dataset import driving, windows_of
from geneface_kit.nerf.renderer import HeadImage, HeadRenderer, prepared, sampling_stride, to_uint8
from geneface_kit.nerf.torso import TorsoField, unit_pixels
from geneface_kit.nerf.verdict import Labels, Look, Picture
from geneface_kit.person.segmentation import BACKGROUND, HEAD, TORSO
from geneface_kit.person.speech import Speech
from geneface_kit.render.screen import adaptive_sampling

Made = TypeVar("Made")
Window = Float[np.ndarray, "w ..."] | Float[Tensor, "w ..."]
Pose = Float[np.ndarray, "4 4"] | Float[Tensor, "4 4"]
Shift = Float[np.ndarray, " 2"] | Float[Tensor, " 2"]
AHEAD = 4  # frames that a core may be ahead of who takes them


@dataclass(frozen=True)
class Frame:
    """One rendered frame, the head in it and the opacity of the torso behind that."""

    rgb: Float[Tensor, "h w 3"]
    head: HeadImage
    torso_alpha: Float[Tensor, "h w"]

    @property
    def labels(self) -> UInt8[Tensor, "h w"]:
        """What each pixel shows, as a person's labels say it; a neck is torso."""
        behind = torch.where(self.torso_alpha > 0.5, TORSO, BACKGROUND)
        return torch.where(self.head.alpha > 0.5, HEAD, behind).to(torch.uint8).cpu()


class Avatar:
    """A person's trained head and torso over the background.

    renderer: of the head, and how all is rendered; background: (h, w, 3) uint8; focal: pixels;
    torso_shifts: (t, 2) how far the shoulders were shifted in each frame of the clip, as they were
    tracked, in pixel coordinates of [-1, 1]; None when the torso does not follow the pose.
    """

    def __init__(
        self,
        renderer: HeadRenderer,
        torso: TorsoField,
        background: UInt8[np.ndarray, "h w 3"] | Float[Tensor, "h w 3"],
        focal: float,
        torso_shifts: Float[np.ndarray, "t 2"] | None = None,
    ):
        self.renderer, self.head = renderer, renderer.trained.train(False)
        self.torso, self.device = torso.train(False), renderer.trained.appearance.device
        self._prepared_torso = prepared(self.torso, renderer.config)
        self._baked_torso = None if renderer.config.exact else self._prepared_torso.baked()
        if not isinstance(background, Tensor):
            background = torch.from_numpy(np.array(background)).to(self.device).float() / 255
        self.background, self.focal, self.size = background, float(focal), len(background)
        self.torso_shifts = torso_shifts

    def render_frame(
        self, window: Window, pose: Pose, *, torso_shift: Shift | None = None
    ) -> Frame:
        """One frame: head + (1 - head opacity) * (torso over background).

        window: what drives the frames around this one, its own in the middle: absolute canonical
        landmarks (w, 68, 3), or a part of `driving`; w = 1 stands for a face at rest.
        pose: camera-to-world. torso_shift: of the shoulders, as in `torso_shifts`; predicted from
        the pose if not given. The same input gives the same bytes: nothing is drawn at random.
        Raises: ValueError for NaN or infinite values, or a camera inside the head.
        """
        return self.composed(self.head_image(window, pose), pose, torso_shift)

    def head_image(self, window: Window, pose: Pose) -> HeadImage:
        """The head of a frame alone, see `render_frame`."""
        window, pose = self._tensor(window), self._tensor(pose)
        for name, values in ((self.driven_by, window), ("pose", pose)):
            if not bool(torch.isfinite(values).all()):
                raise ValueError(f"{name} hold NaN or infinite values; nothing can be rendered")
        width = self.head.config.attention_frames
        window = windows_of(window, torch.tensor([len(window) // 2]), width)[0]
        return self.renderer.image(window, pose, self.focal, self.size)

    def composed(self, head: HeadImage, pose: Pose, torso_shift: Shift | None = None) -> Frame:
        """The frame of a head that is rendered, see `render_frame`."""
        torso, torso_alpha = self.torso_image(head, pose, torso_shift)
        behind = torch.addcmul(torso, (1 - torso_alpha)[..., None], self.background)
        rgb = torch.addcmul(head.colour, (1 - head.alpha)[..., None], behind).clamp_(0, 1)
        return Frame(rgb, head, torso_alpha)

    @torch.no_grad()
    def torso_image(
        self, head: HeadImage, pose: Pose, torso_shift: Shift | None = None
    ) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"]]:
        """Colour times opacity, and opacity, of the torso behind a head; the mean appearance."""
        torso, config, size = self._prepared_torso, self.renderer.config, head.alpha.shape[0]
        mask = functional.interpolate(torso.occupied[None, None].float(), (size, size))[0, 0] > 0
        if not config.exact:
            mask = mask & (head.alpha < 0.999)  # nothing shows through
        appearance, poses = torso.appearance.mean(0, keepdim=True), self._tensor(pose)[None]
        shifts = None if torso_shift is None else self._tensor(torso_shift)[None]
        baked = self._baked_torso
        given = None if baked is None else torso.of_picture(poses, appearance, size, shifts)

        def evaluate(pixels: Tensor) -> Tensor:
            if baked is not None:
                return baked(pixels, *given, head.colour, head.alpha)
            at = (pixels[:, 1], pixels[:, 0])
            seen = torch.cat([head.colour[at], head.alpha[at][:, None]], -1)
            colour, alpha = torso(unit_pixels(pixels, size), poses, appearance, seen, None, shifts)
            return torch.cat([colour * alpha[:, None], alpha[:, None]], -1)

        how = {"tolerance": config.tolerance, "stride": sampling_stride(config, size)}
        with record_function("torso"):
            values = adaptive_sampling(evaluate, mask, n_channels=4, **how)
        return values[..., :3], values[..., 3]

    def render(
        self,
        track: Float[np.ndarray, "t ..."] | Float[Tensor, "t ..."],
        poses: Float[np.ndarray, "p 4 4"] | Float[Tensor, "p 4 4"],
        *,
        only: Sequence[int] | None = None,
        torso_shifts: Float[np.ndarray, "s 2"] | None = None,
        look: Look | None = None,
    ) -> Iterator[Picture]:
        """Frames (h, w, 3) uint8, one after the other.

        track: (t, 68, 3) absolute canonical landmarks, or what `driving` gives, of consecutive
        frames at 25 per second: the head looks at neighbours too. only: which of them to render;
        all if not given. torso_shifts: of the shoulders in each frame, see `render_frame`. look:
        is shown every frame.
        """
        if len(track) != len(poses):
            raise ValueError(f"{len(track)} frames need as many poses, got {len(poses)}")
        if torso_shifts is not None and len(torso_shifts) != len(poses):
            raise ValueError(f"{len(poses)} frames need as many shifts, got {len(torso_shifts)}")
        track, poses = self._tensor(track), self._tensor(poses)
        width = self.head.config.attention_frames

        def shown(frame: int) -> tuple[Picture, Labels]:
            window = windows_of(track, torch.tensor([frame]), width)[0]
            shift = None if torso_shifts is None else torso_shifts[frame]
            made = self.render_frame(window, poses[frame], torso_shift=shift)
            return to_uint8(made.rgb).numpy(), made.labels.numpy()

        frames = range(len(track)) if only is None else [int(frame) for frame in only]
        is_cpu = self.device.type == "cpu"
        for made, labels in in_parallel(shown, frames) if is_cpu else map(shown, frames):
            if look is not None:
                look.add(made, labels)
            yield made

    @property
    def driven_by(self) -> str:
        """What drives the head: landmarks or speech."""
        return self.head.config.driven_by

    def driving(
        self, landmarks: Float[np.ndarray, "t 68 3"], speech: Speech
    ) -> Float[Tensor, "t ..."]:
        """The track of a performance for `render`, see `dataset.driving`."""
        return driving(self.driven_by, self._tensor(landmarks), self._tensor(speech.features))

    def _tensor(self, values: np.ndarray | Tensor) -> Tensor:
        own = np.array(values) if isinstance(values, np.ndarray) else values  # files are read-only
        return torch.as_tensor(own, dtype=torch.float32, device=self.device)


def in_parallel(make: Callable[[int], Made], frames: Sequence[int]) -> Iterator[Made]:
    """make(frame) of every frame, in their order, as many at a time as torch may use threads.

    Each by one thread on one core: a picture's many small operations share out badly over cores,
    whole pictures well. At most AHEAD pictures per core wait to be taken.
    """
    n_threads = torch.get_num_threads()
    if n_threads == 1 or len(frames) < 2:
        yield from map(make, frames)
        return
    torch.set_num_threads(1)  # before the threads exist: each takes the number over at its start
    try:
        with ThreadPoolExecutor(n_threads, thread_name_prefix="picture") as pool:
            for first in range(0, len(frames), AHEAD * n_threads):
                yield from pool.map(make, frames[first : first + AHEAD * n_threads])
    finally:
        torch.set_num_threads(n_threads)
