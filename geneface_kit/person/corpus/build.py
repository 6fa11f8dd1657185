"""Build: every clip of a folder is read, in processes, and added to a corpus: its landmarks and
speech on one clock, and copies at other speeds."""

import contextlib
import functools
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import scipy
from filelock import FileLock
from jaxtyping import Float
from joblib.externals.loky import BrokenProcessPool, as_completed, cpu_count, get_reusable_executor

from geneface_kit.person import clip, landmarks, speech
from geneface_kit.person.corpus import manifest
from geneface_kit.person.corpus.manifest import Arrays, ClipJob, CorpusConfig, Outcome, Outcomes
from geneface_kit.person.corpus.store import BROKEN, Corpus, open_corpus, pack, packed
from geneface_kit.person.tracking.track import track
from geneface_kit.runs import live
from geneface_kit.runs.arrays import read_npz, write_npz
from geneface_kit.runs.files import Damaged, Lacking, check_writable

log = logging.getLogger(__name__)

PICTURE = 480  # longer side of the pictures landmarks are found in, px (ours)
MAX_MISSING = 0.1  # share of frames without a face above which a clip is broken (ours)
MIN_S = 2.0  # shorter clips are broken, seconds (ours)
IDLE_S = 300  # a process that has nothing to do for so long ends, seconds (joblib's own number)
Read = Callable[[ClipJob], Outcome]


