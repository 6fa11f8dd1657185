"""Head: landmarks and a camera pose -> colour, opacity and depth of the head.

The grid renderer of method.md 5b. Reads a person; `portrait` writes the weights.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from geneface_kit import camera, fitting
from geneface_kit.render import (
    ConditionNet,
    FieldSamples,
    GridEncoding,
    GridLayout,
    Occupancy,
    Perceptron,
    Rendering,
    exponential,
    footprint,
    harmonics,
    precision,
    render_rays,
)
from geneface_kit.views import HEAD, Pixels, Views, psnr, windows_of

__all__ = [
    "CPU",
    "PAPER",
    "HeadConfig",
    "HeadField",
    "HeadImage",
    "HeadTask",
    "make_field",
]

log = logging.getLogger(__name__)

BOX = 2 * camera.BOX_HALF
"""Edge of the head box in inter-ocular distances (iod)."""
FRONT = torch.tensor([[0.0, 0.0, -1.0]])
"""The direction of view that stands for all where colours do not depend on it."""
STD_FLOOR = 0.03
"""Least spread by which a landmark coordinate is divided, iod. Below lies tracking noise: blown
up to the size of real motion it would let the condition recognise frames instead of mouths."""


@dataclass(frozen=True)
class HeadConfig:
    """The head field and its training. Defaults: smoke."""

    field: str = (
        "grid"  # or "vanilla", the paper's own (method.md 5a), with hidden=256 and patience
    )
    steps: int = 450  # updates; paper code: 250,000
    n_samples: int = 12_000  # field samples per update, rays adapt to it (ours)
    n_frames: int = 16  # frames per update; paper code: 1
    hidden: int = 32  # width of the networks; paper code: 128
    condition: int = 32  # channels of the landmark condition; paper code: 64
    attention_frames: int = 5  # frames the condition is smoothed over, 1 = none (paper code)
    direct_condition: bool = True  # the density network also sees the condition itself (ours)
    view_dependent: bool = False  # colours may depend on the direction of view; paper code: yes
    code_channels: int = 4  # per-frame appearance code (paper code)
    grid_kind: str = "hash"  # "tiled" is the official one, blind on fine levels
    n_levels: int = 8  # lattices per grid; paper code: 16
    finest: int = 128  # cells of the finest lattice along the box; paper code: 2048
    log2_rows: int = 14  # table rows per lattice; paper code: 16
    step_length: float = 0.1  # iod between samples; paper code: about 0.03
    max_samples: int = 32  # per ray in training; paper code: 16
    occupancy: int = 48  # cells along the box; paper code: 128
    occupancy_decay: float = 0.8  # per look, of what was dense or visible; paper code: 0.95
    cull: str = "visible"  # skip cells that are "empty" (paper code), or also hidden ("visible")
    lip_share: float = 0.25  # rays inside the lip rectangle (ours)
    face_share: float = 0.35  # rays inside the face rectangle (ours)
    entropy_weight: float = 1e-4  # opacity of a ray towards 0 or 1 (paper code)
    spread_weight: float = 2e-2  # surface thickness, iod^2, ramped up (ours; sharp is fast)
    ambient_weight: float = 1e-3  # ambient motion outside the face; paper code: 0.1, see note
    lr_grid: float = 3e-2  # Adam, tables; paper code: 5e-3
    lr_network: float = 5e-3  # Adam, density and colour networks, codes; paper code: 5e-4
    lr_condition: float = 3e-3  # Adam, condition and ambient networks; paper code: 5e-4
    lr_final: float = 0.05  # last learning rate over the first; paper code: 0.1
    clamp: float = 3.0  # normalised landmarks, standard deviations (official inference: 2.5)
    stop: float = 0.01  # transmittance at which a ray ends at inference; paper code: 1e-4
    precision: str = "auto"  # of the networks: float32, bfloat16, or auto, the machine's faster
    validate_every: int = 0  # updates between held-out looks, 0 = at the end only

    # Note: ambient_weight is ramped up over the training. In a short one the official 0.1 silences
    # the ambient network before it has found the mouth, which then never moves.


CPU = {
    "steps": 3000,
    "n_samples": 24_000,
    "n_frames": 24,
    "hidden": 64,
    "n_levels": 12,
    "finest": 512,
    "log2_rows": 15,
    "step_length": 0.05,
    "occupancy": 64,
    "lr_grid": 1e-2,
    "lr_network": 2e-3,
    "lr_condition": 1e-3,
    "validate_every": 500,
}
"""A real person at 256x256 on two CPU cores."""

PAPER = {
    "steps": 250_000,
    "n_samples": 1_000_000,
    "n_frames": 1,
    "hidden": 128,
    "condition": 64,
    "direct_condition": False,
    "view_dependent": True,
    "n_levels": 16,
    "finest": 2048,
    "log2_rows": 16,
    "step_length": 0.03,
    "max_samples": 16,
    "occupancy": 128,
    "occupancy_decay": 0.95,
    "spread_weight": 0.0,
    "ambient_weight": 0.1,
    "lr_grid": 5e-3,
    "lr_network": 5e-4,
    "lr_condition": 5e-4,
    "lr_final": 0.1,
    "stop": 1e-4,
    "validate_every": 2000,
}
"""The official settings (method.md 5b), on a GPU."""


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
        self.ambient_net = Perceptron(features + config.condition, hidden, hidden, 2)
        self.ambient_net.layers[-1].weight.data *= 0.2  # ambient points start close together
        n_inputs = 2 * features + config.condition * config.direct_condition
        self.density_net = Perceptron(n_inputs, hidden, hidden, 1 + hidden)
        self.colour_net = Perceptron(16 + hidden + config.code_channels, hidden, 3)
        self.codes = nn.Parameter(0.1 * torch.randn(n_frames, config.code_channels))
        self.edge = BOX  # of the box, in the unit that the networks' densities are per
        self.occupancy = Occupancy(config.occupancy)
        self.register_buffer("landmark_mean", torch.zeros(204))
        self.register_buffer("landmark_std", torch.ones(204))
        self.dtype = precision(config.precision, torch.device("cpu"))

    def condition(self, windows: Float[Tensor, "b w 68 3"]) -> Float[Tensor, "b c"]:
        """Condition vectors of windows of absolute canonical landmarks (see `windows_of`)."""
        flat = (windows.flatten(2) - self.landmark_mean) / self.landmark_std
        return self.condition_net(flat.clamp(-self.config.clamp, self.config.clamp))

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
            parts = [(harmonics(directions), ray_index), (geometry, None), (codes, of_ray)]
            colour = torch.sigmoid(self.colour_net(parts, self.dtype).float())
            return FieldSamples(density, colour, ambient.abs().sum(-1))

        return field

    def _geometry(
        self, positions: Tensor, conditions: Tensor, frame: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Density (n,), geometry features (n, hidden) and ambient points (n, 2)."""
        place = self.position_grid(positions)
        parts = [(place, None), (conditions, frame)]
        ambient = torch.tanh(self.ambient_net(parts, self.dtype).float())
        motion = self.ambient_grid(0.5 * ambient + 0.5)
        parts = [(place, None), (motion, None)]
        if self.config.direct_condition:
            parts.append((conditions, frame))
        output = self.density_net(parts, self.dtype)
        density = self.edge * exponential(output[:, 0].float())
        return density, output[:, 1:], ambient

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
        self, window: Float[Tensor, "w 68 3"], pose: Float[Tensor, "4 4"], focal: float, size: int
    ) -> HeadImage:
        """The head as one camera sees it; deterministic."""
        pixels, ranges = self.footprint(pose, focal, size)
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

    def footprint(
        self, pose: Float[Tensor, "4 4"], focal: float, size: int
    ) -> tuple[Int[Tensor, "n 2"], Float[Tensor, "n 2"]]:
        """Pixels that look at occupied cells, and between which distances (box lengths)."""
        points = camera.from_box(self.occupancy.occupied_centres())
        distances = (points - pose[:3, 3]).norm(dim=-1)
        seen = camera.project(points.cpu().numpy(), pose.cpu().numpy(), focal, size)
        seen = torch.from_numpy(seen).to(pose.device)
        edge = BOX / self.occupancy.resolution
        width = focal * edge / float(distances.min()) if len(points) else 1.0
        pixels, ranges = footprint(seen, distances, edge, width, size)
        return pixels, ranges / BOX


