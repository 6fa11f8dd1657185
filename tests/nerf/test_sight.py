"""Sight: pictures ask a finished head in two steps and are told what `at` would have said."""

import dataclasses

import pytest
import torch
from test_head import SMALL
from test_render import one_ray

from geneface_kit.nerf.head import HeadField, make_field
from geneface_kit.render import Folded, Occupancy, Perceptron, Sight, full_rows, render_rays


def coloured(density, asked):
    """A sight of one density behind z = 0.5 (rays look along -z), coloured by height."""

    def colour(features, directions):
        asked.append(len(features))
        return features.expand(-1, 3)

    def ask(positions):
        return density * (positions[:, 2] < 0.5).float(), positions[:, 2:]

    return Sight(ask, colour)


def test_what_does_not_show_is_not_asked_for_its_colour():
    asked: list[int] = []
    found = render_rays(coloured(60.0, asked), *one_ray(3), Occupancy(4), step=0.02)
    # 1 - exp(-1.2) of what is left goes with each sample: weights fall below 1/64 with the fourth,
    # 0.30^3 * 0.70 = 0.019 is the last above it
    assert found.n_samples.tolist() == [50, 50, 50]
    assert asked == [full_rows(3 * 4)]
    share = 0.30119421 ** torch.arange(4.0)
    heights = 0.49 - 0.02 * torch.arange(4.0)
    expected = (share * heights).sum() / share.sum()
    torch.testing.assert_close(found.colour, torch.full((3, 3), float(expected)), rtol=0, atol=2e-4)
    assert found.alpha.tolist() == pytest.approx([1.0] * 3)


def test_thin_rays_keep_their_colour():
    # 25 samples of weight 0.001 or so each: none is a sixty-fourth, all are a share of their ray
    found = render_rays(coloured(0.06, []), *one_ray(), Occupancy(4), step=0.02)
    assert found.alpha.item() == pytest.approx(0.0296, abs=1e-4)
    assert (found.colour[0, 0] / found.alpha[0]).item() == pytest.approx(0.25, abs=2e-3)


def test_nothing_to_see_is_nothing():
    occupancy = Occupancy(4)
    occupancy.bits.zero_()
    found = render_rays(coloured(60.0, []), *one_ray(2), occupancy, step=0.02)
    assert not found.colour.any() and not found.alpha.any() and not found.n_samples.any()


@pytest.mark.parametrize(
    "changes",
    [{}, {"view_dependent": True}, {"direct_condition": False}, {"carry_reach": 0.0}],
    ids=lambda changes: next(iter(changes), "usual"),
)
def test_a_still_head_is_the_head(changes):
    torch.manual_seed(0)
    head: HeadField = make_field(dataclasses.replace(SMALL, **changes), 3)
    torch.nn.init.normal_(head.position_grid.table, std=0.5)
    torch.nn.init.normal_(head.ambient_grid.table, std=0.5)
    for net in (head.ambient_net, head.density_net, head.colour_net):
        for layer in net.layers:
            layer.weight.data *= 3  # fresh networks hardly tell points apart
    head.learn_statistics(torch.randn(9, 68, 3))
    positions = torch.rand(70, 3)
    directions = torch.nn.functional.normalize(torch.randn(70, 3), dim=-1)
    with torch.no_grad():
        condition = head.condition(torch.randn(1, 1, 68, 3))
        field, sight = head.at(condition, head.mean_code(), None), head.sight(condition)
        expected = field(positions, directions, torch.arange(70))
        density, features = sight.density(positions)
        colour = sight.colour(features, directions)
    # float32, products of up to 64 terms in another order, two of them made one
    torch.testing.assert_close(density, expected.density, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(colour, expected.colour, rtol=1e-4, atol=1e-5)
    assert float(expected.colour.std()) > 0.01  # the points differ


def test_shared_inputs_become_a_bias():
    net = Perceptron(5, 8, 3)
    own, shared = torch.randn(6, 2), torch.randn(1, 3)
    first, last = (layer.weight for layer in net.layers)
    with torch.no_grad():
        folded = Folded([first[:, :2], last], first[:, 2:] @ shared[0], torch.float32)
        expected = net([(own, None), (shared, None)])
        torch.testing.assert_close(folded(own), expected)


def test_points_go_in_full_rows():
    assert [full_rows(n) for n in (0, 1, 1024, 1025)] == [0, 1024, 1024, 2048]