def prepare(
    config: CorpusConfig,
    *,
    workers: int | None = None,
    retry: bool = False,
    out: Path | str = "",
    by: Callable[..., Outcomes] | None = None,
) -> Corpus:
    """Every clip of the folder (or the embedded demo clips), memory-mapped; only new ones are read.

    workers: processes, default one per core; retry: read clips again that were found broken before;
    out: the folder of all corpora, default runs/corpus; by: what runs them instead of `each`. Cut
    off at any moment, the next call goes on with what is finished.
    Raises: FileNotFoundError when the folder does not exist; ValueError when no clip is usable.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be 1 or more, got {workers}")
    home = manifest.corpus_folder(config, out)
    check_writable(home)
    read_all = functools.partial(by or each, read, workers=workers or cpu_count())
    return _filled(home, manifest.clip_jobs(config, home), read_all, retry)


def cached_speech(config: CorpusConfig, *, out: Path | str = "") -> list[speech.Speech]:
    """The speech of every clip of the folder, of any length, for stages that need no faces.

    It lies in speech-ENCODER beside the corpus. out, Raises: as `prepare` has them.
    """
    home = manifest.corpus_folder(config, out)
    home = home.with_name(f"speech-{home.name.rpartition('-')[0]}")
    jobs = manifest.clip_jobs(replace(config, max_s=0.0), home)
    data = _filled(home, jobs, lambda todo: ((job, read_speech(job)) for job in todo), False)
    return [utterance.speech for utterance in data.utterances]


def each(read: Read, jobs: Sequence[ClipJob], *, workers: int) -> Outcomes:
    """Runs read(job) for each job in processes of one thread, never in the caller's own; gives the
    job with what is known of it, as they finish.

    Raises: what `read` raises; OSError when a process dies. All are ended then, and also when the
    caller stops iterating or presses Ctrl-C.
    """
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    how = {"env": threads, "initializer": cv2.setNumThreads, "initargs": (1,), "timeout": IDLE_S}
    pool = get_reusable_executor(workers, **how)
    waiting = {pool.submit(read, job): job for job in jobs}
    try:
        for done in as_completed(waiting):
            yield waiting.pop(done), done.result()
    except BrokenProcessPool:
        raise OSError(
            "a process died while it read a clip: `python -m geneface_kit corpus FOLDER`, a "
            "command of the checkout, finds out which one it was and leaves it out"
        ) from None
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def _filled(
    home: Path, jobs: list[ClipJob], read_all: Callable[[list[ClipJob]], Outcomes], retry: bool
) -> Corpus:
    """The corpus of a folder once it holds all jobs; only those it does not hold are read."""
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home.parent}.lock"):
        known = packed(home)
        if retry:
            known = {key: one for key, one in known.items() if "sha256" in one}
        todo = [job for job in jobs if job.key not in known]
        compared = all("compared" in entry for entry in known.values() if "sha256" in entry)
        if todo or not compared or known.keys() != {job.key for job in jobs}:
            with contextlib.closing(read_all(todo)) as outcomes:
                pack(home, jobs, live.progress(outcomes, "reading the corpus", len(todo)), known)
    data = open_corpus(home)
    reasons = "; ".join(f"{file}: {reason}" for file, reason in list(data.broken.items())[:3])
    if not data.utterances:
        raise ValueError(f"no usable clip in {jobs[0].config.folder or 'the demo'} ({reasons})")
    if data.broken:
        where = home / BROKEN
        log.warning("%d clips are left out, listed in %s: %s", len(data.broken), where, reasons)
    return data


def read(job: ClipJob) -> Outcome:
    """What is known of a clip, and its features, f0, mel and landmarks at every speed.

    A clip that cannot be read is never an error: its facts are a stage (sound, face, speech) and a
    reason. What is raised stops the corpus: a full disk, missing weights of a speech encoder.
    """
    least, stage = round(MIN_S * clip.FPS), "sound"
    try:
        audio = _sound(job)[: round((job.config.max_s + 1) * clip.SAMPLE_RATE)]
        stage = "face"
        try:
            points = read_npz(job.faces, {"points": "real t 68 3"})["points"]
        except (FileNotFoundError, Damaged):
            points = _landmarks_of(job)  # most of the work
            try:
                job.faces.parent.mkdir(parents=True, exist_ok=True)
                write_npz(job.faces, points=points)
            except OSError as error:  # a quota, say: no fault of the clip
                raise Lacking(f"{job.faces} cannot be written: {error}") from error
        if len(points) < least:
            raise ValueError(f"{job.file} is shorter than {MIN_S:g} s")
        stage = "speech"
        found = speech.estimate_offset(speech.encode(audio, "hama").cut(len(points)), points)
        late = found.confidence >= speech.offset.CLEAR_CONFIDENCE
        audio = clip.in_step(audio, found.seconds) if late else audio
        if round(len(audio) / clip.SAMPLE_RATE * clip.FPS) < least:
            raise ValueError(f"the sound of {job.file} is shorter than {MIN_S:g} s")
        arrays: Arrays = {}
        for rate in dict.fromkeys((1.0, *job.config.rates)):
            sound, motion = at_speed(audio, points, rate)
            spoken = speech.encode(sound, job.config.encoder).cut(len(motion))
            arrays |= _named(spoken, motion, "" if rate == 1.0 else f"@{rate:g}")
    except Exception as error:
        lacks_weights = stage == "speech" and isinstance(error, FileNotFoundError)
        if lacks_weights or isinstance(error, Lacking):
            raise
        return _broken(stage, error)
    offset = {"offset_s": round(found.seconds, 4), "offset_confidence": round(found.confidence, 4)}
    return {"version": spoken.version, **offset, "offset_corrected": late}, arrays


def read_speech(job: ClipJob) -> Outcome:
    """The same for all the sound of a clip and no faces: its landmarks are (0, 68, 3)."""
    try:
        spoken = speech.encode(_sound(job), job.config.encoder)
    except (FileNotFoundError, Lacking):
        raise  # an encoder's weights; what the machine lacks
    except Exception as error:
        return _broken("sound", error)
    return {"version": spoken.version}, _named(spoken, np.zeros((0, 68, 3), np.float32))


def at_speed(
    audio: Float[np.ndarray, " n"], landmarks: Float[np.ndarray, "t 68 3"], rate: float
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, "u 68 3"]]:
    """Sound and landmarks played `rate` times as fast, on one clock (speed perturbation)."""
    n_frames = min(len(landmarks), round(len(audio) / clip.SAMPLE_RATE * clip.FPS))
    if rate == 1.0:
        return audio, landmarks[:n_frames]
    ratio = Fraction(rate).limit_denominator(1000)  # of both, or they run apart
    sound = scipy.signal.resample_poly(audio, ratio.denominator, ratio.numerator).astype(np.float32)
    times = np.arange(int(n_frames / ratio)) * float(ratio)
    before = np.minimum(times.astype(int), n_frames - 1)
    after = np.minimum(before + 1, n_frames - 1)
    share = (times - before).astype(np.float32)[:, None, None]
    return sound, (1 - share) * landmarks[before] + share * landmarks[after]


def _broken(stage: str, error: Exception) -> Outcome:
    """The result of a clip that cannot be used; an error that is no sentence is named."""
    reason = str(error)
    if not isinstance(error, ValueError | FileNotFoundError):
        log.debug("unexpected error in %s", stage, exc_info=error)
        reason = f"unexpected {type(error).__name__}: {error}"
    return {"stage": stage, "reason": reason}, {}


def _named(spoken: speech.Speech, points: np.ndarray, suffix: str = "") -> Arrays:
    kept = {"features": spoken.features, "f0": spoken.f0, "mel": spoken.mel, "landmarks": points}
    return {kind + suffix: values for kind, values in kept.items()}


def _sound(job: ClipJob) -> Float[np.ndarray, " n"]:
    """The clip's sound, when it is one."""
    audio = clip.sound_of(job.path)
    if clip.is_silent(audio):
        raise ValueError(f"the sound of {job.file} is silent")
    return audio


def _landmarks_of(job: ClipJob) -> Float[np.ndarray, "t 68 3"]:
    """Canonical landmarks (t, 68, 3) of a clip that shows a face nearly all the time."""
    frames = clip.stream_frames(job.path, long_side=PICTURE, max_s=job.config.max_s)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{job.file} has no readable frame")
    mesh = landmarks.detect(itertools.chain([first], frames))
    missing = 1 - float(mesh.found.mean())
    if missing > MAX_MISSING:
        raise ValueError(f"{job.file} shows no face in {100 * missing:.0f} % of its frames")
    height, width = first.shape[:2]
    left, top = (width - PICTURE) / 2, (height - PICTURE) / 2  # amid a square
    return track(landmarks.fill_gaps(mesh).moved(left, top, 1.0), PICTURE).landmarks
