"""Diagnostics: what a tracked head says about its own quality."""

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from geneface_kit.metrics.formulas import pearson
from geneface_kit.person.mouth import LIPS, mouth_opening, mouth_width
from geneface_kit.person.tracking.track import Track

__all__ = ["euler_degrees", "pose_leak", "smoothing_effect"]


def euler_degrees(poses: Float[np.ndarray, "t 4 4"]) -> Float[np.ndarray, "t 3"]:
    """Pitch (nod), yaw (turn), roll (tilt) of the head in degrees; 0 faces the camera."""
    head = poses[:, :3, :3].transpose(0, 2, 1)  # head to camera
    yaw_pitch_roll = Rotation.from_matrix(head).as_euler("YXZ", degrees=True)
    return yaw_pitch_roll[:, [1, 0, 2]].astype(np.float32)


def pose_leak(track: Track) -> dict[str, float]:
    """How much of the head's motion is left in the pose-free landmarks; all 0 at best.

    opening_yaw, opening_pitch, width_yaw, width_pitch: correlation of the mouth's opening (inner
    lips) and width (corners) with the head's turn and nod. lips_yaw, lips_pitch: mean size of the
    correlation over the 60 coordinates of the lips. jaw_still: rms motion of the jaw line, eye
    distances, in the quarter of the frames in which the lips are most nearly closed, so that
    little but the head moves; turn_still: rms turn and nod in these frames, degrees.
    Speakers nod with their words: a correlation of a few tenths need not be a leak.
    """
    lips = track.landmarks[:, LIPS].reshape(len(track.landmarks), -1).astype(np.float64)
    pitch, yaw, _ = euler_degrees(track.poses).T.astype(np.float64)
    faces = track.landmarks.astype(np.float64)
    opening, width = mouth_opening(faces), mouth_width(faces)
    still = opening <= np.percentile(opening, 25)
    jaw, turns = track.landmarks[still, :17], np.stack([pitch, yaw], 1)[still]
    leak = {}
    for name, angle in (("yaw", yaw), ("pitch", pitch)):
        leak[f"opening_{name}"] = pearson(opening, angle, still=0.0)
        leak[f"width_{name}"] = pearson(width, angle, still=0.0)
        leak[f"lips_{name}"] = float(np.mean([abs(pearson(x, angle, still=0.0)) for x in lips.T]))
    leak["jaw_still"] = float(np.sqrt(((jaw - jaw.mean(0)) ** 2).sum(-1).mean()))
    leak["turn_still"] = float(np.sqrt(((turns - turns.mean(0)) ** 2).sum(-1).mean()))
    return leak


def smoothing_effect(track: Track) -> dict[str, float]:
    """What the smoothing in time took from the lips and from the jitter, before and after it.

    closure_before, closure_after: depth of the lips' closures, that is the median opening of the
    inner lips less its 2nd percentile, eye distances. opening_variance_before, _after: variance
    of that opening, squared eye distances. jitter_before, jitter_after: rms second difference of
    brows, nose and eyes, eye distances. Smoothing that eats lip motion lowers the first two.
    """
    effect = {}
    for name, points in (("before", track.unsmoothed), ("after", track.landmarks)):
        opening = mouth_opening(points.astype(np.float64))
        bend = np.diff(points[:, 17:48].astype(np.float64), 2, axis=0)
        effect[f"closure_{name}"] = float(np.median(opening) - np.percentile(opening, 2))
        effect[f"opening_variance_{name}"] = float(opening.var())
        effect[f"jitter_{name}"] = float(np.sqrt((bend**2).sum(-1).mean())) if len(bend) else 0.0
    return effect
