"""Grid head: the head field on hash grids (RAD-NeRF's, which the official code renders with).

Driven by landmarks, or by the sound itself: the idea of AD-NeRF (2021) and RAD-NeRF (2022).
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geneface_kit.nerf import deformation
from geneface_kit.nerf.config import HeadConfig
from geneface_kit.nerf.dataset import BOX, SPEECH_STEPS
from geneface_kit.nerf.head import (
    CLAMP,
    LANDMARKS,
    Appearance,
    Condition,
    ConditionNet,
    Conditions,
    FrameOfRay,
    HeadField,
    Positions,
    check_windows,
)
from geneface_kit.render.fused import FusedField, Space, has_amx
from geneface_kit.render.fused_training import fused_samples
from geneface_kit.render.grid import GridEncoding, GridLayout
from geneface_kit.render.line_warp import line_table, line_warp
from geneface_kit.render.mlp import MLP, sh_encode, trunc_exp
from geneface_kit.render.rendering import Field, FieldSamples

FRONT = torch.tensor([[0.0, 0.0, -1.0]])  # stands for all directions where colours depend on none
APPEARANCE_CHANNELS = 4  # numbers of a training frame's appearance embedding (official code)
N_HARMONICS = 16  # spherical harmonics that stand for a direction of view
SPEECH_STD_FLOOR = 1e-3  # least spread by which a channel of the speech features is divided


class GridField(HeadField):
    """Density and colour of points of the head box, given a condition.

    position -> 3D grid; (grid, condition) -> ambient 2D point -> 2D grid; both -> density and
    geometry; (direction, geometry, appearance embedding) -> colour.

    Differs from the official code: landmarks first deform the space (`warped`), so that
    moving the lips is given and not learned; what the networks learn is what moving does not
    explain. config.warp_reach = 0 is the official way.
    """

    fuses = True

    def __init__(self, config: HeadConfig, n_frames: int):
        super().__init__(config, n_frames)
        grid = {name: getattr(config, name) for name in ("n_levels", "finest", "log2_rows")}
        grid["kind"] = config.grid_kind
        hidden, features = config.hidden, 2 * config.n_levels
        self.position_grid = GridEncoding(GridLayout(3, **grid))
        self.ambient_grid = GridEncoding(GridLayout(2, **grid))
        self.condition_net = ConditionNet(LANDMARKS, config.condition, config.attention_frames)
        self.ambient_net = MLP(features + self.n_condition, hidden, hidden, 2)
        self.ambient_net.layers[-1].weight.data *= 0.2  # ambient points start close together
        n_inputs = 2 * features + self.n_condition * config.direct_condition
        self.density_net = MLP(n_inputs, hidden, hidden, 1 + hidden)
        self.colour_net = MLP(N_HARMONICS + hidden + APPEARANCE_CHANNELS, hidden, 3)
        self.appearance = nn.Parameter(0.1 * torch.randn(n_frames, APPEARANCE_CHANNELS))
        self.edge = BOX  # of the box, in the unit that the networks' densities are per

    def parameter_groups(self) -> tuple[list[nn.Parameter], ...]:
        tables = [self.position_grid.table, self.ambient_grid.table]
        networks = [*self.density_net.parameters(), *self.colour_net.parameters(), self.appearance]
        motion = [*self.condition_net.parameters(), *self.ambient_net.parameters()]
        return tables, networks, motion

    def density(self, positions: Positions, condition: Condition) -> Float[Tensor, " n"]:
        if positions.requires_grad or not self._is_fused(positions.device):
            return self._geometry(positions, condition, None)[0]
        packet = torch.arange(len(positions), device=positions.device) // 512  # rays, so to speak
        directions = FRONT.to(positions).expand(-(-len(positions) // 512), 3)
        nobody = torch.zeros_like(self.mean_appearance())
        return self._fused(positions, directions, packet, condition, nobody, None).density

    def at(self, conditions: Conditions, appearance: Appearance, frame_of_ray: FrameOfRay) -> Field:
        def field(positions: Tensor, directions: Tensor, ray_index: Tensor) -> FieldSamples:
            learns = torch.is_grad_enabled() and not positions.requires_grad
            if learns and self._is_fused(positions.device):
                return self._fused(
                    positions, directions, ray_index, conditions, appearance, frame_of_ray
                )
            frame = None if frame_of_ray is None else frame_of_ray[ray_index]
            density, geometry, ambient = self._geometry(positions, conditions, frame)
            of_ray = None if len(appearance) == 1 else ray_index
            if not self.config.view_dependent:
                directions, ray_index = FRONT.to(directions), None
            parts = [(sh_encode(directions), ray_index), (geometry, None), (appearance, of_ray)]
            colour = torch.sigmoid(self.colour_net(parts, self.dtype).float())
            return FieldSamples(density, colour, ambient.abs().sum(-1))

        return field

    def _is_fused(self, device: torch.device) -> bool:
        return self.fuses and device.type == "cpu"

    def _fused(
        self,
        positions: Tensor,
        directions: Tensor,
        ray_index: Tensor,
        conditions: Tensor,
        appearance: Tensor,
        frame_of_ray: Tensor | None,
    ) -> FieldSamples:
        """What the field of `at` says, in one pass."""
        n_rays = len(directions)
        if frame_of_ray is None:
            frame_of_ray = ray_index.new_zeros(n_rays)
        seen = directions if self.config.view_dependent else FRONT.to(directions)
        networks, of_shared = self._networks()
        biases, space = self._shared(conditions, sh_encode(seen), appearance, of_shared)
        biases = (*biases[:2], biases[2].expand(n_rays, -1))
        where = (positions, ray_index, frame_of_ray, space)
        grids = (self.position_grid, self.ambient_grid)
        return FieldSamples(*fused_samples(*where, grids, networks, biases))

    @torch.no_grad()
    def baked(self) -> Callable[[Float[Tensor, "1 c"]], FusedField | Field]:
        """On a CPU the head in one pass: what all points share becomes biases. To be made anew
        when training goes on."""
        if not self._is_fused(self.appearance.device):
            return super().baked()
        networks, of_shared = self._networks()
        appearance, harmonics = self.mean_appearance(), sh_encode(FRONT)
        nowhere = self.space(appearance.new_zeros(0, 68 * 2))
        field = FusedField.of(self.position_grid, self.ambient_grid, networks, nowhere)
        if self.config.view_dependent:
            harmonics = torch.zeros_like(harmonics)
            field = replace(field, of_direction=of_shared[2].float())
        shared = (harmonics, appearance, of_shared)
        return lambda condition: field.under(*self._shared(condition, *shared))

    def _networks(self) -> tuple[list[list[Tensor]], list[Tensor]]:
        """The weights of ambient, density and colour network as a fused pass wants them: first
        layers for a point's own inputs alone; and these layers for the inputs that many share.

        The geometry features are linear in the density network's last hidden layer, and what the
        colour network first does is linear in them: both at once."""
        place = self.position_grid.n_features
        ambient, density, colour = (
            [layer.weight for layer in net.layers]
            for net in (self.ambient_net, self.density_net, self.colour_net)
        )
        ambient[0], of_condition = ambient[0].tensor_split([place], dim=1)
        density[0], of_direct = density[0].tensor_split([2 * place], dim=1)
        density[-1], geometry = density[-1].tensor_split([1])
        ends = [N_HARMONICS, N_HARMONICS + len(geometry)]
        of_direction, of_geometry, of_appearance = colour[0].tensor_split(ends, dim=1)
        colour[0] = of_geometry @ geometry
        of_shared = [of_condition, of_direct, of_direction, of_appearance]
        return [ambient, density, colour], of_shared

    def _shared(
        self, conditions: Tensor, harmonics: Tensor, appearance: Tensor, of_shared: list[Tensor]
    ) -> tuple[list[Tensor], Space]:
        """What inputs that many points share add to the networks' first layers, and how points
        are moved; of_shared: of `_networks`."""
        of_condition, of_direct, of_direction, of_appearance = of_shared
        conditions, landmarks = conditions.tensor_split([self.n_condition], dim=1)
        seen = harmonics @ of_direction.T + appearance @ of_appearance.T
        direct = conditions[:, : of_direct.shape[1]] @ of_direct.T
        return [conditions @ of_condition.T, direct, seen], self.space(landmarks)

    def space(self, landmarks: Float[Tensor, "b _"]) -> Space:
        """How points are moved under some landmarks, none where nothing is, for a fused pass."""
        lines = landmarks.new_empty(len(landmarks), 0, 13)
        if self.config.warp_reach:
            lines = line_table(*self.moved_lines(landmarks))
        far = ((self.config.warp_reach or 1.0) / BOX) ** -4.0
        amx = self.dtype == torch.bfloat16 and has_amx()
        return Space(lines, far, deformation.BOX_FADE, self.edge, amx)

    def warped(
        self, positions: Float[Tensor, "n 3"], landmarks: Tensor, frame: Tensor | None
    ) -> Float[Tensor, "n 3"]:
        """Positions of the unit box, moved by the landmarks to where they are on the mean face.

        landmarks: `landmarks_in_box` of k frames; frame: row of them of each position, None for
        one row. config.warp_reach: iod, how far lines deform the space.
        """
        how = {"reach": self.config.warp_reach / BOX, "fade": deformation.BOX_FADE}
        return line_warp(positions, *self.moved_lines(landmarks), frame, **how)

    def moved_lines(self, landmarks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`deformation.moved_lines` of this head, how softly and how one-sidedly they lead."""
        moved = deformation.moved_lines(landmarks, self.landmark_mean.view(68, 3))
        inside = 1 + (self.config.warp_inside - 1) * deformation.EDGES
        return *moved, deformation.SOFTNESS.to(landmarks.device), inside.to(landmarks.device)

    def _geometry(
        self, positions: Tensor, conditions: Tensor, frame: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Density (n,), geometry features (n, hidden) and ambient points (n, 2)."""
        if self.config.warp_reach:
            positions = self.warped(positions, conditions[:, self.n_condition :], frame)
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


class SpeechGridField(GridField):
    """A grid field whose condition is the speech around a frame; no landmark reaches it.

    Which sound looks like what is left to the training, as in RAD-NeRF. Differs from it: the
    features are those of the kit's speech encoder, standardised over the training frames, and what
    sound cannot tell (eyes, brows) has no signal of its own. n_channels: of the features.
    """

    def __init__(self, config: HeadConfig, n_frames: int, n_channels: int):
        if n_channels < 1:
            raise ValueError(f"a head that speech drives needs its channels, got {n_channels}")
        super().__init__(replace(config, warp_reach=0.0, lip_modes=0), n_frames)
        shape = (config.condition, config.attention_frames, SPEECH_STEPS)
        self.condition_net = ConditionNet(n_channels, *shape)
        del self.landmark_mean, self.landmark_std, self.lip_modes
        self.register_buffer("speech_mean", torch.zeros(n_channels))
        self.register_buffer("speech_std", torch.ones(n_channels))

    def condition(self, windows: Float[Tensor, "b w ..."]) -> Float[Tensor, "b c"]:
        """Condition vectors of windows (b, w, 16, n_channels) of speech, see `dataset.driving`."""
        check_windows(windows, (SPEECH_STEPS, len(self.speech_mean)), "speech")
        heard = (windows - self.speech_mean) / self.speech_std
        return self.condition_net(heard.clamp(-CLAMP, CLAMP))

    def learn_statistics(self, track: Float[Tensor, "t s c"]) -> None:
        """Takes mean and spread of the features of some frames."""
        flat = track.flatten(0, 1)
        self.speech_mean.copy_(flat.mean(0))
        self.speech_std.copy_(flat.std(0, correction=0).clamp(min=SPEECH_STD_FLOOR))
