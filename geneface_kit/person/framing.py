"""Framing: a clip -> the stretches of it and the square of its picture that show one head well.

First pass over a video, at reduced size: faces, shots, gaps, rivals.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from scipy.ndimage import median_filter

from geneface_kit.person import clip, landmarks

DETECT_SIDE = 640  # longer side of the pictures given to the detector, pixels (ours)
FEW_FACES, SMALL_FACE = 0.9, 0.2
"""Share of frames with a face below which it may be too small for the detector, where those that
are found are no higher than this share of the pictures (ours)."""
LEAST_PART, AROUND = 240, 4.0
"""Side of the smallest parts of a picture that are searched, pixels; the square that is then looked
at, in heights of the face (ours)."""
BLACK = 12  # mean value of a line of pixels, of 255, up to which it is black (ours)
MIN_S, MAX_GAP_S = 1.0, 0.4
"""Seconds of the shortest usable stretch, and of the longest gap in it that is filled (ours)."""
RIVAL, CROWDED_SHARE = 0.65, 0.1
"""Relative size of a second face that makes a frame ambiguous; share of such frames that is an
error (ours)."""
HEAD_SHARE = 0.5  # face height (1.5 x brows to chin) over the side of a fresh crop (ours)
SQUARE_SHARE = 0.45  # a square picture is cropped where a crop is smaller by this factor (ours)


@dataclass(frozen=True)
class Scan:
    """Faces of a clip at 25 fps, in pixels of pictures of width x height, and small pictures.

    bars: black bars at the left, top, right and bottom of the pictures, pixels.
    """

    mesh: landmarks.Mesh
    thumbnails: UInt8[np.ndarray, "t a b 3"]
    width: int
    height: int
    source: clip.Probe
    bars: tuple[int, int, int, int] = (0, 0, 0, 0)


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
    """Stream a clip once: the face of every frame. max_s: seconds read, 0 = all.

    Where hardly any face is found in pictures of DETECT_SIDE, one is looked for in parts of a few
    full-sized pictures, and the clip is streamed again around it.
    """
    limit = max_s if max_s > 0 else None
    thumbnails: list[np.ndarray] = []
    brightest = np.zeros((0, 0), np.uint8)

    def watched() -> Iterator[np.ndarray]:
        nonlocal brightest
        for frame in clip.stream_frames(source, long_side=DETECT_SIDE, max_s=limit):
            shape = frame.shape[:2]
            if len(thumbnails) % 5 == 0:
                light = frame.max(-1)
                brightest = np.maximum(brightest, light) if brightest.size else light
            step = max(1, max(shape) // 64)
            thumbnails.append(frame[step // 2 :: step, step // 2 :: step].copy())
            yield frame

    mesh = landmarks.detect(watched(), detector=detector)
    about, shape = clip.probe(source), brightest.shape
    scale = max(shape) / max(about.width, about.height)  # of the pictures the mesh is given in
    seen = np.ptp(mesh.points[mesh.found, :, 1], axis=1)
    is_small = not len(seen) or np.median(seen) < SMALL_FACE * DETECT_SIDE
    if scale < 1 and is_small and mesh.found.mean() < FEW_FACES:
        around = _small_face(source, len(thumbnails), detector)
        if around is not None:
            left, top, side = around
            frames = clip.stream_frames(source, max_s=limit)
            parts = (_resized(frame[top : top + side, left : left + side]) for frame in frames)
            zoom = DETECT_SIDE / side
            close = landmarks.detect(parts, detector=detector)
            mesh = close.moved(-left * zoom, -top * zoom, scale / zoom)
    bars = black_bars(brightest)
    return Scan(mesh, np.stack(thumbnails), shape[1], shape[0], about, bars)


def black_bars(brightest: UInt8[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    """Widths of the bars at the left, top, right and bottom of pictures, pixels.

    brightest: the largest value of each pixel over the clip. A bar is black all the time and ends
    in a straight edge: a person before a black wall has none.
    """
    found = []
    for lines in (brightest.T, brightest, brightest.T[::-1], brightest[::-1]):
        is_black = lines.mean(axis=1) < BLACK
        n = len(lines) if is_black.all() else int(np.argmin(is_black))
        is_bar = 0 < n < len(lines) // 2 and (lines[n + 1] > 2 * BLACK).mean() > 0.75
        found.append(n + 2 if is_bar else 0)  # the edge itself is a mixture
    return (found[0], found[1], found[2], found[3])


def _small_face(source: Path, n_frames: int, detector: str) -> tuple[int, int, int] | None:
    """Left, top and side of a square of the full pictures around a face that is small in them: the
    first one found in ever smaller parts of a few frames spread over the clip."""
    wanted = set(np.linspace(0, n_frames - 1, 5).astype(int).tolist())
    for number, frame in enumerate(clip.stream_frames(source)):
        if number not in wanted:
            continue
        height, width = frame.shape[:2]
        side = min(height, width)
        while side >= LEAST_PART:
            corners = list(itertools.product(*(_starts(size, side) for size in (height, width))))
            parts = [_resized(frame[top : top + side, left : left + side]) for top, left in corners]
            found = landmarks.detect(parts, detector=detector)
            if found.found.any():
                best = int(
                    np.argmax(np.where(found.found, np.ptp(found.points[..., 1], axis=1), 0))
                )
                points = found.points[best, :, :2] * side / DETECT_SIDE + corners[best][::-1]
                face = float(np.ptp(points[:, 1]))
                whole = round(min(AROUND * face, height, width))
                left, top = (points.mean(0) - whole / 2).clip(0, (width - whole, height - whole))
                return round(float(left)), round(float(top)), whole
            side = side * 2 // 3
    return None


def _starts(size: int, part: int) -> list[int]:
    """Where parts begin that overlap by half and cover a size."""
    n = 1 + -(-2 * (size - part) // part)
    return np.linspace(0, size - part, n).astype(int).tolist()


def _resized(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "a b 3"]:
    """The square picture at DETECT_SIDE."""
    how = cv2.INTER_AREA if len(picture) > DETECT_SIDE else cv2.INTER_CUBIC
    return cv2.resize(picture, (DETECT_SIDE, DETECT_SIDE), interpolation=how)


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


def square_crop(
    mesh: landmarks.Mesh, width: int, height: int, bars: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> Crop:
    """One square for the clip, in pixels of the scanned pictures, without their bars.

    It holds the whole head in all frames, with margin for hair, and shoulders where the picture
    has them. A picture that is square already is taken whole unless the head is small in it.
    """
    left, top, right, bottom = bars
    if any(bars):
        inner = square_crop(mesh.moved(left, top, 1.0), width - left - right, height - top - bottom)
        return Crop(inner.left + left, inner.top + top, inner.side)
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
    if any(found.bars):
        warnings.append("black bars around the picture are left out")
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
