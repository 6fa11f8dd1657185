"""Metrics against numbers worked out by hand."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from geneface_kit import metrics
from geneface_kit.metrics import NotMeasured


def grey(value, n=2, size=32):
    return np.full((n, size, size, 3), value, np.uint8)


def points(n=3):
    return np.random.default_rng(0).uniform(0, 256, (n, 68, 2)).astype(np.float32)


def test_psnr_of_a_known_difference():
    assert metrics.psnr(grey(51), grey(102)) == pytest.approx(20 * np.log10(5))  # 255 / 51
    assert metrics.psnr(grey(7), grey(7)) == np.inf


def test_psnr_averages_decibels_over_frames():
    predicted = np.concatenate([grey(51, 1), grey(153, 1)])
    expected = (20 * np.log10(5) + 20 * np.log10(255 / 153)) / 2
    assert metrics.psnr(predicted, grey(0)) == pytest.approx(expected)


def test_psnr_mask_counts_only_its_pixels():
    predicted, mask = grey(0), np.zeros((2, 32, 32), bool)
    predicted[:, :4, :4] = 51
    mask[:, :4, :4] = True
    assert metrics.psnr(predicted, grey(0), mask=mask) == pytest.approx(20 * np.log10(5))
    with pytest.raises(ValueError, match="mask leaves no pixel"):
        metrics.psnr(predicted, grey(0), mask=np.zeros((2, 32, 32), bool))


def test_frames_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"one shape, got \(2, 32, 32, 3\) and \(3, 32, 32, 3\)"):
        metrics.psnr(grey(0), grey(0, n=3))


def test_ssim_is_one_for_equal_and_the_luminance_term_for_flat_frames():
    noise = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    assert metrics.ssim(noise, noise) == pytest.approx(1)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert metrics.ssim(grey(100), grey(120)) == pytest.approx(expected, abs=1e-6)


def test_lmd_is_in_512_equivalent_pixels_without_alignment():
    truth = points()
    moved = truth + np.float32([3, 4])
    assert metrics.lmd(moved, truth, 256) == pytest.approx(10, rel=1e-5)
    assert metrics.lmd(moved, truth, 512) == pytest.approx(5, rel=1e-5)


def test_lmd_of_lips_sees_only_lips():
    truth = points()
    moved = truth.copy()
    moved[:, :48] += 100
    assert metrics.lmd(moved, truth, 512, points="lips") == 0
    assert metrics.lmd(moved, truth, 512) == pytest.approx(np.hypot(100, 100) * 48 / 68, rel=1e-5)


def test_correlation_and_its_absence():
    curve = np.float32([0, 1, 2, 1])
    assert metrics.correlation(curve, 3 - 2 * curve) == pytest.approx(-1)
    still = metrics.correlation(curve, np.ones(4, np.float32))
    assert isinstance(still, NotMeasured) and str(still) == "not measured"


def test_frechet_distance_by_hand():
    one = metrics.frechet_distance(np.zeros(1), np.ones((1, 1)), np.array([3.0]), np.array([[4.0]]))
    assert one == pytest.approx(10)
    a, b = np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 4.0, 1.0])
    zeros = np.zeros(3)
    assert metrics.frechet_distance(zeros, a, zeros, b) == pytest.approx(1 + 0 + 4)


def test_frechet_distance_of_full_covariances_agrees_with_scipy():
    generator = np.random.default_rng(3)
    a, b = (x @ x.T for x in generator.normal(size=(2, 5, 5)))
    mean = generator.normal(size=5)
    expected = mean @ mean + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert metrics.frechet_distance(mean, a, np.zeros(5), b) == pytest.approx(expected, rel=1e-6)


def test_statistics_by_hand():
    mean, covariance = metrics.statistics(np.float32([[0, 0], [2, 4]]))
    assert mean.tolist() == [1, 2]
    assert covariance.tolist() == [[2, 4], [4, 8]]
    with pytest.raises(ValueError, match="at least 2 rows, got 1"):
        metrics.statistics(np.zeros((1, 2), np.float32))


def test_absent_networks_leave_the_cell_unmeasured(tmp_path, monkeypatch):
    monkeypatch.setenv("GENEFACE_KIT_NETWORKS", str(tmp_path))
    for value in (metrics.fid(grey(0), grey(0)), metrics.lpips(grey(0), grey(0)), metrics.lse()):
        assert str(value) == "not measured" and value.reason


class ToyInception(torch.nn.Module):
    """Two features of a picture: means of its red and green, times two."""

    def forward(self, pictures: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return 2.0 * pictures.float().mean(dim=[2, 3])[:, :2]


class ToyVgg(torch.nn.Module):
    """One feature per picture: its mean over 255."""

    def forward(
        self, pictures: torch.Tensor, resize_images: bool = True, return_lpips: bool = False
    ) -> torch.Tensor:
        return pictures.mean(dim=[1, 2, 3])[:, None] / 255.0


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # the published format
def test_networks_in_the_folder_are_used(tmp_path, monkeypatch):
    monkeypatch.setenv("GENEFACE_KIT_NETWORKS", str(tmp_path))
    torch.jit.script(ToyInception()).save(str(tmp_path / "inception-2015-12-05.pt"))
    torch.jit.script(ToyVgg()).save(str(tmp_path / "vgg16.pt"))
    spread = np.concatenate([grey(10, 1), grey(20, 1)])
    shifted = spread + np.uint8(3)
    # Same covariance, means 6 apart in both features: 2 * 6^2.
    assert metrics.fid(shifted, spread) == pytest.approx(72, abs=1e-3)
    assert metrics.lpips(grey(51), grey(0)) == pytest.approx(0.04)
