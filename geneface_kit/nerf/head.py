"""Head field: what every head field shares, and how the settings choose one.

A head field gives density and colour of points of the head box under a condition: landmarks, or
speech. GeneFace, sec. 3.4: F(x, d, l) -> c, sigma.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geneface_kit.nerf.config import HeadConfig
from geneface_kit.nerf.dataset import BOX
from geneface_kit.nerf.deformation import landmarks_in_box
from geneface_kit.person import camera
from geneface_kit.person.mouth import LIPS
from geneface_kit.render.fused import FusedField
from geneface_kit.render.mlp import precision
from geneface_kit.render.occupancy import Occupancy
from geneface_kit.render.rendering import Field, Rendering, render_rays
from geneface_kit.runs.ranges import imported

Positions = Float[Tensor, "n 3"]
Condition = Float[Tensor, "1 c"]
Conditions = Float[Tensor, "k c"]
Appearance = Float[Tensor, "m d"]
FrameOfRay = Int[Tensor, " r"] | None
STD_FLOOR = 0.03
"""Least spread by which a landmark coordinate is divided, iod. Below lies tracking noise: blown
up to the size of real motion it would let the condition recognise frames instead of mouths."""
CLAMP = 3.0  # largest normalised input, standard deviations (official inference: 2.5)
LANDMARKS = 204  # numbers of a frame's landmarks, 68 x 3
FIELDS = {
    ("grid", "landmarks"): "geneface_kit.nerf.grid_head:GridField",
    ("grid", "speech"): "geneface_kit.nerf.grid_head:SpeechGridField",
    ("vanilla", "landmarks"): "geneface_kit.nerf.vanilla:VanillaField",
}
"""(head.field, head.driven_by) -> import path of the built-in fields."""


class HeadField(nn.Module, ABC):
    """The base of head fields, and the extension point: `head.field=package.module:Class`.

    A field of your own is a subclass, made as Class(config, n_frames), with head.driven_by=speech
    as Class(config, n_frames, n_speech), channels of the speech features; it
    - sets `self.condition_net`, a module: normalised windows (b, w, 204) -> (b, config.condition);
    - gives `density` and `at`, and in `parameter_groups` what is trained at which rate;
    - may set `self.appearance`, an embedding of each training frame (n_frames, d), else d = 0;
    - may override `baked`, a faster form of `at` for one condition, and `condition` with
      `learn_statistics`, when something else than landmarks is to drive it.
    Positions are in the unit box, densities per edge of the box (`BOX` iod), colours in [0, 1].
    """

    condition_net: nn.Module
    fuses = False  # whether a CPU takes it in fused passes: nothing long is left to torch

    def __init__(self, config: HeadConfig, n_frames: int):
        super().__init__()
        self.config = config
        self.n_condition = config.condition + config.lip_modes
        self.appearance = nn.Parameter(torch.zeros(n_frames, 0), requires_grad=False)
        self.occupancy = Occupancy(config.occupancy)
        self.register_buffer("landmark_mean", torch.zeros(LANDMARKS))
        self.register_buffer("landmark_std", torch.ones(LANDMARKS))
        self.register_buffer("lip_modes", torch.zeros(LANDMARKS, config.lip_modes))
        self.dtype = precision(config.precision)

    @abstractmethod
    def density(self, positions: Positions, condition: Condition) -> Float[Tensor, " n"]:
        """Density per box length at positions of the unit box, under one condition."""

    @abstractmethod
    def at(self, conditions: Conditions, appearance: Appearance, frame_of_ray: FrameOfRay) -> Field:
        """The field under given conditions, as `render_rays` wants it.

        frame_of_ray: (r,) row of `conditions` of each ray; None when there is one row for all.
        appearance: one embedding per ray, or one row for all.
        """

    @abstractmethod
    def parameter_groups(self) -> tuple[list[nn.Parameter], ...]:
        """What is trained with lr_grid, lr_network and lr_condition: tables, networks, and what
        turns landmarks into motion."""

    def baked(self) -> Callable[[Float[Tensor, "1 c"]], FusedField | Field]:
        """The finished field as pictures ask it: of a condition, the field under that condition
        and the mean appearance."""
        appearance = self.mean_appearance()
        return lambda condition: self.at(condition, appearance, None)

    def condition(self, windows: Float[Tensor, "b w ..."]) -> Float[Tensor, "b c"]:
        """Condition vectors of windows (b, w, 68, 3) of absolute canonical landmarks, iod.

        Differs from the official code: the middle frame's lip movements (`learn_statistics`) stand
        beside what the network makes of the landmarks: in a short training it cannot yet tell
        mouths apart when the fields have settled on a mean one. Behind them come the middle
        frame's `landmarks_in_box`, which deform the space.
        """
        check_windows(windows, (68, 3), "landmarks")
        moved = windows.flatten(2) - self.landmark_mean
        learned = self.condition_net((moved / self.landmark_std).clamp(-CLAMP, CLAMP))
        middle = moved.shape[1] // 2
        lips = (moved[:, middle] @ self.lip_modes).clamp(-CLAMP, CLAMP)
        boxed = [landmarks_in_box(windows[:, middle])] if self.config.warp_reach else []
        return torch.cat([learned, lips, *boxed], dim=-1)

    def learn_statistics(self, landmarks: Float[Tensor, "t 68 3"]) -> None:
        """Takes mean and spread of landmarks, and the principal movements of the lips among them,
        scaled to unit variance (none divided by less than `STD_FLOOR`)."""
        flat = landmarks.flatten(1)
        self.landmark_mean.copy_(flat.mean(0))
        self.landmark_std.copy_(flat.std(0, correction=0).clamp(min=STD_FLOOR))
        lips = torch.zeros(68, 3, dtype=torch.bool, device=flat.device)
        lips[LIPS] = True
        moved = (flat - flat.mean(0)) * lips.flatten()
        _, sizes, directions = torch.linalg.svd(moved, full_matrices=False)
        spread = (sizes / len(flat) ** 0.5).clamp(min=STD_FLOOR)
        n = min(self.config.lip_modes, len(sizes))
        self.lip_modes[:, :n] = directions[:n].T / spread[:n]

    def mean_appearance(self) -> Float[Tensor, "1 d"]:
        """The appearance of inference: the mean of the training frames' embeddings."""
        return self.appearance.mean(0, keepdim=True)

    def render(self, rays: camera.Rays, field: Callable, offsets: Tensor) -> Rendering:
        """Rays of the head frame through a field of `at`, for training; offsets as in
        `render_rays`."""
        how = {"step": self.config.step_length / BOX, "max_samples": self.config.max_samples}
        origins = camera.to_box(rays.origins)
        return render_rays(field, origins, rays.directions, self.occupancy, offsets=offsets, **how)


