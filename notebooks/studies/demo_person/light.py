"""Demo light: looks of surface fragments -> linear light, and the steps before and after.

Wrapped diffuse light with a red bleed (skin), a key and a fill light, sky and ground, a soft shadow
map, screen-space occlusion, highlights, and the wall behind.
"""

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.ndimage import gaussian_filter

from notebooks.studies.demo_person import raster
from notebooks.studies.demo_person.paint import Look

__all__ = ["backdrop", "normals", "occlusion", "shade", "shadow", "to_srgb"]

KEY = np.array([-0.50, 0.55, 0.67]) / np.linalg.norm([-0.50, 0.55, 0.67])  # from the picture's left
FILL = np.array([0.75, 0.10, 0.65]) / np.linalg.norm([0.75, 0.10, 0.65])
RIM = np.array([0.55, 0.45, -0.70]) / np.linalg.norm([0.55, 0.45, -0.70])
KEY_COLOR = np.array([2.15, 2.02, 1.86])
FILL_COLOR = np.array([0.50, 0.56, 0.66])
RIM_COLOR = np.array([0.55, 0.58, 0.62])
SKY = np.array([0.52, 0.56, 0.62])
GROUND = np.array([0.34, 0.29, 0.26])


def shade(
    look: Look,
    view: Float[np.ndarray, "n 3"],
    occlusion: Float[np.ndarray, " n"],
    shadow: Float[np.ndarray, " n"],
) -> Float[np.ndarray, "n 3"]:
    """Linear light that reaches the camera from every fragment.

    view: unit vectors to the camera; occlusion and shadow: 1 open .. 0 dark.
    """
    normal = look.normal
    key = normal @ KEY
    wrap = look.bleed[:, None] * np.array([1.0, 0.45, 0.3])
    lit = np.clip((key[:, None] + wrap) / (1 + wrap), 0, None)
    soft = shadow[:, None] ** (1 / (1 + 1.2 * wrap))
    fill = np.clip((normal @ FILL + 0.4) / 1.4, 0, None)[:, None]
    up = (normal[:, 1:2] * 0.5 + 0.5) ** 1.0
    ambient = SKY * up + GROUND * (1 - up)
    close = occlusion[:, None] ** np.array([0.8, 1.0, 1.05])
    light = KEY_COLOR * lit * soft + FILL_COLOR * fill * close + ambient * close
    color = look.albedo * light * (0.45 + 0.55 * close) / np.pi * 2.0
    facing = (normal * view).sum(1)
    edge = np.clip(1 - facing, 0, 1) * (facing > -0.1)
    glow = np.clip(normal @ RIM, 0, 1) * edge**2
    color += glow[:, None] * RIM_COLOR * (0.2 + look.albedo)
    for towards, strength in ((KEY, KEY_COLOR * soft), (FILL, FILL_COLOR * close)):
        color += look.highlight(towards, view, strength)
    return color


def shadow(
    points: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    here: Float[np.ndarray, "n 3"],
    *,
    reach: float,
    strand: Float[np.ndarray, "v 3"],
    mask: Float[np.ndarray, "a b"],
) -> Float[np.ndarray, " n"]:
    """1 where the key light arrives, 0 in shadow, with a soft edge, at the places `here`.

    points are centred on the eyes; reach is half the width that the light covers, dm.
    """
    size = 512
    across = np.cross([0, 1, 0], KEY)
    across /= np.linalg.norm(across)
    axes = np.stack([across, np.cross(KEY, across), KEY])
    seen = points @ axes.T
    scale = size / 2 / reach
    flat = size / 2 + seen[:, :2] * scale
    screen = np.column_stack([flat, 1 / (50 - seen[:, 2])])
    found = raster.cover(screen, faces, size, size, strand=strand, mask=mask)
    depth = np.full(size * size, 90.0, np.float32)
    depth[found.pixels] = 50 - found.blend(faces, seen[:, 2])
    here = here @ axes.T
    column, row = (here[:, :2] * scale + size / 2).T
    lit = np.zeros(len(here), np.float32)
    taps = [(0, 0)] + [
        (r * np.cos(a), r * np.sin(a)) for r in (2.2, 4.5) for a in np.arange(6) * np.pi / 3 + r
    ]
    for dx, dy in taps:
        i = np.clip((row + dy).astype(int), 0, size - 1)
        j = np.clip((column + dx).astype(int), 0, size - 1)
        behind = (50 - here[:, 2]) - depth[i * size + j]
        lit += 1 - np.clip((behind - 0.03) / 0.05, 0, 1)
    return lit / len(taps)


def occlusion(
    pixels: Int[np.ndarray, " n"], depth: Float[np.ndarray, " n"], width: int, coarse: int
) -> Float[np.ndarray, " n"]:
    """How far a pixel lies behind its surroundings: 1 open .. 0 deep (screen-space occlusion).

    depth: inter-ocular distances; coarse: every how many pixels the surroundings are sampled.
    """
    picture = np.zeros(width * width, np.float32)
    here = np.zeros(width * width, np.float32)
    picture[pixels], here[pixels] = depth, 1
    picture = picture.reshape(width, width)[::coarse, ::coarse]
    here = here.reshape(width, width)[::coarse, ::coarse]
    rows, columns = np.divmod(pixels, width)
    at = (rows // coarse) * len(picture) + columns // coarse
    shade = np.ones(len(pixels), np.float32)
    for radius, strength in ((1.3, 4.0), (4, 2.2), (10, 0.9)):
        around = gaussian_filter(picture, radius, truncate=2) / np.maximum(
            gaussian_filter(here, radius, truncate=2), 1e-3
        )
        behind = depth - around.ravel()[at]
        shade *= np.exp(-strength * np.clip(behind, 0, 0.35))
    return shade


def normals(
    points: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Float[np.ndarray, "v 3"]:
    """Unit vertex normals: the mean of the faces around, weighted by their area."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a)
    total = np.zeros_like(points)
    for axis in range(3):
        for corner in range(3):
            total[:, axis] += np.bincount(faces[:, corner], flat[:, axis], len(points))
    return total / (np.linalg.norm(total, axis=1, keepdims=True) + 1e-12)


def backdrop(color: tuple[float, float, float], width: int) -> Float[np.ndarray, "w w 3"]:
    """A plain wall, a little brighter behind the head (linear light)."""
    y, x = np.mgrid[0:width, 0:width] / width
    glow = np.exp(-(((x - 0.56) / 0.62) ** 2 + ((y - 0.40) / 0.62) ** 2))
    return np.array(color) * (0.42 + 0.58 * glow[..., None])


def to_srgb(linear: Float[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Linear light to 8-bit sRGB with a soft shoulder for highlights."""
    bright = np.clip(linear, 0, None)
    knee = 0.70
    over = np.clip(bright - knee, 0, None)
    bright = np.where(bright > knee, knee + over / (1 + over / (1.02 - knee)), bright)
    encoded = np.where(
        bright <= 0.0031308, 12.92 * bright, 1.055 * np.maximum(bright, 1e-6) ** (1 / 2.4) - 0.055
    )
    return np.round(np.clip(encoded, 0, 1) * 255).astype(np.uint8)
