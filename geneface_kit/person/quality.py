"""Quality: measures of a prepared person -> report and verdict, before hours of training.

Everything in the report is measured on the artefact; the thresholds are ours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from geneface_kit.person import clip, framing, landmarks, takes
from geneface_kit.person.background import Background
from geneface_kit.person.camera import euler_degrees
from geneface_kit.person.files import evenly_spaced
from geneface_kit.person.mouth import mouth_coverage, mouth_shape
from geneface_kit.person.segmentation import BACKGROUND, HEAD
from geneface_kit.person.speech.offset import CLEAR_CONFIDENCE, DRIFT_S, SyncedAudio, drift
from geneface_kit.person.tracking.track import Track, pose_leak
from geneface_kit.runs.files import Facts, read_rows

VERDICTS = ("good", "usable", "not usable")

MEASURED = {"seconds": 20.0, "source_face_px": 193.0, "blur": 0.39, "mouth_shapes_common": 0.95}
"""The clip behind the README's numbers: obama, 20 s, profile cpu: 30.4 dB on held-out heads."""


@dataclass(frozen=True)
class Evidence:
    """What a preparation found: the scan, the parts and crop taken from it, track, audio, pictures.

    taken, usable: first frame and end of the stretches that are used, and that could be; spans: of
    those used; whole: frames that show a face as it was filmed; frames, labels: memory maps.
    """

    scan: framing.Scan
    taken: Sequence[tuple[int, int]]
    usable: Sequence[tuple[int, int]]
    spans: Int[np.ndarray, " k"]
    whole: Bool[np.ndarray, " t"]
    crop: framing.Crop
    tracked: Track
    audio: SyncedAudio
    background: Background
    frames: UInt8[np.ndarray, "t h w 3"]
    labels: UInt8[np.ndarray, "t h w"]


def measure(found: Evidence) -> Facts:
    """Numbers about a person, plain values for person.json. Angles in degrees, sizes in pixels.

    "moments": what a doubt may be about -> the prepared frame that shows it most.
    """
    measures = (_clip_measures, _face_measures, _picture_measures, _mouth_measures)
    parts = [one(found) for one in measures]
    moments = {name: int(t) for part in parts for name, t in part.pop("moments").items()}
    return {name: value for part in parts for name, value in part.items()} | {"moments": moments}


def verdict(report: Facts, warnings: list[str]) -> Facts:
    """{"verdict", "obstacles", "reasons", "reason_frames", "warnings"}: one of VERDICTS, and why.

    obstacles: the reasons that make a clip not usable; reasons: these and the doubts, each with
    its remedy, from verdict.csv; reason_frames: the frame that each speaks of, -1 without one.
    """
    roll, late = sum(report["pose_degrees"]["roll"]) / 2, abs(report["sound_drift_s"])
    confidence = report["offset_confidence"] / CLEAR_CONFIDENCE
    told = report | {
        "roll": roll,
        "lies": abs(roll),
        "chin": report["chin_margin"] if abs(roll) <= 45 else 1.0,
        "drifts": 0.0 if report["silent"] else late / DRIFT_S,
        "agrees": 1.0 if report["silent"] or late > DRIFT_S else confidence,
        "strays": 100 * report["tracking_error_px"] / report["face_px"],
        "turns": max(abs(high - low) for low, high in report["pose_degrees"].values()),
        "lacking": report["mouth_shapes_missing"] or "some",
    }
    fatal, doubts = [], []
    for check in read_rows(Path(__file__).with_name("verdict.csv")):
        reason = check["problem"].format_map(told), report["moments"].get(check["moment"], -1)
        value = float(told[check["measure"]])
        if _is_beyond(value, check, "fatal"):
            fatal.append(reason)
        elif _is_beyond(value, check, "doubt"):
            doubts.append(reason)
    reasons = fatal + doubts
    return {
        "verdict": VERDICTS[2] if fatal else VERDICTS[1] if doubts else VERDICTS[0],
        "obstacles": [why for why, _ in fatal],
        "reasons": [why for why, _ in reasons],
        "reason_frames": [frame for _, frame in reasons],
        "warnings": warnings,
    }


def _is_beyond(value: float, check: dict[str, str], kind: str) -> bool:
    """Whether a measure is below or above what a check calls "fatal" or a "doubt"."""
    below, above = check[f"{kind}_below"], check[f"{kind}_above"]
    return bool(below) and value < float(below) or bool(above) and value > float(above)


