"""Fused training: what samples say, and all gradients, as the twins and finite differences."""

import pytest
import torch

from geneface_kit.render.composite import composite
from geneface_kit.render.fused import Space, has_amx
from geneface_kit.render.fused_training import SAMPLES, fused_samples
from geneface_kit.render.line_warp import line_table
from geneface_kit.render.mlp import trunc_exp
from tests.render.test_fused import FADE, INSIDE, REACH, SCALE, Toy
from tests.render.test_kernels import packed
from tests.render.twins import grid_encode_torch, line_warp_torch

N_RAYS, N_SETS = 40, 3
NAMES = ("density", "colour", "ambient")


class Batch:
    """Samples of rays of a random field: some rays have none, one has more than a block."""

    def __init__(self, kind="hash", seed=0):
        self.toy = Toy.make(seed=seed, kind=kind)
        counts = torch.randint(0, 30, (N_RAYS,))
        counts[[0, 7]], counts[9], counts[-1] = 0, SAMPLES + 5, 1
        self.ray_index = torch.arange(N_RAYS).repeat_interleave(counts)
        self.positions = torch.rand(len(self.ray_index), 3)
        self.sets = torch.arange(N_RAYS) * N_SETS // N_RAYS
        self.lines = self.toy.rest + 0.05 * torch.randn(N_SETS, 7, 2, 2)
        self.softness = torch.full((7,), 0.02)
        self.biases = [0.3 * torch.randn(n, 20) for n in (N_SETS, N_SETS, N_RAYS)]
        self.learned = [
            *(grid.table for grid in self.toy.grids),
            *(weight for network in self.toy.networks for weight in network),
            *self.biases,
        ]
        for tensor in self.learned:
            tensor.requires_grad_()

    def fused(self, amx=False):
        lines = line_table(self.lines, self.toy.rest, self.softness, INSIDE)
        space = Space(lines, REACH**-4.0, FADE, SCALE, amx)
        toy = self.toy
        where = (self.positions, self.ray_index, self.sets)
        return fused_samples(*where, space, toy.grids, toy.networks, tuple(self.biases))

    def twin(self):
        """The same by the twins one after the other."""
        toy, frame = self.toy, self.sets[self.ray_index]
        options = {"reach": REACH, "fade": FADE}
        moved = line_warp_torch(
            self.positions, self.lines, toy.rest, self.softness, INSIDE, frame, **options
        )
        place, moving = (
            lambda points, g=g: grid_encode_torch(points, g.table, g.layout) for g in toy.grids
        )

        def hidden(number, x, index):
            first, *rest = toy.networks[number][:-1]
            x = (x @ first.T + self.biases[number][index]).relu()
            for weight in rest:
                x = (x @ weight.T).relu()
            return x

        features = place(moved)
        ambient = torch.tanh(hidden(0, features, frame) @ toy.networks[0][-1].T)
        last = hidden(1, torch.cat([features, moving(0.5 * ambient + 0.5)], dim=1), frame)
        density = SCALE * (last @ toy.networks[1][-1].T)[:, 0].exp()
        colour = torch.sigmoid(hidden(2, last, self.ray_index) @ toy.networks[2][-1].T)
        return density, colour, ambient.abs().sum(-1)

    def gradients(self, outputs, weights):
        loss = sum((a * b).sum() for a, b in zip(outputs, weights, strict=True))
        return torch.autograd.grad(loss, self.learned)


@pytest.mark.parametrize("kind", ["hash", "tiled"])
def test_samples_and_all_gradients_as_the_twins(kind):
    batch = Batch(kind)
    found, expected = batch.fused(), batch.twin()
    # float32: sums of 20 products in another order through three networks
    for name, a, b in zip(NAMES, found, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5), name
    weights = [torch.randn_like(output) for output in expected]
    pairs = zip(
        batch.gradients(found, weights), batch.gradients(expected, weights), batch.learned,
        strict=True,
    )  # fmt: skip
    for number, (a, b, learned) in enumerate(pairs):
        assert a.shape == learned.shape
        # sums over 1,100 samples: of each number about as exact as the largest one
        assert float((a - b).abs().max()) < 1e-4 * float(b.abs().max()), number


