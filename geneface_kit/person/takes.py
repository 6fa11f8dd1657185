"""Takes: the stretches of clips that show one person in one framing; what is said of the rest."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

from geneface_kit.person import clip, landmarks
from geneface_kit.person.framing import MIN_S, Scan
from geneface_kit.person.spans import Parts, evenly_spaced, runs_of

MAX_GAP_S = 0.4  # seconds of the longest gap that is filled (ours)
RIVAL, CROWDED_SHARE = 0.65, 0.1
"""Relative size of a second face that makes a frame ambiguous; share of such frames that is an
error (ours)."""
ALL = -1  # number of a stretch that stands for all that are alike
FACE_SIDE, FACE_PLACES = 24, np.array([[7, 9], [17, 9], [12, 18]], np.float32)
"""Edge of the small pictures of faces that are compared, pixels, and where eyes and mouth lie."""
OTHER_FACE = 0.25
"""Mean difference of two such pictures, each over its mean, from which on they are of two people.
In 131 clips of talking people 93 % of the clips' halves differ by less, 91 % of the pairs by more
(ours)."""
OTHER_PLACE, OTHER_SIZE, OTHER_ROOM = 1.5, 1.4, 0.2
"""What is another framing: a face moved by so many eye distances, a face so many times as large, a
picture around it that changed by this share of full scale (ours)."""


def usable_spans(found: Scan, *, min_s: float = MIN_S) -> list[tuple[int, int]]:
    """First frame and end of every stretch of at least min_s with one face, the longest first.

    A stretch holds one shot and no gap longer than MAX_GAP_S; equal ones stand in order of time.
    """
    edges = tuple(sorted({*found.cuts, *found.firsts[1:]}))
    stretches = runs_of(found.mesh.found, round(MAX_GAP_S * clip.FPS), edges)
    long_enough = [(a, b) for a, b in stretches if b - a >= min_s * clip.FPS]
    return sorted(long_enough, key=lambda span: span[0] - span[1])


def chosen(found: Scan, number: int = ALL) -> tuple[list[tuple[int, int]], list[str]]:
    """First frame and end of the stretches that make a person, in order of time; and warnings.

    number: of one usable stretch alone, by length; ALL takes every one that shows the same person
    in the same framing as most do.
    Raises: ValueError when a clip is too short, shows no face, two alike, or only flashes, or
    nothing that is like the other clips, or has no stretch of that number.
    """
    for path, first, stop in found.parts():
        problem = _problem(found, first, stop)
        if problem:
            raise ValueError(f"{path.name}: {problem}" if len(found.clips) > 1 else problem)
    spans = usable_spans(found)
    if not ALL <= number < len(spans):
        raise ValueError(
            f"span {number} does not exist; the clip has {len(spans)} usable stretch(es), "
            f"counted from 0: {found.times(spans)}"
        )
    if number != ALL:
        differences = {span: "not asked for" for span in spans} | {spans[number]: ""}
        reason = f"chosen by person.span, which is {number}"
    else:
        differences = _differences(found, spans)
        for path, first, stop in found.parts():
            here = [why for span, why in differences.items() if first <= span[0] < stop]
            if all(here):
                raise ValueError(
                    f"{path.name} {here[0]} than most of the clips of this person: they must show "
                    "one person in one setting; leave it out, or make it a person of its own"
                )
        reason = "left out, as it " + " or ".join(sorted(set(differences.values()) - {""}))
    taken = sorted(span for span, why in differences.items() if not why)
    others = [span for span, why in differences.items() if why]
    warnings = _warnings(found, taken, len(spans))
    if others:
        warnings.append(f"{len(others)} other usable stretch(es), {found.times(others)}: {reason}")
    return taken, warnings


def frames_of(taken: Parts) -> Int[np.ndarray, " t"]:
    """The numbers of the frames of some stretches."""
    return np.concatenate([np.arange(*span) for span in taken])


def _problem(found: Scan, first: int, stop: int) -> str:
    """Why a clip makes no person, or nothing."""
    mesh, n_frames = found.mesh.cut(first, stop), stop - first
    if n_frames < MIN_S * clip.FPS:
        return f"the clip lasts {n_frames / clip.FPS:.2f} s; at least {MIN_S:g} s are needed"
    if not mesh.found.any():
        return "no face was found in any frame; use a clip that shows one face"
    crowded = float((mesh.rival > RIVAL).mean())
    if crowded > CROWDED_SHARE:
        return (
            f"two faces of similar size are in {crowded:.0%} of the frames; crop the clip so "
            "that one person is left"
        )
    inside = [b - a for a, b in usable_spans(found, min_s=0.0) if first <= a < stop]
    if inside[0] < MIN_S * clip.FPS:
        return (
            f"the longest stretch with a face lasts {inside[0] / clip.FPS:.2f} s; at least "
            f"{MIN_S:g} s are needed"
        )
    return ""


def _warnings(found: Scan, taken: list[tuple[int, int]], n_usable: int) -> list[str]:
    """What the reader should know about the clips and the part of them that is used."""
    warnings = []
    if abs(found.source.fps - clip.FPS) > 0.01:
        warnings.append(f"frame rate {found.source.fps:.2f} resampled to {clip.FPS} by time stamps")
    if (found.mesh.rival > 0).mean() > 0.05:
        warnings.append("a second, smaller face is in the picture; the largest one is followed")
    if any(found.bars):
        warnings.append("black bars or lines around the picture are left out")
    if found.cuts:
        times = ", ".join(found.time(cut) for cut in found.cuts[:9])
        warnings.append(f"{len(found.cuts)} cut(s), at {times}; shots are used one by one")
    n_used, n_frames = sum(b - a for a, b in taken), len(found.mesh)
    if n_used < n_frames:
        word = "usable" if len(taken) == n_usable else "used"
        warnings.append(f"only {found.times(taken)} of {n_frames / clip.FPS:.2f} s are {word}")
    missing = sum(int((~found.mesh.found[a:b]).sum()) for a, b in taken)
    if missing:
        warnings.append(f"the face is missing in {missing} frame(s); interpolated and flagged")
    return warnings


@dataclass(frozen=True)
class _Look:
    """What a stretch looks like.

    face: small picture, over its mean; room: mean picture; head: where the face is in it; place,
    eyes: middle of the face and distance of the eyes, pixels of the scan.
    """

    face: Float[np.ndarray, "f f 3"]
    room: Float[np.ndarray, "a b 3"]
    head: Bool[np.ndarray, "a b"]
    place: Float[np.ndarray, " 2"]
    eyes: float


def _differences(found: Scan, spans: list[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """In what each stretch differs from the one that is like most frames; "" for those alike."""
    looks, lengths = [_look(found, *span) for span in spans], np.diff(spans)[:, 0]
    told = [[_difference(one, other) for other in looks] for one in looks]
    like = [lengths[[not why for why in row]].sum() for row in told]
    return dict(zip(spans, told[int(np.argmax(like))], strict=True))


def _look(found: Scan, start: int, stop: int) -> _Look:
    seen = start + np.flatnonzero(found.mesh.found[start:stop])
    seen = seen[evenly_spaced(len(seen), 40)]
    points, pictures = landmarks.to_68(found.mesh)[seen][..., :2], found.thumbnails[seen]
    small = points * (pictures.shape[2] / found.width)
    parts = (slice(36, 42), slice(42, 48), slice(48, 60))  # both eyes and the mouth
    places = np.stack([small[:, part].mean(1) for part in parts], axis=1).astype(np.float32)
    warps = [cv2.getAffineTransform(place, FACE_PLACES) for place in places]
    faces = [
        cv2.warpAffine(picture, warp, (FACE_SIDE, FACE_SIDE), borderMode=cv2.BORDER_REPLICATE)
        for picture, warp in zip(pictures, warps, strict=True)
    ]
    face = np.median(faces, axis=0).astype(np.float32)
    low, high = small.min((0, 1)), small.max((0, 1))
    margin = 0.3 * float((high - low).max())
    left, top, right, bottom = np.maximum(0, [*(low - margin), *(high + margin)]).astype(int)
    head = np.zeros(pictures.shape[1:3], bool)
    head[top:bottom, left:right] = True
    distance = np.median(np.linalg.norm(points[:, 36] - points[:, 45], axis=-1))
    return _Look(
        face / max(float(face.mean()), 1.0),
        np.median(pictures, axis=0).astype(np.float32),
        head,
        points.mean((0, 1)),
        max(float(distance), 1e-6),
    )


def _difference(one: _Look, other: _Look) -> str:
    if float(np.abs(one.face - other.face).mean()) > OTHER_FACE:
        return "shows another face"
    larger, smaller = max(one.eyes, other.eyes), min(one.eyes, other.eyes)
    moved = float(np.linalg.norm(one.place - other.place))
    if larger > OTHER_SIZE * smaller or moved > OTHER_PLACE * smaller:
        return "shows the face in another size or place"
    around = ~(one.head | other.head)
    change = np.abs(one.room - other.room)[around] / 255
    return "shows another room" if change.size and change.mean() > OTHER_ROOM else ""
