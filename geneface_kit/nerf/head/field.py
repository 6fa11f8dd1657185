"""The head field: density and colour of points of the head box, moved by landmarks."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geneface_kit.nerf.condition import ConditionNet
from geneface_kit.nerf.head.config import HeadConfig
from geneface_kit.nerf.head.marks import line_ends, softness
from geneface_kit.person import camera
from geneface_kit.person.mouth import LIPS
from geneface_kit.render.grid import GridEncoding, GridLayout
from geneface_kit.render.line_warp import line_warp
from geneface_kit.render.mlp import MLP, precision, trunc_exp
from geneface_kit.render.occupancy import Occupancy
from geneface_kit.render.rendering import Field, FieldSamples, Rendering, TwoPassField, render_rays
from geneface_kit.render.screen import screen_bounds
from geneface_kit.render.sh_encoding import sh_encode

__all__ = ["BOX", "HeadField", "HeadImage", "make_field"]

BOX = 2 * camera.BOX_HALF
"""Edge of the head box in inter-ocular distances (iod)."""
FRONT = torch.tensor([[0.0, 0.0, -1.0]])
"""The direction of view that stands for all where colours do not depend on it."""
STD_FLOOR = 0.03
"""Least spread by which a landmark coordinate is divided, iod. Below lies tracking noise: blown
up to the size of real motion it would let the condition recognise frames instead of mouths."""
"""The lip points among the 68."""
N_MARKS = 2 * 68
"""Numbers of a frame's landmarks that warp points: x and y of each."""
FADE = (-1.1, -0.6)
"""Depth in the head frame, iod, between which carrying sets in: the back of the head stays."""


@dataclass(frozen=True)
class HeadImage:
    """A rendered head: colour (h, w, 3) times opacity, alpha (h, w), depth (h, w) in iod (distance
    along the ray, 0 where empty), n_samples the field was asked for."""

    colour: Float[Tensor, "h w 3"]
    alpha: Float[Tensor, "h w"]
    depth: Float[Tensor, "h w"]
    n_samples: int