def expectation(report: Facts) -> str:
    """What quality to expect, against the one clip that was measured end to end."""
    if report["verdict"] == VERDICTS[2]:
        return "Nothing useful: see the reasons."
    basis = (
        "Measured once, with 20 s of a face 193 px high, profile cpu: 30.4 dB on held-out heads, "
        "lips 2.5 px off in a picture of 512 px."
    )
    shapes = report["mouth_shapes_common"]
    reasons = {
        "less speech": report["seconds"] < 0.9 * MEASURED["seconds"],
        "a smaller face": report["source_face_px"] < 0.9 * MEASURED["source_face_px"],
        "more blur": report["blur"] > MEASURED["blur"] + 0.05,
        "fewer mouth shapes": shapes < MEASURED["mouth_shapes_common"] - 0.1,
        "a moving background": report["background_still_frame"] >= 0,
        "a doubtful sound": report["offset_confidence"] < CLEAR_CONFIDENCE,
    }
    worse = ", ".join(name for name, applies in reasons.items() if applies)
    if worse:
        return f"{basis} This clip has {worse}: expect worse; how much is not known."
    return f"{basis} This clip is no worse in what is measured here: expect about as much."


def blur(gray: Float[np.ndarray, "h w"]) -> float:
    """Blur of a picture without reference, 0 sharp to 1 blurred.

    Crete and others 2007, "The blur effect": how little of the differences between neighbours a
    further blur (9 pixels along the axis) takes away; the worse of the two axes. A picture
    without any difference is 1.
    """
    worst = 0.0
    for axis in (0, 1):
        window = (1, 9) if axis == 0 else (9, 1)
        again = cv2.blur(gray, window)
        own, left = (np.abs(np.diff(picture, axis=axis)) for picture in (gray, again))
        total = float(own.sum())
        lost = float(np.maximum(0, own - left).sum())
        worst = max(worst, (total - lost) / total if total > 1e-6 else 1.0)
    return worst


def flicker(
    pictures: Iterable[tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]],
    *,
    still_level: float = 4.0,
) -> float:
    """Share of the still pixels near the person's edges whose label changes from frame to frame.

    pictures: neighbouring (frame, labels) pairs in order of time. Still: the colour (mean over
    3 x 3 pixels) changes by less than `still_level` of 255. Near: another label lies within 3
    pixels in one of the two frames. 0 for labels that change with the picture only.
    """
    n_near = n_changed = 0
    before: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    for frame, labels in pictures:
        soft = cv2.blur(frame, (3, 3)).astype(np.int16)
        edge = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, np.ones((7, 7), np.uint8)) > 0
        if before is not None:
            still = np.abs(soft - before[0]).max(-1) < still_level
            near = still & (edge | before[2])
            n_near += int(near.sum())
            n_changed += int((near & (labels != before[1])).sum())
        before = (soft, labels, edge)
    return n_changed / n_near if n_near else 0.0


def _clip_measures(found: Evidence) -> Facts:
    scan, used = found.scan, takes.frames_of(found.taken)
    seen, margin = scan.mesh.found[used], _chin_margin(scan, used)

    def seconds(spans: Iterable[tuple[int, int]], first: int, stop: int) -> list[list[float]]:
        here = [span for span in spans if first <= span[0] < stop]
        return [[(frame - first) / clip.FPS for frame in span] for span in here]

    return {
        "seconds": round(len(used) / clip.FPS, 2),
        "clips": [
            {
                "file": path.name,
                "seconds": (stop - first) / clip.FPS,
                "taken_s": seconds(found.taken, first, stop),
                "usable_s": seconds(found.usable, first, stop),
                "cuts_s": [(cut - first) / clip.FPS for cut in scan.cuts if first <= cut < stop],
            }
            for path, first, stop in scan.parts()
        ],
        "source": {
            "width": scan.source.width,
            "height": scan.source.height,
            "fps": round(scan.source.fps, 3),
        },
        "crop": [
            round(v / scan.width, 4) for v in (found.crop.left, found.crop.top, found.crop.side)
        ],
        "detection_rate": float(seen.mean()),
        "trained": float(found.whole.mean()),
        "chin_margin": float(np.median(margin[seen])),
        "moments": {"lost": seen.argmin(), "low": np.where(seen, margin, np.inf).argmin()},
    }


def _chin_margin(scan: framing.Scan, used: np.ndarray) -> Float[np.ndarray, " t"]:
    """How far the chin stays above the picture's lower border, heights of the face."""
    points = landmarks.to_68(scan.mesh)[used]
    chin, brow = points[:, :17, 1].max(1), points[:, 17:27, 1].min(1)
    seen = scan.mesh.found[used]
    return (scan.height - scan.bars[3] - chin) / max(np.median((chin - brow)[seen]), 1.0)


