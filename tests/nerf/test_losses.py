"""The lips stage: patches of lips are drawn whole and compared as pictures, by the loss named."""

import dataclasses

import pytest
import torch
from puppet import puppet
from test_head import SMALL
from toys import ToyVgg

from geneface_kit.metrics.networks import NotMeasured, network
from geneface_kit.nerf import losses
from geneface_kit.nerf.dataset import RayDataset
from geneface_kit.nerf.head_training import PATCH, HeadTask

LAST = dataclasses.replace(SMALL, steps=10, lips_stage=0.5, lips_stage_share=0.7)


@pytest.fixture
def no_networks(tmp_path, monkeypatch):
    monkeypatch.setenv("GENEFACE_KIT_NETWORKS", str(tmp_path))
    return tmp_path


def pictures(seed: int) -> torch.Tensor:
    return torch.rand(2, 3, PATCH, PATCH, generator=torch.Generator().manual_seed(seed))


def test_a_patch_is_a_square_of_the_lips_row_by_row():
    dataset = RayDataset(puppet())
    pixels = dataset.draw_patches(dataset.lip_rects, 3, 3, torch.Generator().manual_seed(0))
    assert pixels.in_lips.all() and len(pixels.at) == 27
    first = pixels.at[pixels.frame_of_pixel == 1]
    steps = (first - first[0]).tolist()
    assert steps == [[column, row] for row in range(3) for column in range(3)]


def test_a_patch_beyond_small_lips_has_them_in_its_middle():
    dataset = RayDataset(puppet())
    pixels = dataset.draw_patches(dataset.lip_rects, 1, 15, torch.Generator().manual_seed(0))
    rect = dataset.lip_rects[pixels.frames[0]].float()
    middle = pixels.at.float().mean(0) + 0.5
    assert float((middle - (rect[:2] + rect[2:]) / 2).abs().max()) <= 0.5


def test_pixels_beside_others_keep_their_frames():
    dataset, generator = RayDataset(puppet()), torch.Generator().manual_seed(0)
    some = dataset.draw(2, 8, (0.5, 0.5), generator)
    more = dataset.draw_patches(dataset.head_rects, 1, 4, generator)
    both = some.beside(more)
    numbers = torch.cat([some.frames[some.frame_of_pixel], more.frames[more.frame_of_pixel]])
    assert torch.equal(both.frames[both.frame_of_pixel], numbers)
    assert torch.equal(both.at[-16:], more.at)


def test_detail_of_the_true_strength_costs_nothing_wherever_it_lies():
    stripes = (torch.arange(PATCH) % 2).float().expand(2, 3, PATCH, PATCH)
    faint = 0.5 + 0.1 * (stripes - 0.5)
    assert float(losses.detail_loss(faint, 1 - faint)) < 1e-9  # the other stripes are bright
    assert float(losses.detail_loss(faint, faint + 0.3)) < 1e-9  # nor does brightness count
    # stripes 0.1 apart have a root mean square of 0.05, and the first blur takes all of it
    lost = float(losses.detail_loss(torch.full_like(faint, 0.5), faint))
    assert lost == pytest.approx((0.05 - losses.FAINT) ** 2, rel=0.02)


def test_detail_that_is_too_strong_or_too_weak_is_drawn_to_the_true_one():
    true = pictures(3)
    mean = true.mean((2, 3), keepdim=True)
    for factor, sign in ((0.5, -1), (1.5, 1)):
        contrast = torch.tensor(factor, requires_grad=True)
        losses.detail_loss(mean + contrast * (true - mean), true).backward()
        assert float(contrast.grad) * sign > 0


def test_structure_is_one_minus_ssim():
    from skimage.metrics import structural_similarity

    a, b = pictures(0), pictures(1)
    alike = structural_similarity(
        a[0].numpy(), b[0].numpy(), win_size=7, channel_axis=0, data_range=1,
        use_sample_covariance=False,
    )  # fmt: skip
    # skimage leaves out the border too: only windows that lie within the picture count.
    assert float(losses.structure_loss(a[:1], b[:1])) == pytest.approx(1 - alike, abs=1e-5)
    assert float(losses.structure_loss(a, a)) == pytest.approx(0, abs=1e-6)


def test_structure_has_the_right_gradient():
    a, b = pictures(0)[:1, :, :8, :8].double().requires_grad_(), pictures(1)[:1, :, :8, :8].double()
    assert torch.autograd.gradcheck(lambda x: losses.structure_loss(x, b), a)


def test_auto_takes_what_is_there(no_networks, monkeypatch):
    assert losses.chosen_lips_loss("auto") == "structure"
    have = {"vgg_hed"}
    found = lambda name: no_networks if name in have else NotMeasured("none")  # noqa: E731
    monkeypatch.setattr(losses, "network", found)
    assert losses.chosen_lips_loss("auto") == "vgg-hed"
    have.add("vgg16")
    assert losses.chosen_lips_loss("auto") == "lpips"


def test_a_loss_that_cannot_be_had_is_refused(no_networks):
    with pytest.raises(ValueError, match=r"head.lips_loss=lpips cannot be had: .*vgg16"):
        losses.chosen_lips_loss("lpips")


def test_the_edge_network_compares_lips():
    if isinstance(network("vgg_hed"), NotMeasured):
        pytest.skip("network vgg_hed is not here: python -m geneface_kit networks packaged")
    compare = losses.lips_loss("vgg-hed", torch.device("cpu"))
    a, b = pictures(0).requires_grad_(), pictures(1)
    apart = compare(a, b)
    apart.backward()
    assert apart.item() > 0.05 and float(a.grad.abs().sum()) > 0
    assert float(compare(b, b)) == pytest.approx(0, abs=1e-6)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # the published format
def test_lpips_sees_pixels_of_0_to_255(no_networks):
    torch.jit.script(ToyVgg()).save(str(no_networks / "vgg16.pt"))
    compare = losses.lips_loss(losses.chosen_lips_loss("lpips"), torch.device("cpu"))
    a = torch.full((1, 3, 8, 8), 0.5, requires_grad=True)
    apart = compare(a, torch.full((1, 3, 8, 8), 0.2))
    apart.backward()
    assert apart.item() == pytest.approx(0.09) and float(a.grad.sum()) == pytest.approx(0.6)


def test_only_the_last_updates_compare_patches():
    dataset = RayDataset(puppet())
    task = HeadTask.make(LAST, dataset, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    assert "lips" not in task.step(4, generator)
    losses = task.step(5, generator)
    rest = losses["loss"] - losses["image"] - LAST.lips_weight * losses["lips"]
    assert losses["lips"] > 0.01 and abs(rest) < 0.1 * losses["loss"]


def test_the_lips_keep_their_share_in_patches():
    dataset = RayDataset(puppet())
    task = HeadTask.make(LAST, dataset, torch.Generator().manual_seed(0))
    pixels, n = task._drawn(5, torch.Generator().manual_seed(0))
    assert n == int(0.7 * 1024) // PATCH**2
    plain = HeadTask.make(
        dataclasses.replace(LAST, lips_loss="pixels"), dataset, torch.Generator().manual_seed(0)
    )
    single, none = plain._drawn(5, torch.Generator().manual_seed(0))
    assert none == 0
    assert abs(len(pixels.at) - len(single.at)) < 16  # a whole number for each frame