def test_empty_space_is_not_pushed_emptier():
    """Densities below exp(-15) have their own small gradients, in the kernel and on CUDA's road."""
    batch = Batch()
    batch.toy.networks[1][-1].data.abs_().mul_(-200)
    logs = batch.twin()[0].detach().log()
    assert float(logs.min()) < -40
    far = (logs < -20).float()
    weights = [torch.randn_like(far) * far, torch.zeros(len(far), 3), torch.zeros(len(far))]
    for a, b in zip(
        *(batch.gradients(x(), weights) for x in (batch.fused, batch.twin)), strict=True
    ):
        assert float((a - b).abs().max()) <= 1e-3 * float(b.abs().max()) < 1e-6
    x = torch.tensor([-40.0, -20.0, 0.0, 17.0], requires_grad=True)
    trunc_exp(x).sum().backward()
    assert torch.equal(x.grad, torch.tensor([-40.0, -20.0, 0.0, 15.0]).exp())


@pytest.mark.skipif(not has_amx(), reason="no AMX")
def test_bfloat16_tiles_differ_by_their_rounding():
    batch = Batch()
    # ambient points close together: the random grid is as steep as it is fine, and where a point's
    # rounding takes it to another cell its gradient has nothing to do with the twin's
    batch.toy.networks[0][-1].data.mul_(0.01)
    found, expected = batch.fused(amx=True), batch.twin()
    weights = [torch.randn_like(output) for output in expected]
    pairs = [*zip(found, expected, strict=True)]
    pairs += zip(batch.gradients(found, weights), batch.gradients(expected, weights), strict=True)
    for number, (a, b) in enumerate(pairs):
        # eight bits, 1/512 off at most, in each factor; and where rounding takes a neuron across 0,
        # about one in 250, its whole share comes or goes: the root of that, 6 %, per layer
        assert float((a - b).detach().norm()) < 0.2 * float(b.detach().norm()), number


def test_gradients_as_finite_differences():
    batch = Batch(seed=1)
    weights = [torch.randn_like(output) for output in batch.fused()]

    def loss():
        return sum((a.double() * b).sum() for a, b in zip(batch.fused(), weights, strict=True))

    gradients = torch.autograd.grad(loss(), batch.learned)
    torch.manual_seed(2)
    with torch.no_grad():
        for number, (tensor, gradient) in enumerate(zip(batch.learned, gradients, strict=True)):
            # along the gradient itself: many small ones together rise above float32's rounding
            towards = gradient / gradient.norm()
            step, kept, sides = 2e-5 * float(tensor.norm()), tensor.clone(), []
            for sign in (1, -1):
                tensor.copy_(kept + sign * step * towards)
                sides.append(float(loss()))
            tensor.copy_(kept)
            slope = (sides[0] - sides[1]) / (2 * step)
            # kinks of ReLU and cell borders lie between the two sides of a few samples
            assert slope == pytest.approx(float((gradient * towards).sum()), rel=0.05), number


def test_the_same_bits_again():
    batch = Batch()
    weights = [torch.randn_like(output) for output in batch.fused()]
    first, second = (batch.gradients(batch.fused(), weights) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_no_sample_gives_no_gradient():
    batch = Batch()
    batch.positions, batch.ray_index = batch.positions[:0], batch.ray_index[:0]
    found = batch.fused()
    assert [len(output) for output in found] == [0, 0, 0]
    gradients = batch.gradients(found, [torch.zeros_like(output) for output in found])
    assert not any(gradient.any() for gradient in gradients)


def test_behind_an_opaque_first_sample_nothing_is_learned():
    batch = Batch()
    batch.positions, batch.ray_index = batch.positions[:5], torch.tensor([0, 1, 1, 1, 1])
    density, colour, _ = batch.fused()
    wall = torch.tensor([1.0, 1e6, 1.0, 1.0, 1.0])  # ray 1 begins with a wall
    samples = packed(batch.ray_index, torch.arange(5.0), 0.1, N_RAYS)
    found = composite(density * wall, colour, samples)
    assert found.alpha[1].item() == pytest.approx(1.0)
    assert torch.allclose(found.colour[1], colour[1]) and not found.alpha[2:].any()
    of_colour = torch.autograd.grad(found.colour[1].sum(), colour, retain_graph=True)[0]
    assert of_colour[1].tolist() == pytest.approx([1.0] * 3) and not of_colour[2:].any()
    of_rays = torch.autograd.grad(found.colour.sum(), batch.biases[2])[0]
    assert of_rays[:2].any(dim=1).all() and not of_rays[2:].any()


def test_positions_that_need_a_gradient_are_refused():
    batch = Batch()
    batch.positions.requires_grad_()
    with pytest.raises(ValueError, match="no gradient to positions"):
        batch.fused()
