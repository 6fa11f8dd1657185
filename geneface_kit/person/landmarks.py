"""Landmarks: pictures -> mediapipe's mesh of a face, 478 points with depth, and 68 of them."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

# fmt: off
MESH_TO_68: Int[np.ndarray, " 68"] = np.array([
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,  # jaw
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,                                      # brows
    168, 197, 5, 4, 75, 97, 2, 326, 305,                                                # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,                          # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,                                # outer lips
    78, 82, 13, 312, 308, 317, 14, 87,                                                  # inner lips
])
"""Mesh point of each of the 68 iBUG points."""
# fmt: on

N_POINTS = 478  # of the mesh
SURPRISE = 8.3
"""How much picture and face together surprise at a cut within one framing, standard deviations: of
22 such cuts in 133 clips of talking people 8.5 at least; all other frames at most 8.1 (ours)."""
LIMIT, LEAST = 12, 6.4
"""Levels of 255 up to which a pixel's change counts, and how much a cut surprises so, too: writing
that comes or goes changes few pixels by much. Of such changes in five clips of people the most
surprising one has 6.2, of 19 cuts the least has 6.7 (ours)."""
FAINT = 2e-3
"""Change of the picture, of full scale, or of the face, eye distances, that is none (ours)."""


@dataclass(frozen=True)
class Mesh:
    """The face of every frame in pixels: x right, y down, z away from the camera.

    points: n = 478, or the 68 of `to_68`; those of frames without a face mean nothing. found: a
    face was seen. rival: size of the second largest face over the followed one, 0 when alone.
    """

    points: Float[np.ndarray, "t n 3"]
    found: Bool[np.ndarray, " t"]
    rival: Float[np.ndarray, " t"]

    def __len__(self) -> int:
        return len(self.points)

    def cut(self, start: int, stop: int) -> "Mesh":
        """Frames start .. stop - 1."""
        return Mesh(self.points[start:stop], self.found[start:stop], self.rival[start:stop])

    def moved(self, left: float, top: float, scale: float) -> "Mesh":
        """The same faces in a picture cropped at (left, top), then resized by `scale`."""
        corner = np.array([left, top, 0], np.float32)
        return replace(self, points=((self.points - corner) * scale).astype(np.float32))


def detect(frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Mesh:
    """The largest face of every frame, each frame on its own (no memory, so no lag on lips). Among
    several the one that is large and near the last position is followed."""
    points, found, rivals, last = [], [], [], None
    with _mediapipe_faces() as find_faces:
        for frame in frames:
            # native workers greet on the first picture and on the first face
            with _quiet_stderr() if last is None else contextlib.nullcontext():
                faces = find_faces(frame)
            chosen, rival = _follow(faces, last)
            last = chosen if chosen is not None else last
            points.append(np.zeros((N_POINTS, 3), np.float32) if chosen is None else chosen)
            found.append(chosen is not None)
            rivals.append(rival)
    stacked = np.stack(points) if points else np.zeros((0, N_POINTS, 3), np.float32)
    return Mesh(stacked, np.array(found, bool), np.array(rivals, np.float32))


def to_68(mesh: Mesh) -> Float[np.ndarray, "t 68 3"]:
    """The 68 iBUG points of every frame."""
    return mesh.points if mesh.points.shape[1] == 68 else mesh.points[:, MESH_TO_68]


def in_a_row(meshes: Sequence[Mesh]) -> Mesh:
    """The faces of several stretches, one after the other."""
    return Mesh(*map(np.concatenate, zip(*(vars(one).values() for one in meshes), strict=True)))


def fill_gaps(mesh: Mesh) -> Mesh:
    """Frames without a face get points interpolated in time (ends repeat); `found` stays."""
    if not mesh.found.any():
        raise ValueError("no face was found in any frame; use a clip that shows one face")
    if mesh.found.all():
        return mesh
    seen = np.flatnonzero(mesh.found)
    at = np.interp(np.arange(len(mesh)), seen, np.arange(len(seen)))
    before = at.astype(int)
    after = np.minimum(before + 1, len(seen) - 1)
    share = (at - before).astype(np.float32)[:, None, None]
    points = (1 - share) * mesh.points[seen[before]] + share * mesh.points[seen[after]]
    return replace(mesh, points=points)


def find_cuts(thumbnails: UInt8[np.ndarray, "t a b 3"], mesh: Mesh) -> tuple[int, ...]:
    """Frames at which another shot starts: the picture changes abruptly and the face jumps.

    thumbnails: small copies of the frames. Frames with a face are compared with the one before
    (across a gap, the last one before it). A cut is a mean change above 0.25 (full scale 1), or one
    above 0.08 that is 6 times the usual one with a face that jumps by 0.2 of its eye distance; or,
    in one framing, one that surprises by SURPRISE (ours).
    """
    seen = np.flatnonzero(mesh.found)
    if len(seen) < 2:
        return ()
    pictures = [cv2.blur(thumbnails[t], (3, 3)).astype(np.int16) for t in seen]
    points = to_68(mesh)[seen, :48, :2]
    eyes = np.median(np.linalg.norm(points[:, 36] - points[:, 45], axis=-1)) + 1e-6

    def changes(step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        moves = (abs(b - a) for a, b in zip(pictures, pictures[step:], strict=False))
        both = [(one.mean(), np.minimum(one, LIMIT).mean()) for one in moves]
        jump = np.linalg.norm(points[step:] - points[:-step], axis=-1).mean(1) / eyes
        return *(np.array(both).T / 255), jump

    change, _, jump = near = changes(1)
    abrupt = (change > max(0.08, 6 * np.median(change))) & (jump > 0.2)
    whole, limited, face = map(_surprise, near, changes(2))
    surprises = (whole + face > SURPRISE) & (limited + face > LEAST)
    in_a_row = np.diff(seen) == 1  # across a gap a face has had time to move
    is_cut = (change > 0.25) | abrupt | (in_a_row & surprises)
    return tuple(int(seen[k + 1]) for k in np.flatnonzero(is_cut))


def _surprise(
    near: Float[np.ndarray, " n"], far: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " n"]:
    """By how many standard deviations the logarithm of a change over the largest beside it exceeds
    the clip's median; minus infinity at the ends, and for fewer than 25 changes.

    near: from each frame to the next; far: to the one after that.
    """
    if len(near) < 25:
        return np.full(len(near), -np.inf)
    beside = [near[:-4], near[1:-3], near[3:-1], near[4:], far[:-3], far[3:]]
    over = np.log(np.maximum(near[2:-2], FAINT) / np.maximum(np.max(beside, axis=0), FAINT))
    away = over - np.median(over)
    spread = max(1.4826 * np.median(np.abs(away)), 0.15)
    return np.pad(away / spread, 2, constant_values=-np.inf)


@contextlib.contextmanager
def person_mask() -> Iterator[Callable[[UInt8[np.ndarray, "h w 3"]], Float[np.ndarray, "h w"]]]:
    """A function from a picture to the probability of "person" per pixel (selfie network)."""
    with _quiet_stderr():
        from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

        network = SelfieSegmentation(model_selection=0)
        network.process(np.zeros((64, 64, 3), np.uint8))
    with network:
        yield lambda frame: network.process(np.ascontiguousarray(frame)).segmentation_mask


def _follow(faces: list[np.ndarray], last: np.ndarray | None) -> tuple[np.ndarray | None, float]:
    """The face to keep and the relative size of the largest other one."""
    if not faces:
        return None, 0.0
    sizes = np.array([np.ptp(face[:, :2], axis=0).max() for face in faces])
    score = sizes.copy()
    if last is not None:
        reach = np.ptp(last[:, :2], axis=0).max()
        centre = last[:, :2].mean(0)
        away = np.array([np.linalg.norm(face[:, :2].mean(0) - centre) for face in faces])
        score *= np.exp(-away / reach)
    best = int(score.argmax())
    return faces[best], float(np.delete(sizes, best).max(initial=0) / sizes[best])


@contextlib.contextmanager
def _mediapipe_faces() -> Iterator[Callable[[np.ndarray], list[np.ndarray]]]:
    with _quiet_stderr():
        from mediapipe.python.solutions.face_mesh import FaceMesh

        network = FaceMesh(static_image_mode=True, max_num_faces=2, refine_landmarks=True)

    def find_faces(frame: np.ndarray) -> list[np.ndarray]:
        height, width = frame.shape[:2]
        side = max(height, width)  # the network's own geometry assumes a square picture
        square = np.zeros((side, side, 3), np.uint8)
        square[:height, :width] = frame
        found = network.process(square).multi_face_landmarks or []
        faces = [[[p.x, p.y, p.z] for p in face.landmark] for face in found]
        return [side * np.array(face, np.float32) for face in faces]

    with network:
        yield find_faces


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hide what native code writes to the error stream while a network is being set up.
    Raises: OSError where mediapipe lacks a library of the system."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    keep, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    except ImportError as error:
        raise OSError(f"{error}: on Debian, apt-get install libgl1 libegl1 libglib2.0-0") from None
    finally:
        os.dup2(keep, 2)
        os.close(keep)
        os.close(nowhere)
