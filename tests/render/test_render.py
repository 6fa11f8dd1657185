"""Rendering: hand-computed compositing, analytic transmittance, empty space, SH."""

import math

import pytest
import torch

from geneface_kit.render.composite import composite
from geneface_kit.render.march import box_range, march
from geneface_kit.render.mlp import MLP, precision, sh_encode
from geneface_kit.render.occupancy import Occupancy
from geneface_kit.render.rendering import FieldSamples, mark_visible, render_rays
from geneface_kit.render.screen import screen_bounds
from tests.render.test_kernels import packed as packed_samples

LN2 = math.log(2)


def packed(densities, rays, n_rays):
    """Composite of samples of length 1 at distances 1, 2, ...; sample k is coloured (k, 0, 1)."""
    n = len(densities)
    colours = torch.stack([torch.arange(n).float(), torch.zeros(n), torch.ones(n)], -1)
    distances = torch.arange(1.0, n + 1)
    samples = packed_samples(torch.tensor(rays), distances, 1.0, n_rays)
    return composite(torch.tensor(densities), colours, samples)


def level_field(density):
    """A field of one density everywhere, white."""

    def field(positions, directions, ray_index):
        n = len(positions)
        return FieldSamples(torch.full((n,), density), torch.ones(n, 3), torch.zeros(n))

    return field


def one_ray(n=1):
    origins = torch.tensor([[0.5, 0.5, 2.0]]).expand(n, 3).contiguous()
    return origins, torch.tensor([[0.0, 0.0, -1.0]]).expand(n, 3).contiguous()


def test_two_half_opaque_samples():
    # weights 1/2 and 1/2 * 1/2; colour red 0 * 1/2 + 1 * 1/4; depth 1 * 1/2 + 2 * 1/4
    found = packed([LN2, LN2], [0, 0], 1)
    assert found.weights.tolist() == pytest.approx([0.5, 0.25])
    assert found.colour[0].tolist() == pytest.approx([0.25, 0.0, 0.75])
    assert found.alpha.item() == pytest.approx(0.75)
    assert found.depth.item() == pytest.approx(1.0)


def test_a_full_stop_hides_what_is_behind():
    found = packed([1e6, LN2], [0, 0], 1)
    assert found.weights.tolist() == pytest.approx([1.0, 0.0])
    assert found.alpha.item() == pytest.approx(1.0)


def test_zero_density_is_clear():
    found = packed([0.0, 0.0], [0, 0], 1)
    assert found.alpha.item() == 0 and not found.colour.any()


def test_rays_do_not_mix_and_an_empty_ray_is_empty():
    # ray 0: one sample of 1/2; ray 1: none; ray 2: a stop before a sample
    found = packed([LN2, 1e6, LN2], [0, 2, 2], 3)
    assert found.alpha.tolist() == pytest.approx([0.5, 0.0, 1.0])
    assert found.colour[:, 0].tolist() == pytest.approx([0.0, 0.0, 1.0])


def test_late_rays_keep_faint_samples():
    # many opaque rays before must not swallow the last ray's 1e-4 in rounding
    n = 50_000
    densities = torch.full((n,), 1000.0)
    densities[-2:] = 1e-4
    index = torch.cat([torch.arange(n - 2), torch.tensor([n - 2, n - 2])])
    ones = torch.ones(n)
    found = composite(densities, torch.ones(n, 3), packed_samples(index, ones, 1.0, n - 1))
    assert found.alpha[-1].item() == pytest.approx(1 - math.exp(-2e-4), rel=1e-3)


