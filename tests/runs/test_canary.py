"""The shape checker is on: a wrong shape, and a wrong type, raise."""

import pytest
import torch
from jaxtyping import TypeCheckError

from geneface_kit.person import camera
from geneface_kit.runs import weights


def test_a_wrong_shape_raises():
    with pytest.raises(TypeCheckError):
        camera.to_box(torch.zeros(5, 4))


def test_a_wrong_type_raises():
    with pytest.raises(TypeCheckError):
        weights.save_weights("a string", torch.nn.Linear(1, 1))
