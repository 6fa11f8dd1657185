"""Scores: one person's rendered frames, or one plan -> every metric of a table.

A score stands under the metric's name in `tables.METRICS`.
"""

import logging
from pathlib import Path

import numpy as np
from jaxtyping import Int

from geneface_kit.metrics import formulas, perceptual, syncnet
from geneface_kit.metrics.formulas import Curve, Frames
from geneface_kit.metrics.networks import NotMeasured, network
from geneface_kit.motion.sync_expert import WINDOW, SyncExpert
from geneface_kit.person import landmarks
from geneface_kit.person.artefact import Person
from geneface_kit.person.clip import FPS, SAMPLES
from geneface_kit.person.landmarks import Mesh
from geneface_kit.person.mouth import LIPS, mouth_opening, seen_opening
from geneface_kit.person.segmentation import HEAD
from geneface_kit.runs.record import Run
from geneface_kit.runs.weights import load_tensors
from geneface_kit.talk.plan import Actor, Plan
from geneface_kit.talk.verdict import motion_ratio, sync_scores

log = logging.getLogger(__name__)

AUE = NotMeasured(
    "AUE needs the action units of OpenFace, whose licence forbids commercial use and whose "
    "models come in no package; this kit does not run it"
)

UNTRAINED = {"occupancy", "running_mean", "running_var"}  # parts of the names of tensors

Scores = dict[str, float | NotMeasured]  # metric -> value, in the unit of its definition


def correlation(a: Curve, b: Curve) -> float | NotMeasured:
    """Pearson's r of two curves; one that does not move has none."""
    r = formulas.pearson(a, b)
    return NotMeasured("a curve that does not move has no correlation") if np.isnan(r) else r


def score_pictures(person: Person, chosen: Int[np.ndarray, " n"], frames: Frames) -> Scores:
    """Rendered frames against the true frames `chosen` of a person. Raises: ValueError when the
    frames are not as many, or not of the size, of the person's."""
    truth = np.asarray(person.frames[chosen])
    head = np.asarray(person.labels[chosen]) == HEAD
    found: Scores = {
        "PSNR": formulas.psnr(frames, truth),
        "PSNR head": formulas.psnr(frames, truth, mask=head),
        "SSIM": formulas.ssim(frames, truth),
        "SSIM head": formulas.ssim(frames, truth, mask=head),
        "LPIPS": perceptual.lpips(frames, truth),
        "VGG-HED distance": perceptual.vgg_hed(frames, truth),
        "FID": perceptual.fid(frames, truth),
        "FD-MobileNetV2": perceptual.fd_mobilenet(frames, truth),
        "SFace identity": perceptual.identity(frames, truth),
        "AUE": AUE,
    }
    faces = landmarks.detect(frames)
    found |= _faces(faces, landmarks.detect(truth), person.size)
    sound = person.audio[chosen[0] * SAMPLES : (chosen[-1] + 1) * SAMPLES]
    gap = ""
    if (np.diff(chosen) != 1).any():
        gap = "SyncNet needs frames in a row: set evaluation.n_frames=0"
    elif np.isin(chosen[1:], person.spans).any():
        gap = "SyncNet needs frames of one clip, these come from several"
    return found | _lse(frames, sound, faces, gap)


def score_landmarks(planned: Plan, person: Person, first: int = 0) -> Scores:
    """The mouth of a plan for a person's own sound from a frame on against the tracked one; nothing
    is aligned, and a step over a joint does not count."""
    opening = mouth_opening(planned.landmarks)
    true = mouth_opening(person.landmarks[first : first + len(opening)])
    joints = [part.start - first - 1 for part in person.stretches(first)][1:]
    steps = [np.delete(np.diff(curve), joints) for curve in (opening, true)]
    limit = formulas.closed_below(true)
    apart = formulas.peak_distance(opening, true) * 1000 / FPS
    met = formulas.closures_met(formulas.closures(true < limit), opening < limit)
    return {
        "mouth correlation": correlation(opening, true),
        "velocity correlation": correlation(*steps),
        "peak alignment": NotMeasured("a mouth without peaks") if np.isnan(apart) else apart,
        "closures met": NotMeasured("the true lips never close") if np.isnan(met) else met,
    }