class HeadField(nn.Module):
    """The dynamic head: density and colour of points of the head box, given a condition.

    position -> 3D grid; (grid, condition) -> ambient 2D point -> 2D grid; both -> density and
    geometry; (direction, geometry, per-frame code) -> colour.

    Differs from the official code: positions are first carried by the landmarks to where they are
    on the mean face (`line_warp`), so that moving the lips is given and not learned; what the
    networks learn is what moving does not explain. Config.carry_reach = 0 is the official way.
    """

    def __init__(self, config: HeadConfig, n_frames: int):
        super().__init__()
        self.config = config
        grid = {
            "n_levels": config.n_levels,
            "finest": config.finest,
            "log2_rows": config.log2_rows,
            "kind": config.grid_kind,
        }
        hidden, features = config.hidden, 2 * config.n_levels
        self.position_grid = GridEncoding(GridLayout.make(3, **grid))
        self.ambient_grid = GridEncoding(GridLayout.make(2, **grid))
        self.condition_net = ConditionNet(204, config.condition, config.attention_frames)
        self.n_condition = n_condition = config.condition + config.lip_modes
        self.ambient_net = MLP(features + n_condition, hidden, hidden, 2)
        self.ambient_net.layers[-1].weight.data *= 0.2  # ambient points start close together
        n_inputs = 2 * features + n_condition * config.direct_condition
        self.density_net = MLP(n_inputs, hidden, hidden, 1 + hidden)
        self.colour_net = MLP(16 + hidden + config.code_channels, hidden, 3)
        self.codes = nn.Parameter(0.1 * torch.randn(n_frames, config.code_channels))
        self.edge = BOX  # of the box, in the unit that the networks' densities are per
        self.occupancy = Occupancy(config.occupancy)
        self.register_buffer("landmark_mean", torch.zeros(204))
        self.register_buffer("landmark_std", torch.ones(204))
        self.register_buffer("lip_modes", torch.zeros(204, config.lip_modes))
        self.register_buffer("line_ends", line_ends(), persistent=False)
        self.register_buffer("softness", softness() / BOX, persistent=False)
        self.dtype = precision(config.precision, torch.device("cpu"))

    def condition(self, windows: Float[Tensor, "b w ..."]) -> Float[Tensor, "b c"]:
        """Condition vectors of windows (b, w, 68, 3) of absolute canonical landmarks.

        Differs from the official code: the middle frame's lip movements (`learn_statistics`) stand
        beside what the network makes of the landmarks. In a short training the network has not
        yet learned to tell mouths apart when the fields have already settled on a mean one. Behind
        them come the middle frame's places of the landmarks, which warp points (N_MARKS numbers).
        """
        check_windows(windows, (68, 3), "landmarks")
        limit = self.config.clamp
        moved = windows.flatten(2) - self.landmark_mean
        learned = self.condition_net((moved / self.landmark_std).clamp(-limit, limit))
        middle = moved.shape[1] // 2
        lips = (moved[:, middle] @ self.lip_modes).clamp(-limit, limit)
        parts = [learned, lips]
        if self.config.carry_reach:
            parts.append(_flat_marks(windows[:, middle]))
        return torch.cat(parts, dim=-1)

    def learn_statistics(self, landmarks: Float[Tensor, "t 68 3"]) -> None:
        """Takes mean and spread of landmarks, and the principal movements of the lips among them.

        Each movement is scaled to unit variance, but none is divided by less than `STD_FLOOR`.
        """
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

    def density(
        self, positions: Float[Tensor, "n 3"], condition: Float[Tensor, "1 c"]
    ) -> Float[Tensor, " n"]:
        """Density per box length at positions of the unit box, under one condition."""
        return self._geometry(positions, condition, None)[0]

    def at(
        self,
        conditions: Float[Tensor, "k c"],
        codes: Float[Tensor, "m d"],
        frame_of_ray: Tensor | None,
    ) -> Callable[[Tensor, Tensor, Tensor], FieldSamples]:
        """The field under given conditions, as `render_rays` wants it.

        frame_of_ray: (r,) row of `conditions` of each ray; None when there is one row for all.
        codes: one per ray, or one row for all.
        """

        def field(positions: Tensor, directions: Tensor, ray_index: Tensor) -> FieldSamples:
            frame = None if frame_of_ray is None else frame_of_ray[ray_index]
            density, geometry, ambient = self._geometry(positions, conditions, frame)
            of_ray = None if len(codes) == 1 else ray_index
            if not self.config.view_dependent:
                directions, ray_index = FRONT.to(directions), None
            parts = [(sh_encode(directions), ray_index), (geometry, None), (codes, of_ray)]
            colour = torch.sigmoid(self.colour_net(parts, self.dtype).float())
            return FieldSamples(density, colour, ambient.abs().sum(-1))

        return field

    def baked(self, condition: Float[Tensor, "1 c"]) -> TwoPassField | Field:
        """The field under one condition and the mean code, as pictures ask it; see `bake`."""
        from geneface_kit.nerf.head.baked import bake

        return bake(self, condition, self.mean_code())

    def _geometry(
        self, positions: Tensor, conditions: Tensor, frame: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Density (n,), geometry features (n, hidden) and ambient points (n, 2)."""
        if self.config.carry_reach:
            positions = self.carried(positions, conditions[:, self.n_condition :], frame)
            conditions = conditions[:, : self.n_condition]
        place = self.position_grid(positions)
        parts = [(place, None), (conditions, frame)]
        ambient = torch.tanh(self.ambient_net(parts, self.dtype).float())
        motion = self.ambient_grid(0.5 * ambient + 0.5)
        parts = [(place, None), (motion, None)]
        if self.config.direct_condition:
            parts.append((conditions, frame))
        output = self.density_net(parts, self.dtype)
        density = self.edge * trunc_exp(output[:, 0].float())
        return density, output[:, 1:], ambient

    def carried(self, positions: Tensor, marks: Tensor, frame: Tensor | None) -> Tensor:
        """Positions of the box, carried to where they are on the mean face."""
        rest = _flat_marks(self.landmark_mean.view(1, 68, 3)).view(68, 2)
        marks = marks.detach().unflatten(1, (68, 2))
        depth = [(z - camera.BOX_CENTRE[2]) / BOX + 0.5 for z in FADE]
        return line_warp(
            positions,
            marks[:, self.line_ends],
            rest[self.line_ends],
            self.softness,
            frame,
            reach=self.config.carry_reach / BOX,
            fade=(depth[0], depth[1]),
            backend=self.position_grid.backend,
        )

    def parameter_groups(self) -> tuple[list[nn.Parameter], ...]:
        """What is trained: tables, networks, and what turns landmarks into motion."""
        tables = [self.position_grid.table, self.ambient_grid.table]
        networks = [*self.density_net.parameters(), *self.colour_net.parameters(), self.codes]
        motion = [*self.condition_net.parameters(), *self.ambient_net.parameters()]
        return tables, networks, motion

    def mean_code(self) -> Float[Tensor, "1 d"]:
        """The appearance code of inference: the mean of the training frames' codes."""
        return self.codes.mean(0, keepdim=True)

    def render(
        self,
        rays: camera.Rays,
        field: Callable,
        *,
        offsets: Tensor | None = None,
        ranges: Tensor | None = None,
        stop: float = 0.0,
    ) -> Rendering:
        """Rays of the head frame through a field of `at`."""
        return render_rays(
            field,
            camera.to_box(rays.origins),
            rays.directions,
            self.occupancy,
            step=self.config.step_length / BOX,
            offsets=offsets,
            ranges=ranges,
            stop=stop,
            max_samples=self.config.max_samples if self.training else 0,
        )

    @torch.no_grad()
    def image(
        self, window: Float[Tensor, "w ..."], pose: Float[Tensor, "4 4"], focal: float, size: int
    ) -> HeadImage:
        """The head as one camera sees it; deterministic. window: what drives it, see `views`."""
        pixels, ranges = self.screen_bounds(pose, focal, size)
        rays = camera.rays(pose, focal, size, pixels)
        field = self.at(self.condition(window[None]), self.mean_code(), None)
        found = self.render(rays, field, ranges=ranges, stop=self.config.stop)
        colour, alpha, depth = (pose.new_zeros(size * size, k) for k in (3, 1, 1))
        at = pixels[:, 1] * size + pixels[:, 0]
        colour[at] = found.colour
        alpha[at] = found.alpha[:, None]
        depth[at] = (BOX * found.depth / found.alpha.clamp(min=1e-6))[:, None]
        shape = (size, size)
        n_samples = int(found.n_samples.sum())
        return HeadImage(colour.view(*shape, 3), alpha.view(shape), depth.view(shape), n_samples)

    def screen_bounds(
        self, pose: Float[Tensor, "4 4"], focal: float, size: int
    ) -> tuple[Int[Tensor, "n 2"], Float[Tensor, "n 2"]]:
        """Pixels that look at occupied cells, and between which distances (box lengths)."""
        points = camera.from_box(self.occupancy.occupied_centres())
        distances = (points - pose[:3, 3]).norm(dim=-1)
        seen = camera.project(points.cpu().numpy(), pose.cpu().numpy(), focal, size)
        seen = torch.from_numpy(seen).to(pose.device)
        edge = BOX / self.occupancy.resolution
        width = focal * edge / float(distances.min()) if len(points) else 1.0
        pixels, ranges = screen_bounds(seen, distances, edge, width, size)
        return pixels, ranges / BOX


def make_field(config: HeadConfig, n_frames: int, n_speech: int = 0) -> HeadField:
    """A new field of the kind that the settings name, for a clip of n_frames.

    n_speech: channels of the speech features; only a head that speech drives needs them.
    """
    from geneface_kit.nerf.head.speech import SpeechField
    from geneface_kit.nerf.head.vanilla import VanillaField

    kinds = {"grid": HeadField, "vanilla": VanillaField}
    if config.field not in kinds:
        raise ValueError(f"head.field must be one of {', '.join(kinds)}, got {config.field!r}")
    if config.driven_by == "landmarks":
        return kinds[config.field](config, n_frames)
    if config.driven_by != "speech":
        raise ValueError(
            f"head.driven_by must be 'landmarks' or 'speech', got {config.driven_by!r}"
        )
    if config.field != "grid":
        raise ValueError(f"head.driven_by=speech needs head.field=grid, got {config.field!r}")
    return SpeechField(config, n_frames, n_speech)


def check_windows(windows: Tensor, shape: tuple[int, ...], driven_by: str) -> None:
    """Raises ValueError when windows are not (b, w, *shape): something else was to drive a head."""
    if windows.shape[2:] != shape:
        wanted = ", ".join(["b", "w", *map(str, shape)])
        raise ValueError(
            f"this head is driven by {driven_by}: its windows must be ({wanted}), got "
            f"{tuple(windows.shape)}; make them with `Portrait.driving` or `Views.windows`"
        )


def _flat_marks(landmarks: Float[Tensor, "b 68 3"]) -> Float[Tensor, "b 136"]:
    """x and y of landmarks of the head frame, in the coordinates of the box."""
    return camera.to_box(landmarks)[..., :2].flatten(1)
