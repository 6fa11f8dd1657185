"""Invariance: the same clip stored, framed or recorded otherwise gives the same report."""

import importlib
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from films import DRAWN, Film, clip_path, read_film
from geneface_kit_figures.report import label_flicker

from geneface_kit.person import clip
from geneface_kit.person import stage as person
from geneface_kit.runs.files import Facts

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("uncalibrated")]

FIRST, LAST, HIDDEN = 20, 52, 10
"""Frames of the demo in which the lips move, and how many before them an edit list hides."""
SMALL = 208 / 256
"""Scale of the clip in a larger picture."""
TOLERANCES = {
    "seconds": 0.0,
    "detection_rate": 0.0,
    "sound_drift_s": 0.0,
    "offset_s": 0.01,
    "offset_confidence": 0.1,
    "source_face_px": 2.0,
    "chin_margin": 0.02,
    "brightness": 0.005,
    "exposure_change": 0.02,
    "blur": 0.02,
    "tracking_error_px": 0.02,
    "mouth_opening_std": 0.005,
    "mouth_shapes": 2,
    "mouth_shapes_common": 0.1,
    "background_moving": 0.01,
    "label_flicker": 0.005,
}
"""Measure of the report -> by how much it may differ: seconds, pixels, eye distances, shares."""
DEGREES = 1.0
"""By how much the ends of the ranges of head poses may differ."""


def store(path, frames, audio, *, turn=0, colours=Colorspace.ITU601, wide=False, hidden=0) -> None:
    """A film with two channels, hardly compressed. turn: degrees, undone by the rotation flag;
    wide: full-range colours; hidden: frames before the first that an edit list leaves out."""
    frames = [np.ascontiguousarray(np.rot90(frame, -turn // 90)) for frame in frames]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "4", "bf": "0"})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = "yuv444p"
        video.codec_context.colorspace = colours
        video.codec_context.color_range = ColorRange.JPEG if wide else ColorRange.MPEG
        if turn:
            video.set_display_rotation(turn)
        sound = container.add_stream("pcm_s16le", rate=clip.SAMPLE_RATE, layout="stereo")
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format="yuv444p",
                dst_colorspace=colours,
                dst_color_range=video.codec_context.color_range,
            )
            frame.pts, frame.time_base = index - hidden, Fraction(1, 25)
            container.mux(video.encode(frame))
        codes = np.round(audio * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(codes.reshape(1, -1)), format="s16", layout="stereo"
        )
        frame.sample_rate = clip.SAMPLE_RATE
        frame.pts, frame.time_base = -hidden * 640, Fraction(1, clip.SAMPLE_RATE)
        container.mux(sound.encode(frame))
        for stream in (video, sound):
            container.mux(stream.encode(None))


def report_of(folder, frames, audio, **stored) -> Facts:
    """The report of a stored clip; audio: mono, or (n, 2)."""
    sound = audio if audio.ndim == 2 else np.stack([audio, audio], axis=1)
    store(folder / "clip.mov", frames, sound, **stored)
    config = person.PersonConfig(size=96)
    made = person.prepare(folder / "clip.mov", folder / "person", config)
    return made.report | {"label_flicker": label_flicker(made)}


@pytest.fixture(scope="module")
def film() -> Film:
    """The clip, and what an edit list hides before it."""
    found = read_film(clip_path(DRAWN), max_s=LAST / clip.FPS)
    start = FIRST - HIDDEN
    return Film(found.frames[start:], found.audio[start * 640 :])


@pytest.fixture(scope="module")
def plain(film, tmp_path_factory) -> Facts:
    """The report of the clip as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            importlib.import_module(person.track.__module__), "calibrate", lambda *_: None
        )
        folder = tmp_path_factory.mktemp("plain")
        return report_of(folder, film.frames[HIDDEN:], film.audio[HIDDEN * 640 :])


def in_a_larger_picture(frames: np.ndarray) -> np.ndarray:
    side = round(SMALL * frames.shape[1])
    small = [cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA) for one in frames]
    return np.pad(np.stack(small), ((0, 0), (72, 0), (150, 90), (0, 0)), mode="edge")


VARIANTS = {
    "larger": lambda frames, sound: {"frames": in_a_larger_picture(frames)},
    "turned": lambda frames, sound: {"turn": 90},
    "quiet": lambda frames, sound: {"audio": sound / 10},
    "inverted": lambda frames, sound: {"audio": np.stack([sound, -sound], axis=1)},
    "colours": lambda frames, sound: {"colours": Colorspace.BT2020, "wide": True},
}
"""What is other -> arguments of `report_of` for the clip."""


def differences(report: Facts, plain: Facts) -> dict[str, tuple[float, float]]:
    """Measure -> its two values, where they differ by more than they may."""
    pairs = {name: (report[name], plain[name]) for name in TOLERANCES}
    for name, angles in report["pose_degrees"].items():
        for k, end in enumerate(("least", "most")):
            pairs[f"{end} {name}"] = angles[k], plain["pose_degrees"][name][k]
    return {
        name: (value, wanted)
        for name, (value, wanted) in pairs.items()
        if abs(value - wanted) > TOLERANCES.get(name, DEGREES)
    }


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_clip_gives_the_same_report(name, film, plain, tmp_path):
    frames, sound = film.frames[HIDDEN:], film.audio[HIDDEN * 640 :]
    changed = {"frames": frames, "audio": sound} | VARIANTS[name](frames, sound)
    report = report_of(tmp_path, **changed)
    if name == "larger":
        report |= {"source_face_px": report["source_face_px"] / SMALL}
    if name == "quiet":
        assert report["loudness_rms"] == pytest.approx(plain["loudness_rms"] / 10, rel=0.01)
    assert differences(report, plain) == {}
    assert report["warnings"] == plain["warnings"] == []


def test_what_an_edit_list_hides_is_not_there_nor_missed(film, plain, tmp_path, caplog):
    report = report_of(tmp_path, film.frames, film.audio, hidden=HIDDEN)
    assert differences(report, plain) == {}
    assert report["warnings"] == [] and "cut short" not in caplog.text
    assert report["clips"][0]["taken_s"] == [[0.0, (LAST - FIRST) / clip.FPS]]


def test_the_tolerances_tell_another_clip(plain):
    other = plain | {"mouth_opening_std": 0.8 * plain["mouth_opening_std"], "offset_s": 0.04}
    assert set(differences(other, plain)) == {"mouth_opening_std", "offset_s"}
