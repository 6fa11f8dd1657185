"""Framing: clips at reduced size -> their faces on one clock, and the square around the head."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import binary_dilation, median_filter, uniform_filter1d

from geneface_kit.person import clip, landmarks
from geneface_kit.person.occlusion import FADE, mixtures, with_mixed_share
from geneface_kit.person.spans import Parts, evenly_spaced, runs_of
from geneface_kit.runs import live

DETECT_SIDE = 640  # longer side of the pictures given to the detector, pixels (ours)
FEW_FACES, SMALL_FACE = 0.9, 0.2
"""Share of frames with a face below which it may be too small for the detector, where those that
are found are no higher than this share of the pictures (ours)."""
MIN_S = 1.0  # seconds of the shortest clip or stretch that is used (ours)
LEAST_PART, AROUND = 240, 4.0
"""Side of the smallest parts of a picture that are searched, pixels; the square that is then looked
at, in heights of the face (ours)."""
FADED = 0.02
"""Mean `with_mixed_share` of three frames above which they are inside a cross-fade. Of 133 clips of
talking people two have over 0.006, at most 0.013. Of fades made of them, to another pose of the
same framing (58) and to a view 1.4 times as near (74), 43 and 69 % are found when they last 6
frames, 39 and 51 % when 12 (ours)."""
HALO = 4  # pixels up to which a dark first line and its halo reach (ours)
BLACK = 12  # mean value of a line of pixels, of 255, up to which it is black (ours)
HEAD_SHARE = 0.5  # face height (1.5 x brows to chin) over the side of a fresh crop (ours)
LEAST_SIDE = 128  # to which smaller squares are enlarged, for landmarks to be seen, pixels (ours)
SQUARE_SHARE = 0.45  # a square picture is cropped where a crop is smaller by this factor (ours)


@dataclass(frozen=True)
class Scan:
    """Faces of clips at 25 fps, in pixels of pictures of width x height, and small pictures.

    shares: how much of each frame is a mixture, see `with_mixed_share`; source: what the first
    clip says of itself; bars: black ones at the left, top, right and bottom, pixels; clips, firsts:
    the files, one after the other, and the frame at which each begins.
    """

    mesh: landmarks.Mesh
    thumbnails: UInt8[np.ndarray, "t a b 3"]
    shares: Float[np.ndarray, " t"]
    width: int
    height: int
    source: clip.Probe
    bars: tuple[int, int, int, int] = (0, 0, 0, 0)
    clips: tuple[Path, ...] = (Path("clip"),)
    firsts: tuple[int, ...] = (0,)

    def parts(self) -> list[tuple[Path, int, int]]:
        """Each clip, its first frame and its end."""
        ends = (*self.firsts[1:], len(self.mesh))
        return list(zip(self.clips, self.firsts, ends, strict=True))

    @property
    def fades(self) -> Bool[np.ndarray, " t"]:
        """The frames inside a cross-fade."""
        return uniform_filter1d(self.shares, 3) > FADED

    @functools.cached_property
    def cuts(self) -> tuple[int, ...]:
        """Frames at which another shot starts inside a clip: the middle of a cross-fade is one."""
        found = {(a + b) // 2 for a, b in runs_of(self.fades, max_gap=FADE)}
        for _, first, stop in self.parts():
            hard = landmarks.find_cuts(self.thumbnails[first:stop], self.mesh.cut(first, stop))
            found |= {first + cut for cut in hard}
        return tuple(sorted(found))

    @functools.cached_property
    def mixed(self) -> Bool[np.ndarray, " t"]:
        """Frames that were not filmed but mixed from others, cross-fades whole."""
        rates = [mixtures(self.thumbnails[first:stop]) for _, first, stop in self.parts()]
        return np.concatenate(rates) | binary_dilation(self.fades, iterations=2 * FADE)

    def shot(self, start: int, stop: int) -> tuple[int, int | None]:
        """First frame of the shot, or clip, around a stretch, and its end; None: of the clip."""
        first, end = next((a, b) for _, a, b in self.parts() if a <= start < b)
        before = [cut for cut in self.cuts if first < cut <= start]
        after = [cut for cut in self.cuts if stop <= cut < end]
        return max(before, default=first), min(after, default=None)

    def within(self, frame: int) -> tuple[int, int]:
        """The number of the clip that a frame lies in, and the frame's own there."""
        number = int(np.searchsorted(self.firsts, frame, side="right")) - 1
        return number, frame - self.firsts[number]

    def time(self, frame: int) -> str:
        """ "1.20 s", after the clip's name where there are several."""
        number, own = self.within(frame)
        name = f"{self.clips[number].name} " if len(self.clips) > 1 else ""
        return f"{name}{own / clip.FPS:.2f} s"

    def times(self, spans: Parts) -> str:
        """ "0.00 to 1.20 s, 3.00 to 4.00 s", at most five of them, each after its clip's name."""
        words = []
        for start, stop in spans[:5]:
            number, own = self.within(start)
            words.append(f"{self.time(start)[:-2]} to {(own + stop - start) / clip.FPS:.2f} s")
        return ", ".join([*words, "..."] if len(spans) > 5 else words)


