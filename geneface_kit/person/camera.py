"""Camera: head frame <-> picture. The only home of axis conventions, poses and rays.

Head frame (the world): origin midway between the outer eye corners of the person's mean shape,
x to the picture's right, y up, z towards the camera. Unit: the inter-ocular distance, that is
the distance of the outer eye corners (iBUG points 36 and 45) of the mean shape.

Camera: looks along its own -z, x right, y up (OpenGL). A pose is camera-to-world, (4, 4).
Pixel (column i, row j) has its centre at (i + 0.5, j + 0.5); the principal point is the centre.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation
from torch import Tensor

BOX_CENTRE = (0.0, -0.1, -0.8)
"""Centre of the head box of the NeRF, head-frame units: below the eyes, inside the skull."""
BOX_HALF = 2.2  # half the edge of the head box, iod: hair, ears and chin fit with margin


@dataclass(frozen=True)
class Rays:
    """Rays in the head frame, directions of unit length."""

    origins: Float[Tensor, "n 3"]
    directions: Float[Tensor, "n 3"]


def pose_from_head(
    rotation: Float[np.ndarray, "t 3 3"], translation: Float[np.ndarray, "t 3"]
) -> Float[np.ndarray, "t 4 4"]:
    """Camera-to-world poses from the head's motion in the camera frame (x right, y up, looking
    along -z): there the head point X sits at R X + t, so the camera's pose is [R^T | -R^T t]."""
    poses = np.tile(np.eye(4, dtype=np.float32), (len(rotation), 1, 1))
    poses[:, :3, :3] = rotation.transpose(0, 2, 1)
    poses[:, :3, 3] = -np.einsum("tji,tj->ti", rotation, translation)
    return poses


def euler_degrees(poses: Float[np.ndarray, "t 4 4"]) -> Float[np.ndarray, "t 3"]:
    """Pitch (nod), yaw (turn), roll (tilt) of the head in degrees; 0 faces the camera."""
    head = poses[:, :3, :3].transpose(0, 2, 1)  # head to camera
    yaw_pitch_roll = Rotation.from_matrix(head).as_euler("YXZ", degrees=True)
    return yaw_pitch_roll[:, [1, 0, 2]].astype(np.float32)


def project(
    points: Float[np.ndarray, "*b n 3"], pose: Float[np.ndarray, "*b 4 4"], focal: float, size: int
) -> Float[np.ndarray, "*b n 2"]:
    """Pixel positions of head-frame points: u = size/2 + f x / -z, v = size/2 - f y / -z.

    pose: camera-to-world; focal: pixels of a picture of `size` x `size`. A point one unit to the
    right at distance 4 with f = 400 lands 100 px right of the centre.
    """
    seen = (points - pose[..., None, :3, 3]) @ pose[..., :3, :3]
    depth = -seen[..., 2]
    u = size / 2 + focal * seen[..., 0] / depth
    v = size / 2 - focal * seen[..., 1] / depth
    return np.stack([u, v], axis=-1)


def rays(pose: Float[Tensor, "4 4"], focal: float, size: int, pixels: Int[Tensor, "n 2"]) -> Rays:
    """Rays through the centres of pixels, columns and rows of a picture of `size` x `size`."""
    if not bool(torch.isfinite(pose).all()):
        raise ValueError("pose holds NaN or infinite values; prepare the person again")
    x, y = ((pixels.to(pose.dtype) + 0.5 - size / 2) / focal).unbind(-1)
    looking = torch.stack([x, -y, -torch.ones_like(x)], dim=-1)
    directions = torch.nn.functional.normalize(looking @ pose[:3, :3].T, dim=-1)
    return Rays(pose[:3, 3].expand_as(directions), directions)


def to_box(points: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """Head-frame points in coordinates of the head box: inside it all three are in [0, 1]."""
    return (points - points.new_tensor(BOX_CENTRE)) / (2 * BOX_HALF) + 0.5


def from_box(points: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """Points of the head box, coordinates in [0, 1], back in the head frame."""
    return (points - 0.5) * (2 * BOX_HALF) + points.new_tensor(BOX_CENTRE)