def score_recording(actor: Actor, planned: Plan, frames: Frames | None = None) -> Scores:
    """A recording that has no true frames; `frames`, all of its plan, only serve SyncNet."""
    faces = None if frames is None else landmarks.detect(frames)
    gap = "the frames of this recording were not rendered" if frames is None else ""
    judge, mean = actor.motion, actor.person.landmark_mean
    return _lse(frames, planned.audio, faces, gap) | {
        "sync expert": expert_score(judge.expert, judge.unit, planned, mean),
        "mouth motion ratio": motion_ratio(actor, planned),
    }


def cost(run: Run) -> Scores:
    """Minutes and memory that a run took, and how many numbers that are trained it holds: no
    occupancy grid, no statistics of a norm, and once only what stands in two files."""
    minutes, memory = run.facts["wall_s"] / 60, run.facts["peak_memory_mb"]
    if run.metrics.get("origin") == "shipped":
        minutes = NotMeasured("the run took the shipped weights, nothing was trained in it")
    files = set(run.folder.glob("*.safetensors")) - set(run.folder.glob("*checkpoint*"))
    if (joint := run.folder / "joint.safetensors") in files:
        files = {joint}  # head and torso are in it, trained on
    tensors = [one for path in files for one in load_tensors(path)[0].items()]
    trained = [one for name, one in tensors if not UNTRAINED & set(name.split("."))]
    return {
        "training minutes": minutes,
        "parameters": float(sum(one.numel() for one in trained if one.is_floating_point())),
        "peak memory": float(memory) if memory else NotMeasured("this system does not say it"),
    }


def expert_score(expert: SyncExpert, unit: float, planned: Plan, mean: np.ndarray) -> float:
    """Mean cosine of our own sync expert over every window of a plan, in [0, 1]; not comparable to
    LSE-C, which is SyncNet's. unit: inter-ocular distances per network unit; mean: (68, 3)."""
    motion = (planned.landmarks - mean) / unit
    n_windows = len(motion) - WINDOW + 1
    if n_windows < 1:
        raise ValueError(f"the sync expert needs {WINDOW} frames, got {len(motion)}")
    return float(sync_scores(expert, planned.speech.features, motion, range(n_windows))[0])


def _faces(seen: Mesh, true: Mesh, size: int) -> Scores:
    """Landmark measures of the frames in which a face is found in both; none: not measured."""
    both = seen.found & true.found
    names = ("LMD", "LMD lips", "LMD lips centred", "mouth correlation seen")
    if not both.any():
        missing = NotMeasured("no face was found in the rendered frames")
        return dict.fromkeys(names, missing) | {"faces found": 0.0}
    if not both.all():
        log.warning("%d of %d frames show no face, rendered or true", (~both).sum(), len(both))
    a, b = (landmarks.to_68(mesh)[both, :, :2] for mesh in (seen, true))
    lips = (a[:, LIPS], b[:, LIPS], size)
    return {
        "LMD": formulas.lmd(a, b, size),
        "LMD lips": formulas.lmd(*lips),
        "LMD lips centred": formulas.lmd(*lips, centred=True),
        "mouth correlation seen": correlation(seen_opening(a), seen_opening(b)),
        "faces found": float(both.mean()),
    }


def _lse(frames: Frames | None, audio: syncnet.Sound, faces: Mesh | None, gap: str) -> Scores:
    """SyncNet's two scores, where its file is there and it can see a mouth move in time. gap: why
    these frames show none, "" if they do."""
    measured = network("syncnet")
    if isinstance(measured, Path):
        if not gap and not faces.found.all():
            gap = "SyncNet needs a face in every frame"
        measured = NotMeasured(gap)
        if not gap:  # left, top, right and bottom of faces, from forehead to chin
            box = [find(faces.points[..., :2], axis=1) for find in (np.min, np.max)]
            measured = syncnet.lse(frames, audio, np.concatenate(box, axis=1))
    both = (measured, measured) if isinstance(measured, NotMeasured) else measured
    return dict(zip(("LSE-C", "LSE-D"), both, strict=True))
