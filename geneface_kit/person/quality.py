"""Quality: measures of a prepared person -> report and verdict, before hours of training."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from geneface_kit.person import clip, framing, landmarks, takes
from geneface_kit.person.artefact import Person
from geneface_kit.person.background import Background
from geneface_kit.person.camera import euler_degrees
from geneface_kit.person.mouth import mouth_coverage, mouth_shape
from geneface_kit.person.segmentation import BACKGROUND, HEAD
from geneface_kit.person.spans import Parts, evenly_spaced
from geneface_kit.person.speech.offset import CLEAR_CONFIDENCE, DRIFT_S, Offset, drift
from geneface_kit.person.tracking.track import Track
from geneface_kit.runs.files import Facts, read_rows


def measure(
    who: Person,
    scan: framing.Scan,
    taken: Parts,
    crop: framing.Crop,
    tracked: Track,
    sound: Float[np.ndarray, " n"],
    offset: Offset,
    background: Background,
) -> Facts:
    """Numbers about a person, plain values for person.json. Angles in degrees, sizes in pixels.

    taken: first frame and end of the stretches of the scan that are used. "moments": what a doubt
    may be about -> the prepared frame that shows it most.
    """
    parts = [
        _clip_measures(who, scan, taken, crop),
        _face_measures(scan, crop, tracked, who.size),
        _picture_measures(who, background),
        _mouth_measures(who, sound, offset),
    ]
    moments = {name: int(t) for part in parts for name, t in part.pop("moments").items()}
    return {name: value for part in parts for name, value in part.items()} | {"moments": moments}


def verdict(report: Facts, warnings: list[str]) -> Facts:
    """{"verdict", "obstacles", "reasons", "reason_frames", "warnings"}: what a clip is good for.

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
    found = {"fatal": [], "doubt": []}
    for check in read_rows(Path(__file__).with_name("verdict.csv")):
        value = float(told[check["measure"]])
        for kind, reasons in found.items():
            below, above = (float(check[f"{kind}_{side}"] or "nan") for side in ("below", "above"))
            if value < below or value > above:
                moment = report["moments"].get(check["moment"], -1)
                reasons.append((check["problem"].format_map(told), moment))
                break
    fatal, doubts = found.values()
    reasons = fatal + doubts
    return {
        "verdict": "not usable" if fatal else "usable" if doubts else "good",
        "obstacles": [why for why, _ in fatal],
        "reasons": [why for why, _ in reasons],
        "reason_frames": [frame for _, frame in reasons],
        "warnings": warnings,
    }


def blur(gray: Float[np.ndarray, "h w"]) -> float:
    """Blur of a picture without reference, 0 sharp to 1 blurred; without any difference 1.

    Crete and others 2007, "The blur effect": how little of the differences between neighbours a
    further blur (9 pixels along the axis) takes away; the worse of the two axes.
    """
    kept = []
    for axis, window in enumerate([(1, 9), (9, 1)]):
        own, left = (np.abs(np.diff(one, axis=axis)) for one in (gray, cv2.blur(gray, window)))
        total, lost = float(own.sum()), float(np.maximum(0, own - left).sum())
        kept.append((total - lost) / total if total > 1e-6 else 1.0)
    return max(kept)


def _clip_measures(who: Person, scan: framing.Scan, taken: Parts, crop: framing.Crop) -> Facts:
    used = takes.frames_of(taken)
    seen, points = scan.mesh.found[used], landmarks.to_68(scan.mesh)[used]
    chin, brow = points[:, :17, 1].max(1), points[:, 17:27, 1].min(1)
    # how far the chin stays above the picture's lower border, heights of the face
    margin = (scan.height - scan.bars[3] - chin) / max(np.median((chin - brow)[seen]), 1.0)

    def seconds(spans: Parts, first: int, stop: int) -> list[list[float]]:
        here = [span for span in spans if first <= span[0] < stop]
        return [[(frame - first) / clip.FPS for frame in span] for span in here]

    return {
        "seconds": round(len(used) / clip.FPS, 2),
        "clips": [
            {
                "file": path.name,
                "seconds": (stop - first) / clip.FPS,
                "taken_s": seconds(taken, first, stop),
                "usable_s": seconds(takes.usable_spans(scan), first, stop),
                "cuts_s": [(cut - first) / clip.FPS for cut in scan.cuts if first <= cut < stop],
            }
            for path, first, stop in scan.parts()
        ],
        "source": {
            "width": scan.source.width,
            "height": scan.source.height,
            "fps": round(scan.source.fps, 3),
        },
        "crop": [round(v / scan.width, 4) for v in (crop.left, crop.top, crop.side)],
        "detection_rate": float(seen.mean()),
        "trained": float(who.found.mean()),
        "chin_margin": float(np.median(margin[seen])),
        "moments": {"lost": seen.argmin(), "low": np.where(seen, margin, np.inf).argmin()},
    }


