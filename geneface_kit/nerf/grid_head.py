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
from geneface_kit.render.mlp import MLP, BakedMLP, padded_rows, sh_encode, trunc_exp
from geneface_kit.render.rendering import Field, FieldSamples, TwoPassField

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

    in_kernels = True

    def __init__(self, config: HeadConfig, n_frames: int):
        super().__init__(config, n_frames)
        grid = {name: getattr(config, name) for name in ("n_levels", "finest", "log2_rows")}
        grid["kind"] = config.grid_kind
        hidden, features = config.hidden, 2 * config.n_levels
        self.position_grid = GridEncoding(GridLayout.make(3, **grid))
        self.ambient_grid = GridEncoding(GridLayout.make(2, **grid))
        self.condition_net = ConditionNet(LANDMARKS, config.condition, config.attention_frames)
        self.ambient_net = MLP(features + self.n_condition, hidden, hidden, 2)
        self.ambient_net.layers[-1].weight.data *= 0.2  # ambient points start close together
        n_inputs = 2 * features + self.n_condition * config.direct_condition
        self.density_net = MLP(n_inputs, hidden, hidden, 1 + hidden)
        self.colour_net = MLP(N_HARMONICS + hidden + APPEARANCE_CHANNELS, hidden, 3)
        self.appearance = nn.Parameter(0.1 * torch.randn(n_frames, APPEARANCE_CHANNELS))
        self.edge = BOX  # of the box, in the unit that the networks' densities are per
        self.register_buffer("lines", deformation.landmark_lines(), persistent=False)
        self.register_buffer("softness", deformation.line_softness() / BOX, persistent=False)

    def parameter_groups(self) -> tuple[list[nn.Parameter], ...]:
        tables = [self.position_grid.table, self.ambient_grid.table]
        networks = [*self.density_net.parameters(), *self.colour_net.parameters(), self.appearance]
        motion = [*self.condition_net.parameters(), *self.ambient_net.parameters()]
        return tables, networks, motion

    def density(self, positions: Positions, condition: Condition) -> Float[Tensor, " n"]:
        if not self._is_fused(positions):
            return self._geometry(positions, condition, None)[0]
        packet = torch.arange(len(positions), device=positions.device) // 512  # rays, so to speak
        directions = FRONT.to(positions).expand(-(-len(positions) // 512), 3)
        nobody = torch.zeros_like(self.mean_appearance())
        return self._fused(positions, directions, packet, condition, nobody, None).density

    def at(self, conditions: Conditions, appearance: Appearance, frame_of_ray: FrameOfRay) -> Field:
        def field(positions: Tensor, directions: Tensor, ray_index: Tensor) -> FieldSamples:
            if self._is_fused(positions) and torch.is_grad_enabled():
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

    def _is_fused(self, positions: Tensor) -> bool:
        """Whether samples go through `fused_samples`: on a CPU, while the field is trained."""
        on_cpu = positions.device.type == "cpu" and self.position_grid.backend == "auto"
        return on_cpu and not positions.requires_grad

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
        config, place, n_rays = self.config, self.position_grid.n_features, len(directions)
        if frame_of_ray is None:
            frame_of_ray = ray_index.new_zeros(n_rays)
        conditions, landmarks = conditions.tensor_split([self.n_condition], dim=1)
        ambient, of_condition = _split(self.ambient_net, place)
        density, of_direct = _split(self.density_net, 2 * place)
        density[-1] = density[-1][:1]
        seen = directions if config.view_dependent else FRONT.to(directions)
        colour, shared = _colour_weights(self, sh_encode(seen), appearance)
        biases = (
            conditions @ of_condition.T,
            conditions[:, : of_direct.shape[1]] @ of_direct.T,
            shared.expand(n_rays, -1),
        )
        grids, networks = (self.position_grid, self.ambient_grid), [ambient, density, colour]
        where = (positions, ray_index, frame_of_ray, self.space(landmarks))
        return FieldSamples(*fused_samples(*where, grids, networks, biases))

    def space(self, landmarks: Float[Tensor, "b _"]) -> Space:
        """How points are moved under some landmarks, none where nothing is, for a fused pass."""
        lines = landmarks.new_empty(len(landmarks), 0, 11)
        if self.config.warp_reach:
            moved, rest = self.moved_lines(landmarks)
            lines = line_table(moved, rest, self.softness)
        far = ((self.config.warp_reach or 1.0) / BOX) ** -4.0
        amx = self.dtype == torch.bfloat16 and has_amx()
        return Space(lines, far, deformation.fade(), self.edge, amx)

    def baked(self) -> Callable[[Float[Tensor, "1 c"]], TwoPassField | Field]:
        return bake(self, self.mean_appearance())

    def warped(
        self, positions: Float[Tensor, "n 3"], landmarks: Tensor, frame: Tensor | None
    ) -> Float[Tensor, "n 3"]:
        """Positions of the unit box, moved by the landmarks to where they are on the mean face.

        landmarks: `landmarks_in_box` of k frames; frame: row of them of each position, None for
        one row. config.warp_reach: iod, how far lines deform the space.
        """
        moved, rest = self.moved_lines(landmarks)
        how = {"reach": self.config.warp_reach / BOX, "fade": deformation.fade()}
        backend = self.position_grid.backend
        return line_warp(positions, moved, rest, self.softness, frame, backend=backend, **how)

    def moved_lines(self, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        """`deformation.moved_lines` of this head."""
        return deformation.moved_lines(landmarks, self.landmark_mean.view(68, 3), self.lines)

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


@torch.no_grad()
def bake(
    head: GridField, appearance: Float[Tensor, "1 d"]
) -> Callable[[Float[Tensor, "1 c"]], TwoPassField]:
    """The finished head with one appearance -> the head under a condition, to be asked for frames.

    The networks of `GridField.at`, to rounding: what all points share becomes biases, and two
    linear maps with nothing between them become one. The features of a point are the last hidden
    layer of the density network. On a CPU the same is there as one fused pass.
    """
    config, place = head.config, head.position_grid.n_features
    ambient, of_condition = _split(head.ambient_net, place)
    density, of_direct = _split(head.density_net, 2 * place)
    density[-1] = density[-1][:1]  # without the geometry, see _colour_weights
    seen = torch.zeros(1, N_HARMONICS) if config.view_dependent else sh_encode(FRONT)
    colour, shared = _colour_weights(head, seen.to(appearance), appearance)
    shared = shared[0]
    fused = None
    if shared.device.type == "cpu":
        grids = (head.position_grid, head.ambient_grid)
        nowhere = head.space(shared.new_zeros(0, 68 * 2))
        fused = FusedField.of(*grids, [ambient, density, colour], nowhere)
    if config.view_dependent:
        of_direction = head.colour_net.layers[0].weight[:, :N_HARMONICS]
        fused = fused and replace(fused, of_direction=of_direction.float())
        colour[0] = torch.cat([colour[0], of_direction], dim=1)
    colour_net = BakedMLP(colour, shared, head.dtype)

    def colours(features: Tensor, directions: Tensor) -> Tensor:
        if config.view_dependent:
            features = torch.cat([features, sh_encode(directions).to(features)], dim=1)
        return torch.sigmoid(colour_net(features).float())

    @torch.no_grad()
    def under(condition: Tensor) -> TwoPassField:
        condition, landmarks = condition[0].tensor_split([head.n_condition])
        ambient_bias = of_condition @ condition
        density_bias = of_direct @ condition[: of_direct.shape[1]]
        ambient_net = BakedMLP(ambient, ambient_bias, head.dtype)
        density_net = BakedMLP(density, density_bias, head.dtype)

        def densities(positions: Tensor) -> tuple[Tensor, Tensor]:
            if config.warp_reach:
                positions = head.warped(positions, landmarks[None], None)
            n = len(positions)
            inputs = positions.new_zeros(padded_rows(n), 2 * place, dtype=head.dtype)
            inputs[:n, :place] = head.position_grid(positions)
            moved = torch.tanh(ambient_net(inputs[:, :place])[:n].float())
            inputs[:n, place:] = head.ambient_grid(0.5 * moved + 0.5)
            hidden = density_net.hidden(inputs)
            raw = density_net.output(hidden)[:n, 0].float()
            return head.edge * trunc_exp(raw), hidden[:n]

        if fused is None:
            return TwoPassField(densities, colours)
        now = fused.under([ambient_bias, density_bias, shared], head.space(landmarks[None]))
        return TwoPassField(densities, colours, now)

    return under


def _colour_weights(
    head: GridField, harmonics: Float[Tensor, "_ 16"], appearance: Float[Tensor, "_ d"]
) -> tuple[list[Tensor], Float[Tensor, "_ h"]]:
    """The weights of a network from features to colours, and what directions and appearances add
    in its first layer. The geometry features are linear in the features, and what the colour
    network first does is linear in them: both at once."""
    geometry = head.density_net.layers[-1].weight[1:]
    first, *rest = (layer.weight for layer in head.colour_net.layers)
    of_direction, of_geometry, of_appearance = first.tensor_split(
        [N_HARMONICS, N_HARMONICS + len(geometry)], dim=1
    )
    shared = harmonics @ of_direction.T + appearance @ of_appearance.T
    return [of_geometry @ geometry, *rest], shared


def _split(net: MLP, n_own: int) -> tuple[list[Tensor], Tensor]:
    """A network's weights, the first layer's for the n_own inputs that are a point's own; and
    that layer's for the inputs that many points share."""
    first, *rest = (layer.weight for layer in net.layers)
    return [first[:, :n_own], *rest], first[:, n_own:]
