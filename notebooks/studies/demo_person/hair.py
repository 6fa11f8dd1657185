"""Demo hair: a bust and a hair cut -> shells around the skull, cut to strands by a mask.

The shells are star-shaped about a centre inside the skull. Each vertex carries (turn, along,
threshold): turn around and way along the strands that leave the whorl, and the threshold that the
strand mask must exceed for the hair to be there (see raster.cover).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from notebooks.studies.demo_person.mesh import Bust, above_jaw

__all__ = ["Cut", "Hair", "grow", "strand_mask"]


@dataclass(frozen=True)
class Cut:
    """A hair cut; lengths in dm, coordinates of the base mesh."""

    whorl: tuple[float, float, float] = (0.25, 0.75, -0.55)  # where strands start, from the centre
    thickness: float = 0.10  # of the shells over the scalp
    fuzz: float = 0.05  # further thickness of the loose outer strands
    bottom: float = 6.5  # y of the lowest hair at the back
    curtain: float = 0.0  # 1: hair hangs over the ears down to `bottom`; 0: cut around the ear
    sideburn: float = 7.3  # y of the lowest hair before the ear
    forehead: float = 8.0  # y of the hairline above the nose
    color: tuple[float, float, float] = (0.10, 0.055, 0.03)  # linear light
    shine: float = 0.5  # strength of the highlight along the strands


@dataclass(frozen=True)
class Hair:
    """points: rest shape, dm; faces: triangles; strand: (turn, along, threshold) per vertex."""

    points: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    strand: Float[np.ndarray, "v 3"]
    tangents: Float[np.ndarray, "v 3"]


ROWS, COLUMNS, SHELLS = 90, 180, 7
CENTRE = np.array([0.0, 7.35, 0.35])


def strand_mask(rng: np.random.Generator) -> Float[np.ndarray, "a b"]:
    """Noise in (0, 1], fine across the strands (rows) and long along them (columns)."""
    fine = gaussian_filter(rng.random((2048, 256)), (1.0, 14), mode="wrap")
    wisps = gaussian_filter(rng.random((2048, 256)), (9, 30), mode="wrap")
    mask = _spread(fine) * 0.65 + _spread(wisps) * 0.35
    return np.clip(_spread(mask) * 0.97 + 0.03, 0, 1).astype(np.float32)


def grow(bust: Bust, cut: Cut) -> Hair:
    """The shells of a cut on the skull of a bust."""
    directions, turn, along = _sphere(np.array(cut.whorl))
    centre, radius, scale = _skull(bust, directions)
    level = directions[:, 1] * radius / scale + CENTRE[1]
    hanging = np.clip((7.85 - level) / 0.5, 0, 1) * cut.curtain
    side = scale / np.hypot(directions[:, 0] / 0.76, directions[:, 2] / 0.92)
    side = np.minimum(side, 2.2 * scale)
    radius += hanging**2 * (3 - 2 * hanging) * np.maximum(side - radius, 0)
    inside, volume = _shape(CENTRE + directions * (radius / scale)[:, None], cut)
    points, strand, faces = [], [], []
    for shell in range(SHELLS):
        height = shell / (SHELLS - 1)
        lift = cut.thickness * volume + cut.fuzz * height * np.minimum(volume, 1)
        points.append(centre + directions * (radius + lift)[:, None])
        loose = 0.002 + 0.85 * height
        edge = 1.0 - np.clip((inside - 0.08 * height) / 0.14, 0, 1)
        threshold = np.where(inside > 0, np.maximum(loose, edge), 2.0)
        strand.append(np.stack([turn, along, threshold], axis=1))
        faces.append(_grid() + shell * len(directions))
    points = np.concatenate(points)
    fall = np.zeros_like(points).reshape(SHELLS, ROWS, COLUMNS, 3)
    fall[:] = np.gradient(points.reshape(SHELLS, ROWS, COLUMNS, 3), axis=1)
    tangents = fall.reshape(-1, 3)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True) + 1e-9
    strand, faces = np.concatenate(strand), np.concatenate(faces)
    visible = (strand[faces][:, :, 2] <= 1.5).any(1)
    return Hair(points, faces[visible], strand, tangents)


def _skull(bust: Bust, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Centre and radius of the skull in all directions, and its size over the base mesh's."""
    body = np.zeros(len(bust.points), bool)
    body[bust.faces[bust.parts == 0]] = True
    ear = (np.abs(bust.material[:, 0]) > 0.69) & (bust.material[:, 1] < 7.45)
    skull = body & ~ear & (above_jaw(bust.material) > 0) & (bust.cavity < 0.5)
    # the same directions about the centre of the base mesh and of this identity
    offset = bust.material[skull] - CENTRE
    centre = CENTRE + np.median(bust.points[skull] - bust.material[skull], axis=0)
    reach = np.linalg.norm(bust.points[skull] - centre, axis=1)
    tree = cKDTree(offset / np.linalg.norm(offset, axis=1, keepdims=True))
    distance, index = tree.query(directions, k=24)
    weight = np.exp(-((distance / 0.12) ** 2)) + 1e-9
    weight /= weight.sum(1, keepdims=True)
    scale = np.median(reach) / np.median(np.linalg.norm(offset, axis=1))
    return centre, (weight * reach[index]).sum(1), float(scale)