@dataclass(frozen=True)
class Crop:
    """A square of the scanned pictures, pixels."""

    left: float
    top: float
    side: float

    def of(self, picture: UInt8[np.ndarray, "h w 3"], size: int, scale: float = 1.0) -> np.ndarray:
        """The square of a picture `scale` times as large, resized to size x size pixels."""
        left, top, side = (round(edge * scale) for edge in (self.left, self.top, self.side))
        how = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
        square = picture[top : top + side, left : left + side]
        return cv2.resize(square, (size, size), interpolation=how)


def picture_side(scan: Scan, crop: Crop, most: int) -> int:
    """Side of a person's pictures, px, even: what the clip shows of the square, at most `most`."""
    shown = crop.side * scan.source.width / scan.width
    return min(most, max(LEAST_SIDE, round(shown / 2) * 2))


def scan(source: Path, *, max_s: float = 0.0) -> Scan:
    """Stream a clip once: the face of every frame. max_s: seconds read, 0 = all. Where hardly any
    is found, a small one is looked for, and the clip is streamed again around it."""
    limit, about = max_s if max_s > 0 else None, clip.probe(source)
    n_frames = round(min(about.seconds, limit or about.seconds) * clip.FPS)
    thumbnails, shares, brightest = [], [], np.zeros((1, 1), np.uint8)

    def watched() -> Iterator[np.ndarray]:
        nonlocal brightest
        frames = clip.stream_frames(source, long_side=DETECT_SIDE, max_s=limit)
        shown = live.progress(frames, "looking for the face", n_frames)
        for frame, share in with_mixed_share(shown):
            shares.append(share)
            if len(thumbnails) % 5 == 0:
                brightest = np.maximum(brightest, frame.max(-1))
            step = max(1, max(frame.shape) // 64)
            thumbnails.append(frame[step // 2 :: step, step // 2 :: step].copy())
            yield frame

    mesh = landmarks.detect(watched())
    height, width = brightest.shape
    scale = max(height, width) / max(about.width, about.height)  # of what the mesh is given in
    seen = np.ptp(mesh.points[mesh.found, :, 1], axis=1)
    is_small = not len(seen) or np.median(seen) < SMALL_FACE * DETECT_SIDE
    if scale < 1 and is_small and mesh.found.mean() < FEW_FACES:
        around = _small_face(source, len(thumbnails))
        if around is not None:
            frames = clip.stream_frames(source, max_s=limit)
            close = landmarks.detect(around.of(frame, DETECT_SIDE) for frame in frames)
            zoom = DETECT_SIDE / around.side
            mesh = close.moved(-around.left * zoom, -around.top * zoom, scale / zoom)
    pictures, bars = np.stack(thumbnails), black_bars(brightest)
    return Scan(mesh, pictures, np.array(shares), width, height, about, bars, (source,))


def scan_all(sources: Sequence[Path], *, max_s: float = 0.0) -> Scan:
    """`scan` of several clips, one after the other. max_s: seconds read of all together, 0 = all;
    no clip is begun with less than MIN_S left.

    Raises: ValueError when one has pictures of another shape.
    """
    scans: list[Scan] = []
    for source in sources:
        left_s = max_s - sum(len(one.mesh) for one in scans) / clip.FPS
        if scans and 0 < max_s and left_s < MIN_S:
            break
        one = scan(source, max_s=left_s if max_s > 0 else 0.0)
        scans.append(one)
        if (one.width, one.height) != (scans[0].width, scans[0].height):
            raise ValueError(
                f"{source.name} is {one.source.width} x {one.source.height}, {sources[0].name} "
                f"{scans[0].source.width} x {scans[0].source.height}: clips of one person must "
                "have pictures of one shape; crop them alike, or leave one out"
            )
    firsts = np.cumsum([0, *(len(one.mesh) for one in scans[:-1])]).tolist()
    return replace(
        scans[0],
        mesh=landmarks.in_a_row([one.mesh for one in scans]),
        thumbnails=np.concatenate([one.thumbnails for one in scans]),
        shares=np.concatenate([one.shares for one in scans]),
        bars=tuple(max(widths) for widths in zip(*(one.bars for one in scans), strict=True)),
        clips=tuple(path for one in scans for path in one.clips),
        firsts=tuple(firsts),
    )


def black_bars(brightest: UInt8[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    """Widths of the bars at the left, top, right and bottom of pictures, pixels. brightest: the
    largest value of each pixel over the clip. A bar is black all the time and ends in a straight
    edge: a person before a black wall has none. A first line that is far darker than those after it
    over its whole length, as analogue video has it, is no picture either, nor is its halo."""
    found = []
    for lines in (brightest.T, brightest, brightest.T[::-1], brightest[::-1]):
        is_black = lines.mean(axis=1) < BLACK
        n = len(lines) if is_black.all() else int(np.argmin(is_black))
        is_bar = 0 < n < len(lines) // 2 and (lines[n + 1] > 2 * BLACK).mean() > 0.75
        is_line = n == 0 and (lines[0] < 0.65 * lines[HALO]).mean() > 0.75
        # the edge itself is a mixture
        found.append(n + 2 if is_bar else HALO + 1 if is_line else 0)
    return (found[0], found[1], found[2], found[3])


def _small_face(source: Path, n_frames: int) -> Crop | None:
    """A square of the full pictures around a face that is small in them: the first one found in
    ever smaller parts of a few frames spread over the clip."""
    wanted = evenly_spaced(n_frames, 5).tolist()
    for number, frame in enumerate(clip.stream_frames(source)):
        if number not in wanted:
            continue
        height, width = frame.shape[:2]
        side = min(height, width)
        while side >= LEAST_PART:
            # parts overlap by half or more
            counts = ((size, 1 + -(-2 * (size - side) // side)) for size in (height, width))
            starts = (np.linspace(0, size - side, n).astype(int) for size, n in counts)
            corners = itertools.product(*starts)
            parts = [Crop(float(left), float(top), float(side)) for top, left in corners]
            found = landmarks.detect(part.of(frame, DETECT_SIDE) for part in parts)
            if found.found.any():
                heights = np.where(found.found, np.ptp(found.points[..., 1], axis=1), 0)
                best = int(heights.argmax())
                corner = (parts[best].left, parts[best].top)
                points = found.points[best, :, :2] * side / DETECT_SIDE + corner
                whole = round(min(AROUND * float(np.ptp(points[:, 1])), height, width))
                corner = (points.mean(0) - whole / 2).clip(0, (width - whole, height - whole))
                return Crop(*corner.round().tolist(), float(whole))
            side = side * 2 // 3
    return None


def square_crop(
    mesh: landmarks.Mesh, width: int, height: int, bars: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> Crop:
    """One square for the clip, in pixels of the scanned pictures, without their bars.

    It holds the whole head in all frames, with margin for hair, and shoulders where the picture
    has them. A picture that is square already is taken whole unless the head is small in it.
    """
    left, top, right, bottom = bars
    if any(bars):
        bare = mesh.moved(float(left), float(top), 1.0)
        inner = square_crop(bare, width - left - right, height - top - bottom)
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
