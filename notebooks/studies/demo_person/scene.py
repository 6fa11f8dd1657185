"""Demo scene: identity, face units and head motion -> a lit picture with its labels.

Drawn at SUPERSAMPLE times the picture's size: raster.cover finds the surfaces, paint gives them a
look, light shades them; then filtered down in linear light.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import UInt8
from scipy.spatial.transform import Rotation

from notebooks.studies.demo_person import hair as hair_module
from notebooks.studies.demo_person import light, mesh, paint, raster
from notebooks.studies.demo_person.identity import Identity

__all__ = ["DISTANCE", "FOCAL", "SIZE", "Frame", "Scene"]

SIZE = 256  # px
SUPERSAMPLE = 3
DISTANCE = 11.0  # inter-ocular distances from the camera to the eyes
FOCAL = SIZE / 4.5 * DISTANCE  # px: the picture is 4.5 inter-ocular distances high at the eyes
EYES_ABOVE_CENTRE = 0.30  # inter-ocular distances


@dataclass(frozen=True)
class Frame:
    """One picture. image: sRGB; labels: 0 background, 1 head, 2 neck, 3 torso."""

    image: UInt8[np.ndarray, "h w 3"]
    labels: UInt8[np.ndarray, "h w"]


class Scene:
    """One person before a fixed camera. Draws are fixed by the seed."""

    def __init__(self, identity: Identity, seed: int):
        self.identity = identity
        rng = np.random.default_rng(seed)
        self.bust = _teeth_shown(mesh.bust(identity.shape))
        self.hair = hair_module.grow(self.bust, identity.cut)
        self.mask = hair_module.strand_mask(rng)
        self.palette = paint.Palette(self.bust, identity, rng)
        corners = self.bust.points[self.eye_corner_picks]
        self.unit = float(np.linalg.norm(corners[1] - corners[0]))  # dm
        self.eyes = corners.mean(0)
        n = len(self.bust.points)
        self.faces = np.concatenate([self.bust.faces, self.hair.faces + n])
        self.parts = np.concatenate([self.bust.parts, np.full(len(self.hair.faces), 7)])
        strand = np.concatenate([self._lash_strands(), self.hair.strand])
        self.strand = strand.astype(np.float32)
        self.cloth_lift = self._cloth_lift()
        share = np.clip((mesh.above_jaw(self.bust.material) + 0.62) / 0.60, 0, 1)
        self.head_share = np.concatenate([share**2 * (3 - 2 * share), np.ones(len(strand) - n)])

    def _lash_strands(self) -> np.ndarray:
        """(turn, along, threshold) of lashes: dense at the root, thin at the tip; 0 elsewhere."""
        m = self.bust.material
        own = np.unique(self.bust.faces[self.bust.parts == 6])
        upper = m[own, 1] > 7.28
        reach = np.linalg.norm(
            m[own] * np.sign(m[own, :1] * [1, 0, 0] + [0, 1, 1]) - paint.EYE, axis=1
        )
        root = np.where(upper, reach[upper].min(), reach[~upper].min())
        tip = np.where(upper, reach[upper].max(), reach[~upper].max())
        level = (reach - root) / (tip - root)
        strand = np.zeros((len(m), 3))
        strand[own, 0] = 0.2 + 0.23 * np.abs(m[own, 0])
        strand[own, 1] = 0.5
        thin = 1.1 - 0.6 * self.identity.lash
        strand[own, 2] = np.where(upper, thin - 0.45 + 1.1 * level, thin + 0.1 + 0.9 * level)
        return strand

    @cached_property
    def eye_corner_picks(self) -> np.ndarray:
        from notebooks.studies.demo_person.picks import PICKS

        return self.bust.picks[np.array(PICKS)[[36, 45]]]

    def points(self, units: dict[str, float], head: np.ndarray, sway: np.ndarray) -> np.ndarray:
        """All vertices, dm: face units, head turn (rotation vector, rad) about the neck, sway."""
        return self.moved(self.still(units), head, sway)

    def still(self, units: dict[str, float]) -> np.ndarray:
        """All vertices with face units but without head motion, dm."""
        weights = dict(self.identity.rest)
        for name, weight in units.items():
            weights[name] = weights.get(name, 0.0) + weight
        face = self.bust.posed(weights) + self.cloth_lift
        return np.concatenate([face, self.hair.points])

    def moved(self, points: np.ndarray, head: np.ndarray, sway: np.ndarray) -> np.ndarray:
        """Still vertices after the head's motion; the neck blends smoothly into the shoulders."""
        share = self.head_share[:, None]
        turned = Rotation.from_rotvec(share * head).apply(points - self.bust.neck)
        return turned + self.bust.neck + share * sway

    def motion_in_camera(self, head: np.ndarray, sway: np.ndarray) -> tuple:
        """(rotation, translation in dm) of the head from still vertices to the camera frame."""
        rotation = Rotation.from_rotvec(head).as_matrix()
        return rotation, self.bust.neck - rotation @ self.bust.neck + sway - self.camera

    @cached_property
    def camera(self) -> np.ndarray:
        return self.eyes + self.unit * np.array([0, -EYES_ABOVE_CENTRE, DISTANCE])

    def render(self, units: dict[str, float], head: np.ndarray, sway: np.ndarray) -> Frame:
        """The picture of one moment."""
        points = self.points(units, head, sway)
        width = SIZE * SUPERSAMPLE
        seen = points - self.camera
        depth = -seen[:, 2]
        focal = FOCAL * SUPERSAMPLE
        flat = width / 2 + focal * seen[:, :2] / depth[:, None] * [1, -1]
        screen = np.column_stack([flat, 1 / depth])
        found = raster.cover(screen, self.faces, width, width, strand=self.strand, mask=self.mask)
        surface = self._surface(points, found)
        color = light.backdrop(self.identity.backdrop, width).reshape(-1, 3)
        occlusion = light.occlusion(found.pixels, surface["depth"] / self.unit, width, SUPERSAMPLE)
        shadow = self._shadow(points, surface)
        look = self.palette.look(surface)
        color[found.pixels] = light.shade(look, surface["view"], occlusion, shadow)
        labels = np.zeros(width * width, np.uint8)
        labels[found.pixels] = self._labels(surface)
        color = color.reshape(SIZE, SUPERSAMPLE, SIZE, SUPERSAMPLE, 3).mean((1, 3))
        labels = labels.reshape(width, width)[1::SUPERSAMPLE, 1::SUPERSAMPLE]
        return Frame(light.to_srgb(color), np.ascontiguousarray(labels))

    def _surface(self, points: np.ndarray, found: raster.Fragments) -> dict[str, np.ndarray]:
        """Everything the shading reads, per fragment."""
        n = len(self.bust.points)
        normals = light.normals(points, self.faces)
        normals[n:] = self._hair_normals(points[n:])
        extra = np.zeros((len(points), 12), np.float32)
        extra[:, :3], extra[:, 3:6] = points, normals
        extra[:n, 6:9] = self.bust.material
        extra[n:, 6:9] = self.hair.tangents
        extra[:n, 9] = self.bust.lips
        extra[:n, 10] = self.bust.lids
        extra[:n, 11] = self.bust.cavity
        extra[n:, 9:] = self.hair.strand
        values = found.blend(self.faces, extra)
        surface = {
            "point": values[:, :3],
            "normal": values[:, 3:6],
            "material": values[:, 6:9],
            "lips": values[:, 9],
            "lids": values[:, 10],
            "cavity": values[:, 11],
            "part": self.parts[found.faces],
        }
        for side in (0, 1):  # eyeballs are spheres
            eye = surface["part"] == 1 + side
            own = np.unique(self.bust.faces[self.bust.parts == 1 + side])
            surface["normal"][eye] = surface["point"][eye] - points[own].mean(0)
        surface["normal"] /= np.linalg.norm(surface["normal"], axis=1, keepdims=True) + 1e-9
        view = self.camera - surface["point"]
        surface["depth"] = view[:, 2].copy()
        surface["view"] = view / np.linalg.norm(view, axis=1, keepdims=True)
        return surface

    def _hair_normals(self, points: np.ndarray) -> np.ndarray:
        centre = hair_module.CENTRE + self.bust.eye_centres.mean(0) - [0, 7.285, 1.245]
        out = points - centre
        return out / np.linalg.norm(out, axis=1, keepdims=True)

    def _labels(self, surface: dict[str, np.ndarray]) -> np.ndarray:
        m = surface["material"]
        below = (surface["part"] == 0) & (mesh.above_jaw(m) < 0)
        labels = np.where(below, 2, 1)
        worn = (surface["part"] == 0) & (paint.collar(m, self.identity.neckline) < 0)
        return np.where(worn, 3, labels).astype(np.uint8)

    def _shadow(self, points: np.ndarray, surface: dict[str, np.ndarray]) -> np.ndarray:
        faces = self.faces[self.parts != 6]  # lashes cast none
        here = surface["point"] + 0.02 * surface["normal"] - self.eyes
        return light.shadow(
            points - self.eyes,
            faces,
            here,
            reach=2.6 * self.unit,
            strand=self.strand,
            mask=self.mask,
        )

    def _cloth_lift(self) -> np.ndarray:
        """Moves that put the cloth above the skin of the torso and smooth its anatomy, dm."""
        points, faces = self.bust.points, self.bust.faces
        below = -paint.collar(self.bust.material, self.identity.neckline)
        body = np.zeros(len(points), bool)
        body[faces[self.bust.parts == 0]] = True
        share = np.clip(below / 0.06, 0, 1) * body
        smooth = points.copy()
        weight = np.clip(below / 0.5, 0, 1) * body * 0.9
        ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        degree = np.maximum(np.bincount(ends[:, 0], minlength=len(points)), 1)[:, None]
        for _ in range(30):
            total = np.stack(
                [np.bincount(ends[:, 0], smooth[ends[:, 1], k], len(points)) for k in range(3)], 1
            )
            smooth += weight[:, None] * (total / degree - smooth)
        rim = np.exp(-(((below - 0.07) / 0.05) ** 2))
        lift = share * (0.045 + 0.03 * rim)
        return smooth - points + lift[:, None] * light.normals(smooth, faces)


def _teeth_shown(bust: mesh.Bust) -> mesh.Bust:
    """The bust with upper teeth a little lower and the tongue further back, as when speaking."""
    points = bust.points.copy()
    for part, move in ((3, (0, -0.035, 0.0)), (4, (0, 0.020, 0.0)), (5, (0, -0.055, -0.08))):
        points[np.unique(bust.faces[bust.parts == part])] += move
    return replace(bust, points=points)