def make_field(config: HeadConfig, n_frames: int) -> HeadField:
    """A new field of the kind that the settings name, for a clip of n_frames."""
    from geneface_kit.head.vanilla import VanillaField

    kinds = {"grid": HeadField, "vanilla": VanillaField}
    if config.field not in kinds:
        raise ValueError(f"head.field must be one of {', '.join(kinds)}, got {config.field!r}")
    return kinds[config.field](config, n_frames)


class HeadTask(fitting.Task):
    """Trains a head field on a person's views.

    Each update draws rays of a few frames, more of them at the lips and the face; puts a random
    colour behind the head, so that opacity is learned from the mask and not from the plate; and
    keeps the number of field samples, not of rays, constant.
    """

    def __init__(self, field: HeadField, views: Views):
        self.field, self.views, self.config = field, views, field.config
        self.modules = {"head": field}
        groups = [{"params": parameters} for parameters in field.parameter_groups()]
        adam = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15, fused=True)
        self.optimizers = {"adam": adam}
        self.n_rays = 1024.0

    @staticmethod
    def make(config: HeadConfig, views: Views, generator: torch.Generator) -> "HeadTask":
        """A new field for a person: its landmark statistics, and the cells its cameras see."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            field = make_field(config, views.n_train).to(views.device)
        person, occupancy = views.person, field.occupancy
        field.landmark_mean.copy_(torch.as_tensor(person.landmark_mean).flatten())
        field.landmark_std.copy_(
            torch.as_tensor(person.landmark_std).flatten().clamp(min=STD_FLOOR)
        )
        cell = BOX / occupancy.resolution
        points = camera.from_box(occupancy.centres()).cpu()
        occupancy.restrict(views.hull(points, reach=cell).to(views.device))
        if not bool(occupancy.bits.any()):
            raise ValueError(
                f"the head of person {person.name} lies outside the head box of the camera model; "
                "check poses and focal length, prepare the person again"
            )
        return HeadTask(field, views)

    def step(self, index: int, generator: torch.Generator) -> dict[str, float]:
        config, views = self.config, self.views
        self._set_rate(index)
        if index % (8 if index < 512 else 32) == 0:
            self._update_occupancy(generator)
        shares = (config.lip_share, config.face_share)
        pixels = views.draw(config.n_frames, int(self.n_rays), shares, generator)
        offsets = torch.rand(len(pixels.at), generator=generator).to(views.device)
        behind = torch.rand(len(pixels.at), 3, generator=generator).to(views.device)
        found = self.field.render(views.rays(pixels), self._field_of(pixels), offsets=offsets)
        target = torch.where(pixels.is_head[:, None], pixels.colour, behind)
        image = functional.mse_loss(found.over(behind), target)
        entropy = _entropy(found.alpha)
        ambient = (found.extra * ~pixels.in_face).mean()
        spread = BOX**2 * found.spread.mean()
        ramp = min(1.0, index / max(1, config.steps))
        loss = image + config.entropy_weight * entropy + ramp * config.ambient_weight * ambient
        loss = loss + ramp * config.spread_weight * spread
        self.optimizers["adam"].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers["adam"].step()
        n_samples = int(found.n_samples.sum())
        growth = 0.8 + 0.2 * config.n_samples / max(n_samples, 1)
        self.n_rays = min(max(self.n_rays * growth, 256.0), float(config.n_samples))
        return {
            "loss": float(loss.detach()),
            "image": float(image.detach()),
            "ambient": float(ambient.detach()),
            "spread": float(spread.detach()),
            "rays": float(len(pixels.at)),
            "samples": float(n_samples),
        }

    def validate(self, index: int) -> dict[str, float]:
        """Held-out PSNR of a few frames, head and lips; the score is the head's squared error."""
        errors = [self.errors(frame) for frame in self.views.held_out(4)]
        head, lips = (sum(values) / len(values) for values in zip(*errors, strict=True))
        return {"score": head, "head_psnr": psnr(head), "lip_psnr": psnr(lips)}

    def errors(self, frame: int) -> tuple[float, float]:
        """Mean squared error of one frame over head pixels and over lip pixels of the head."""
        views = self.views
        window = windows_of(views.landmarks, torch.tensor([frame]), self.config.attention_frames)[0]
        found = self.field.image(window, views.poses[frame], views.focal, views.size)
        rows, columns = np.nonzero(np.asarray(views.person.labels[frame] == HEAD))
        at = torch.from_numpy(np.stack([columns, rows], -1))
        pixels = views.read(torch.tensor([frame]), torch.zeros(len(at), dtype=torch.long), at)
        plate = torch.from_numpy(views.person.plate[rows, columns]).to(views.device).float() / 255
        colour = found.colour[rows, columns] + (1 - found.alpha[rows, columns])[:, None] * plate
        squared = (colour - pixels.colour).square().mean(-1)
        lips = squared[pixels.in_lips]
        return float(squared.mean()), float(lips.mean() if len(lips) else squared.mean())

    def state(self) -> dict[str, Tensor]:
        return {"n_rays": torch.tensor(self.n_rays, dtype=torch.float64)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.n_rays = float(state["n_rays"])

    def _field_of(self, pixels: Pixels) -> Callable:
        """The field under the landmarks of each pixel's frame. Lip pixels take the mean code, so
        that no code can explain the shape of the mouth."""
        windows = windows_of(self.views.landmarks, pixels.frames, self.config.attention_frames)
        codes = self.field.codes[pixels.frames[pixels.frame_of_pixel]]
        codes = torch.where(pixels.in_lips[:, None], self.field.mean_code(), codes)
        return self.field.at(self.field.condition(windows), codes, pixels.frame_of_pixel)

    def _set_rate(self, index: int) -> None:
        config = self.config
        decay = config.lr_final ** (index / max(1, config.steps))
        rates = (config.lr_grid, config.lr_network, config.lr_condition)
        for group, rate in zip(self.optimizers["adam"].param_groups, rates, strict=True):
            group["lr"] = rate * decay

    @torch.no_grad()
    def _update_occupancy(self, generator: torch.Generator) -> None:
        """Density under one random frame's landmarks; then what light reaches in random frames."""
        config, field, views = self.config, self.field, self.views
        frame = torch.randint(views.n_train, (1,), generator=generator)
        condition = field.condition(windows_of(views.landmarks, frame, config.attention_frames))
        threshold = 0.1 * BOX / config.step_length  # a tenth of an optical depth per step
        field.occupancy.update(
            lambda points: field.density(points, condition),
            generator=generator,
            threshold=threshold,
        )
        if config.cull == "visible":
            rays = self.views.rays(views.draw(config.n_frames, 4096, (0.0, 0.3), generator))
            step = 0.7 / field.occupancy.resolution
            origins, decay = camera.to_box(rays.origins), config.occupancy_decay
            field.occupancy.look(origins, rays.directions, step=step, decay=decay)
            field.occupancy.hide_unseen()


def _entropy(alpha: Tensor) -> Tensor:
    """Mean binary entropy of opacities, in bits: 0 for clear or solid, 1 for half."""
    p = alpha.clamp(1e-5, 1 - 1e-5)
    return -(p * torch.log2(p) + (1 - p) * torch.log2(1 - p)).mean()
