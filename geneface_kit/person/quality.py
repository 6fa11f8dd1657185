"""Quality: measures of a prepared person -> report and verdict, before hours of training.

Everything in the report is measured on the artefact; the thresholds are ours.
"""

from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from geneface_kit.person import clip, framing, landmarks
from geneface_kit.person.background import Background
from geneface_kit.person.camera import euler_degrees
from geneface_kit.person.files import evenly_spaced
from geneface_kit.person.mouth import mouth_coverage, mouth_shape
from geneface_kit.person.segmentation import HEAD
from geneface_kit.person.speech.offset import CLEAR_CONFIDENCE, SyncedAudio
from geneface_kit.person.tracking.track import Track, pose_leak, smoothing_effect
from geneface_kit.runs.files import Facts

VERDICTS = ("good", "usable", "not usable")

BLUR_REMEDY = "focus on the eyes, add light, hold the camera still, compress less"

MEASURED = {"seconds": 20.0, "source_face_px": 193.0, "blur": 0.39, "mouth_shapes_common": 0.95}
"""The clip behind the README's numbers: obama, 20 s, profile cpu: 30.4 dB on held-out heads."""


def measure(
    *,
    scan: framing.Scan,
    span: tuple[int, int],
    crop: framing.Crop,
    tracked: Track,
    audio: SyncedAudio,
    background: Background,
    frames: UInt8[np.ndarray, "t h w 3"],
    labels: UInt8[np.ndarray, "t h w"],
) -> Facts:
    """Numbers about a person, plain values for person.json. Angles in degrees, sizes in pixels.

    span: first frame and end of what was taken of the scan; frames, labels: memory maps.
    """
    to_source = crop.side / frames.shape[1] * scan.source.width / scan.width
    return (
        _clip_measures(scan, span, crop)
        | _face_measures(tracked, frames.shape[1], to_source)
        | _picture_measures(frames, labels, tracked, background)
        | _mouth_measures(tracked, audio)
    )


def verdict(report: Facts, warnings: list[str]) -> Facts:
    """{"verdict", "obstacles", "reasons", "warnings"}: good, usable or not usable, and why.

    obstacles: the reasons that make a clip not usable; reasons: these and the doubts, each with
    its remedy.
    """
    fatal, doubts = [], []

    def judge(value: float, worst: float, least: float, problem: str, remedy: str) -> None:
        if value < worst:
            fatal.append(f"{problem}: {remedy}")
        elif value < least:
            doubts.append(f"{problem}: {remedy}")

    def doubt(is_so: bool, text: str) -> None:
        if is_so:
            doubts.append(text)

    rate, face = report["detection_rate"], report["source_face_px"]
    judge(rate, 0.5, 0.9, f"a face is found in {rate:.0%} of the frames", "film frontally")
    judge(face, 60.0, 120.0, f"the face is {face:.0f} px high in the source", "film closer")
    light = report["brightness"]
    judge(light, 0.06, 0.15, f"the face is dark ({light:.0%} of full scale)", "add light")
    sharp = 1 - report["blur"]
    judge(sharp, 0.25, 0.44, f"the face is blurred ({report['blur']:.2f} of 1)", BLUR_REMEDY)
    if report["mouth_opening_std"] < 0.005:
        fatal.append("the lips do not move: use a clip in which the person speaks")
    if report["loudness_rms"] < clip.SILENCE_RMS:
        fatal.append(
            "the clip is silent: take its sound track out and put the recording beside it, as a "
            ".wav of the same name"
        )
    elif report["offset_confidence"] < CLEAR_CONFIDENCE:
        doubts.append("sound and lips do not agree clearly: check that they belong together")
    doubt(report["seconds"] < 59.5, "less than a minute of speech: 3 to 5 minutes give better lips")
    cut = report["head_in_picture"] < 0.9
    doubt(cut, "the head touches the picture's border: leave margin around it")
    doubt(
        report["background_still_frame"] >= 0,
        f"the background moves ({report['background_moving']:.0%} of it), so one moment of it is "
        "kept: use a fixed camera before a still background",
    )
    change = report["exposure_change"]
    text = f"the face's brightness changes by {change:.0%} of full scale: lock the exposure"
    doubt(change > 0.1, text)
    imprecise = report["tracking_error_px"] > 2 * report["face_px"] / 100
    doubt(imprecise, "the head is tracked imprecisely: more light, less blur")
    turn = max(abs(high - low) for low, high in report["pose_degrees"].values())
    doubt(turn > 60, "the head turns far: the sides of such a head are learnt from few frames")
    common, lacking = report["mouth_shapes_common"], report["mouth_shapes_missing"] or "some"
    text = f"{common:.0%} of common mouth shapes are seen (few: {lacking}): let the person say more"
    doubt(common < 0.7, text)
    grade = VERDICTS[2] if fatal else VERDICTS[1] if doubts else VERDICTS[0]
    reasons = fatal + doubts
    return {"verdict": grade, "obstacles": fatal, "reasons": reasons, "warnings": warnings}


