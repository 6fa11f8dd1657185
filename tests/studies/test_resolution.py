"""Resolution: pictures that are enlarged, and what is measured of them."""

from dataclasses import replace

import acting
import cv2
import numpy as np
import pytest

from geneface_kit.person.segmentation import HEAD
from notebooks.studies.resolution import enlarged, measured


def test_pictures_are_enlarged_and_those_of_the_size_stay():
    pictures = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3), dtype=np.uint8)
    assert np.array_equal(enlarged(pictures, 16), pictures)
    flat = np.full((1, 16, 16, 3), 7, np.uint8)
    assert np.array_equal(enlarged(flat, 40), np.full((1, 40, 40, 3), 7, np.uint8))


def test_soft_pictures_lose_detail_and_what_no_network_saw_is_no_number(tmp_path):
    person = acting.person(tmp_path)
    noise = np.random.default_rng(0).integers(0, 255, person.frames.shape, dtype=np.uint8)
    labels = np.full(noise.shape[:3], HEAD, np.uint8)
    person = replace(person, frames=noise, labels=labels)
    frames = [40, 42, 43]
    same = measured(person, frames, noise[frames])
    soft = measured(person, frames, np.stack([cv2.blur(one, (3, 3)) for one in noise[frames]]))
    assert same["detail"] == pytest.approx(1) and soft["detail"] < 0.3
    assert same["head_psnr"] > 100 > soft["head_psnr"]
    assert np.isnan(same["lips_px"]) and np.isnan(same["vgg_hed"])