class ConditionNet(nn.Module):
    """Normalised vectors of a few neighbouring frames -> one condition vector.

    The official nets (official code): per frame four convolutions over its steps and two
    linear layers; an attention net then weighs the frames. A frame has one step (landmarks) or 16
    (speech, AD-NeRF), which strides of 2 bring to one.
    Differs from the official code: weights start so that inputs reach the condition at full
    strength, and the middle frame leads. With the usual start they arrive 200 times weaker, and
    in short trainings the mouth may never begin to move.
    """

    def __init__(self, n_inputs: int, n_channels: int, n_frames: int, n_steps: int = 1):
        super().__init__()
        self.n_steps, stride = n_steps, 1 if n_steps == 1 else 2
        leaky = lambda: nn.LeakyReLU(0.02)  # noqa: E731

        def convolutions(*sizes: int, stride: int = 1) -> nn.Sequential:
            pairs = itertools.pairwise(sizes)
            made = ((nn.Conv1d(a, b, 3, stride, padding=1), leaky()) for a, b in pairs)
            return nn.Sequential(*itertools.chain.from_iterable(made))

        self.encode = convolutions(n_inputs, 32, 32, 64, 64, stride=stride)
        self.project = nn.Sequential(nn.Linear(64, 64), leaky(), nn.Linear(64, n_channels))
        self.attend = None
        if n_frames > 1:
            self.attend = convolutions(n_channels, 16, 8, 4, 2, 1)
            self.weigh = nn.Linear(n_frames, n_frames)
            nn.init.zeros_(self.weigh.bias)
            self.weigh.bias.data[n_frames // 2] = 2.0
        for layer in (*self.encode, *self.project):
            if isinstance(layer, (nn.Conv1d, nn.Linear)):
                seen = layer.weight
                if isinstance(layer, nn.Conv1d) and n_steps == 1:
                    seen = layer.weight[:, :, 1]  # around one step there is only padding
                nn.init.kaiming_normal_(seen.data, a=0.02, nonlinearity="leaky_relu")
                nn.init.zeros_(layer.bias)

    def forward(self, windows: Float[Tensor, "b w ..."]) -> Float[Tensor, "b c"]:
        """The condition of windows (b, w, n_inputs), or (b, w, n_steps, n_inputs)."""
        n, width = windows.shape[:2]
        steps = windows.reshape(n * width, self.n_steps, -1)
        encoded = self.encode(steps.transpose(1, 2))[..., 0]
        each = self.project(encoded).view(n, width, -1)  # (b, w, c)
        if self.attend is None:
            return each[:, width // 2]
        weights = self.weigh(self.attend(each.transpose(1, 2))[:, 0]).softmax(-1)
        return (weights[..., None] * each).sum(1)


def make_field(config: HeadConfig, n_frames: int, n_speech: int = 0) -> HeadField:
    """A new field of the kind that the settings name, for a clip of n_frames. n_speech: channels of
    the speech features; only a head that speech drives needs them."""
    kind = imported(path_of_field(config), "head.field", HeadField)
    return kind(config, n_frames, *[n_speech] * (config.driven_by == "speech"))


def path_of_field(config: HeadConfig) -> str:
    """The import path of the field that the settings name.

    Raises: ValueError for a built-in one that what drives the head cannot drive.
    """
    known = FIELDS.get((config.field, config.driven_by))
    if known is None and ":" not in config.field:
        raise ValueError(f"head.driven_by=speech needs head.field=grid, got {config.field!r}")
    return known or config.field


def check_windows(windows: Tensor, shape: tuple[int, ...], driven_by: str) -> None:
    """Raises ValueError when windows are not (b, w, *shape): something else was to drive a head."""
    if windows.shape[2:] != shape:
        wanted = ", ".join(["b", "w", *map(str, shape)])
        raise ValueError(
            f"this head is driven by {driven_by}: its windows must be ({wanted}), got "
            f"{tuple(windows.shape)}; make them with `Avatar.driving` or `RayDataset.windows`"
        )
