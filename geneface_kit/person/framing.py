"""Framing: a clip -> the stretch of it and the square of its picture that show one head well.

First pass over a video, at reduced size: faces, shots, gaps, rivals.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from geneface_kit import clip, landmarks

__all__ = ["Crop", "FramingConfig", "Scan", "scan", "square_crop", "usable_span"]


@dataclass(frozen=True)
class FramingConfig:
    """What counts as usable. All ours."""

    detect_side: int = 640  # longer side of the pictures given to the detector, pixels
    min_s: float = 1.0  # a shorter usable stretch is an error, seconds
    max_gap_s: float = 0.4  # longest stretch without a face that is interpolated, seconds
    rival: float = 0.65  # a second face of this relative size makes a frame ambiguous
    crowded_share: float = 0.1  # share of ambiguous frames that is an error
    head_share: float = 0.42  # face height (1.5 x brows to chin) over the side of a fresh crop


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


def scan(
    source: Path,
    config: FramingConfig,
    *,
    max_s: float = 0.0,
    detector: str = "mediapipe",
) -> Scan:
    """Stream a clip once: the face of every frame. max_s: seconds read, 0 = all."""
    about = clip.probe(source)
    thumbnails: list[np.ndarray] = []
    shape = (0, 0)

    def watched() -> Iterator[np.ndarray]:
        nonlocal shape
        frames = clip.stream_frames(
            source, long_side=config.detect_side, max_s=max_s if max_s > 0 else None
        )
        for frame in frames:
            shape = frame.shape[:2]
            step = max(1, max(shape) // 64)
            thumbnails.append(frame[step // 2 :: step, step // 2 :: step].copy())
            yield frame

    mesh = landmarks.detect(watched(), detector=detector)
    return Scan(mesh, np.stack(thumbnails), shape[1], shape[0], about)


def usable_span(found: Scan, config: FramingConfig) -> tuple[int, int, list[str]]:
    """First frame and end of the longest usable stretch, and warnings about the rest.

    Raises: ValueError when the clip is too short, shows no face, two alike, or only flashes.
    """
    mesh, n_frames = found.mesh, len(found.mesh)
    if n_frames < config.min_s * clip.FPS:
        raise ValueError(
            f"the clip lasts {n_frames / clip.FPS:.2f} s; at least {config.min_s:g} s are needed"
        )
    if not mesh.found.any():
        raise ValueError("no face was found in any frame; use a clip that shows one face")
    crowded = float((mesh.rival > config.rival).mean())
    if crowded > config.crowded_share:
        raise ValueError(
            f"two faces of similar size are in {crowded:.0%} of the frames; crop the clip so "
            "that one person is left"
        )
    cuts = landmarks.find_cuts(found.thumbnails, mesh)
    start, stop = landmarks.longest_span(mesh.found, round(config.max_gap_s * clip.FPS), cuts)
    if stop - start < config.min_s * clip.FPS:
        raise ValueError(
            f"the longest stretch with a face lasts {(stop - start) / clip.FPS:.2f} s; at least "
            f"{config.min_s:g} s are needed"
        )
    return start, stop, _warnings(found, cuts, start, stop)


def square_crop(mesh: landmarks.Mesh, width: int, height: int, config: FramingConfig) -> Crop:
    """One square for the clip, in pixels of the scanned pictures.

    A clip that is square already is taken whole; else the square holds the whole head in all
    frames, with margin for hair, and shoulders where the picture has them.
    """
    short = min(width, height)
    if abs(width - height) <= 0.02 * short:
        return Crop((width - short) / 2, (height - short) / 2, float(short))
    points = landmarks.to_68(mesh)[..., :2]
    brow, chin = points[:, 17:27, 1].min(1), points[:, 8, 1]
    face = float(np.median(chin - brow)) * 1.5  # to the top of the forehead
    highest, lowest = float((brow - 0.75 * face).min()), float((chin + 0.2 * face).max())
    leftmost = float((points[..., 0].min(1) - 0.25 * face).min())
    rightmost = float((points[..., 0].max(1) + 0.25 * face).max())
    side = max(face / config.head_share, lowest - highest, rightmost - leftmost)
    side = min(side, float(short))
    left = np.clip((leftmost + rightmost) / 2 - side / 2, 0, width - side)
    middle = float(np.median((brow + chin) / 2))
    top = np.clip(min(middle - 0.47 * side, highest), 0, height - side)
    return Crop(float(left), float(top), side)


def _warnings(found: Scan, cuts: tuple[int, ...], start: int, stop: int) -> list[str]:
    warnings = []
    if abs(found.source.fps - clip.FPS) > 0.01:
        warnings.append(f"frame rate {found.source.fps:.2f} resampled to {clip.FPS} by time stamps")
    if (found.mesh.rival > 0).mean() > 0.05:
        warnings.append("a second, smaller face is in the picture; the largest one is followed")
    if cuts:
        times = ", ".join(f"{cut / clip.FPS:.2f}" for cut in cuts[:5])
        warnings.append(f"{len(cuts)} cut(s), at {times} s; the longest shot is used")
    if stop - start < len(found.mesh):
        warnings.append(
            f"only {start / clip.FPS:.2f} to {stop / clip.FPS:.2f} s of "
            f"{len(found.mesh) / clip.FPS:.2f} s are usable"
        )
    missing = int((~found.mesh.found[start:stop]).sum())
    if missing:
        warnings.append(f"the face is missing in {missing} frame(s); interpolated and flagged")
    return warnings
