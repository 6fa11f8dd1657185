"""Flow: it is exactly invertible, masks hold, sizes are the official ones."""

import torch

from geneface_kit.motion.flow import CouplingFlow, WaveNet
from geneface_kit.motion.sync_expert import Standardise
from geneface_kit.motion.vae import MotionVAE, VAESizes


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def fresh_flow() -> CouplingFlow:
    torch.manual_seed(0)
    return CouplingFlow(6, steps=3, hidden=8, condition=5)


def trained_flow() -> CouplingFlow:
    """A flow whose shifts are not zero."""
    flow = fresh_flow()
    for coupling in flow.couplings:
        torch.nn.init.normal_(coupling.leave.weight)
    return flow


def test_flow_is_invertible():
    flow, draw = trained_flow(), generator()
    z, condition = torch.randn(2, 6, 7, generator=draw), torch.randn(2, 5, 7, generator=draw)
    mask = torch.ones(2, 1, 7)
    p = flow(z, mask, condition)
    assert not torch.allclose(p, z)
    torch.testing.assert_close(flow.inverse(p, mask, condition), z)


def test_flow_has_unit_jacobian():
    flow, draw = trained_flow().double(), generator()
    condition = torch.randn(1, 5, 2, generator=draw).double()
    z = torch.randn(12, generator=draw).double()
    jacobian = torch.autograd.functional.jacobian(
        lambda flat: flow(flat.reshape(1, 6, 2), torch.ones(1, 1, 2).double(), condition).flatten(),
        z,
    )
    torch.testing.assert_close(jacobian.det().abs(), torch.ones(()).double())


def test_fresh_flow_only_reverses_channels():
    z = torch.arange(6.0).reshape(1, 6, 1)
    p = fresh_flow()(z, torch.ones(1, 1, 1), torch.zeros(1, 5, 1))
    assert p.flatten().tolist() == [5, 4, 3, 2, 1, 0]  # three reversals


def test_no_steps_is_the_identity():
    flow = CouplingFlow(6, steps=0, hidden=8, condition=5)
    z = torch.randn(1, 6, 3, generator=generator())
    assert torch.equal(flow(z, torch.ones(1, 1, 3), torch.zeros(1, 5, 3)), z)


def test_padding_changes_nothing_before_it():
    torch.manual_seed(0)
    net = WaveNet(4, kernel=5, layers=3, condition=2)
    x, condition = torch.randn(1, 4, 9), torch.randn(1, 2, 9)
    short = net(x[..., :6], torch.ones(1, 1, 6), condition[..., :6])
    mask = (torch.arange(9) < 6).float()[None, None]
    long = net(x * mask, mask, condition)
    torch.testing.assert_close(long[..., :6], short)
    assert torch.equal(long[..., 6:], torch.zeros(1, 4, 3))


def test_latents_run_at_a_quarter_of_the_rate():
    vae = MotionVAE(3, VAESizes(hidden=8, latent=4, condition=3), motion=6)
    slow, fast = torch.zeros(2, 3, 5), torch.zeros(2, 3, 20)
    z = vae.posterior(torch.zeros(2, 6, 20), torch.ones(2, 1, 5), slow)
    assert z.shape == (2, 2 * 4, 5)  # mean and log standard deviation
    assert vae.decode(z[:, :4], torch.ones(2, 20) > 0, fast).shape == (2, 20, 6)


def test_standardise_uses_measured_statistics():
    layer = Standardise(2)
    layer.take(torch.tensor([1.0, 1.0]), torch.tensor([2**0.5, 0.0]))
    out = layer(torch.tensor([[1.0, 1.0], [1.0 + 2**0.5, 2.0]]))
    # the standard deviation 0 counts as 0.001
    torch.testing.assert_close(out, torch.tensor([[0.0, 0.0], [1.0, 1000.0]]))
