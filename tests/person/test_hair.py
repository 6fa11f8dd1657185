"""Hair below the jaw: whose it is, and what the labels leave free, on small drawn pictures."""

import numpy as np
import pytest

from geneface_kit.person.segmentation import (
    FREE,
    HEAD,
    SURE_HEAD,
    SURE_NOT,
    TORSO,
    Palette,
    label_frame,
    label_kinds,
    learn_palette,
)
from tests.person.test_segmentation import SIZE, drawn_person

BROWN, BLUE, SKIN = (70, 45, 30), (30, 40, 140), (200, 150, 130)


def dressed(
    hair_to: int,
    clothes: tuple[int, int, int],
    jewel: tuple[slice, slice] = np.s_[:0, :0],
    colour: tuple[int, int, int] = (240, 220, 60),
) -> tuple[np.ndarray, np.ndarray, Palette]:
    """The drawn person with brown hair from the crown down to a row, in clothes of a colour, with
    a jewel of another one: labels, kinds and palette.

    Eyes are 32 px apart, mouth corners lie at row 68, the chin at 82; hair hangs in columns 29-41
    and 86-98, and may rest on the shoulders from row 90.
    """
    frame, person, points = drawn_person()
    frame[(frame == BLUE).all(-1)] = clothes
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    away = np.abs(columns - 64)
    hair = (rows > 14) & (rows < 30) & (away < 35) | (away > 22) & (away < 35) & (rows > 14)
    hair &= rows < hair_to
    frame[hair], person[hair] = BROWN, 1
    frame[jewel] = colour
    palette = learn_palette([(frame, person, points)])
    labels = label_frame(frame, person, points, palette)
    return labels, label_kinds(frame, labels, points, palette), palette


def test_hair_over_clothes_of_another_colour_is_the_heads_and_free_on_the_shoulders():
    labels, kinds, palette = dressed(128, BLUE)
    assert palette.long_hair.all()
    beside = np.s_[74:84, 34:37]  # below the mouth, above the shoulders
    assert (labels[beside] == HEAD).all() and (kinds[beside] == SURE_HEAD).all()
    resting = np.s_[100:110, 31:40]
    assert (labels[resting] == HEAD).all() and (kinds[resting] == FREE).all()
    beyond = np.s_[118:122, 31:40]  # more than an eye distance below the chin
    assert (labels[beyond] == TORSO).all() and (kinds[beyond] == FREE).all()
    for shirt in (np.s_[105:125, 52:76], np.s_[122:126, 15:20]):
        assert (labels[shirt] == TORSO).all() and (kinds[shirt] == SURE_NOT).all()


def test_hair_of_the_clothes_colour_is_the_heads_above_the_shoulders_and_free_below():
    labels, kinds, _ = dressed(128, BROWN)
    beside = np.s_[74:84, 34:37]
    assert (labels[beside] == HEAD).all() and (kinds[beside] == SURE_HEAD).all()
    resting = np.s_[102:118, 31:40]
    assert (labels[resting] == TORSO).all() and (kinds[resting] == FREE).all()


def test_short_hair_leaves_clothes_of_its_colour_alone():
    labels, kinds, palette = dressed(60, BROWN)
    assert not palette.long_hair.any()
    assert not (labels[84:] == HEAD).any()
    assert (kinds[100:] == SURE_NOT).all()


def test_labels_are_sure_but_for_a_band_along_the_heads_border():
    labels, kinds, _ = dressed(60, BLUE)
    is_head = labels == HEAD
    assert is_head[kinds == SURE_HEAD].all() and not is_head[kinds == SURE_NOT].any()
    # BAND is 3 pixels of this picture; column 64 meets the crown at row 14, the jaw at 82
    column = kinds[:, 64]
    assert (column[12:14] == FREE).all() and (column[:11] == SURE_NOT).all()
    assert (column[18:78] == SURE_HEAD).all() and column[83] == FREE and column[87] == SURE_NOT


def test_a_jewel_in_the_hair_is_the_heads():
    jewel = np.s_[72:77, 32:36]
    labels, _, _ = dressed(128, BLUE, jewel)
    assert (labels[jewel] == HEAD).all()


def test_a_light_strand_that_hangs_to_the_shoulders_is_the_heads_above_the_chin():
    strand = np.s_[66:128, 29:34]
    labels, kinds, _ = dressed(128, BLUE, strand, BLUE)  # as light as the clothes
    assert (labels[strand][:14] == HEAD).all() and not (kinds[strand][:14] == SURE_NOT).any()
    assert (labels[strand][-4:] == TORSO).all()


@pytest.mark.parametrize("colour, is_hair", [(BROWN, True), (BLUE, False), (SKIN, False)])
def test_a_palette_tells_hair_from_clothes_and_skin(colour, is_hair):
    _, _, palette = dressed(128, BLUE)
    picture = np.full((8, 8, 3), colour, np.uint8)
    assert (palette.hair_probability(picture).mean() > 0.5) == is_hair
