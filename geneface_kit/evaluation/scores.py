"""Scores: one person's rendered frames, or one plan -> every metric of a table.

A score is (value, unit) under the metric's name in `metrics.METRICS`.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from safetensors import safe_open

from geneface_kit import metrics
from geneface_kit.metrics import METRICS, NotMeasured
from geneface_kit.motion import sync
from geneface_kit.person import speech
from geneface_kit.person.mouth import mouth_opening, seen_opening
from geneface_kit.talk import stage as talk

__all__ = ["HEAD", "cost", "cross_driven", "expert_score", "score_landmarks", "score_pictures"]

log = logging.getLogger(__name__)

HEAD = 1
"""The label of head pixels."""

Scores = dict[str, tuple[float | NotMeasured, str]]


def score_pictures(
    person: Any, chosen: Int[np.ndarray, " n"], frames: UInt8[np.ndarray, "m h w 3"]
) -> Scores:
    """Rendered frames against the true frames `chosen` of a person.

    Raises: ValueError when the frames are not as many, or not of the size, of the person's.
    """
    truth = np.asarray(person.frames[chosen])
    try:
        metrics.same_frames(frames, truth)
    except ValueError as error:
        raise ValueError(f"rendered and true frames of {person.name}: {error}") from None
    head = np.asarray(person.labels[chosen]) == HEAD
    found: dict[str, float | NotMeasured] = {
        "PSNR": metrics.psnr(frames, truth),
        "PSNR head": metrics.psnr(frames, truth, mask=head),
        "SSIM": metrics.ssim(frames, truth),
        "SSIM head": metrics.ssim(frames, truth, mask=head),
        "LPIPS": metrics.lpips(frames, truth),
        "VGG-HED distance": metrics.vgg_hed(frames, truth),
        "FID": metrics.fid(frames, truth),
        "FD-MobileNetV2": metrics.fd_mobilenet(frames, truth),
        "SFace identity": metrics.identity(frames, truth),
        "AUE": metrics.aue(),
    }
    faces = metrics.detected(frames)
    found |= _faces(faces, metrics.detected(truth), person.size)
    first, last = chosen[0] * talk.SAMPLES, (chosen[-1] + 1) * talk.SAMPLES
    found |= _lse(chosen, frames, person.audio[first:last], faces)
    return _with_units(found)


def score_landmarks(person: Any, planned: talk.Plan) -> Scores:
    """Predicted landmarks of the held-out sound against the tracked ones."""
    true = mouth_opening(person.landmarks[person.n_train :])
    r = metrics.correlation(mouth_opening(planned.landmarks), true)
    return _with_units({"mouth correlation": r})


def cross_driven(
    actor: talk.Actor,
    planned: talk.Plan,
    frames: UInt8[np.ndarray, "t h w 3"] | None = None,
) -> Scores:
    """A recording that has no true frames; `frames`, all of its plan, only serve SyncNet."""
    opening = mouth_opening(planned.landmarks)
    own = float(mouth_opening(actor.person.landmarks).std())
    if frames is None:
        missing = NotMeasured("the frames of this recording were not rendered")
        present = metrics.network("syncnet")
        why = present if isinstance(present, NotMeasured) else missing
        found = {"LSE-C": why, "LSE-D": why}
    else:
        every = np.arange(len(frames))
        found = _lse(every, frames, planned.audio, metrics.detected(frames))
    found |= {
        "sync expert": _expert(actor, planned),
        "mouth correlation with speech": _heard(planned, opening),
        "mouth motion ratio": float(opening.std()) / max(own, 1e-6),
    }
    return _with_units(found)


def cost(parents: dict[str, Any]) -> dict[str, Scores]:
    """Stage -> minutes and memory it took and parameters it holds, read from its run."""
    found = {}
    for stage in ("motion", "adaptation", "nerf"):
        run = parents[stage]
        minutes: float | NotMeasured = run.facts["wall_s"] / 60
        if run.metrics.get("origin") == "shipped":
            minutes = NotMeasured("the run took the shipped weights, nothing was trained in it")
        found[stage] = _with_units(
            {
                "training minutes": minutes,
                "parameters": float(_n_parameters(run.folder)),
                "peak memory": float(run.facts["peak_memory_mb"]),
            }
        )
    return found


def expert_score(
    expert: torch.nn.Module, unit: float, planned: talk.Plan, mean: Float[np.ndarray, "68 3"]
) -> float:
    """Mean cosine of our own sync expert over every window of a plan, in [0, 1].

    unit: inter-ocular distances per network unit. Not comparable to LSE-C, which is SyncNet's.
    """
    motion = torch.from_numpy((planned.landmarks - mean) / unit).flatten(1).float()
    features = torch.as_tensor(planned.speech.features).float()
    n_windows = len(motion) - sync.WINDOW + 1
    if n_windows < 1:
        raise ValueError(f"the sync expert needs {sync.WINDOW} frames, got {len(motion)}")
    lips = sync.lips(motion[None])[0]
    mouths = torch.stack([lips[k : k + sync.WINDOW] for k in range(n_windows)])
    heard = [features[2 * k : 2 * (k + sync.WINDOW)] for k in range(n_windows)]
    with torch.no_grad():
        return float(expert(torch.stack(heard), mouths).mean())


def _with_units(found: dict[str, float | NotMeasured]) -> Scores:
    return {metric: (value, METRICS[metric].unit) for metric, value in found.items()}


def _faces(
    seen: metrics.Detected, true: metrics.Detected, size: int
) -> dict[str, float | NotMeasured]:
    """Landmark measures of the frames in which a face is found in both; none: not measured."""
    both = seen.found & true.found
    names = ("LMD", "LMD lips", "LMD lips centred", "mouth correlation seen")
    if not both.any():
        missing = NotMeasured("no face was found in the rendered frames")
        return dict.fromkeys(names, missing) | {"faces found": 0.0}
    if not both.all():
        log.warning("no face found in %d of %d rendered frames", (~both).sum(), len(both))
    a, b = seen.points[both], true.points[both]
    found = (
        metrics.lmd(a, b, size),
        metrics.lmd(a, b, size, points="lips"),
        metrics.lmd(a, b, size, points="lips", centred=True),
        metrics.correlation(seen_opening(a), seen_opening(b)),
    )
    return dict(zip(names, found, strict=True)) | {"faces found": float(both.mean())}


def _lse(
    places: Int[np.ndarray, " t"],
    frames: UInt8[np.ndarray, "t h w 3"],
    audio: Float[np.ndarray, " n"],
    faces: metrics.Detected,
) -> dict[str, float | NotMeasured]:
    """SyncNet's two scores, where its file is there and it can see a mouth move in time."""
    measured = metrics.network("syncnet")
    if not isinstance(measured, NotMeasured):
        if (np.diff(places) != 1).any():
            measured = NotMeasured("SyncNet needs frames in a row: set evaluation.n_frames=0")
        elif not faces.found.all():
            measured = NotMeasured("SyncNet needs a face in every frame")
        else:
            measured = metrics.lse(frames, audio, faces.boxes)
    if isinstance(measured, NotMeasured):
        return {"LSE-C": measured, "LSE-D": measured}
    return {"LSE-C": measured.confidence, "LSE-D": measured.distance}


def _heard(planned: talk.Plan, opening: np.ndarray) -> float | NotMeasured:
    """Correlation of a mouth with the one that a regression, not our generator, hears."""
    if planned.speech.encoder != "hama":
        return NotMeasured(f"the mouth regression does not read {planned.speech.encoder} features")
    heard = speech.mouth_from_speech(planned.speech)[: len(opening), 0]
    return metrics.correlation(opening, heard.astype(np.float32))


def _expert(actor: talk.Actor, planned: talk.Plan) -> float | NotMeasured:
    if actor.motion.expert is None:
        return NotMeasured("the motion run holds no sync expert")
    mean = actor.person.landmark_mean
    return expert_score(actor.motion.expert, actor.motion.unit, planned, mean)


def _n_parameters(folder: Path) -> int:
    n = 0
    for path in sorted(folder.glob("*.safetensors")):
        if "checkpoint" in path.name:
            continue
        with safe_open(path, framework="numpy") as file:
            n += sum(int(np.prod(file.get_slice(key).get_shape())) for key in file.keys())
    return n
