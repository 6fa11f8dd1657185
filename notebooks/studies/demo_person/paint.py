"""Demo paint: surface fragments -> colour, bleed and gloss of skin, lips, eyes, teeth, hair, cloth.

All patterns are functions of the material coordinates (base mesh, dm), so they stick to the moving
surface and need no picture files.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter, map_coordinates

from notebooks.studies.demo_person.identity import Identity
from notebooks.studies.demo_person.mesh import Bust

__all__ = ["Look", "Palette", "collar"]

EYE = np.array([0.31, 7.285, 1.245])  # centre of the eye on the picture's right, base mesh
IRIS_SINE = 0.47  # iris radius over eyeball radius


@dataclass(frozen=True)
class Look:
    """Per fragment: albedo (linear), bleed of red light round corners, two glosses, normals."""

    albedo: Float[np.ndarray, "n 3"]
    bleed: Float[np.ndarray, " n"]
    gloss: Float[np.ndarray, " n"]
    sharpness: Float[np.ndarray, " n"]
    normal: Float[np.ndarray, "n 3"]
    tangent: Float[np.ndarray, "n 3"]
    strands: Float[np.ndarray, " n"]

    def highlight(
        self, towards: np.ndarray, view: np.ndarray, strength: np.ndarray
    ) -> Float[np.ndarray, "n 3"]:
        """Mirror light from one direction: Blinn-Phong on surfaces, Kajiya-Kay along hair."""
        half = towards + view
        half /= np.linalg.norm(half, axis=1, keepdims=True)
        aligned = np.clip((self.normal * half).sum(1), 0, 1)
        facing = np.clip(self.normal @ towards * 4, 0, 1)
        fresnel = 0.35 + 0.65 * (1 - np.clip((view * half).sum(1), 0, 1)) ** 2
        plain = self.gloss * aligned**self.sharpness * facing * fresnel
        along = (self.tangent * half).sum(1)
        silk = np.sqrt(np.clip(1 - along**2, 0, 1)) ** 45
        silk = self.strands * silk * np.clip(self.normal @ towards + 0.3, 0, 1)
        tint = 0.15 + 3.0 * self.albedo
        return plain[:, None] * strength + silk[:, None] * strength * tint


class Palette:
    """The paint of one identity."""

    def __init__(self, bust: Bust, identity: Identity, rng: np.random.Generator):
        self.identity = identity
        cube = np.stack([_noise_cube(rng, smooth) for smooth in (1.0, 1.0)])
        self.coarse, self.fine = cube
        self.bust = bust

    def look(self, surface: dict[str, np.ndarray]) -> Look:
        """Colour and reflection of every fragment."""
        n = len(surface["part"])
        arrays = {
            "albedo": np.zeros((n, 3), np.float32),
            "bleed": np.zeros(n, np.float32),
            "gloss": np.zeros(n, np.float32),
            "sharpness": np.full(n, 20.0, np.float32),
            "normal": surface["normal"],
            "tangent": np.zeros((n, 3), np.float32),
            "strands": np.zeros(n, np.float32),
        }
        painters = {0: self._body, 1: self._eye, 2: self._eye, 3: self._teeth, 4: self._teeth}
        painters |= {5: self._tongue, 6: self._lashes, 7: self._hair}
        for part, painter in painters.items():
            here = np.flatnonzero(surface["part"] == part)
            if len(here):
                painter(arrays, here, {k: v[here] for k, v in surface.items()})
        return Look(**arrays)

    def _noise(self, cube: np.ndarray, material: np.ndarray, per_dm: float) -> np.ndarray:
        return map_coordinates(cube, material.T * per_dm, order=1, mode="grid-wrap")

    def _body(self, arrays: dict, here: np.ndarray, s: dict[str, np.ndarray]) -> None:
        who, m = self.identity, s["material"]
        x, y, z = np.abs(m[:, 0]), m[:, 1], m[:, 2]
        skin = np.array(who.skin)
        blotch = self._noise(self.coarse, m, 9.0)
        pores = self._noise(self.fine, m, 70.0)
        color = skin * (1 + 0.008 * blotch + 0.025 * pores)[:, None]
        red = np.array([1.10, 0.80, 0.80])
        cheeks = _spot(x, y, 0.40, 6.92, 0.20) * (z > 0.7) * 0.8
        nose = _spot(x, y, 0.0, 6.92, 0.13) * (z > 1.4) * 0.7
        ears = ((x > 0.70) & (y < 7.35) & (y > 6.6)) * 0.5
        chin = _spot(x, y, 0.0, 6.28, 0.14) * 0.35
        blush = np.clip(cheeks + nose + ears + chin, 0, 1)[:, None]
        color *= 1 + blush * (red - 1)
        eye_hollow = _spot(x, y, 0.30, 7.24, 0.17)[:, None] * (z > 0.9)[:, None]
        color *= 1 - eye_hollow * np.array([0.14, 0.20, 0.16])
        spots = np.clip(self._noise(self.fine, m + 3.3, 26.0) - 1.7, 0, 0.6)
        freckled = np.clip(_spot(x, y, 0.25, 6.98, 0.30) + 0.15, 0, 1) * who.freckles
        color *= 1 - (spots * freckled)[:, None] * np.array([0.25, 0.45, 0.55])
        beard = who.stubble * np.clip((6.78 - y) / 0.16, 0, 1) * np.clip((y - 5.95) / 0.3, 0, 1)
        beard *= np.clip((z - 0.35) / 0.4, 0, 1) * (0.9 + 0.12 * pores)
        color *= 1 - np.clip(beard, 0, 0.8)[:, None] * np.array([0.55, 0.48, 0.40])
        lips = np.clip((s["lips"] - 0.25) / 0.5, 0, 1)
        fold = 1 + 0.10 * self._noise(self.fine, m * [5, 0.6, 0.6], 14.0)
        color += lips[:, None] * (np.array(who.lips) * fold[:, None] - color)
        color = self._brows(color, m, x, y, z)
        near = np.linalg.norm(np.stack([x, y, z], axis=1) - EYE, axis=1)
        liner = np.clip((0.188 - near) / 0.022, 0, 1) * np.where(y > 7.285, 0.85, 0.35) * who.lash
        color *= 1 - (np.clip(liner, 0, 0.9) * (z > 1.2))[:, None]
        inner = np.clip((s["cavity"] - 0.2) / 0.5, 0, 1)
        inner *= 1 - lips
        depth = np.clip((1.52 - z) / 0.45, 0, 1)[:, None]
        throat = np.array([0.20, 0.045, 0.04]) * (1 - depth) ** 2 + np.array([0.012, 0.003, 0.003])
        color += inner[:, None] * (throat - color)
        arrays["albedo"][here] = color
        arrays["bleed"][here] = 0.42
        arrays["gloss"][here] = 0.20 * (1 - inner) + 0.30 * lips
        arrays["sharpness"][here] = 14 + 30 * lips
        worn = collar(m, who.neckline)
        self._cloth(arrays, here[worn < 0], {k: v[worn < 0] for k, v in s.items()}, worn[worn < 0])

    def _brows(
        self, color: np.ndarray, m: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray
    ) -> np.ndarray:
        who = self.identity
        t = np.clip((x - 0.105) / 0.51, 0, 1)
        middle = 7.475 + 0.065 * np.sin(np.pi * np.clip(t * 0.80, 0, 1)) - 0.035 * t
        half = who.brow_width * 0.042 * (1 - t) ** 0.55 * np.clip(t / 0.16, 0, 1) ** 0.6
        inside = np.where((z > 0.6) & (half > 0.006), 1 - np.abs(y - middle) / (half + 1e-6), -1)
        slant = np.stack([x * 1.0 - (y - middle) * (1.2 - 0.9 * t), y * 0.12, 0 * x], axis=1)
        hairs = self._noise(self.fine, slant, 110.0)
        cover = np.clip(inside * 1.7, 0, 1) * np.clip(0.95 + 0.12 * hairs, 0, 1.1)
        return color + (0.80 * cover)[:, None] * (np.array(who.brows) - color)

    def _cloth(
        self, arrays: dict, here: np.ndarray, s: dict[str, np.ndarray], worn: np.ndarray
    ) -> None:
        m = s["material"]
        knit = np.sin(m[:, 0] * 95) * np.sin(m[:, 1] * 120 + np.sin(m[:, 0] * 95))
        ribs = np.where(
            worn > -0.13, 0.10 * np.sin(np.arctan2(m[:, 0], m[:, 2]) * 150), 0.05 * knit
        )
        seam = 1 - 0.35 * np.exp(-(((worn + 0.13) / 0.012) ** 2))
        blotch = self._noise(self.coarse, m, 5.0)
        shade = (1 + ribs + 0.03 * blotch) * seam
        arrays["albedo"][here] = np.array(self.identity.cloth) * shade[:, None]
        arrays["bleed"][here] = 0.12
        arrays["gloss"][here] = 0.02
        arrays["sharpness"][here] = 4

    def _eye(self, arrays: dict, here: np.ndarray, s: dict[str, np.ndarray]) -> None:
        m = s["material"]
        mirrored = np.where(s["part"] == 1, 1.0, -1.0)
        out = m * np.stack([mirrored, 1 + 0 * mirrored, 1 + 0 * mirrored], 1) - EYE
        out /= np.linalg.norm(out, axis=1, keepdims=True)
        r = np.hypot(out[:, 0], out[:, 1]) / IRIS_SINE
        angle = np.arctan2(out[:, 1], out[:, 0])
        streaks = sum(np.sin(angle * k + k * k) / k**0.5 for k in (9, 17, 31)) * 0.25
        iris = np.array(self.identity.iris) * (1.15 + 0.5 * streaks * (r > 0.4))[:, None]
        iris *= (0.75 + 0.55 * np.exp(-(((r - 0.52) / 0.16) ** 2)))[:, None]
        iris *= (1 - 0.75 * np.clip((r - 0.80) / 0.2, 0, 1))[:, None]
        white = np.array([0.66, 0.62, 0.60]) * (1 - 0.22 * np.clip(r - 1.2, 0, 1))[:, None]
        white = white * np.array([1.0, 0.94, 0.93]) ** np.clip(r - 1.1, 0, 1)[:, None]
        color = white + np.clip((1.04 - r) / 0.08, 0, 1)[:, None] * (iris - white)
        pupil = np.clip((0.42 - r) / 0.07, 0, 1)[:, None]
        color = color * (1 - pupil) + 0.004 * pupil
        arrays["albedo"][here] = color * 0.9
        arrays["bleed"][here] = 0.3
        arrays["gloss"][here] = 2.6
        arrays["sharpness"][here] = 420

    def _teeth(self, arrays: dict, here: np.ndarray, s: dict[str, np.ndarray]) -> None:
        m = s["material"]
        gap = np.abs(((np.arctan2(m[:, 0], m[:, 2] - 0.95) / 0.31) % 1) - 0.5)
        shade = 1 - 0.45 * np.exp(-(((0.5 - gap) / 0.05) ** 2))
        deep = np.clip((m[:, 2] - 1.12) / 0.30, 0.10, 1) ** 1.5
        gum = np.where(
            s["part"] == 3,
            np.clip((m[:, 1] - 6.715) / 0.03, 0, 1),
            np.clip((6.50 - m[:, 1]) / 0.03, 0, 1),
        )[:, None]
        color = np.array([0.74, 0.68, 0.58]) * (shade * deep)[:, None]
        color += gum * (np.array([0.34, 0.11, 0.10]) * deep[:, None] - color)
        arrays["albedo"][here] = color * 0.74
        arrays["bleed"][here] = 0.4
        arrays["gloss"][here] = 0.35
        arrays["sharpness"][here] = 60

    def _tongue(self, arrays: dict, here: np.ndarray, s: dict[str, np.ndarray]) -> None:
        m = s["material"]
        deep = np.clip((m[:, 2] - 0.95) / 0.50, 0.03, 1) ** 1.6
        groove = 1 - 0.25 * np.exp(-((m[:, 0] / 0.03) ** 2))
        arrays["albedo"][here] = np.array([0.34, 0.10, 0.10]) * (deep * groove)[:, None]
        arrays["bleed"][here] = 0.4
        arrays["gloss"][here] = 0.20
        arrays["sharpness"][here] = 30

    def _lashes(self, arrays: dict, here: np.ndarray, s: dict[str, np.ndarray]) -> None:
        arrays["albedo"][here] = np.array(self.identity.brows) * 0.25
        arrays["gloss"][here] = 0.02

    def _hair(self, arrays: dict, here: np.ndarray, s: dict[str, np.ndarray]) -> None:
        turn, along, height = s["lips"], s["lids"], s["cavity"]
        cut = self.identity.cut
        outside = (s["normal"] * s["view"]).sum(1) > -0.15  # the inner side of a curtain is dark
        streak = np.stack([turn * 170, along * 2.0, 0 * turn], axis=1)
        shade = 1 + 0.22 * self._noise(self.fine, streak, 1.0 * 1.0)
        shade += 0.16 * self._noise(self.coarse, streak * [0.17, 1.5, 1], 1.0)
        root = 0.55 + 0.55 * np.clip(height, 0, 0.9)
        arrays["albedo"][here] = (
            np.array(cut.color)
            * (np.clip(shade * root, 0.1, 2) * np.where(outside, 1.0, 0.35))[:, None]
        )
        arrays["bleed"][here] = 0.25
        arrays["tangent"][here] = s["material"] / (
            np.linalg.norm(s["material"], axis=1, keepdims=True) + 1e-6
        )
        arrays["strands"][here] = cut.shine * np.clip(shade, 0.2, 2) ** 3 * 0.30 * outside


def collar(material: np.ndarray, neckline: float) -> Float[np.ndarray, " n"]:
    """Signed height above the collar of the clothes, dm of the base mesh; negative is cloth."""
    x, y, z = material.T
    shoulder = 0.45 * x**2  # the shoulders are cloth at any height
    ahead = (z - 0.1) / np.hypot(x, z - 0.1)  # 1 in front, -1 at the nape
    return y - (5.83 + neckline - 0.27 * ahead) - shoulder


def _spot(x: np.ndarray, y: np.ndarray, x0: float, y0: float, radius: float) -> np.ndarray:
    return np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / radius**2)


def _noise_cube(rng: np.random.Generator, smooth: float) -> np.ndarray:
    cube = gaussian_filter(rng.standard_normal((64, 64, 64)), smooth, mode="wrap")
    return (cube / cube.std()).astype(np.float32)
