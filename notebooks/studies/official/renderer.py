"""Renderer: the official grid renderer's tensors -> a head field and a torso field of this kit.

Names, shapes and arithmetic of the authors' code. Tiled grids, 16 levels up to 2048.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geneface_kit.nerf.grid_head import GridField
from geneface_kit.nerf.torso import TorsoField
from geneface_kit.pipeline.settings import resolve

EDGE = 2.0
"""Edge of the official box [-1, 1]^3 in its own world unit, in which densities are given."""

HEAD = [
    ("cond_prenet.encoder_conv.", "condition_net.encode."),
    ("cond_prenet.encoder_fc1.", "condition_net.project."),
    ("cond_att_net.attentionConvNet.", "condition_net.attend."),
    ("cond_att_net.attentionNet.0.", "condition_net.weigh."),
    ("position_embedder.embeddings", "position_grid.table"),
    ("ambient_embedder.embeddings", "ambient_grid.table"),
    ("ambient_net.net.", "ambient_net.layers."),
    ("sigma_net.net.", "density_net.layers."),
    ("color_net.net.", "colour_net.layers."),
    ("individual_embeddings", "appearance"),
]
"""(official, ours), beginnings of names."""
TORSO = [
    ("torso_embedder.embeddings", "grid.table"),
    ("torso_deform_net.net.", "deform_net.layers."),
    ("torso_canonicial_net.net.", "colour_net.layers."),
    ("head_color_weights_encoder.", "head_net.layers."),
    ("torso_individual_codes", "appearance"),
]
DENSITY, BITS = "density_grid", "density_bitfield"
LEFT_OUT = ("aabb_", "step_counter", "position_embedder.offsets", "ambient_embedder.offsets")
"""What follows from the sizes, or only served training."""


@dataclass(frozen=True)
class Renderer:
    """child: where a checkpoint keeps it; convert: its tensors -> our field, ready to use."""

    child: str
    convert: Callable[[dict[str, Tensor]], nn.Module]


class HeadSight(nn.Module):
    """What the official torso makes of the head's colour and opacity: 4-16-32-16, with biases.

    Called as a `MLP` is.
    """

    def __init__(self):
        super().__init__()
        leaky = lambda: nn.LeakyReLU(0.02)  # noqa: E731
        self.layers = nn.Sequential(
            nn.Linear(4, 16), leaky(), nn.Linear(16, 32), leaky(), nn.Linear(32, 16)
        )

    def forward(
        self, parts: list[tuple[Tensor, Tensor | None]], dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "n 16"]:
        """Of the one part (n, 4): colour times opacity, and opacity. Always in float32."""
        ((values, _),) = parts
        return self.layers(values.float()).to(dtype)


def morton_order(resolution: int) -> Int[Tensor, "x y z"]:
    """Index in Morton order (x the lowest bit) of each cell of a cube of 2^k cells a side.

    Example: with 2 cells a side, (1, 0, 0) is 1, (0, 1, 0) is 2, (0, 0, 1) is 4.
    """
    axis, index = torch.arange(resolution), torch.zeros(resolution, dtype=torch.long)
    for bit in range(resolution.bit_length() - 1):
        index |= ((axis >> bit) & 1) << (3 * bit)
    return index[:, None, None] | (index[:, None] << 1) | (index << 2)


def _head(state: dict[str, Tensor]) -> GridField:
    """The head: box coordinates are (x + 1) / 2 of the official (permuted) world."""
    state = {name: value for name, value in state.items() if not name.startswith(LEFT_OUT)}
    density, bits = state.pop(DENSITY, None), state.pop(BITS, None)
    n_frames = len(state.get("individual_embeddings", []))
    config = replace(resolve("paper").head, grid_kind="tiled", precision="float32")
    field = GridField(config, n_frames)
    field.edge = EDGE
    _fill(field, _renamed(state, HEAD), "radnerf_head")
    if density is not None and bits is not None:
        order = morton_order(config.occupancy)
        field.occupancy.density.copy_(density[0][order])
        bytes_ = bits.to(torch.uint8)
        unpacked = (bytes_[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
        field.occupancy.bits.copy_(unpacked.flatten()[order] > 0)
    return field.eval()


def _torso(state: dict[str, Tensor]) -> TorsoField:
    """The torso of a torso checkpoint, head-aware or not; the head in it is left out."""
    ours = tuple(name for name, _ in TORSO)
    state = {name: value for name, value in state.items() if name.startswith(ours)}
    is_aware = any(name.startswith("head_color_weights_encoder.") for name in state)
    values = {"head_aware": is_aware, "grid_kind": "tiled", "precision": "float32"}
    config = replace(resolve("paper").torso, **values)
    field = TorsoField(config, len(state.get("torso_individual_codes", [])), 128)
    if is_aware:
        field.head_net = HeadSight()
    _fill(field, _renamed(state, TORSO), "radnerf_torso")
    return field.eval()


def _renamed(state: dict[str, Tensor], rules: list[tuple[str, str]]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in state.items():
        for theirs, ours in rules:
            if name.startswith(theirs):
                name = ours + name.removeprefix(theirs)
                break
        renamed[name] = value
    return renamed


def _fill(field: nn.Module, state: dict[str, Tensor], network: str) -> None:
    """Loads the trained tensors; buffers of ours that the official code lacks keep their start."""
    own = dict(field.named_parameters())
    check_fit(network, own, state)
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(value)


def check_fit(network: str, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Raises ValueError, in one sentence, when tensors and the network's own do not
    agree in names and shapes."""
    missing, foreign = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = [name for name in state.keys() & own.keys() if state[name].shape != own[name].shape]
    if missing or foreign or wrong:
        example = (missing + foreign + sorted(wrong))[0]
        raise ValueError(
            f"these tensors are no official {network}: {len(missing)} missing, {len(foreign)} "
            f"foreign, {len(wrong)} of another shape (first: {example})"
        )


RENDERERS = {"radnerf_head": Renderer("model", _head), "radnerf_torso": Renderer("model", _torso)}
"""Name of each network of the official grid renderer -> how it becomes ours."""
