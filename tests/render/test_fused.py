"""Fused pass: the same pictures as the parts one after the other, lane by lane, to rounding."""

import math
from dataclasses import dataclass, replace

import pytest
import torch

from geneface_kit.render.fused import FAINT, RAYS, FusedField, Space, has_amx, render_fused
from geneface_kit.render.grid import GridEncoding, GridLayout
from geneface_kit.render.line_warp import line_table
from geneface_kit.render.march import box_range
from geneface_kit.render.mlp import sh_encode
from geneface_kit.render.occupancy import Occupancy
from geneface_kit.render.rendering import FieldSamples, render_rays
from tests.render.twins import grid_encode_torch, line_warp_torch

STEP, SCALE, REACH, FADE = 0.05, 3.0, 0.3, (0.1, 0.5)
INSIDE = torch.tensor([1.0, 3.0, 1.0, 2.0, 1.0, 1.0, 3.0])
STILL = Space(torch.zeros(1, 0, 13), 1.0, (0.0, 1.0), SCALE)
KINDS = [False, pytest.param(True, marks=pytest.mark.skipif(not has_amx(), reason="no AMX"))]
"""float32 on any processor; bfloat16 in AMX tiles where there are any."""
TOLERANCE = {False: 2e-5, True: 0.02}
"""float32: sums of 80 products in another order, through three networks. bfloat16: weights, tables
and activations each have eight bits, 1/512 off at most, and about ten roundings follow each other;
colours and opacities are of [0, 1], over which the errors of many samples average out."""


@dataclass(frozen=True)
class Toy:
    """A random field: grids of 5 levels (the finer ones hashed), networks 20 wide, lines."""

    grids: tuple[GridEncoding, GridEncoding]
    networks: list[list[torch.Tensor]]
    biases: list[torch.Tensor]
    lines: torch.Tensor
    rest: torch.Tensor
    of_direction: torch.Tensor | None = None

    @staticmethod
    def make(seed=0, kind="hash"):
        torch.manual_seed(seed)
        options = {"n_levels": 5, "finest": 64, "log2_rows": 10, "kind": kind}
        grids = [GridEncoding(GridLayout(n, **options)) for n in (3, 2)]
        for grid in grids:
            torch.nn.init.normal_(grid.table, std=0.5)

        def network(*sizes):
            pairs = zip(sizes[:-1], sizes[1:], strict=True)
            return [torch.randn(b, a) * (1.5 / a) ** 0.5 for a, b in pairs]

        networks = [network(10, 20, 20, 2), network(20, 20, 20, 1), network(20, 20, 3)]
        rest = 0.3 + 0.4 * torch.rand(7, 2, 2)
        lines = rest + 0.05 * torch.randn(7, 2, 2)
        return Toy(tuple(grids), networks, [0.3 * torch.randn(20) for _ in range(3)], lines, rest)

    def fused(self, amx):
        table = line_table(self.lines[None], self.rest, torch.full((7,), 0.02), INSIDE)
        space = Space(table, REACH**-4.0, FADE, SCALE, amx)
        field = FusedField.of(*self.grids, self.networks, replace(space, lines=table[:, :0]))
        return replace(field, of_direction=self.of_direction).under(
            [bias[None] for bias in self.biases], space
        )

    def field(self, positions, directions, ray_index):
        """The field by the twins, in float32."""
        softness = torch.full((7,), 0.02)
        moved = line_warp_torch(
            positions, self.lines[None], self.rest, softness, INSIDE, None, reach=REACH, fade=FADE
        )
        place, moving = (
            lambda points, g=g: grid_encode_torch(points, g.table, g.layout) for g in self.grids
        )

        def hidden(number, x, more=0.0):
            first, *rest = self.networks[number][:-1]
            x = (x @ first.T + self.biases[number] + more).relu()
            for weight in rest:
                x = (x @ weight.T).relu()
            return x

        features = place(moved)
        ambient = torch.tanh(hidden(0, features) @ self.networks[0][-1].T)
        last = hidden(1, torch.cat([features, moving(0.5 * ambient + 0.5)], dim=1))
        density = SCALE * (last @ self.networks[1][-1].T)[:, 0].exp()
        seen = 0.0
        if self.of_direction is not None:
            seen = (sh_encode(directions) @ self.of_direction.T)[ray_index]
        colour = torch.sigmoid(hidden(2, last, seen) @ self.networks[2][-1].T)
        return FieldSamples(density, colour, torch.zeros(len(positions)))


