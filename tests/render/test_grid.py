"""The grid: kernels against their twin, gradients against finite differences, official numbers."""

import pytest
import torch

from geneface_kit.render.grid import GridEncoding, GridLayout, grid_encode, launch_lookup
from tests.render.twins import grid_encode_torch


def encoded(points, table, layout, encode=grid_encode):
    """Features and both gradients of a fixed linear loss."""
    points, table = points.clone().requires_grad_(), table.clone().requires_grad_()
    features = encode(points, table, layout)
    loss = (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum()
    loss.backward()
    return features.detach(), points.grad, table.grad


@pytest.mark.parametrize("kind", ["hash", "tiled"])
@pytest.mark.parametrize("n_dims", [2, 3])
def test_kernels_agree_with_their_twin(n_dims, kind):
    generator = torch.Generator().manual_seed(1)
    layout = GridLayout(n_dims, n_levels=6, finest=300, log2_rows=10, kind=kind)
    points = torch.rand(200, n_dims, generator=generator)
    points[0], points[1] = 0.0, 1.0  # both corners of the box
    points[2, 0], points[3, 1] = -0.01, 1.01  # outside
    table = torch.randn(layout.n_rows, 2, generator=generator)
    both = (encoded(points, table, layout, one) for one in (grid_encode, grid_encode_torch))
    for fast, plain in zip(*both, strict=True):
        # float32, sums of up to a few hundred terms in another order
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))


@pytest.mark.parametrize("kind", ["hash", "tiled"])
@pytest.mark.parametrize("n_dims", [2, 3])
def test_points_side_by_side_are_what_each_is_alone_and_what_cuda_looks_up(n_dims, kind):
    layout = GridLayout(n_dims, n_levels=6, finest=300, log2_rows=10, kind=kind)
    generator = torch.Generator().manual_seed(4)
    points = torch.rand(37, n_dims, generator=generator)  # two full rows of lanes and five points
    points[0], points[1], points[2, 0], points[36, 1] = 0.0, 1.0, -0.01, 1.01
    table = torch.randn(layout.n_rows, 2, generator=generator)
    alone = torch.full((37, len(layout.levels), 2), 9.0)
    launch_lookup(points, table, layout, alone)
    together = grid_encode(points, table, layout)
    for k in range(37):
        assert torch.equal(grid_encode(points[k : k + 1], table, layout)[0], together[k])
    torch.testing.assert_close(together, alone.flatten(1), rtol=1e-4, atol=1e-4)  # another order
    assert alone[:2].any() and not alone[2].any() and not alone[36].any()


@pytest.mark.parametrize("kind", ["hash", "tiled"])
@pytest.mark.parametrize("n_dims", [2, 3])
def test_the_gradients_that_cuda_makes_are_those_of_the_twin(n_dims, kind):
    """Warp's differentiation of the lookup, here on a CPU; with and without the points'."""
    layout = GridLayout(n_dims, n_levels=6, finest=300, log2_rows=10, kind=kind)
    generator = torch.Generator().manual_seed(5)
    points = torch.rand(50, n_dims, generator=generator)
    points[0], points[1, 0], points[2, 1] = 0.0, -0.01, 1.01
    table = torch.randn(layout.n_rows, 2, generator=generator)
    features, *expected = encoded(points, table, layout, grid_encode_torch)
    gradient = torch.linspace(-1, 1, features.numel()).view(50, 6, 2)
    for of_points in (torch.zeros_like(points), None):
        of_table = torch.zeros_like(table)
        launch_lookup(points, table, layout, gradient, (of_points, of_table, gradient))
        found = [(of_table, expected[1])] + (
            [] if of_points is None else [(of_points, expected[0])]
        )
        for one, other in found:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))
    assert not of_table.isnan().any() and of_table.any()


@pytest.mark.parametrize("n_dims", [2, 3])
def test_gradients_are_finite_differences(n_dims):
    generator = torch.Generator().manual_seed(2)
    layout = GridLayout(n_dims, n_levels=3, base=4, finest=9, log2_rows=8)
    points = torch.rand(20, n_dims, generator=generator) * 0.8 + 0.1
    table = torch.randn(layout.n_rows, 2, generator=generator)
    _, points_gradient, table_gradient = encoded(points, table, layout)

    def loss(points, table):
        features = grid_encode(points, table, layout).double()
        return (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum()

    step = 1e-3  # within a cell features are linear in each coordinate: the difference is exact
    for axis in range(n_dims):
        shift = torch.zeros(n_dims)
        shift[axis] = step
        for k in range(5):
            moved = torch.zeros_like(points)
            moved[k] = shift
            slope = (loss(points + moved, table) - loss(points - moved, table)) / (2 * step)
            assert float(slope) == pytest.approx(
                float(points_gradient[k, axis]), rel=0.02, abs=0.02
            )
    row = int(table_gradient.abs().sum(1).argmax())
    moved = torch.zeros_like(table)
    moved[row, 0] = step
    slope = (loss(points, table + moved) - loss(points, table - moved)) / (2 * step)
    assert float(slope) == pytest.approx(float(table_gradient[row, 0]), rel=0.01)


def test_a_point_on_a_corner_has_that_corners_feature():
    # one level of scale 4 - 1 = 3: p = 3 u + 0.5 is a corner, (1, 2), at u = (1/6, 1/2)
    layout = GridLayout(2, n_levels=1, base=4, finest=4, log2_rows=10)
    table = torch.arange(2.0 * layout.n_rows).view(-1, 2)
    row = 1 + 2 * 5  # five corners per axis
    for encode in (grid_encode, grid_encode_torch):
        found = encode(torch.tensor([[1 / 6, 0.5]]), table, layout)
        torch.testing.assert_close(found, table[row : row + 1], rtol=0, atol=1e-4)


def test_outside_the_box_is_zero():
    layout = GridLayout(3, n_levels=2, finest=32)
    points = torch.tensor([[-0.1, 0.5, 0.5], [0.5, 1.1, 0.5]])
    for encode in (grid_encode, grid_encode_torch):
        assert not encode(points, torch.ones(layout.n_rows, 2), layout).any()


def test_layout_has_the_official_sizes():
    # official code: 16 levels, 16 to 2048, 2^16 rows
    layout = GridLayout(3, kind="tiled")
    sizes = layout.levels[:, 1].diff().tolist() + [layout.n_rows - int(layout.levels[-1, 1])]
    assert sizes == [4920, 13824, 32768] + 13 * [65536]
    assert GridLayout(2).n_rows == 555_520
    ignores_z = (layout.levels[:, 3] == 0).tolist()
    assert ignores_z == 9 * [False] + 7 * [True]


def test_no_points_give_no_features():
    encoding = GridEncoding(GridLayout(3, n_levels=2, finest=32))
    assert encoding(torch.zeros(0, 3)).shape == (0, 4)


def test_one_thread_and_two_give_the_same():
    layout = GridLayout(3, n_levels=5, finest=64, log2_rows=9)
    points, table = torch.rand(300, 3), torch.randn(layout.n_rows, 2)
    before = torch.get_num_threads()
    try:
        found = []
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            found.append(encoded(points, table, layout))
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


def test_wrong_arguments_are_named():
    layout = GridLayout(3, n_levels=1, finest=16)
    with pytest.raises(ValueError, match=r"points must be \(n, 3\)"):
        grid_encode(torch.zeros(4, 2), torch.zeros(layout.n_rows, 2), layout)
