"""Framing: a clip -> the stretches of it and the square of its picture that show one head well.

First pass over a video, at reduced size: faces, shots, gaps, rivals.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from scipy.ndimage import median_filter

from geneface_kit.person import clip, landmarks

DETECT_SIDE = 640
"""Longer side of the pictures given to the detector, pixels (ours)."""
MIN_S, MAX_GAP_S = 1.0, 0.4
"""Seconds of the shortest usable stretch, and of the longest gap in it that is filled (ours)."""
RIVAL, CROWDED_SHARE = 0.65, 0.1
"""Relative size of a second face that makes a frame ambiguous; share of such frames that is an
error (ours)."""
HEAD_SHARE = 0.5
"""Face height (1.5 x brows to chin) over the side of a fresh crop (ours)."""
SQUARE_SHARE = 0.45
"""A square picture is cropped where a crop is smaller by this factor (ours)."""


@dataclass(frozen=True)
class Scan:
    """Faces of a clip at 25 fps, in pixels of pictures of width x height, and small pictures."""

    mesh: landmarks.Mesh
    thumbnails: UInt8[np.ndarray, "t a b 3"]
    width: int
    height: int
    source: clip.Probe


@dataclass(frozen=True)
class Crop:
    """A square of the scanned pictures, pixels."""

    left: float
    top: float
    side: float

    def scaled(self, factor: float) -> tuple[int, int, int]:
        """Left, top and side in whole pixels of pictures `factor` times as large."""
        return round(self.left * factor), round(self.top * factor), round(self.side * factor)


def scan(source: Path, *, max_s: float = 0.0, detector: str = "mediapipe") -> Scan:
    """Stream a clip once: the face of every frame. max_s: seconds read, 0 = all."""
    about = clip.probe(source)
    thumbnails: list[np.ndarray] = []
    shape = (0, 0)

    def watched() -> Iterator[np.ndarray]:
        nonlocal shape
        limit = max_s if max_s > 0 else None
        for frame in clip.stream_frames(source, long_side=DETECT_SIDE, max_s=limit):
            shape = frame.shape[:2]
            step = max(1, max(shape) // 64)
            thumbnails.append(frame[step // 2 :: step, step // 2 :: step].copy())
            yield frame

    mesh = landmarks.detect(watched(), detector=detector)
    return Scan(mesh, np.stack(thumbnails), shape[1], shape[0], about)


def usable_spans(found: Scan, *, min_s: float = MIN_S) -> list[tuple[int, int]]:
    """First frame and end of every stretch of at least min_s with one face, the longest first.

    A stretch holds one shot and no gap longer than MAX_GAP_S; equal ones stand in order of time.
    """
    cuts = landmarks.find_cuts(found.thumbnails, found.mesh)
    stretches = landmarks.spans(found.mesh.found, round(MAX_GAP_S * clip.FPS), cuts)
    long_enough = [(a, b) for a, b in stretches if b - a >= min_s * clip.FPS]
    return sorted(long_enough, key=lambda span: span[0] - span[1])


def usable_span(found: Scan, number: int = 0) -> tuple[int, int, list[str]]:
    """First frame and end of the usable stretch of a number, and warnings about the rest.

    Raises: ValueError when the clip is too short, shows no face, two alike, or only flashes, or
    has no stretch of that number.
    """
    mesh, n_frames = found.mesh, len(found.mesh)
    if n_frames < MIN_S * clip.FPS:
        raise ValueError(
            f"the clip lasts {n_frames / clip.FPS:.2f} s; at least {MIN_S:g} s are needed"
        )
    if not mesh.found.any():
        raise ValueError("no face was found in any frame; use a clip that shows one face")
    crowded = float((mesh.rival > RIVAL).mean())
    if crowded > CROWDED_SHARE:
        raise ValueError(
            f"two faces of similar size are in {crowded:.0%} of the frames; crop the clip so "
            "that one person is left"
        )
    spans = usable_spans(found)
    if not spans:
        every = usable_spans(found, min_s=0.0)
        longest = (every[0][1] - every[0][0]) / clip.FPS
        raise ValueError(
            f"the longest stretch with a face lasts {longest:.2f} s; at least "
            f"{MIN_S:g} s are needed"
        )
    if not 0 <= number < len(spans):
        raise ValueError(
            f"span {number} does not exist; the clip has {len(spans)} usable stretch(es), "
            f"counted from 0: {_times(spans)}"
        )
    start, stop = spans[number]
    return start, stop, _warnings(found, spans, number)


def square_crop(mesh: landmarks.Mesh, width: int, height: int) -> Crop:
    """One square for the clip, in pixels of the scanned pictures.

    It holds the whole head in all frames, with margin for hair, and shoulders where the picture
    has them. A picture that is square already is taken whole unless the head is small in it.
    """
    short = float(min(width, height))
    points = median_filter(landmarks.to_68(mesh)[..., :2], (5, 1, 1), mode="nearest")
    brow, chin = points[:, 17:27, 1].min(1), points[:, 8, 1]
    face = float(np.median(chin - brow)) * 1.5  # to the top of the forehead
    highest, lowest = float((brow - 0.75 * face).min()), float((chin + 0.2 * face).max())
    leftmost = float((points[..., 0].min(1) - 0.25 * face).min())
    rightmost = float((points[..., 0].max(1) + 0.25 * face).max())
    side = min(max(face / HEAD_SHARE, lowest - highest, rightmost - leftmost), short)
    if abs(width - height) <= 0.02 * short and side > SQUARE_SHARE * short:
        return Crop((width - short) / 2, (height - short) / 2, short)
    left = np.clip((leftmost + rightmost) / 2 - side / 2, 0, width - side)
    middle = float(np.median((brow + chin) / 2))
    top = np.clip(min(middle - 0.47 * side, highest), 0, height - side)
    return Crop(float(left), float(top), side)


def _warnings(found: Scan, spans: list[tuple[int, int]], chosen: int) -> list[str]:
    """What the reader should know about the clip and the stretches that are not used."""
    start, stop = spans[chosen]
    cuts = landmarks.find_cuts(found.thumbnails, found.mesh)
    warnings = []
    if abs(found.source.fps - clip.FPS) > 0.01:
        warnings.append(f"frame rate {found.source.fps:.2f} resampled to {clip.FPS} by time stamps")
    if (found.mesh.rival > 0).mean() > 0.05:
        warnings.append("a second, smaller face is in the picture; the largest one is followed")
    if cuts:
        times = ", ".join(f"{cut / clip.FPS:.2f}" for cut in cuts[:5])
        warnings.append(f"{len(cuts)} cut(s), at {times} s; one shot is used")
    if stop - start < len(found.mesh):
        word = "usable" if len(spans) == 1 else "used"
        warnings.append(
            f"only {start / clip.FPS:.2f} to {stop / clip.FPS:.2f} s of "
            f"{len(found.mesh) / clip.FPS:.2f} s are {word}"
        )
    if len(spans) > 1:
        others = [span for index, span in enumerate(spans) if index != chosen]
        warnings.append(
            f"{len(others)} other usable stretch(es), {_times(others)}: chosen by "
            f"person.span, which is {chosen}"
        )
    missing = int((~found.mesh.found[start:stop]).sum())
    if missing:
        warnings.append(f"the face is missing in {missing} frame(s); interpolated and flagged")
    return warnings


def _times(spans: list[tuple[int, int]]) -> str:
    """ "0.00 to 1.20 s, 3.00 to 4.00 s", at most five of them."""
    words = [f"{start / clip.FPS:.2f} to {stop / clip.FPS:.2f} s" for start, stop in spans[:5]]
    return ", ".join([*words, "..."] if len(spans) > 5 else words)
