"""Demo raster: triangles on the picture plane -> the front-most one at every pixel.

A z-buffer as one Warp kernel (CPU or CUDA); everything after it is numpy on the covered pixels.
"""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
import warp as wp
from jaxtyping import Float, Int

__all__ = ["Fragments", "cover"]

EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class Fragments:
    """The covered pixels of a picture.

    pixels: flat row-major pixel index; faces: the front-most face there; weights: perspective-true
    barycentric weights of its corners.
    """

    pixels: Int[np.ndarray, " n"]
    faces: Int[np.ndarray, " n"]
    weights: Float[np.ndarray, "n 3"]

    def blend(self, corners: Int[np.ndarray, "f 3"], values: np.ndarray) -> np.ndarray:
        """Per-vertex values (v, ...) interpolated at the covered pixels, (n, ...)."""
        picked = values[corners[self.faces]]
        return np.einsum("nk,nk...->n...", self.weights, picked)


@no_type_check  # the types of a kernel are Warp's
@wp.kernel
def _nearest(
    points: wp.array(dtype=wp.vec3),
    corners: wp.array2d(dtype=wp.int32),
    strand: wp.array(dtype=wp.vec3),
    mask: wp.array2d(dtype=wp.float32),
    width: int,
    height: int,
    buffer: wp.array2d(dtype=wp.uint64),
):
    face = wp.tid()
    ia = corners[face, 0]
    ib = corners[face, 1]
    ic = corners[face, 2]
    a = points[ia]
    b = points[ib]
    c = points[ic]
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    if wp.abs(area) < 1.0e-12:
        return
    x0 = wp.max(0, int(wp.floor(wp.min(a[0], wp.min(b[0], c[0])) - 0.5)))
    x1 = wp.min(width - 1, int(wp.ceil(wp.max(a[0], wp.max(b[0], c[0])) - 0.5)))
    y0 = wp.max(0, int(wp.floor(wp.min(a[1], wp.min(b[1], c[1])) - 0.5)))
    y1 = wp.min(height - 1, int(wp.ceil(wp.max(a[1], wp.max(b[1], c[1])) - 0.5)))
    for y in range(y0, y1 + 1):
        for x in range(x0, x1 + 1):
            px = float(x) + 0.5
            py = float(y) + 0.5
            u = ((b[0] - px) * (c[1] - py) - (b[1] - py) * (c[0] - px)) / area
            v = ((c[0] - px) * (a[1] - py) - (c[1] - py) * (a[0] - px)) / area
            w = 1.0 - u - v
            if u >= 0.0 and v >= 0.0 and w >= 0.0:
                near = u * a[2] + v * b[2] + w * c[2]  # 1 / depth is linear on the picture plane
                hair = (
                    u * a[2] * strand[ia] + v * b[2] * strand[ib] + w * c[2] * strand[ic]
                ) / near
                keep = wp.float32(1.0)
                if hair[2] > 0.0:
                    rows = mask.shape[0]
                    columns = mask.shape[1]
                    turn = hair[0] - wp.floor(hair[0])
                    i = wp.min(rows - 1, int(turn * float(rows)))
                    j = wp.clamp(int(hair[1] * float(columns)), 0, columns - 1)
                    keep = mask[i, j] - hair[2]
                if keep > 0.0:
                    depth = wp.uint64(wp.clamp(1.0 / near, 0.0, 4000.0) * 1.0e6)
                    key = depth * wp.uint64(4294967296) + wp.uint64(face)
                    wp.atomic_min(buffer, y, x, key)


def cover(
    points: Float[np.ndarray, "v 3"],
    corners: Int[np.ndarray, "f 3"],
    width: int,
    height: int,
    *,
    strand: Float[np.ndarray, "v 3"] | None = None,
    mask: Float[np.ndarray, "a b"] | None = None,
) -> Fragments:
    """The front-most face at every pixel centre.

    points: x and y in pixels (y down) and 1 / depth, depth positive and below 4000.
    strand: per vertex (turn, along, threshold). Where the threshold is positive the face is hair:
    it covers a pixel only if mask[turn, along] exceeds the threshold. 0 means solid.
    """
    wp.config.quiet = True
    strand = np.zeros_like(points) if strand is None else strand
    mask = np.ones((1, 1), np.float32) if mask is None else mask
    buffer = wp.full((height, width), int(EMPTY), dtype=wp.uint64, device="cpu")
    wp.launch(
        _nearest,
        dim=len(corners),
        inputs=[
            wp.array(np.ascontiguousarray(points, np.float32), dtype=wp.vec3, device="cpu"),
            wp.array(np.ascontiguousarray(corners, np.int32), dtype=wp.int32, device="cpu"),
            wp.array(np.ascontiguousarray(strand, np.float32), dtype=wp.vec3, device="cpu"),
            wp.array(np.ascontiguousarray(mask, np.float32), dtype=wp.float32, device="cpu"),
            width,
            height,
        ],
        outputs=[buffer],
        device="cpu",
    )
    keys = buffer.numpy().ravel()
    pixels = np.flatnonzero(keys != EMPTY)
    faces = (keys[pixels] & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return Fragments(pixels, faces, _weights(points, corners[faces], pixels, width))


def _weights(points: np.ndarray, corners: np.ndarray, pixels: np.ndarray, width: int) -> np.ndarray:
    a, b, c = (points[corners[:, k]].astype(np.float32) for k in range(3))
    x = (pixels % width + 0.5).astype(np.float32)
    y = (pixels // width + 0.5).astype(np.float32)
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    u = ((b[:, 0] - x) * (c[:, 1] - y) - (b[:, 1] - y) * (c[:, 0] - x)) / area
    v = ((c[:, 0] - x) * (a[:, 1] - y) - (c[:, 1] - y) * (a[:, 0] - x)) / area
    near = np.stack([u * a[:, 2], v * b[:, 2], (1 - u - v) * c[:, 2]], axis=1)
    return near / near.sum(axis=1, keepdims=True)