def test_gradient_of_density_is_a_finite_difference():
    def loss(densities):
        index = torch.tensor([0, 0, 0, 1])
        colours = torch.tensor([[0.1], [0.7], [0.4], [0.9]], dtype=torch.float64).expand(4, 3)
        ones = torch.ones(4, dtype=torch.float64)
        found = composite(densities, colours, packed_samples(index, ones, 1.0, 2))
        return (found.colour[:, 0] + 0.3 * found.alpha).sum()

    densities = torch.tensor([0.3, 0.9, 0.2, 0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, densities)


def test_transmittance_through_fog_is_beers_law():
    # density 3 over a box of length 1 leaves exp(-3), however fine the steps
    occupancy = Occupancy(4)
    for step in (0.1, 0.01):
        found = render_rays(level_field(3.0), *one_ray(), occupancy, step=step)
        assert found.alpha.item() == pytest.approx(1 - math.exp(-3.0), rel=1e-3)
        assert found.over(torch.zeros(1, 3))[0, 0].item() == pytest.approx(
            1 - math.exp(-3.0), rel=1e-3
        )


def test_depth_through_fog_agrees_with_monte_carlo():
    # mean stopping distance of photons that stop inside the box, drawn, not computed
    generator = torch.Generator().manual_seed(0)
    stops = -torch.log(torch.rand(200_000, generator=generator)) / 3.0
    expected = (1.0 + stops[stops < 1]).mean()
    found = render_rays(level_field(3.0), *one_ray(), Occupancy(4), step=0.005)
    assert (found.depth / found.alpha).item() == pytest.approx(expected.item(), abs=0.005)


def test_empty_ray_is_background():
    occupancy = Occupancy(4)
    occupancy.bits.zero_()
    background = torch.tensor([[0.2, 0.4, 0.6]])
    for stop in (0.0, 0.01):
        found = render_rays(level_field(3.0), *one_ray(), occupancy, step=0.1, stop=stop)
        assert torch.equal(found.over(background), background)
        assert found.n_samples.item() == 0


def test_early_stop_changes_little_and_saves_samples():
    occupancy = Occupancy(4)
    every = render_rays(level_field(60.0), *one_ray(3), occupancy, step=0.02)
    early = render_rays(level_field(60.0), *one_ray(3), occupancy, step=0.02, stop=0.01)
    assert float((every.colour - early.colour).abs().max()) < 0.01
    assert int(early.n_samples[0]) < int(every.n_samples[0]) == 50


def test_march_skips_empty_cells_and_counts_ranks():
    occupancy = Occupancy(4)
    occupancy.bits.zero_()
    occupancy.bits[:, :, 1] = True  # z in [0.25, 0.5]
    samples = march(*one_ray(2), occupancy, step=0.05)
    assert len(samples) == 10
    assert float(samples.positions[:, 2].min()) >= 0.25
    assert float(samples.positions[:, 2].max()) <= 0.5
    assert samples.rank.tolist() == 2 * [0, 1, 2, 3, 4]
    assert samples.ray_index.tolist() == 5 * [0] + 5 * [1]
    capped = march(*one_ray(2), occupancy, step=0.05, max_samples=2)
    assert capped.rank.tolist() == 2 * [0, 1]
    assert float(capped.distances.min()) == pytest.approx(float(samples.distances.min()))


def test_a_ray_that_misses_the_box_has_no_range():
    bounds = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    origins = torch.tensor([[2.0, 2.0, 2.0], [0.5, 0.5, 3.0], [0.5, 0.5, 0.5]])
    directions = torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    ranges = box_range(origins, directions, bounds)
    assert ranges[0, 0] == ranges[0, 1]
    assert ranges[1].tolist() == pytest.approx([2.0, 3.0])
    assert ranges[2].tolist() == pytest.approx([0.0, 0.5])


def test_a_ray_beside_the_box_along_its_side_ends():
    """Its plane is met at a distance whose float32 neighbours are steps apart."""
    origins, directions = torch.tensor([[-0.3, 0.5, 3.0]]), torch.tensor([[1e-9, 0.0, -1.0]])
    bounds = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    assert box_range(origins, directions, bounds).tolist() == [[0.0, 0.0]]
    assert len(march(origins, directions, Occupancy(4), step=0.01)) == 0


def ball(points):
    return torch.where((points - 0.5).norm(dim=-1) < 0.2, 200.0, 0.0)


def test_occupancy_finds_a_ball_and_forgets_nothing_of_it():
    occupancy, generator = Occupancy(20), torch.Generator().manual_seed(0)
    for _ in range(4):
        occupancy.update(ball, generator=generator)
    inside = ball(occupancy.centres()) > 0
    bits = occupancy.bits.flatten()
    assert bool(bits[inside].all())
    assert float(bits.float().mean()) < 0.15


@pytest.mark.parametrize("level", [1e-3, 0.3, 4.0, 500.0])
def test_a_level_field_is_looked_at_everywhere(level):
    """As every fresh field is, but for rounding: what is not looked at never learns."""
    occupancy = Occupancy(20)
    occupancy.update(lambda points: torch.full((len(points),), level), generator=torch.Generator())
    assert bool(occupancy.bits.all())


def test_occupancy_hides_the_inside_of_a_ball_but_not_its_front():
    occupancy, generator = Occupancy(20), torch.Generator().manual_seed(0)
    axis = torch.linspace(0.2, 0.8, 40)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    origins = torch.cat([grid, torch.full((len(grid), 1), 2.0)], -1)
    directions = torch.tensor([[0.0, 0.0, -1.0]]).expand(len(grid), 3)
    for _ in range(40):
        occupancy.update(ball, generator=generator)
        mark_visible(occupancy, origins, directions, step=0.02)
        occupancy.cull_invisible()
    assert bool(occupancy.bits[10, 10, 13])  # the front, z = 0.7
    assert not bool(occupancy.bits[10, 10, 9])  # the middle


def test_forbidden_cells_stay_empty():
    occupancy = Occupancy(4)
    allowed = torch.zeros(64, dtype=torch.bool)
    allowed[5] = True
    occupancy.restrict(allowed)
    occupancy.update(lambda points: torch.full((len(points),), 99.0), generator=torch.Generator())
    assert occupancy.bits.flatten().nonzero().tolist() == [[5]]


def test_screen_bounds_cover_the_cells_they_are_given():
    seen, distances = torch.tensor([[10.0, 20.0]]), torch.tensor([4.0])
    bounds = screen_bounds(seen, distances, edge=0.5, width=4.0, size=64)
    mask = bounds.mask(64)
    assert mask[20, 10] and mask[24, 10] and not mask[20, 40]
    ranges = bounds.at(mask.nonzero().flip(-1))
    assert ranges[:, 0].max() <= 3.6 and ranges[:, 1].min() >= 4.4
    nothing = screen_bounds(torch.zeros(0, 2), torch.zeros(0), edge=0.5, width=4.0, size=64)
    assert not nothing.mask(64).any()


def test_harmonics_are_orthonormal():
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(200_000, 3, generator=generator), dim=-1)
    values = sh_encode(directions)
    product = 4 * math.pi * values.T @ values / len(values)
    torch.testing.assert_close(product, torch.eye(16), rtol=0, atol=0.03)  # Monte Carlo error


