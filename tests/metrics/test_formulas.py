"""Metrics of pictures, landmarks and features against numbers worked out by hand."""

import re

import numpy as np
import pytest
from scipy.linalg import sqrtm

from geneface_kit.metrics import formulas


def grey(value, n=2, size=32):
    return np.full((n, size, size, 3), value, np.uint8)


def points(n=3):
    return np.random.default_rng(0).uniform(0, 256, (n, 68, 2)).astype(np.float32)


def test_psnr_of_a_known_difference():
    assert formulas.psnr(grey(51), grey(102)) == pytest.approx(20 * np.log10(5))  # 255 / 51
    assert formulas.psnr(grey(7), grey(7)) == np.inf


def test_psnr_averages_decibels_over_frames():
    predicted = np.concatenate([grey(51, 1), grey(153, 1)])
    expected = (20 * np.log10(5) + 20 * np.log10(255 / 153)) / 2
    assert formulas.psnr(predicted, grey(0)) == pytest.approx(expected)


def test_psnr_mask_counts_only_its_pixels():
    predicted, mask = grey(0), np.zeros((2, 32, 32), bool)
    predicted[:, :4, :4] = 51
    mask[:, :4, :4] = True
    assert formulas.psnr(predicted, grey(0), mask=mask) == pytest.approx(20 * np.log10(5))
    with pytest.raises(ValueError, match="mask leaves no pixel"):
        formulas.psnr(predicted, grey(0), mask=np.zeros((2, 32, 32), bool))
    with pytest.raises(ValueError, match=r"mask must be \(2, 32, 32\)"):
        formulas.psnr(predicted, grey(0), mask=np.ones((1, 32, 32), bool))


@pytest.mark.parametrize("measure", [formulas.psnr, formulas.ssim])
def test_frames_that_do_not_belong_together_are_refused(measure):
    for other, shape in ((grey(0, n=3), "(3, 32, 32, 3)"), (grey(0, size=16), "(2, 16, 16, 3)")):
        with pytest.raises(ValueError, match=re.escape(f"got (2, 32, 32, 3) and {shape}")):
            measure(grey(0), other)
    with pytest.raises(ValueError, match=r"same frames, of one size, got \(0, 32, 32, 3\)"):
        measure(grey(0, n=0), grey(0, n=0))


def test_ssim_is_one_for_equal_and_the_luminance_term_for_flat_frames():
    noise = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    assert formulas.ssim(noise, noise) == pytest.approx(1)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert formulas.ssim(grey(100), grey(120)) == pytest.approx(expected, abs=1e-6)


def test_ssim_mask_averages_the_map_over_its_pixels():
    predicted, mask = grey(100), np.zeros((2, 32, 32), bool)
    predicted[:, :, 16:] = 120
    mask[:, :, 24:] = True  # 8 px from the step: its windows, 11 wide, see flat pictures only
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert formulas.ssim(predicted, grey(100), mask=mask) == pytest.approx(expected, abs=1e-6)
    assert formulas.ssim(predicted, grey(100), mask=mask[:, :, ::-1]) == pytest.approx(1)


def test_lmd_is_in_512_equivalent_pixels_without_alignment():
    truth = points()
    moved = truth + np.float32([3, 4])
    assert formulas.lmd(moved, truth, 256) == pytest.approx(10, rel=1e-5)
    assert formulas.lmd(moved, truth, 512) == pytest.approx(5, rel=1e-5)


def test_centred_lmd_of_lips_forgives_a_shift_but_no_stretch():
    truth = points()
    moved = truth.copy()
    moved[:, 48:] += np.float32([3, 4])
    assert formulas.lmd(moved[:, 48:], truth[:, 48:], 256, centred=True) == pytest.approx(
        0, abs=1e-4
    )
    assert formulas.lmd(moved[:, 48:], truth[:, 48:], 256) == pytest.approx(10, rel=1e-5)
    truth[:, 48:] = 0
    truth[:, 48:58, 0], truth[:, 58:, 0] = -10, 10
    wider = truth * np.float32([1.5, 1])  # each lip point 5 px from its place
    assert formulas.lmd(wider[:, 48:], truth[:, 48:], 512, centred=True) == pytest.approx(5)


def test_pearson_of_a_line_of_a_hand_worked_pair_and_of_nothing_that_moves():
    curve = np.float32([0, 1, 2, 1])
    assert formulas.pearson(curve, 3 - 2 * curve) == pytest.approx(-1)
    # deviations (-1, 0, 1) and (-1, 1, 0): 1 / sqrt(2 * 2)
    assert formulas.pearson(np.arange(3.0), np.array([0.0, 2, 1])) == pytest.approx(0.5)
    assert np.isnan(formulas.pearson(curve, np.ones(4)))
    assert formulas.pearson(curve, np.ones(4), still=0.0) == 0
    with pytest.raises(ValueError, match=r"same frames, of one size, got \(4,\) and \(3,\)"):
        formulas.pearson(curve, np.ones(3))


def test_psnr_of_an_error_has_the_floor_that_it_is_given():
    assert formulas.psnr_of_error(0.01) == pytest.approx(20)
    assert formulas.psnr_of_error(0.01 * 255**2, peak=255.0) == pytest.approx(20)
    assert formulas.psnr_of_error(0.0) == 120 and formulas.psnr_of_error(0.0, floor=0.0) == np.inf


def test_frechet_distance_by_hand():
    one = formulas.frechet_of_gaussians(
        np.zeros(1), np.ones((1, 1)), np.array([3.0]), np.array([[4.0]])
    )
    assert one == pytest.approx(10)
    a, b = np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 4.0, 1.0])
    zeros = np.zeros(3)
    assert formulas.frechet_of_gaussians(zeros, a, zeros, b) == pytest.approx(1 + 0 + 4)


def test_frechet_distance_of_full_covariances_agrees_with_scipy():
    generator = np.random.default_rng(3)
    a, b = (x @ x.T for x in generator.normal(size=(2, 5, 5)))
    mean = generator.normal(size=5)
    expected = mean @ mean + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert formulas.frechet_of_gaussians(mean, a, np.zeros(5), b) == pytest.approx(
        expected, rel=1e-6
    )


def test_statistics_by_hand():
    """Means (1, 2) and (0, 0), the same covariance ((2, 4), (4, 8)): 1 + 4."""
    pair = np.float32([[0, 0], [2, 4]])
    assert formulas.frechet_distance(pair, pair - [1, 2]) == pytest.approx(5)
    with pytest.raises(ValueError, match="at least 2 rows, got 1 and 2"):
        formulas.frechet_distance(pair[:1], pair)


def test_distance_of_gaussian_features_is_the_closed_form():
    generator = np.random.default_rng(0)
    a = generator.normal(0, 1, (20_000, 4))
    b = generator.normal(0, 2, (20_000, 4)) + np.array([3, 0, 0, 0])
    # |3|^2 and, in each of four dimensions, (1 - 2)^2.
    assert formulas.frechet_distance(a, b) == pytest.approx(9 + 4, rel=0.02)


def test_distance_falls_with_the_number_of_samples_as_stated():
    generator = np.random.default_rng(0)
    c, means = 8, []
    for n in (64, 256, 1024):
        pairs = generator.normal(size=(40, 2, n, c))
        means.append(np.mean([formulas.frechet_distance(a, b) for a, b in pairs]))
    assert means[0] > 2 * means[1] > 4 * means[2] > 0, "the true distance is 0"
    assert means[2] == pytest.approx((2 * c + c * (c + 1) / 2) / 1024, rel=0.1)