def _face_measures(found: Evidence) -> Facts:
    scan, tracked, side = found.scan, found.tracked, found.frames.shape[1]
    angles, heights = euler_degrees(tracked.poses), np.ptp(tracked.landmarks2d[..., 1], axis=1)
    low, high = np.percentile(angles, [2, 98], axis=0)
    face_px = float(np.median(heights))
    to_source = found.crop.side / side * scan.source.width / scan.width
    return {
        "face_px": face_px,
        "source_face_px": face_px * to_source,
        "pose_degrees": {
            name: [round(float(low[k]), 1), round(float(high[k]), 1)]
            for k, name in enumerate(("pitch", "yaw", "roll"))
        },
        "tracking_error_px": float(tracked.error_px.mean()),
        "focal_widths": tracked.focal / side,
        "pose_leak": _rounded(pose_leak(tracked)),
        "moments": {
            "small": heights.argmin(),
            "turned": np.abs(angles).max(1).argmax(),
            "untracked": tracked.error_px.argmax(),
        },
    }


def _picture_measures(found: Evidence) -> Facts:
    """Measures on 25 frames of the clip; what concerns time, on pairs of neighbours."""
    some = evenly_spaced(len(found.frames), 25).tolist()
    frames, labels = found.frames, found.labels
    heads = [_rows(labels[t]) for t in some]
    inside = np.array([_is_inside(labels[t]) for t in some])
    blurs = np.array([_face_blur(frames[t], found.tracked, t) for t in some])
    light = np.array([_brightness(frames[t], labels[t]) for t in some])
    low, middle, high = np.percentile(light, [5, 50, 95])
    strays = [_strays(frames[t], labels[t], found.background.picture) for t in some]
    pairs = [(t, t + 1) for t in some if t + 1 < len(frames) and t + 1 not in found.spans]
    return {
        "head_px": float(np.median(heads)),
        "head_in_picture": float(inside.mean()),
        "blur": float(np.median(blurs)),
        "brightness": float(middle),
        "exposure_change": float(high - low),
        "background_moving": found.background.moving,
        "background_still_frame": found.background.still_frame,
        "background_seen": float(found.background.seen.mean()),
        "label_flicker": float(
            np.mean([flicker((np.array(frames[t]), np.array(labels[t])) for t in p) for p in pairs])
        ),
        "moments": {
            "cut": some[inside.argmin()],
            "blurred": some[blurs.argmax()],
            "dark": some[light.argmin()],
            "exposed": some[np.abs(light - middle).argmax()],
            "moved": some[np.argmax(strays)],
        },
    }


def _mouth_measures(found: Evidence) -> Facts:
    mouth = mouth_shape(found.tracked.landmarks)
    offset = found.audio.offset
    return {
        "loudness_rms": found.audio.rms,
        "silent": clip.is_silent(found.audio.sound),
        "sound_drift_s": drift(found.audio.speech, found.tracked.landmarks, found.spans),
        "offset_s": round(offset.seconds, 3),
        "offset_confidence": round(offset.confidence, 3),
        "offset_lags_s": [round(float(lag), 3) for lag in offset.lags],
        "offset_curve": [round(float(value), 4) for value in offset.curve],
        "mouth_opening_std": float(mouth[:, 0].std()),
        "moments": {"open": mouth[:, 0].argmax()},
    } | mouth_coverage(mouth, found.spans)


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in values.items()}


def _rows(labels: np.ndarray) -> int:
    """Height of the head, pixels."""
    rows = np.flatnonzero((labels == HEAD).any(1))
    return int(rows[-1] - rows[0] + 1) if len(rows) else 0


def _is_inside(labels: np.ndarray) -> bool:
    """Whether the head touches neither the upper nor, in its upper half, a side border: long hair
    may leave the picture."""
    head = labels == HEAD
    rows = np.flatnonzero(head.any(1))
    upper = head[: int(rows.mean()) if len(rows) else 0]
    return not (head[0].any() or upper[:, [0, -1]].any())


def _face_blur(frame: np.ndarray, tracked: Track, t: int) -> float:
    """Blur of the face, shrunk to a height of 100 pixels where larger, so that sizes compare."""
    points = tracked.landmarks2d[t]
    x0, y0 = np.maximum(points.min(0), 0).astype(int)
    x1, y1 = np.minimum(points.max(0).astype(int) + 1, len(frame))
    if x1 - x0 < 4 or y1 - y0 < 4:
        return 1.0
    face = cv2.cvtColor(np.ascontiguousarray(frame[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY)
    scale = min(1.0, 100 / (y1 - y0))
    face = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return blur(face.astype(np.float32) / 255)


def _brightness(frame: np.ndarray, labels: np.ndarray) -> float:
    head = labels == HEAD
    return float(frame[head].mean() / 255) if head.any() else 0.0


def _strays(frame: np.ndarray, labels: np.ndarray, background: np.ndarray) -> float:
    """How far what is seen of the background is from its picture, the mean, of 255."""
    behind = labels == BACKGROUND
    return float(cv2.absdiff(frame[behind], background[behind]).mean()) if behind.any() else 0.0
