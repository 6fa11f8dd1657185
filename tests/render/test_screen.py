"""Screen: which pixels are evaluated, and what the others become."""

import pytest
import torch

from geneface_kit.render.screen import _doubled, adaptive_sampling


def picture(function, asked):
    """An `evaluate` of one channel that notes how many pixels it was asked for."""

    def evaluate(pixels):
        asked.append(len(pixels))
        return function(pixels[:, 0].float(), pixels[:, 1].float())[:, None]

    return evaluate


def everywhere(height, width):
    return torch.ones(height, width, dtype=torch.bool)


def test_one_colour_needs_a_quarter_of_the_pixels():
    asked: list[int] = []
    evaluate = picture(lambda x, y: 0 * x + 0.7, asked)
    found = adaptive_sampling(evaluate, everywhere(8, 8), n_channels=1, tolerance=0.01, stride=2)
    assert sum(asked) == 16 and torch.equal(found, torch.full((8, 8, 1), 0.7))


def test_a_ramp_within_the_tolerance_is_interpolated_exactly():
    evaluate = picture(lambda x, y: 0.01 * x + 0.02 * y, [])
    found = adaptive_sampling(evaluate, everywhere(9, 9), n_channels=1, tolerance=0.2, stride=4)
    rows, columns = torch.meshgrid(torch.arange(9), torch.arange(9), indexing="ij")
    torch.testing.assert_close(found[..., 0], 0.01 * columns + 0.02 * rows)


def test_an_edge_is_evaluated_pixel_by_pixel():
    step = lambda x, y: (x > 4).float()  # noqa: E731
    asked: list[int] = []
    found = adaptive_sampling(
        picture(step, asked), everywhere(8, 8), n_channels=1, tolerance=0.1, stride=2
    )
    expected = (torch.arange(8) > 4).float().expand(8, 8)
    assert torch.equal(found[..., 0], expected) and sum(asked) < 64


def test_outside_the_mask_is_zero_and_never_asked():
    mask = everywhere(6, 6)
    mask[:, 3:] = False
    seen = []

    def evaluate(pixels):
        seen.append(pixels)
        return torch.ones(len(pixels), 1)

    found = adaptive_sampling(evaluate, mask, n_channels=1, tolerance=0.1, stride=2)
    assert torch.equal(found[..., 0], mask.float())
    assert bool((torch.cat(seen)[:, 0] < 3).all())


def test_only_the_part_with_pixels_matters():
    # the same shape in a large and in a small picture, moved by whole strides: the same values
    function = lambda x, y: torch.sin(x * y / 9)  # noqa: E731
    small, large = everywhere(9, 11), torch.zeros(64, 48, dtype=torch.bool)
    small[3:] &= torch.rand(6, 11, generator=torch.Generator().manual_seed(0)) > 0.2
    large[16:25, 8:19] = small
    counts: list[list[int]] = [[], []]
    found = adaptive_sampling(
        picture(function, counts[0]), small, n_channels=1, tolerance=0.1, stride=4
    )
    moved = lambda x, y: function(x - 8, y - 16)  # noqa: E731
    whole = adaptive_sampling(
        picture(moved, counts[1]), large, n_channels=1, tolerance=0.1, stride=4
    )
    assert whole.shape == (64, 48, 1) and int((whole != 0).sum()) <= int(small.sum())
    interior = (slice(16, 24), slice(8, 16))  # at its own edge the small picture repeats itself
    assert torch.equal(whole[interior], found[:8, :8])
    assert not adaptive_sampling(
        picture(function, []), torch.zeros(8, 8, dtype=torch.bool), n_channels=1, tolerance=0.1,
        stride=2,
    ).any()  # fmt: skip


def test_only_watched_channels_decide():
    def evaluate(pixels):
        return torch.stack([0.0 * pixels[:, 0], (pixels[:, 0] % 4).float()], -1)

    counted = {}
    for n_watched in (1, 2):
        asked: list[int] = []

        def counting(pixels, asked=asked):
            asked.append(len(pixels))
            return evaluate(pixels)

        adaptive_sampling(
            counting,
            everywhere(8, 8),
            n_channels=2,
            n_watched=n_watched,
            tolerance=0.1,
            stride=2,
        )
        counted[n_watched] = sum(asked)
    assert counted[1] == 16 < counted[2]


def test_stride_one_asks_for_every_pixel_of_the_mask():
    asked: list[int] = []
    adaptive_sampling(
        picture(lambda x, y: x, asked), everywhere(5, 7), n_channels=1, tolerance=9.0, stride=1
    )
    assert asked == [35]
    with pytest.raises(ValueError, match="stride must be a power of two, got 3"):
        adaptive_sampling(lambda p: p, everywhere(4, 4), n_channels=1, tolerance=0.1, stride=3)


def test_a_new_pixel_is_the_mean_of_the_four_around_it_and_asked_where_they_differ():
    torch.manual_seed(0)
    values, inside = torch.rand(5, 7, 3), torch.rand(10, 14) < 0.7
    inside[9, 13] = inside[3, 4] = True
    found, wanted = _doubled(values, inside, 2, 0.5)
    for row, column in inside.nonzero().tolist():
        rows, columns = (row // 2, (row + 1) // 2), (column // 2, (column + 1) // 2)
        four = values[[min(y, 4) for y in rows]][:, [min(x, 6) for x in columns]].flatten(0, 1)
        torch.testing.assert_close(found[row, column], four.mean(0))
        spread = (four.amax(0) - four.amin(0))[:2].amax()
        assert wanted[row, column] == (spread > 0.5)
    assert not found[~inside].any() and 0 < int(wanted.sum()) < int(inside.sum())
