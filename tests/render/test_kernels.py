"""Kernels: each against its torch twin, values and gradients; CUDA code without a GPU."""

import importlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
import warp as wp
from torch.nn import functional

from geneface_kit.render.composite import composite, composite_torch
from geneface_kit.render.grid import lookup_kernel
from geneface_kit.render.kernels import n_threads, on_threads, once, small_operations
from geneface_kit.render.line_warp import line_warp, warp_kernel
from geneface_kit.render.march import Samples, box_range, march
from geneface_kit.render.mlp import sh_encode
from geneface_kit.render.occupancy import Occupancy, dilate
from tests.render.twins import line_warp_torch, march_torch

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    ),
]
ARCHITECTURES = (80, 90)
"""CUDA architectures that every kernel must compile for: sm_80 (A100) and sm_90 (H100)."""
NAMES = ("march", "composite")
KERNELS = [
    kernel
    for name in NAMES
    for kernel in vars(importlib.import_module(f"geneface_kit.render.{name}")).values()
    if type(kernel).__name__ == "Kernel"
]


def generator():
    return torch.Generator().manual_seed(0)


def hollow_ball(device="cpu"):
    """An occupancy grid of a hollow ball."""
    occupancy = Occupancy(32)
    radius = (occupancy.centres() - 0.5).norm(dim=-1)
    occupancy.restrict((radius < 0.3) & (radius > 0.22))
    return occupancy.to(device)