def test_an_mlp_in_parts_equals_one_matrix():
    torch.manual_seed(0)
    net = MLP(7, 16, 3)
    points, rays, everywhere = torch.randn(10, 4), torch.randn(3, 2), torch.randn(1, 1)
    index = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
    whole = torch.cat([points, rays[index], everywhere.expand(10, 1)], dim=-1)
    expected = torch.relu(whole @ net.layers[0].weight.T) @ net.layers[1].weight.T
    found = net([(points, None), (rays, index), (everywhere, None)])
    torch.testing.assert_close(found, expected)


def test_precision_names():
    assert precision("float32") == torch.float32


def test_a_surface_spreads_as_its_weights_say():
    # weights 1/2, 1/4 at distances 1, 2: mean 4/3, spread 1/2 (1/3)^2 + 1/4 (2/3)^2 = 1/6
    assert packed([LN2, LN2], [0, 0], 1).depth_variance.item() == pytest.approx(1 / 6)
    assert packed([1e6, LN2], [0, 0], 1).depth_variance.item() == pytest.approx(0.0, abs=1e-6)


def test_networks_in_bfloat16_are_the_same_with_and_without_gradients():
    """Without gradients ReLU works in place; no number may come out otherwise."""
    torch.manual_seed(0)
    net, points = MLP(7, 32, 32, 3), torch.randn(999, 7)
    with torch.no_grad():
        fast = net([(points, None)], torch.bfloat16)
    assert torch.equal(fast, net([(points, None)], torch.bfloat16).detach())
