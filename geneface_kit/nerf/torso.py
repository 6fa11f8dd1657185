"""Torso: a head pose and the rendered head -> colour and opacity of neck and shoulders.

A canonical picture, moved and bent by the head's pose: the torso of RAD-NeRF (sec. 3.3), which the
official code renders with, aware of the head (GeneFace, sec. 3.4).
"""

import dataclasses

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from geneface_kit.nerf import losses, torso_motion
from geneface_kit.nerf.config import TorsoConfig
from geneface_kit.nerf.dataset import RayDataset
from geneface_kit.nerf.renderer import HeadRenderer, to_uint8
from geneface_kit.nerf.vanilla import positional_encoding
from geneface_kit.person.segmentation import FREE
from geneface_kit.render.fused import BENT, FusedImage, has_amx
from geneface_kit.render.grid import GridEncoding, GridLayout
from geneface_kit.render.mlp import MLP, precision
from geneface_kit.runs import live, training

ENTROPY_WEIGHT = 1e-4  # of opacities towards 0 or 1, in the loss (official code)
LR_FINAL = 0.1  # last learning rate over the first (official code)
SHRINK = 0.8  # factor on pixel coordinates in [-1, 1]: deformed points stay on the grid


class TorsoField(nn.Module):
    """A canonical picture of the torso, moved by the head's pose.

    (pixel, pose, appearance, head) -> shift of the pixel -> 2D grid -> opacity and colour.

    With config.follow_pose, unlike in the paper code, pose and appearance only shift pixels, as
    strengths of smooth patterns of displacement, on top of one measured shift of the whole: to the
    networks themselves a pose is a frame's name, by which a short clip is learned by heart.
    """

    fuses = True  # whether a CPU takes it in one pass

    def __init__(self, config: TorsoConfig, n_frames: int, size: int):
        super().__init__()
        self.config = config
        n_inputs = 2 * (1 + 2 * config.pixel_frequencies)
        if not config.follow_pose:
            n_inputs += 6 * (1 + 2 * config.pose_frequencies) + config.appearance_channels
        self.head_net = MLP(4, 16, 32, 16) if config.head_aware else None
        n_inputs += 16 if config.head_aware else 0
        hidden = config.hidden
        n_patterns = 6 + config.appearance_channels if config.follow_pose else 1
        self.deform_net = MLP(n_inputs, hidden, hidden, 2 * n_patterns)
        if config.follow_pose:
            self.deform_net.layers[-1].weight.data *= 0.01  # the measured shift comes first
        grid = {name: getattr(config, name) for name in ("n_levels", "finest", "log2_rows")}
        self.grid = GridEncoding(GridLayout(2, **grid, kind=config.grid_kind))
        n_features = self.grid.n_features + n_inputs
        self.colour_net = MLP(n_features, hidden // 2, hidden // 2, 4)
        self.appearance = nn.Parameter(0.1 * torch.randn(n_frames, config.appearance_channels))
        self.register_buffer("pose_mean", torch.zeros(6))
        self.register_buffer("pose_std", torch.ones(6))
        self.register_buffer("shift_map", torch.zeros(7, 2))
        self.register_buffer("shift_limit", torch.zeros(2))
        self.register_buffer("occupied", torch.ones(size, size, dtype=torch.bool))
        self.dtype = precision(config.precision)

    def raw_pose(self, poses: Float[Tensor, "k 4 4"]) -> Float[Tensor, "k 6"]:
        """`torso_motion.pose_features` of poses, or the official Euler angles and place."""
        return torso_motion.pose_features(poses) if self.config.follow_pose else euler(poses)

    def predicted_shift(self, poses: Float[Tensor, "k 4 4"]) -> Float[Tensor, "k 2"]:
        """Predicted shift of the torso, in pixel coordinates, at most twice the largest one seen in
        training (a viewpoint may be anywhere); zero without config.follow_pose."""
        shift = torso_motion.pose_features(poses) @ self.shift_map[:6] + self.shift_map[6]
        return shift.clamp(-self.shift_limit, self.shift_limit)

    def forward(
        self,
        pixels: Float[Tensor, "n 2"],
        poses: Float[Tensor, "k 4 4"],
        appearance: Float[Tensor, "k d"],
        head: Float[Tensor, "n 4"],
        frame_of_pixel: Int[Tensor, " n"] | None,
        shifts: Float[Tensor, "k 2"] | None = None,
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
        """Colour (not multiplied) and opacity.

        pixels: (n, 2) in [-1, 1], x then y; head: (n, 4) the head's colour (times opacity) and
        opacity there; frame_of_pixel: row of `poses` and `appearance` of each pixel, None for one.
        shifts: of the whole torso, where they are known; None predicts them from the poses.
        """
        frame = torch.zeros_like(pixels[:, 0]).long() if frame_of_pixel is None else frame_of_pixel
        moved = self.predicted_shift(poses) if shifts is None else shifts
        place = SHRINK * (pixels - moved[frame])
        parts = [(positional_encoding(place, self.config.pixel_frequencies), None)]
        of_frame, strengths = self._of_frame(poses, appearance)
        if not self.config.follow_pose:
            parts.append((of_frame, frame_of_pixel))
        if self.head_net is not None:
            parts.append((self.head_net([(head, None)], self.dtype), None))
        shift = self.deform_net(parts, self.dtype).float()
        if self.config.follow_pose:
            shift = (shift.view(len(shift), 2, -1) * strengths[frame][:, None]).sum(-1)
        canonical = 0.5 * (place + shift).clamp(-1, 1) + 0.5
        output = self.colour_net([(self.grid(canonical), None), *parts], self.dtype)
        output = torch.sigmoid(output.float())
        return output[:, 1:], output[:, 0]

    def of_picture(
        self,
        poses: Float[Tensor, "1 4 4"],
        appearance: Float[Tensor, "1 d"],
        size: int,
        shifts: Float[Tensor, "1 2"] | None,
    ) -> tuple[Float[Tensor, "w e"], Float[Tensor, "h e"], Float[Tensor, " p"], list[Tensor]]:
        """What `baked` needs of a picture: the encodings of its columns and rows, how strong each
        pattern of displacement is, and what the pose adds to the networks' first layers. Arguments
        as in `forward`."""
        moved = self.predicted_shift(poses) if shifts is None else shifts
        axis = torch.arange(size, device=poses.device)[:, None].expand(size, 2)
        place = SHRINK * (unit_pixels(axis, size) - moved)
        columns, rows = (
            positional_encoding(x, self.config.pixel_frequencies) for x in place.split(1, dim=1)
        )
        of_frame, strengths = self._of_frame(poses, appearance)
        biases = [shared @ of_frame[0] for shared in self._networks()[1]]
        return columns, rows, strengths[0], biases

    @torch.no_grad()
    def baked(self) -> FusedImage | None:
        """The finished torso in one pass; None off a CPU, without a head or with many patterns."""
        on_cpu, bent = self.appearance.device.type == "cpu", len(self.deform_net.layers[-1].weight)
        if self.head_net is None or bent > BENT or not (self.fuses and on_cpu):
            return None
        amx = self.dtype == torch.bfloat16 and has_amx()
        return FusedImage(self.grid, self._networks()[0], amx)

    def _of_frame(self, poses: Tensor, appearance: Tensor) -> tuple[Tensor, Tensor]:
        """What the networks see of frames, nothing with config.follow_pose; and the strengths of
        the patterns of displacement."""
        # standardised over the training frames, within 3 deviations; raw in the official code
        numbers = ((self.raw_pose(poses) - self.pose_mean) / self.pose_std).clamp(-3, 3)
        if self.config.follow_pose:
            return numbers[:, :0], torch.cat([numbers, appearance], dim=-1)
        encoded = positional_encoding(numbers, self.config.pose_frequencies)
        return torch.cat([encoded, appearance], dim=-1), torch.ones_like(numbers[:, :1])

    def _networks(self) -> tuple[list[list[Tensor]], list[Tensor]]:
        """The weights of what sees the head, of deformation and colour network, first layers for
        the inputs that each pixel has for itself; and those for the inputs that all share."""
        nets = (self.head_net, self.deform_net, self.colour_net)
        seen, bend, colour = ([layer.weight for layer in net.layers] for net in nets)
        n_code, of_shared = 2 * (1 + 2 * self.config.pixel_frequencies), []
        for weights, n_grid in ((bend, 0), (colour, self.grid.n_features)):
            place, shared, head = weights[0].tensor_split([n_grid + n_code, -16], dim=1)
            weights[0] = torch.cat([place, head], dim=1)
            of_shared.append(shared)
        return [seen, bend, colour], of_shared


class TorsoTask(training.Task):
    """Trains a torso field behind a finished head.

    The head of some frames is rendered as it is delivered; the background is random, the target the
    person's torso pictures; where they are empty but the labels leave it free, the torso may go on.
    config.renew_every puts another frame in the place of the oldest. shifts: of the torso in each
    frame, where it was followed.
    """

    kept = ("frames",)

    def __init__(
        self,
        field: TorsoField,
        dataset: RayDataset,
        head: HeadRenderer,
        shifts: Float[Tensor, "t 2"] | None,
    ):
        self.field, self.dataset, self.config, self.head = field, dataset, field.config, head
        self.modules = {"torso": field}
        others = [p for p in field.parameters() if p is not field.grid.table]
        pairs = (([field.grid.table], self.config.lr_grid), (others, self.config.lr_network))
        groups = [{"params": params, "rate": rate} for params, rate in pairs]
        self.optimizers = {"adam": torch.optim.Adam(groups, **losses.ADAM)}
        n = min(self.config.n_head_frames, len(dataset.usable))
        self.frames = dataset.usable[torch.linspace(0, len(dataset.usable) - 1, n).round().long()]
        self.heads: Tensor | None = None  # (k, h, w, 4) uint8, colour and opacity in those frames
        self.pixels = field.occupied.nonzero().flip(-1).cpu()
        self.shifts = shifts

    @staticmethod
    def make(
        config: TorsoConfig, dataset: RayDataset, head: HeadRenderer, generator: torch.Generator
    ) -> "TorsoTask":
        """A new field: the statistics of the poses, and the pixels where a torso is ever seen. One
        that cannot be followed is bent by the pose, as without follow_pose."""
        shifts = weights = None
        if config.follow_pose:
            shifts, weights = torso_motion.learn(dataset.person, dataset.n_train)
        config = dataclasses.replace(config, follow_pose=shifts is not None)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            field = TorsoField(config, dataset.n_train, dataset.size).to(dataset.device)
        numbers = field.raw_pose(dataset.poses[dataset.usable])
        field.pose_mean.copy_(numbers.mean(0))
        field.pose_std.copy_(numbers.std(0, correction=0).clamp(min=1e-3))
        ever = np.zeros((dataset.size, dataset.size), bool)
        for frame in range(0, dataset.n_train, max(1, dataset.n_train // 100)):
            ever |= np.asarray(dataset.person.torso[frame][..., 3]) > 0
        reach = 2 * (dataset.size // 64) + 1
        wide = functional.max_pool2d(torch.from_numpy(ever)[None].float(), reach, 1, reach // 2)
        field.occupied.copy_(wide[0] > 0)
        if not ever.any():
            raise ValueError(f"person {dataset.person.name} has no torso pixel; prepare it again")
        if shifts is not None:
            field.shift_map.copy_(weights)
            field.shift_limit.copy_(2 * shifts.abs().amax(0))
        return TorsoTask(field, dataset, head, shifts)

    def step(self, index: int, generator: torch.Generator) -> dict[str, float]:
        config, dataset = self.config, self.dataset
        decay = LR_FINAL ** (index / max(1, config.steps))
        for group in self.optimizers["adam"].param_groups:
            group["lr"] = group["rate"] * decay
        self._renew(index, generator)
        n = config.n_pixels
        slot = torch.randint(len(self.frames), (n,), generator=generator)
        at = self.pixels[torch.randint(len(self.pixels), (n,), generator=generator)]
        where = (self.frames[slot].numpy(), at[:, 1].numpy(), at[:, 0].numpy())
        rgba, is_free = dataset.person.torso[where], dataset.kinds_at(where) == FREE
        target = torch.from_numpy(rgba).to(dataset.device).float() / 255
        counts = torch.from_numpy((rgba[:, 3] > 0) | ~is_free).to(dataset.device)
        told = torch.rand(n, 1, generator=generator) < 0.5  # half learn to do without (official)
        seen = torch.zeros(n, 4)
        if config.head_aware:
            seen = told * self.heads[slot, at[:, 1], at[:, 0]].float() / 255
        behind = torch.rand(n, 3, generator=generator).to(dataset.device)
        slot, at, seen = (values.to(dataset.device) for values in (slot, at, seen))
        frames = self.frames.to(dataset.device)
        shifts = None if self.shifts is None else self.shifts[self.frames].to(dataset.device)
        of_frame = (dataset.poses[frames], self.field.appearance[frames])
        found = self.field(unit_pixels(at, dataset.size), *of_frame, seen, slot, shifts)
        image = losses.masked_error(
            losses.over(*found, behind), losses.over(target[:, :3], target[:, 3], behind), counts
        )
        loss = image + ENTROPY_WEIGHT * losses.opacity_entropy(found[1])
        self.optimizers["adam"].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers["adam"].step()
        return {"loss": float(loss.detach()), "image": float(image.detach())}

    def _renew(self, index: int, generator: torch.Generator) -> None:
        """The heads of the frames, the first time; later, when due, another frame and its head."""
        due = self.config.renew_every and index and index % self.config.renew_every == 0
        if due:
            slot = index // self.config.renew_every % len(self.frames)
            usable = self.dataset.usable
            self.frames[slot] = usable[torch.randint(len(usable), (1,), generator=generator)][0]
        if not self.config.head_aware:
            return
        slots = [slot] if due else []
        if self.heads is None:
            n, size = len(self.frames), self.dataset.size
            self.heads = torch.zeros(n, size, size, 4, dtype=torch.uint8)
            slots = live.progress(range(n), "rendering heads")
        for place in slots:
            image = next(self.head.of_frames(self.dataset, [int(self.frames[place])]))
            self.heads[place] = to_uint8(torch.cat([image.colour, image.alpha[..., None]], dim=-1))


def euler(poses: Float[Tensor, "k 4 4"]) -> Float[Tensor, "k 6"]:
    """XYZ Euler angles (R = Rx Ry Rz, radians) and translation of poses."""
    r = poses[:, :3, :3]
    x = torch.atan2(-r[:, 1, 2], r[:, 2, 2])
    y = torch.asin(r[:, 0, 2].clamp(-1, 1))
    z = torch.atan2(-r[:, 0, 1], r[:, 0, 0])
    return torch.cat([torch.stack([x, y, z], dim=-1), poses[:, :3, 3]], dim=-1)


def unit_pixels(at: Int[Tensor, "n 2"], size: int) -> Float[Tensor, "n 2"]:
    """Columns and rows -> [-1, 1], both ends included (official code)."""
    return at.float() * (2 / max(1, size - 1)) - 1