def rays(n, device="cpu"):
    aim = torch.rand(n, 2, generator=generator()) * 0.4 - 0.2
    directions = torch.cat([aim, -torch.ones(n, 1)], -1)
    origins = torch.tensor([[0.5, 0.5, 2.0]]).expand(n, 3).contiguous()
    return origins.to(device), functional.normalize(directions, dim=-1).to(device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("max_samples", [0, 3])
def test_march_agrees_with_its_twin(device, max_samples):
    offsets = torch.rand(5000, generator=generator()).to(device)
    origins, directions = rays(5000, device)
    occupancy, step = hollow_ball(device), 0.0117
    found = march(
        origins, directions, occupancy, step=step, offsets=offsets, max_samples=max_samples
    )
    ranges = box_range(origins, directions, occupancy.bounds())
    plain = march_torch(origins, directions, occupancy, step, offsets, max_samples, ranges)
    assert len(found) == len(plain) > 5000
    assert torch.equal(found.ray_index, plain.ray_index) and torch.equal(found.rank, plain.rank)
    # one rounding more or less in origin + distance * direction
    torch.testing.assert_close(found.positions, plain.positions, rtol=0, atol=3e-7)
    torch.testing.assert_close(found.distances, plain.distances, rtol=0, atol=3e-7)


def test_no_rays_and_empty_cells_have_no_samples():
    empty = Occupancy(8)
    empty.bits.zero_()
    assert len(march(*rays(0), hollow_ball(), step=0.1)) == 0
    assert len(march(*rays(9), empty, step=0.1)) == 0


def test_a_tighter_range_moves_no_sample():
    every = march(*rays(50), hollow_ball(), step=0.01)
    ranges = torch.tensor([[1.513, 3.0]]).expand(50, 2)
    some = march(*rays(50), hollow_ball(), step=0.01, ranges=ranges)
    assert 0 < len(some) < len(every)
    assert set(some.distances.tolist()) <= set(every.distances.tolist())


def packed(ray_index, distances, step, n_rays):
    """Samples on rays; where they lie and which of their ray they are does not matter here."""
    positions = torch.zeros(len(ray_index), 3)
    return Samples(positions, distances, ray_index, torch.zeros_like(ray_index), step, n_rays)


def composited(values, samples, made_by):
    """Everything that comes out, and the gradients of a random linear loss of the sums."""
    learned = [value.clone().requires_grad_() for value in values]
    found = made_by(*learned, samples)
    parts = (found.colour, found.alpha, found.depth, found.depth_variance)
    random = generator()
    loss = sum((part.cpu() * torch.randn(part.shape, generator=random)).sum() for part in parts)
    loss.backward()
    parts = (*parts, found.weights)
    return [part.detach() for part in parts] + [value.grad for value in learned]


EDGES = {
    "many": (300.0, torch.arange(60).repeat_interleave(7), 60),
    "one sample": (50.0, torch.tensor([0]), 1),
    "empty rays": (50.0, torch.tensor([1, 1, 3]), 6),
    "zero density": (0.0, torch.tensor([0, 0, 1]), 2),
    "full stop": (1e7, torch.tensor([0, 0, 0, 1]), 2),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("edge", EDGES)
def test_composite_agrees_with_its_twin(edge, device):
    most, ray_index, n_rays = EDGES[edge]
    n, random = len(ray_index), generator()
    values = [most * torch.rand(n, generator=random), torch.rand(n, 3, generator=random)]
    values = [value.to(device) for value in values]
    samples = packed(ray_index, 2 + 0.01 * torch.arange(n), 0.01, n_rays)
    parts = ("positions", "distances", "ray_index", "rank")
    samples = replace(samples, **{name: getattr(samples, name).to(device) for name in parts})
    both = (composited(values, samples, one) for one in (composite, composite_torch))
    for fast, plain in zip(*both, strict=True):
        # float32; the twin sums optical depths in float64
        scale = max(float(plain.abs().max()), 1e-6)
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5 * scale)


def test_gradients_of_composite_are_finite_differences():
    ray_index = torch.tensor([0, 0, 0, 1])
    colours = torch.rand(4, 3, generator=generator())
    samples = packed(ray_index, torch.arange(4.0), 1.0, 2)

    def loss(densities):
        found = composite(densities, colours, samples)
        return (found.colour.sum() + found.alpha.sum() * 0.3 + found.depth.sum() * 0.1).double()

    densities = torch.tensor([0.3, 0.9, 0.2, 0.5], requires_grad=True)
    loss(densities).backward()
    for k in range(4):
        shift = torch.zeros(4)
        shift[k] = 1e-2
        slope = (loss(densities.detach() + shift) - loss(densities.detach() - shift)) / 2e-2
        assert float(slope) == pytest.approx(float(densities.grad[k]), rel=2e-3, abs=1e-4)


def test_directions_that_are_learned_have_gradients_as_finite_differences_say():
    directions = torch.tensor([[0.36, 0.48, 0.8], [-0.6, 0.0, 0.8]], requires_grad=True)
    sh_encode(directions).square().sum().backward()
    for axis in range(3):
        shift = torch.zeros(3)
        shift[axis] = 1e-2
        high, low = (
            sh_encode(directions.detach() + sign * shift).double().square().sum(-1)
            for sign in (1, -1)
        )
        # the error of a central difference of this sixth-degree polynomial is about shift^2
        torch.testing.assert_close(
            ((high - low) / 2e-2).float(), directions.grad[:, axis], rtol=5e-3, atol=5e-3
        )


@pytest.mark.parametrize("device", DEVICES)
def test_dilation_looks_at_all_26_neighbours(device):
    density = torch.rand(20, 20, 20, generator=generator()).to(device)
    allowed = (torch.rand(20, 20, 20, generator=generator()) > 0.3).to(device)
    for limit in (0.97, 0.999, 2.0):
        near = functional.max_pool3d((density > limit)[None, None].float(), 3, 1, 1)[0, 0] > 0
        assert torch.equal(dilate(density, allowed, limit), near & allowed)


def test_one_dense_cell_sets_its_neighbours_inside_the_box():
    density = torch.zeros(4, 4, 4)
    density[0, 1, 3] = 1.0
    found = dilate(density, torch.ones(4, 4, 4, dtype=torch.bool), 0.5)
    assert int(found.sum()) == 2 * 3 * 2 and bool(found[1, 2, 2]) and not bool(found[2, 1, 3])


@pytest.mark.slow
def test_every_kernel_compiles_for_cuda_without_a_gpu(tmp_path):
    """As CUDA runs them, one item a thread; the sixteen of a CPU are never compiled for it."""
    kernels = [*KERNELS, warp_kernel(1)]
    kernels += [lookup_kernel(n_dims) for n_dims in (2, 3)]
    assert len(kernels) == 6
    text = ""
    for module in dict.fromkeys(kernel.module for kernel in kernels):
        for path in wp.compile_aot_module(
            module, arch=ARCHITECTURES, module_dir=tmp_path, use_ptx=True, strip_hash=False
        ):
            text += path.read_text()
    for arch in ARCHITECTURES:
        assert text.count(f".target sm_{arch}") == len({kernel.module for kernel in kernels})
    assert text.count(".entry") >= len(ARCHITECTURES) * len(kernels)


def test_small_operations_leave_the_kernels_their_threads():
    before = torch.get_num_threads()
    with small_operations():
        assert torch.get_num_threads() == 1 and n_threads() == before
    assert torch.get_num_threads() == n_threads() == before


def test_on_threads_runs_every_part_and_passes_errors_on():
    seen = []
    on_threads(seen.append, 3)
    assert sorted(seen) == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        on_threads(lambda number: 1 / (number - 1), 2)


def warped(made_by, device="cpu", sets=None, **options):
    """Random points led by two sets of five lines, the last of them points."""
    draw = generator()
    points, lines = torch.rand(3000, 3, generator=draw), torch.rand(2, 5, 2, 2, generator=draw)
    lines[:, 4, 1] = lines[:, 4, 0]
    rest = lines[0] + 0.02 * torch.randn(5, 2, 2, generator=draw)
    softness = torch.tensor([0.01, 0.01, 0.05, 0.05, 0.0])
    given = {"reach": 0.1, "fade": (0.2, 0.6)} | options
    lines = lines[:1] if sets is None else lines
    inside = torch.tensor([1.0, 3.0, 1.0, 2.0, 1.0])
    tensors = (tensor.to(device) for tensor in (points, lines, rest, softness, inside))
    return made_by(*tensors, None if sets is None else sets.to(device), **given).cpu()


@pytest.mark.parametrize("device", DEVICES)
def test_line_warp_agrees_with_its_twin(device):
    sets = torch.randint(2, (3000,), generator=generator())
    for which in (None, sets):
        plain = warped(line_warp_torch, device, which)
        torch.testing.assert_close(warped(line_warp, device, which), plain, rtol=0, atol=1e-6)


def test_points_side_by_side_are_warped_as_each_is_alone_to_the_bit():
    one = torch.zeros(3000, dtype=torch.long)
    assert torch.equal(warped(line_warp), warped(line_warp, sets=one))


def test_a_mark_takes_its_own_point_along_and_far_points_stay():
    marks = torch.tensor([[[0.5, 0.5], [0.5, 0.4]]])[:, :, None].expand(1, 2, 2, 2)
    rest = torch.tensor([[0.52, 0.5], [0.5, 0.4]])[:, None].expand(2, 2, 2)
    points = torch.tensor([[0.5, 0.5, 0.9], [0.5, 0.4, 0.9], [0.9, 0.9, 0.9], [0.5, 0.5, 0.0]])
    for made_by in (line_warp, line_warp_torch):
        found = made_by(
            points,
            marks,
            rest,
            torch.full((2,), 1e-4),
            torch.ones(2),
            None,
            reach=0.1,
            fade=(0.2, 0.6),
        )
        moved = points - found
        assert moved[0].tolist() == pytest.approx([-0.02, 0, 0], abs=1e-5)  # back to its rest
        assert moved[1].abs().max() < 1e-5  # this mark did not move
        assert 0 < moved[2].abs().max() < 2e-3  # far beyond the reach
        assert moved[3].abs().max() == 0  # behind the fade
    assert line_warp(
        points[:0], marks, rest, torch.ones(2), torch.ones(2), None, reach=0.1, fade=(0.0, 1.0)
    ).shape == (0, 3)  # fmt: skip


def test_a_line_takes_its_points_along_by_what_its_ends_move():
    line = torch.tensor([[[[0.2, 0.5], [0.6, 0.5]]]])
    rest = torch.tensor([[[0.2, 0.5], [0.6, 0.6]]])  # the right end has come down by 0.1
    points = torch.tensor([[0.3, 0.5, 0.9], [0.5, 0.5, 0.9], [0.62, 0.5, 0.9]])
    for made_by in (line_warp, line_warp_torch):
        found = made_by(
            points,
            line,
            rest,
            torch.full((1,), 1e-3),
            torch.ones(1),
            None,
            reach=1.0,
            fade=(0.2, 0.6),
        )
        up = (found - points)[:, 1].tolist()
        assert up == pytest.approx([0.025, 0.075, 0.1], abs=1e-4)


def test_what_is_loaded_once_is_made_by_one_thread_only():
    made = []

    @once
    def slow(name):
        made.append(name)
        time.sleep(0.05)
        return object()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(slow, ["a", "b"] * 8))
    assert sorted(made) == ["a", "b"] and len(set(found)) == 2


@pytest.mark.slow
def test_threads_may_be_the_first_to_use_a_kernel():
    program = """
import sys, torch
from concurrent.futures import ThreadPoolExecutor
from geneface_kit.render.grid import GridEncoding, GridLayout
from geneface_kit.render.mlp import sh_encode
sys.setswitchinterval(1e-6)
grid = GridEncoding(GridLayout(3, n_levels=2, finest=32, log2_rows=10, kind="tiled"))
def work(seed):
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return grid(points).sum() + sh_encode(points).sum()
with ThreadPoolExecutor(8) as pool:
    found = list(pool.map(work, [7] * 8))
assert len(set(map(float, found))) == 1, found
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