def expectation(report: Facts) -> str:
    """What quality to expect, against the one clip that was measured end to end."""
    if report["verdict"] == VERDICTS[2]:
        return "Nothing useful: see the reasons."
    basis = (
        "Measured once, with 20 s of a face 193 px high, profile cpu: 30.4 dB on held-out heads, "
        "lips 2.5 px off in a picture of 512 px."
    )
    mouths = report["mouth_shapes_common"]
    less = {
        "less speech": report["seconds"] < 0.9 * MEASURED["seconds"],
        "a smaller face": report["source_face_px"] < 0.9 * MEASURED["source_face_px"],
        "more blur": report["blur"] > MEASURED["blur"] + 0.05,
        "fewer mouth shapes": mouths < MEASURED["mouth_shapes_common"] - 0.1,
        "a moving background": report["background_still_frame"] >= 0,
        "a doubtful sound": report["offset_confidence"] < CLEAR_CONFIDENCE,
    }
    worse = [name for name, is_so in less.items() if is_so]
    if worse:
        return f"{basis} This clip has {', '.join(worse)}: expect worse; how much is not known."
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


def _clip_measures(scan: framing.Scan, span: tuple[int, int], crop: framing.Crop) -> Facts:
    source, seconds = scan.source, [frame / clip.FPS for frame in span]
    return {
        "seconds": round((span[1] - span[0]) / clip.FPS, 2),
        "span_s": seconds,
        "spans_s": [[a / clip.FPS, b / clip.FPS] for a, b in framing.usable_spans(scan)],
        "cuts_s": [cut / clip.FPS for cut in landmarks.find_cuts(scan.thumbnails, scan.mesh)],
        "source": {
            "width": source.width,
            "height": source.height,
            "fps": round(source.fps, 3),
        },
        "crop": [round(v / scan.width, 4) for v in (crop.left, crop.top, crop.side)],
        "detection_rate": float(scan.mesh.found.mean()),
    }


def _face_measures(tracked: Track, size: int, to_source: float) -> Facts:
    low, high = np.percentile(euler_degrees(tracked.poses), [2, 98], axis=0)
    face_px = float(np.median(np.ptp(tracked.landmarks2d[..., 1], axis=1)))
    return {
        "face_px": face_px,
        "source_face_px": face_px * to_source,
        "pose_degrees": {
            name: [round(float(low[k]), 1), round(float(high[k]), 1)]
            for k, name in enumerate(("pitch", "yaw", "roll"))
        },
        "tracking_error_px": float(tracked.error_px.mean()),
        "focal_widths": tracked.focal / size,
        "pose_leak": _rounded(pose_leak(tracked)),
        "smoothing": _rounded(smoothing_effect(tracked)),
    }


def _picture_measures(
    frames: np.ndarray, labels: np.ndarray, tracked: Track, background: Background
) -> Facts:
    """Measures on 25 frames of the clip; what concerns time, on pairs of neighbours."""
    some = evenly_spaced(len(frames), 25).tolist()
    heads = [labels[t] == HEAD for t in some]
    rows = [np.flatnonzero(head.any(1)) for head in heads]
    inside = [not (head[0].any() or head[:, [0, -1]].any()) for head in heads]
    light = [
        float(frames[t][head].mean() / 255) if head.any() else 0.0
        for t, head in zip(some, heads, strict=True)
    ]
    low, high = np.percentile(light, [5, 95])
    pairs = [(t, t + 1) for t in some if t + 1 < len(frames)]
    return {
        "head_px": float(np.median([np.ptp(found) + 1 if len(found) else 0 for found in rows])),
        "head_in_picture": float(np.mean(inside)),
        "blur": float(np.median([_face_blur(frames[t], tracked.landmarks2d[t]) for t in some])),
        "brightness": float(np.median(light)),
        "exposure_change": float(high - low),
        "background_moving": background.moving,
        "background_still_frame": background.still_frame,
        "background_seen": float(background.seen.mean()),
        "label_flicker": float(
            np.mean([flicker((np.array(frames[t]), np.array(labels[t])) for t in p) for p in pairs])
        ),
    }


def _mouth_measures(tracked: Track, audio: SyncedAudio) -> Facts:
    mouth, offset = mouth_shape(tracked.landmarks), audio.offset
    return {
        "loudness_rms": audio.rms,
        "offset_s": round(offset.seconds, 3),
        "offset_confidence": round(offset.confidence, 3),
        "offset_lags_s": [round(float(lag), 3) for lag in offset.lags],
        "offset_curve": [round(float(value), 4) for value in offset.curve],
        "mouth_opening_std": float(mouth[:, 0].std()),
    } | mouth_coverage(mouth)


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in values.items()}


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