def rays(n, seed=1):
    """n rays from one camera, in and beside the box."""
    torch.manual_seed(seed)
    towards = torch.cat([1.2 * torch.rand(n, 2) - 0.6, torch.ones(n, 1)], dim=1)
    origins = torch.tensor([0.5, 0.5, -1.0]).expand(n, 3).contiguous()
    return origins, torch.nn.functional.normalize(towards, dim=1)


def rendered(field, origins, directions, occupancy=None, ranges=None, stop=0.0):
    occupancy = occupancy or Occupancy(8)
    ranges = box_range(origins, directions, occupancy.bounds()) if ranges is None else ranges
    limits = {"step": STEP, "stop": stop, "faint": 0.0, "least": 0.0}
    return render_fused(field, origins, directions, ranges, occupancy, **limits)


@torch.no_grad()
@pytest.mark.parametrize("amx", KINDS)
@pytest.mark.parametrize("kind", ["hash", "tiled"])
def test_as_the_twins_one_after_the_other(amx, kind):
    toy, (origins, directions) = Toy.make(kind=kind), rays(700)
    occupancy = Occupancy(8)
    occupancy.bits.copy_(torch.rand(8, 8, 8) < 0.6)
    found = rendered(toy.fused(amx), origins, directions, occupancy)
    asked = render_rays(toy.field, origins, directions, occupancy, step=STEP)
    expected = torch.cat([asked.colour, asked.alpha[:, None], asked.depth[:, None]], dim=1)
    assert (found[:, 6] == asked.n_samples).all()
    assert (found[:, 6] == 0).any() and not found[found[:, 6] == 0].any()  # rays beside it all
    assert torch.allclose(found[:, :5], expected, atol=TOLERANCE[amx])
    assert torch.allclose(found[:, 5], asked.depth_variance, atol=TOLERANCE[amx])
    assert 0.2 < asked.alpha[asked.n_samples > 0].mean() < 0.95  # neither fog nor wall


@torch.no_grad()
@pytest.mark.parametrize("amx", KINDS)
def test_colours_that_depend_on_the_view(amx):
    toy, (origins, directions) = Toy.make(), rays(100)
    plain = rendered(toy.fused(amx), origins, directions)
    toy = replace(toy, of_direction=torch.randn(20, 16))
    found = rendered(toy.fused(amx), origins, directions)
    asked = render_rays(toy.field, origins, directions, Occupancy(8), step=STEP)
    assert torch.allclose(found[:, :3], asked.colour, atol=TOLERANCE[amx])
    assert torch.equal(found[:, 3:], plain[:, 3:]) and (found - plain).abs().max() > 0.05


@torch.no_grad()
@pytest.mark.parametrize("amx", KINDS)
def test_a_ray_is_the_same_whatever_lies_beside_it(amx):
    # packets of 1, 17 and RAYS + 3 rays are not full; order and threads only change neighbours
    field, (origins, directions) = Toy.make().fused(amx), rays(RAYS + 3)
    everything = rendered(field, origins, directions, stop=0.1)
    order = torch.randperm(len(origins))
    assert torch.equal(
        rendered(field, origins[order], directions[order], stop=0.1), everything[order]
    )
    for n in (0, 1, 17):
        assert torch.equal(rendered(field, origins[:n], directions[:n], stop=0.1), everything[:n])


