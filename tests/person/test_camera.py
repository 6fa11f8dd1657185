"""The camera's conventions, with numbers a reader can check by hand."""

import numpy as np
import pytest
import torch

from geneface_kit.person import camera


def front(distance: float) -> np.ndarray:
    """A camera on the z axis looking at the head."""
    pose = np.eye(4, dtype=np.float32)
    pose[2, 3] = distance
    return pose


def test_right_is_right_and_up_is_up():
    points = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 0]], np.float32)
    seen = camera.project(points, front(4.0), 400.0, 256)
    assert seen == pytest.approx(np.array([[228.0, 128], [128, 28], [128, 128]]))


def test_a_ray_goes_through_the_point_its_pixel_shows():
    pose = torch.from_numpy(front(4.0))
    bundle = camera.rays(pose, 400.0, 256, torch.tensor([[227, 128]]))
    t = -bundle.origins[:, 2] / bundle.directions[:, 2]
    hit = bundle.origins + t[:, None] * bundle.directions
    # the pixel's centre is (227.5, 128.5): half a pixel left of and below the point (1, 0, 0)
    assert hit[0].tolist() == pytest.approx([0.995, -0.005, 0.0], abs=1e-6)
    assert bundle.directions.norm(dim=-1).item() == pytest.approx(1.0, abs=1e-6)


def test_pose_from_head_inverts_the_heads_motion():
    angle = 0.3
    rotation = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]],
        np.float32,
    )[None]
    translation = np.array([[0.2, -0.1, -5.0]], np.float32)
    pose = camera.pose_from_head(rotation, translation)
    point = np.array([[0.3, 0.4, 0.5]], np.float32)
    in_camera = rotation[0] @ point[0] + translation[0]
    expected = [128 - 300 * in_camera[0] / in_camera[2], 128 + 300 * in_camera[1] / in_camera[2]]
    assert camera.project(point, pose[0], 300.0, 256)[0] == pytest.approx(expected, abs=1e-3)


def test_the_box_is_the_unit_cube():
    corner = torch.tensor(camera.BOX_CENTRE) + camera.BOX_HALF
    assert camera.to_box(corner[None])[0].tolist() == pytest.approx([1, 1, 1])


def test_nan_poses_are_refused():
    pose = torch.full((4, 4), float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        camera.rays(pose, 300.0, 64, torch.tensor([[0, 0]]))
