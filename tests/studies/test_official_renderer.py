"""Official renderer: our fields with official weights give the official networks' numbers."""

import json
import zlib

import numpy as np
import pytest
import torch

from geneface_kit.render.mlp import sh_encode
from notebooks.studies import official
from notebooks.studies.official.renderer import morton_order

SEED = 20230131
TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
"""Two float32 implementations of the same sums differ by 3e-5 at most."""


def rule_tensor(name: str, shape: list[int]) -> torch.Tensor:
    """A tensor by the rule of tests/golden/README.md for the renderer networks."""
    if name.endswith("offsets") or name.startswith("step_counter"):
        return torch.zeros(shape, dtype=torch.int32)
    if name.startswith("aabb"):
        return torch.tensor([-1.0, -0.5, -1.0, 1.0, 0.5, 1.0])
    if name.startswith("density"):
        return torch.zeros(shape, dtype=torch.uint8 if name.endswith("bitfield") else None)
    a = np.random.default_rng(zlib.crc32(name.encode()) + SEED).standard_normal(shape)
    if "embeddings" in name and "embedder" in name:
        a = 0.5 * a
    elif "individual" in name:
        a = 0.1 * a
    elif len(shape) >= 2:
        a = a / np.sqrt(np.prod(shape[1:]))
    else:
        a = 0.1 * a
    return torch.from_numpy(a.astype(np.float32))


@pytest.fixture(scope="module")
def arrays(golden):
    with np.load(golden / "renderer.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


@pytest.fixture(scope="module")
def states(golden):
    layouts = json.loads((golden / "layouts.json").read_text())
    return {
        network: {name: rule_tensor(name, shape) for name, shape in layouts[network].items()}
        for network in official.RENDERERS
    }


@torch.no_grad()
def test_head_agrees(states, arrays):
    field = official.from_official("radnerf_head", states["radnerf_head"])
    condition = field.condition_net(arrays["head.cond"].view(1, 5, 204))
    torch.testing.assert_close(condition, arrays["head.cond_feat"], **TOLERANCE)
    places = (arrays["head.position"] + 1) / 2
    torch.testing.assert_close(field.position_grid(places), arrays["head.pos_feat"], **TOLERANCE)
    directions = arrays["head.direction"]
    torch.testing.assert_close(sh_encode(directions), arrays["head.dir_feat"], **TOLERANCE)
    _, _, ambient = field._geometry(places, condition, None)
    torch.testing.assert_close(ambient, arrays["head.ambient"], **TOLERANCE)
    ask = field.at(condition, field.appearance[3:4], None)
    found = ask(places, directions, torch.arange(len(places)))
    torch.testing.assert_close(found.density / 2, arrays["head.sigma"], **TOLERANCE)
    torch.testing.assert_close(found.colour, arrays["head.rgb"], **TOLERANCE)


@torch.no_grad()
def test_torso_agrees(states, arrays):
    field = official.from_official("radnerf_torso", states["radnerf_torso"])
    x, y, z = arrays["torso.pose"][0, :3]
    pose = torch.eye(4)
    pose[:3, :3] = about(0, x) @ about(1, y) @ about(2, z)
    pose[:3, 3] = arrays["torso.pose"][0, 3:]
    seen = torch.cat([arrays["torso.head_rgb"], arrays["torso.head_alpha"]], -1)
    colour, alpha = field(arrays["torso.xy"], pose[None], field.appearance[3:4], seen, None)
    torch.testing.assert_close(alpha[:, None], arrays["torso.alpha"], **TOLERANCE)
    torch.testing.assert_close(colour, arrays["torso.rgb"], **TOLERANCE)


def about(axis: int, angle: torch.Tensor) -> torch.Tensor:
    """Rotation about one axis, right-handed."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    rotation = torch.eye(3)
    rotation[a, a] = rotation[b, b] = angle.cos()
    rotation[b, a], rotation[a, b] = angle.sin(), -angle.sin()
    return rotation


def test_a_torso_without_head_awareness_is_read_too(states):
    state = {
        name: value
        for name, value in states["radnerf_torso"].items()
        if not name.startswith("head_color")
    }
    for name in ("torso_deform_net.net.0.weight", "torso_canonicial_net.net.0.weight"):
        state[name] = state[name][:, :-16]
    assert official.from_official("radnerf_torso", state).head_net is None


def test_occupied_cells_leave_morton_order(states):
    state = dict(states["radnerf_head"])
    bits = torch.zeros(262144, dtype=torch.uint8)
    bits[1] = 0b100  # the 10th cell in Morton order, 0b1010: x 0b10, y 0b1, z 0
    state["density_bitfield"] = bits
    field = official.from_official("radnerf_head", state)
    assert field.occupancy.bits.nonzero().tolist() == [[2, 1, 0]]
    assert morton_order(2).flatten().tolist() == [0, 4, 2, 6, 1, 5, 3, 7]


def test_other_tensors_are_refused(states):
    state = dict(states["radnerf_head"])
    del state["sigma_net.net.0.weight"]
    with pytest.raises(ValueError, match="no official radnerf_head: 1 missing"):
        official.from_official("radnerf_head", state)


def test_a_checkpoint_file_is_read(states, tmp_path):
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": {"model": states["radnerf_head"]}, "global_step": 1}, path)
    assert len(official.load_official(path, "radnerf_head").appearance) == 16
