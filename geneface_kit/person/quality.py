"""Quality: measures of a prepared person -> report and verdict, before hours of training.

Everything in the report is measured on the artefact; the thresholds are ours.
"""

from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from geneface_kit import clip, speech, tracking
from geneface_kit.layers import BACKGROUND, HEAD
from geneface_kit.person import framing

__all__ = ["VERDICTS", "measure", "verdict"]

VERDICTS = ("good", "usable", "not usable")


def measure(
    scan: framing.Scan,
    span: tuple[int, int],
    crop: framing.Crop,
    tracked: tracking.Track,
    offset: speech.Offset,
    frames: UInt8[np.ndarray, "t h w 3"],
    labels: UInt8[np.ndarray, "t h w"],
) -> dict[str, Any]:
    """Numbers about a person, plain values for person.json. Angles in degrees, sizes in pixels."""
    start, stop = span
    angles = tracking.euler_degrees(tracked.poses)
    low, high = np.percentile(angles, [2, 98], axis=0)
    points = tracked.landmarks2d
    mouth = speech.mouth_shape(tracked.landmarks)
    some = np.unique(np.linspace(0, len(frames) - 1, 25).astype(int))
    background = _background_change(frames, labels, some)
    return {
        "seconds": round((stop - start) / clip.FPS, 2),
        "span_s": [start / clip.FPS, stop / clip.FPS],
        "source": {
            "width": scan.source.width,
            "height": scan.source.height,
            "fps": round(scan.source.fps, 3),
        },
        "crop": [round(v / scan.width, 4) for v in (crop.left, crop.top, crop.side)],
        "detection_rate": float(scan.mesh.found.mean()),
        "face_px": float(np.median(np.ptp(points[..., 1], axis=1))),
        "source_face_px": float(
            np.median(np.ptp(points[..., 1], axis=1))
            * crop.side
            / frames.shape[1]
            * scan.source.width
            / scan.width
        ),
        "head_in_picture": float(_inside(labels)),
        "pose_degrees": {
            name: [round(float(low[k]), 1), round(float(high[k]), 1)]
            for k, name in enumerate(("pitch", "yaw", "roll"))
        },
        "tracking_error_px": float(tracked.error_px.mean()),
        "focal_widths": tracked.focal / frames.shape[1],
        "sharpness": float(np.median([_sharpness(frames[t], points[t]) for t in some])),
        "exposure_change": float(np.std([_brightness(frames[t], labels[t]) for t in some])),
        "background_change": background,
        "offset_s": round(offset.seconds, 3),
        "offset_confidence": round(offset.confidence, 3),
        "offset_lags_s": [round(float(lag), 3) for lag in offset.lags],
        "offset_curve": [round(float(value), 4) for value in offset.curve],
        "mouth_opening_std": float(mouth[:, 0].std()),
        "mouth_opening_closed": float(np.percentile(mouth[:, 0], 5)),
        "pitch_opening_correlation": _correlation(angles[:, 0], mouth[:, 0]),
    }


def verdict(report: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    """{"verdict", "reasons", "warnings"}: good, usable or not usable, each reason with a remedy."""
    fatal, doubts = [], []
    if report["detection_rate"] < 0.5:
        fatal.append("the face is found in less than half of the frames: film frontally")
    if report["source_face_px"] < 60:
        fatal.append("the face is less than 60 px high in the source: film closer")
    elif report["source_face_px"] < 120:
        doubts.append("the face is less than 120 px high in the source: film closer")
    if report["mouth_opening_std"] < 0.005:
        fatal.append("the lips do not move: use a clip in which the person speaks")
    if report["seconds"] < 60:
        doubts.append("less than a minute of speech: 3 to 5 minutes give better lips")
    if report["head_in_picture"] < 0.9:
        doubts.append("the head touches the picture's border: leave margin around it")
    if report["offset_confidence"] < 0.3:
        doubts.append("sound and lips do not agree clearly: check that they belong together")
    if report["background_change"] > 0.04:
        doubts.append("the background moves: use a fixed camera before a still background")
    if report["exposure_change"] > 0.05:
        doubts.append("the exposure changes: lock it")
    if report["tracking_error_px"] > 2 * report["face_px"] / 100:
        doubts.append("the head is tracked imprecisely: more light, less blur")
    grade = VERDICTS[2] if fatal else VERDICTS[1] if doubts else VERDICTS[0]
    return {"verdict": grade, "reasons": fatal + doubts, "warnings": warnings}


def _inside(labels: np.ndarray) -> float:
    """Share of frames whose head touches neither the left, right nor upper border."""
    borders = np.concatenate([labels[:, 0], labels[:, :, 0], labels[:, :, -1]], axis=1)
    return float((~(borders == HEAD).any(1)).mean())


def _sharpness(frame: np.ndarray, points: np.ndarray) -> float:
    """Standard deviation of the Laplacian inside the face, scale of [0, 1]."""
    x0, y0 = np.maximum(points.min(0), 0).astype(int)
    x1, y1 = points.max(0).astype(int) + 1
    face = cv2.cvtColor(np.ascontiguousarray(frame[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(face.astype(np.float32) / 255, cv2.CV_32F).std())


def _brightness(frame: np.ndarray, labels: np.ndarray) -> float:
    head = labels == HEAD
    return float(frame[head].mean() / 255) if head.any() else 0.0


def _background_change(frames: np.ndarray, labels: np.ndarray, some: np.ndarray) -> float:
    """Mean change over time of pixels that are always background, scale of [0, 1]."""
    always = (labels[some] == BACKGROUND).all(0)
    if not always.any():
        return 0.0
    return float(frames[some][:, always].std(0).mean() / 255)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 1e-9 and b.std() > 1e-9 else 0.0
