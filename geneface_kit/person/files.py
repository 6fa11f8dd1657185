"""Files of a person: frames, labels, torso, background, tracks; each gets its name when complete.

Pictures are written and read one by one: memory does not grow with the clip.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from geneface_kit.person import clip, framing, landmarks, segmentation
from geneface_kit.person.background import torso_image
from geneface_kit.person.spans import ONE, Spans, evenly_spaced, held_out_from, stretches, windows
from geneface_kit.person.tracking.track import Track
from geneface_kit.runs import replacing
from geneface_kit.runs.arrays import write_npz
from geneface_kit.runs.live import progress

PALETTE_FRAMES = 12  # that teach the person's colours (ours)
PIECE = 200  # pictures after which a memory map is opened afresh, so that read pages are given back


def write_frames(
    scan: framing.Scan, folder: Path, wanted: Int[np.ndarray, " t"], crop: framing.Crop, size: int
) -> UInt8[np.ndarray, "t h w 3"]:
    """Second pass: the square crop of every frame that is wanted, from full-resolution pictures."""

    def squares() -> Iterator[np.ndarray]:
        for source, first, end in scan.parts():
            own = wanted[(wanted >= first) & (wanted < end)] - first
            if len(own):
                some, end_s = set(own.tolist()), (own[-1] + 1) / clip.FPS
                wide = clip.stream_frames(source, max_s=end_s, wanted=some)
                yield from (crop.of(one, size, one.shape[1] / scan.width) for one in wide)

    return _write_pictures(folder / "frames.npy", squares(), len(wanted))


def write_labels(
    folder: Path, points: Float[np.ndarray, "t 68 2"], spans: Spans = ONE
) -> UInt8[np.ndarray, "t h w"]:
    """Labels of every frame of frames.npy, each agreed with its neighbours in time; and of what
    they are sure, as kinds.npy. points: landmarks in pixels."""
    frames = np.load(folder / "frames.npy", mmap_mode="r")
    with landmarks.person_mask() as person_of:
        some = evenly_spaced(len(frames), PALETTE_FRAMES)
        palette = segmentation.learn_palette(
            (np.array(frames[t]), person_of(frames[t]), points[t]) for t in some
        )

        def alone(part: slice) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            pairs = _masked(pictures_of(folder / "frames.npy", part), person_of)
            for (frame, mask), seen in zip(pairs, points[part], strict=True):
                refined = segmentation.refine_mask(mask, frame)
                yield frame, segmentation.label_frame(frame, refined, seen, palette)

        steady = (segmentation.smooth_labels(alone(part)) for part in stretches(spans, len(points)))
        steady = itertools.chain.from_iterable(steady)
        shown = progress(steady, "telling head from body", len(frames))
        labels = _write_pictures(folder / "labels.npy", shown, len(frames))
    pairs = zip(_labelled(folder), points, strict=True)
    kinds = (segmentation.label_kinds(*pair, seen, palette) for pair, seen in pairs)
    _write_pictures(folder / "kinds.npy", kinds, len(frames))
    return labels


def write_torso(folder: Path) -> None:
    """The torso picture of every frame, from frames.npy and labels.npy."""
    n_frames = len(np.load(folder / "frames.npy", mmap_mode="r"))
    torsos = (torso_image(*pair) for pair in _labelled(folder))
    _write_pictures(folder / "torso.npy", torsos, n_frames)


def write_tracks(
    folder: Path, tracked: Track, found: Bool[np.ndarray, " t"], spans: Spans, size: int
) -> None:
    """Poses, landmarks, their statistics and rectangles, and the spans, as tracks.npz. Statistics
    are of what trains, of all frames where nothing does."""
    trains = found & (np.arange(len(found)) < held_out_from(spans, len(found)))
    own = tracked.landmarks[trains | ~trains.any()]
    write_npz(
        folder / "tracks.npz",
        poses=tracked.poses,
        landmarks=tracked.landmarks,
        landmarks2d=tracked.landmarks2d,
        landmark_mean=own.mean(0),
        landmark_std=own.std(0),
        face_rects=_rects(tracked.landmarks2d, size, margin=0.1),
        lip_rects=_rects(tracked.landmarks2d[:, 48:60], size, margin=0.15, square=True),
        error_px=tracked.error_px,
        found=found,
        spans=spans,
    )


def pictures_of(path: Path, part: slice = slice(None)) -> Iterator[np.ndarray]:
    """The pictures of an npy file one after another, without holding the file in memory."""
    first, end, _ = part.indices(len(np.load(path, mmap_mode="r")))
    for start in range(first, end, PIECE):
        yield from map(np.array, np.load(path, mmap_mode="r")[start : min(start + PIECE, end)])


def _labelled(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every frame with its labels."""
    return zip(*(pictures_of(folder / f"{name}.npy") for name in ("frames", "labels")), strict=True)


def _masked(
    pictures: Iterable[np.ndarray], person_of: Callable
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every frame with its person probability, weighted 1-2-1 over its neighbours in time."""
    masked = ((frame, person_of(frame).copy()) for frame in pictures)
    for before, (frame, mask), after in windows(masked, 1):
        sides = [mask if other is None else other[1] for other in (before, after)]
        yield frame, (sides[0] + 2 * mask + sides[1]) / 4


def _rects(points: np.ndarray, size: int, *, margin: float, square: bool = False) -> np.ndarray:
    """Boxes around points, (t, 4) x0, y0, x1, y1 inside the picture, with a relative margin."""
    low, high = points.min(1), points.max(1)
    middle, half = (low + high) / 2, (high - low) / 2 * (1 + 2 * margin)
    if square:
        half = np.repeat(half.max(1, keepdims=True), 2, axis=1)
    corners = np.concatenate([np.floor(middle - half), np.ceil(middle + half)], axis=1)
    return np.clip(corners, 0, size).astype(np.int64)


def _write_pictures(
    path: Path, pictures: Iterable[np.ndarray], n: int
) -> UInt8[np.ndarray, "t h w *c"]:
    """`n` pictures, one after another, as a uint8 npy file, as a memory map."""
    n_written = 0
    with replacing(path) as partial, partial.open("wb") as file:
        for n_written, picture in enumerate(pictures, 1):
            if n_written == 1:
                header = {"descr": "|u1", "fortran_order": False, "shape": (n, *picture.shape)}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(picture, np.uint8))
        if n_written != n:
            raise ValueError(
                f"{path.name} needs {n} pictures, the clip gave {n_written} when read again; is it "
                "still being written?"
            )
    return np.load(path, mmap_mode="r")