def _shape(material: np.ndarray, cut: Cut) -> tuple[np.ndarray, np.ndarray]:
    """Distance inside the hairline and the relative volume, per direction."""
    x, y, z = material.T
    back = np.interp(
        y,
        [cut.bottom, 6.75, 7.0, 7.25, 7.32, 7.55, 7.75, 7.9],
        [-0.05, 0.02, 0.12, 0.32, 0.78, 0.86, 0.95, 1.1],
    )
    ahead = np.interp(y, [6.2, 6.8, 7.3, 7.6, 7.9], [0.55, 0.68, 0.80, 0.92, 1.1])
    front = cut.curtain * ahead + (1 - cut.curtain) * back
    rise = np.clip((y - cut.forehead + 0.10) / 0.16, 0, None) * 0.4
    arch = 0.10 * np.clip(np.abs(x) / 0.5, 0, 1) ** 2
    front = np.where(y > 7.9, 1.1 + rise - arch, front)
    inside = np.minimum(front - z, y - cut.bottom)
    sideburn = np.minimum.reduce([0.80 - z, z - 0.58, y - cut.sideburn])
    inside = np.maximum(inside, sideburn)
    volume = 1.0 + 0.5 * np.clip((y - 7.6) / 0.8, 0, 1)
    ramp = np.where(z > 0.7, 0.60, 0.30)
    volume *= np.clip(inside / ramp, 0.05, 1) ** 0.7
    return inside, volume


def _sphere(whorl: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions on a grid whose pole is the whorl, with turn and way along in [0, 1]."""
    pole = whorl / np.linalg.norm(whorl)
    across = np.cross(pole, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across)
    third = np.cross(pole, across)
    along = np.linspace(0.002, 0.98, ROWS)
    turn = np.linspace(0, 1, COLUMNS)
    a, t = np.meshgrid(along * np.pi, turn * 2 * np.pi, indexing="ij")
    directions = (
        np.cos(a)[..., None] * pole
        + (np.sin(a) * np.cos(t))[..., None] * across
        + (np.sin(a) * np.sin(t))[..., None] * third
    )
    return directions.reshape(-1, 3), (t / 2 / np.pi).ravel(), (a / np.pi).ravel()


def _grid() -> np.ndarray:
    i, j = np.meshgrid(np.arange(ROWS - 1), np.arange(COLUMNS - 1), indexing="ij")
    a = (i * COLUMNS + j).ravel()
    first = np.stack([a, a + COLUMNS, a + 1], axis=1)
    second = np.stack([a + 1, a + COLUMNS, a + COLUMNS + 1], axis=1)
    return np.concatenate([first, second])


def _spread(values: np.ndarray) -> np.ndarray:
    """The same pattern with values spread evenly over (0, 1]."""
    order = np.argsort(values, axis=None)
    ranks = np.empty(values.size)
    ranks[order] = np.arange(1, values.size + 1) / values.size
    return ranks.reshape(values.shape)