def _face_measures(scan: framing.Scan, crop: framing.Crop, tracked: Track, side: int) -> Facts:
    angles, heights = euler_degrees(tracked.poses), np.ptp(tracked.landmarks2d[..., 1], axis=1)
    ends = np.percentile(angles, [2, 98], axis=0).T.tolist()  # low and high of each angle
    ends = [[round(degrees, 1) for degrees in pair] for pair in ends]
    face_px = float(np.median(heights))
    to_source = crop.side / side * scan.source.width / scan.width
    return {
        "face_px": face_px,
        "source_face_px": face_px * to_source,
        "pose_degrees": dict(zip(("pitch", "yaw", "roll"), ends, strict=True)),
        "tracking_error_px": float(tracked.error_px.mean()),
        "focal_widths": tracked.focal / side,
        "moments": {
            "small": heights.argmin(),
            "turned": np.abs(angles).max(1).argmax(),
            "untracked": tracked.error_px.argmax(),
        },
    }


def _picture_measures(who: Person, background: Background) -> Facts:
    """Measures on 25 frames of the clip."""
    some = evenly_spaced(len(who), 25).tolist()
    blurs = np.array([_face_blur(who.frames[t], who.landmarks2d[t]) for t in some])
    looks = [_look(who.frames[t], who.labels[t], background.picture) for t in some]
    heads, inside, light, strays = np.array(looks).T
    low, middle, high = np.percentile(light, [5, 50, 95])
    return {
        "head_px": float(np.median(heads)),
        "head_in_picture": float(inside.mean()),
        "blur": float(np.median(blurs)),
        "brightness": float(middle),
        "exposure_change": float(high - low),
        "background_moving": background.moving,
        "background_still_frame": background.still_frame,
        "background_seen": float(background.seen.mean()),
        "moments": {
            "cut": some[inside.argmin()],
            "blurred": some[blurs.argmax()],
            "dark": some[light.argmin()],
            "exposed": some[np.abs(light - middle).argmax()],
            "moved": some[strays.argmax()],
        },
    }


def _mouth_measures(who: Person, sound: np.ndarray, offset: Offset) -> Facts:
    mouth = mouth_shape(who.landmarks)
    seen = who.found | ~who.found.any()
    return {
        "loudness_rms": float(np.sqrt(np.mean(sound.astype(np.float64) ** 2))),
        "silent": clip.is_silent(sound),
        "sound_drift_s": drift(who.speech, who.landmarks, who.spans),
        "offset_s": round(offset.seconds, 3),
        "offset_confidence": round(offset.confidence, 3),
        "offset_lags_s": [round(float(lag), 3) for lag in offset.lags],
        "offset_curve": [round(float(value), 4) for value in offset.curve],
        "mouth_opening_std": float(mouth[seen, 0].std()),
        "moments": {"open": np.where(seen, mouth[:, 0], -np.inf).argmax()},
    } | mouth_coverage(mouth[seen])


def _look(frame: np.ndarray, labels: np.ndarray, background: np.ndarray) -> tuple[float, ...]:
    """Of one frame: height of the head, pixels; whether the head touches neither the upper nor, in
    its upper half, a side border (long hair may leave the picture); its brightness, of 1; how far
    what is seen of the background is from its picture, the mean, of 255."""
    head, behind = labels == HEAD, labels == BACKGROUND
    rows = np.flatnonzero(head.any(1))
    stray = cv2.absdiff(frame[behind], background[behind]).mean() if behind.any() else 0.0
    if not len(rows):
        return 0.0, 1.0, 0.0, float(stray)
    inside = not (head[0].any() or head[: int(rows.mean()), [0, -1]].any())
    height, light = 1.0 + rows[-1] - rows[0], frame[head].mean() / 255
    return float(height), float(inside), float(light), float(stray)


def _face_blur(frame: np.ndarray, points: np.ndarray) -> float:
    """Blur of the face, shrunk to a height of 100 pixels where larger, so that sizes compare."""
    x0, y0 = np.maximum(points.min(0), 0).astype(int)
    x1, y1 = np.minimum(points.max(0).astype(int) + 1, len(frame))
    if x1 - x0 < 4 or y1 - y0 < 4:
        return 1.0
    face = cv2.cvtColor(np.ascontiguousarray(frame[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY)
    scale = min(1.0, 100 / (y1 - y0))
    face = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return blur(face.astype(np.float32) / 255)
