"""Files of a person: frames, labels, torso, background, tracks; each gets its name when complete.

Pictures are written and read one at a time, so that memory does not grow with the clip.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from geneface_kit.person import clip, framing, landmarks
from geneface_kit.person.background import Background, make_background, torso_image
from geneface_kit.person.segmentation import (
    label_frame,
    learn_palette,
    refine_mask,
    smooth_labels,
)
from geneface_kit.person.tracking.track import Track
from geneface_kit.runs import replacing

PALETTE_FRAMES, BACKGROUND_FRAMES = 12, 40
"""Frames that teach the person's colours (ours), and that are searched for the background
(official code: every 20th frame)."""
PIECE = 200
"""Pictures after which a memory map is opened afresh, so that read pages are given back."""


def write_frames(
    source: Path,
    folder: Path,
    span: tuple[int, int],
    crop: framing.Crop,
    scanned_width: int,
    size: int,
) -> UInt8[np.ndarray, "t h w 3"]:
    """Second pass: the square crop of every frame of the span, from full-resolution pictures."""
    start, stop = span

    def cropped() -> Iterator[np.ndarray]:
        for picture in clip.stream_frames(source, max_s=stop / clip.FPS, first=start):
            left, top, side = crop.scaled(picture.shape[1] / scanned_width)
            square = picture[top : top + side, left : left + side]
            shrink = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
            yield cv2.resize(square, (size, size), interpolation=shrink)

    return _write_pictures(folder / "frames.npy", cropped(), (stop - start, size, size, 3))


def write_labels(folder: Path, points: Float[np.ndarray, "t 68 2"]) -> UInt8[np.ndarray, "t h w"]:
    """Labels of every frame of frames.npy, each agreed with its neighbours in time.

    points: landmarks in pixels.
    """
    frames = pictures_of(folder / "frames.npy")
    raw = _labels_alone(folder, points)
    steady = smooth_labels(zip(frames, raw, strict=True))
    shape = np.load(folder / "frames.npy", mmap_mode="r").shape[:3]
    return _write_pictures(folder / "labels.npy", steady, shape)


def write_background(
    folder: Path, frames: UInt8[np.ndarray, "t h w 3"], labels: UInt8[np.ndarray, "t h w"]
) -> Background:
    """The background of some frames over the whole clip, also as background.png."""
    some = evenly_spaced(len(frames), BACKGROUND_FRAMES)
    found = make_background(
        [np.array(frames[t]) for t in some], [np.array(labels[t]) for t in some]
    )
    path = folder / "background.png"
    with replacing(path) as partial:
        if not cv2.imwrite(str(partial), cv2.cvtColor(found.picture, cv2.COLOR_RGB2BGR)):
            raise OSError(f"could not write {path}; is the disk full?")
    return found


def write_torso(folder: Path) -> None:
    """The torso picture of every frame, from frames.npy and labels.npy."""
    frames, labels = (pictures_of(folder / f"{name}.npy") for name in ("frames", "labels"))
    torsos = (torso_image(*pair) for pair in zip(frames, labels, strict=True))
    shape = np.load(folder / "frames.npy", mmap_mode="r").shape[:3]
    _write_pictures(folder / "torso.npy", torsos, (*shape, 4))


def write_tracks(folder: Path, tracked: Track, found: Bool[np.ndarray, " t"], size: int) -> None:
    """Poses, landmarks, their statistics and rectangles as tracks.npz."""
    write_npz(
        folder / "tracks.npz",
        poses=tracked.poses,
        landmarks=tracked.landmarks,
        landmarks2d=tracked.landmarks2d,
        landmark_mean=tracked.landmarks.mean(0),
        landmark_std=tracked.landmarks.std(0),
        face_rects=_rects(tracked.landmarks2d, size, margin=0.1),
        lip_rects=_rects(tracked.landmarks2d[:, 48:60], size, margin=0.15, square=True),
        error_px=tracked.error_px,
        found=found,
    )


def evenly_spaced(n_frames: int, n: int) -> Int[np.ndarray, " _"]:
    """Up to n frame numbers, evenly over the clip."""
    return np.unique(np.linspace(0, n_frames - 1, min(n_frames, n)).astype(int))


def pictures_of(path: Path) -> Iterator[np.ndarray]:
    """The pictures of an npy file one after another, without holding the file in memory."""
    n_pictures = len(np.load(path, mmap_mode="r"))
    for start in range(0, n_pictures, PIECE):
        piece = np.load(path, mmap_mode="r")[start : start + PIECE]
        for picture in piece:
            yield np.array(picture)


def write_npz(path: Path, **arrays: np.ndarray | str) -> None:
    """Arrays as one npz file, all or nothing."""
    with replacing(path) as partial:
        np.savez(partial, **arrays)


def _labels_alone(folder: Path, points: np.ndarray) -> Iterator[UInt8[np.ndarray, "h w"]]:
    """Labels of every frame on its own."""
    with landmarks.person_mask() as person_of:
        frames = np.load(folder / "frames.npy", mmap_mode="r")
        some = evenly_spaced(len(frames), PALETTE_FRAMES)
        samples = ((np.array(frames[t]), person_of(frames[t]), points[t]) for t in some)
        palette = learn_palette(samples)
        del frames
        for t, (frame, mask) in enumerate(_masked(folder / "frames.npy", person_of)):
            person = refine_mask(mask, frame)
            yield label_frame(frame, person, points[t], palette)


def _masked(path: Path, person_of: Callable) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every frame with its person probability, weighted 1-2-1 over its neighbours in time."""
    before = frame = mask = None
    for following in pictures_of(path):
        ahead = person_of(following).copy()
        if frame is not None:
            yield frame, (before + 2 * mask + ahead) / 4
        before, frame, mask = (ahead if mask is None else mask), following, ahead
    if frame is not None:
        yield frame, (before + 3 * mask) / 4


def _rects(points: np.ndarray, size: int, *, margin: float, square: bool = False) -> np.ndarray:
    """Boxes around points, (t, 4) x0, y0, x1, y1 inside the picture, with a relative margin."""
    low, high = points.min(1), points.max(1)
    middle, half = (low + high) / 2, (high - low) / 2 * (1 + 2 * margin)
    if square:
        half = np.repeat(half.max(1, keepdims=True), 2, axis=1)
    corners = np.concatenate([np.floor(middle - half), np.ceil(middle + half)], axis=1)
    return np.clip(corners, 0, size).astype(np.int64)


def _write_pictures(
    path: Path, pictures: Iterable[np.ndarray], shape: tuple[int, ...]
) -> UInt8[np.ndarray, "t h w *c"]:
    """Pictures one after another as a uint8 npy file of a known shape, as a memory map."""
    n_written = 0
    with replacing(path) as partial, partial.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for n_written, picture in enumerate(pictures, 1):  # noqa: B007
            file.write(np.ascontiguousarray(picture, np.uint8))
        if n_written != shape[0]:
            raise ValueError(
                f"{path.name} needs {shape[0]} pictures, the clip gave {n_written} when read "
                "again; is it still being written?"
            )
    return np.load(path, mmap_mode="r")