@torch.no_grad()
@pytest.mark.parametrize("amx", KINDS)
def test_no_sample_one_sample_and_an_opaque_first_one(amx):
    field = Toy.make().fused(amx)
    origin, direction = torch.tensor([[0.5, 0.5, -1.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    none = rendered(field, origin, direction, ranges=torch.tensor([[0.0, 0.0]]))
    assert not none.any()
    # samples at (k + 1/2) 0.05: between 1.2 and 1.25 lies one, at 1.225
    one = rendered(field, origin, direction, ranges=torch.tensor([[1.2, 1.25]]))[0]
    assert one[6] == 1 and one[4].item() == pytest.approx(1.225 * one[3].item(), rel=1e-5)
    assert one[5].item() == pytest.approx(0.0, abs=1e-6)
    # of density 1e6 it takes all the light: nothing behind is asked, the depth is its own
    wall = replace(field, space=replace(field.space, scale=1e6))
    first = rendered(wall, origin, direction, stop=0.02)[0]
    assert first[6] == 1 and first[3].item() == pytest.approx(1.0)
    assert first[4].item() == pytest.approx(1.025)
    assert torch.allclose(first[:3], one[:3] / one[3], atol=0.5)  # a colour of [0, 1]


@torch.no_grad()
def test_an_early_end_leaves_out_no_more_than_the_light_left():
    toy, (origins, directions) = Toy.make(), rays(200)
    whole = rendered(toy.fused(False), origins, directions)
    ended = rendered(toy.fused(False), origins, directions, stop=0.3)
    assert (ended[:, 6] < whole[:, 6]).any()
    assert ((whole - ended)[:, 3] <= 0.3 + 1e-6).all() and (whole - ended > -1e-5)[:, :5].all()
    stopped = ended[:, 6] < whole[:, 6]
    assert (ended[stopped, 3] >= 0.7 - 1e-6).all()


@torch.no_grad()
def test_what_hardly_shows_takes_the_colour_of_the_rest_of_its_ray():
    toy, (origins, directions) = Toy.make(), rays(64)
    found = render_rays(toy.fused(False), origins, directions, Occupancy(8), step=STEP, stop=1e-3)
    exact = render_rays(toy.field, origins, directions, Occupancy(8), step=STEP)
    # faint samples (1/64 of their ray) take the colour of the others: 20 of them, at most
    assert torch.allclose(found.colour, exact.colour, atol=20 * FAINT * 0.2)
    assert (found.colour - exact.colour).abs().max() > 1e-4
    assert torch.allclose(found.alpha, exact.alpha, atol=1e-3 + 1e-5)


@torch.no_grad()
def test_thin_rays_keep_their_colour():
    """Of a ray of opacity 0.1 hardly a sample is a sixty-fourth, and each is a share of it."""
    toy, (origins, directions) = Toy.make(), rays(64)
    fused = toy.fused(False)
    thin = replace(fused, space=replace(fused.space, scale=SCALE / 20))
    found = render_rays(thin, origins, directions, Occupancy(8), step=STEP, stop=1e-3)
    exact = rendered(thin, origins, directions)
    shown = found.alpha > 0
    assert 0 < found.alpha[shown].max() < 0.2
    of_found, of_exact = (
        colour[shown] / found.alpha[shown, None] for colour in (found.colour, exact[:, :3])
    )
    assert torch.allclose(of_found, of_exact, atol=0.1)


def test_another_shape_of_network_is_refused():
    toy = Toy.make()
    with pytest.raises(ValueError, match="3, 3 and 2 layers of one width"):
        FusedField.of(*toy.grids, [net[1:] for net in toy.networks], STILL)


def test_hand_numbers():
    # all is in the biases: density 2 exp(ln 2) = 4, colour sigmoid(ln 3) = 3/4
    grids = [GridEncoding(GridLayout(n, n_levels=2, finest=16, log2_rows=8)) for n in (3, 2)]
    width = 8
    zeros = [[torch.zeros(width, 4), torch.zeros(width, width), torch.zeros(2, width)]]
    zeros += [[torch.zeros(width, 8), torch.eye(width), torch.zeros(1, width)]]
    zeros += [[torch.zeros(width, width), torch.zeros(3, width)]]
    zeros[1][-1][0, 0] = 1.0
    zeros[2][-1][:, 1] = 1.0
    biases = [torch.zeros(width) for _ in range(3)]
    biases[1][0], biases[2][1] = math.log(2), math.log(3)
    still = replace(STILL, scale=2.0)
    field = FusedField.of(*grids, zeros, still).under([bias[None] for bias in biases], still)
    origin, direction = torch.tensor([[0.5, 0.5, -1.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    found = rendered(field, origin, direction)[0]  # 20 steps of 0.05: optical depth 4
    assert found[3].item() == pytest.approx(1 - math.exp(-4), rel=1e-5)
    assert found[0].item() == pytest.approx(0.75 * (1 - math.exp(-4)), rel=1e-5)
