"""Baked: a finished head in one pass is what `at` would have said; so is one that learns."""

import dataclasses

import pytest
import torch
from test_head import SMALL

from geneface_kit.nerf.grid_head import GridField
from geneface_kit.nerf.head import make_field
from geneface_kit.render.fused import render_fused
from geneface_kit.render.march import box_range
from geneface_kit.render.occupancy import Occupancy
from geneface_kit.render.rendering import render_rays


@pytest.mark.parametrize(
    "changes",
    [{}, {"view_dependent": True}, {"direct_condition": False}, {"warp_reach": 0.0}],
    ids=lambda changes: next(iter(changes), "usual"),
)
def test_a_baked_head_is_the_head(changes):
    torch.manual_seed(0)
    head: GridField = make_field(dataclasses.replace(SMALL, **changes), 3)
    torch.nn.init.normal_(head.position_grid.table, std=0.5)
    torch.nn.init.normal_(head.ambient_grid.table, std=0.5)
    for net in (head.ambient_net, head.density_net, head.colour_net):
        for layer in net.layers:
            layer.weight.data *= 3  # fresh networks hardly tell points apart
    head.learn_statistics(torch.randn(9, 68, 3))
    occupancy, step = Occupancy(8), 0.05
    origins = torch.tensor([[0.5, 0.5, -1.0]]).expand(70, 3).contiguous()
    towards = torch.cat([1.2 * torch.rand(70, 2) - 0.6, torch.ones(70, 1)], dim=1)
    rays = (origins, torch.nn.functional.normalize(towards, dim=1))
    with torch.no_grad():
        condition = head.condition(torch.randn(1, 1, 68, 3))
        field, baked = head.at(condition, head.mean_appearance(), None), head.baked()(condition)
        expected = render_rays(field, *rays, occupancy, step=step)
        ranges = box_range(*rays, occupancy.bounds())
        how = {"step": step, "stop": 0.0, "faint": 0.0}
        found = render_fused(baked, *rays, ranges, occupancy, **how)
    # float32, products of up to 64 terms in another order, two of them made one
    torch.testing.assert_close(found[:, :3], expected.colour, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[:, 3], expected.alpha, rtol=1e-4, atol=1e-5)
    assert float(expected.colour.std()) > 0.01  # the rays differ


@pytest.mark.parametrize(
    "changes",
    [{}, {"view_dependent": True}, {"direct_condition": False}, {"warp_reach": 0.0}],
    ids=lambda changes: next(iter(changes), "usual"),
)
def test_a_head_in_training_is_the_same_in_one_pass_and_kernel_by_kernel(changes):
    torch.manual_seed(0)
    head: GridField = make_field(dataclasses.replace(SMALL, **changes), 3)
    torch.nn.init.normal_(head.position_grid.table, std=0.5)
    torch.nn.init.normal_(head.ambient_grid.table, std=0.5)
    head.learn_statistics(torch.randn(9, 68, 3))
    positions, windows = torch.rand(70, 3), torch.randn(2, 1, 68, 3)
    directions = torch.nn.functional.normalize(torch.randn(10, 3), dim=-1)
    ray_index = torch.arange(10).repeat_interleave(7)
    weights = torch.randn(70, 5)

    def gradients(fuses):
        head.fuses = fuses
        appearance = head.appearance[torch.arange(10) % 3]
        field = head.at(head.condition(windows), appearance, torch.arange(10) // 5)
        found = field(positions, directions, ray_index)
        parts = [found.density[:, None], found.colour, found.ambient[:, None]]
        head.zero_grad()
        (torch.cat(parts, dim=1) * weights).sum().backward()
        return {name: p.grad for name, p in head.named_parameters() if p.grad is not None}

    fused, plain = gradients(True), gradients(False)
    assert fused.keys() == plain.keys() and len(plain) > 10
    for name, gradient in plain.items():
        # float32, sums in another order; two linear maps are made one
        assert float((fused[name] - gradient).abs().max()) < 1e-3 * float(gradient.abs().max()), (
            name
        )
    head.fuses = True
    with torch.no_grad():  # what the occupancy is told
        condition = head.condition(windows[:1])
        torch.testing.assert_close(
            head.density(positions, condition),
            head.at(condition, head.mean_appearance(), None)(
                positions, directions, ray_index
            ).density,
            rtol=1e-4,
            atol=1e-4,
        )
