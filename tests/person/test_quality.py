"""Quality: the measures have known values, and each fault of a clip gets its reason and remedy."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from films import Film, read_film
from geneface_kit_figures.report import MEASURED, expectation, mouth_windows

from geneface_kit.person import clip, demo, quality
from geneface_kit.person import stage as person
from geneface_kit.person.mouth import COMMON_SHAPES, mouth_cells, mouth_coverage

pytestmark = pytest.mark.usefixtures("uncalibrated")


def test_blur_of_noise_is_small_and_grows_with_each_smoothing():
    noise = np.random.default_rng(0).random((100, 100)).astype(np.float32)
    values = [
        quality.blur(cv2.GaussianBlur(noise, (0, 0), s) if s else noise) for s in (0, 1, 2, 4)
    ]
    assert values[0] < 0.2 and values == sorted(values) and values[-1] > 0.7


def test_blur_of_nothing_is_complete():
    assert quality.blur(np.full((50, 50), 0.5, np.float32)) == 1.0


def test_mouth_shapes_fall_into_cells_of_opening_and_width():
    mouth = np.array([[0.0, 0.5], [0.09, 0.5], [0.13, 0.55], [0.9, 0.1]], np.float32)
    assert mouth_cells(mouth).tolist() == [[0, 5], [2, 5], [3, 6], [9, 0]]


def test_one_second_with_everything_is_enough():
    quiet = np.tile([[0.01, 0.5]], (100, 1))
    talk = np.tile([[0.01, 0.5], [0.05, 0.42], [0.09, 0.58], [0.17, 0.5]], (7, 1))[:25]
    mouth = np.concatenate([quiet[:60], talk, quiet]).astype(np.float32)
    windows, reach = mouth_windows(mouth, enough=1.0)
    assert mouth_coverage(mouth)["mouth_shapes"] == 4 and reach == 1.0
    assert len(windows) == 1 and 1.6 <= windows[0] <= 3.2


def test_still_lips_cover_almost_nothing_and_the_page_says_what_is_missing():
    found = mouth_coverage(np.tile([[0.01, 0.5]], (50, 1)).astype(np.float32))
    assert found["mouth_shapes"] == 1 and found["mouth_shapes_common"] == pytest.approx(
        1 / COMMON_SHAPES.sum()
    )
    assert (
        "wide open" in found["mouth_shapes_missing"]
        and "narrow" in found["mouth_shapes_missing"]
        and "broad" in found["mouth_shapes_missing"]
    )


@pytest.fixture(scope="module")
def talking() -> Film:
    """1.6 s of the demo person, in which the lips move."""
    whole = read_film(demo.clip_path("demo"), size=192, max_s=2.4)
    return dataclasses.replace(whole, frames=whole.frames[20:], audio=whole.audio[20 * 640 :])


def report_of(tmp_path, frames, audio, *, size: int = 96) -> dict:
    clip.write_video(tmp_path / "v.mp4", frames, audio)
    config = person.PersonConfig(size=size)
    return person.prepare(tmp_path / "v.mp4", tmp_path / "person", config).report


@pytest.mark.slow
def test_a_plain_clip_has_none_of_the_faults(tmp_path, talking):
    report = report_of(tmp_path, talking.frames, talking.audio)
    assert report["verdict"] == "usable"
    assert not any(
        "dark" in why or "blurred" in why or "silent" in why for why in report["reasons"]
    )


@pytest.mark.slow
def test_a_dark_clip_is_told_to_add_light(tmp_path, talking):
    report = report_of(tmp_path, (talking.frames * 0.18).astype(np.uint8), talking.audio)
    assert report["brightness"] < 0.15
    assert any("dark" in why and "add light" in why for why in report["reasons"])


@pytest.mark.slow
def test_a_blurred_clip_is_told_to_focus(tmp_path, talking):
    soft = np.stack([cv2.GaussianBlur(frame, (0, 0), 4) for frame in talking.frames])
    report = report_of(tmp_path, soft, talking.audio, size=192)
    assert any("blurred" in why and "focus" in why for why in report["reasons"])


@pytest.mark.slow
def test_a_tiny_head_is_not_usable(tmp_path, talking):
    small = np.stack(
        [cv2.resize(f, (96, 96), interpolation=cv2.INTER_AREA) for f in talking.frames]
    )
    room = np.pad(small, ((0, 0), (24, 24), (60, 60), (0, 0)), mode="edge")
    report = report_of(tmp_path, room, talking.audio)
    assert report["verdict"] == "not usable" and report["source_face_px"] < 60
    assert "film closer" in report["reasons"][0]


@pytest.mark.slow
def test_a_silent_clip_is_not_usable(tmp_path, talking):
    report = report_of(tmp_path, talking.frames, np.zeros_like(talking.audio))
    assert report["verdict"] == "not usable"
    assert any("silent" in why and ".wav" in why for why in report["reasons"])


@pytest.mark.slow
def test_a_photograph_is_not_usable_and_is_refused_by_later_stages(tmp_path, talking):
    report = report_of(tmp_path, np.repeat(talking.frames[:1], 40, 0), talking.audio)
    assert report["verdict"] == "not usable" and any("lips" in why for why in report["reasons"])
    with pytest.raises(ValueError, match="not usable.*person.force=true") as caught:
        person.load(tmp_path / "person")
    assert "\n" not in str(caught.value)
    assert person.load(tmp_path / "person", judged=False).report == report
    page = (tmp_path / "person" / "report.html").read_text()
    assert "not usable" in page and "The lips do not move" in page


@pytest.mark.slow
def test_a_forced_person_is_loaded_whatever_the_verdict_and_every_step_is_told(tmp_path, talking):
    clip.write_video(tmp_path / "v.mp4", talking.frames, np.zeros_like(talking.audio))
    config = person.PersonConfig(size=48, force=True)
    steps: list[str] = []
    person.prepare(tmp_path / "v.mp4", tmp_path / "person", config, step=steps.append)
    assert person.load(tmp_path / "person").report["verdict"] == "not usable"
    told = "scan frames tracking speech offset labels background torso report"
    assert list(dict.fromkeys(steps)) == told.split()  # what `bench person` lists


def test_the_expectation_is_not_known_for_less_than_what_was_measured(demo_person):
    report = demo_person.report
    assert "not known" in expectation(report)
    as_measured = report | MEASURED | {"offset_confidence": 0.9, "verdict": "usable"}
    assert "no worse" in expectation(as_measured)
    assert "Nothing useful" in expectation(report | {"verdict": "not usable"})


def test_the_expectation_says_what_table_a_says(demo_person):
    table = pd.read_csv(Path(__file__).parents[2] / "figures" / "table_a.csv", dtype=str)
    rows = table[table.metric.isin(["PSNR head", "LMD lips"])].astype({"value": float})
    means = rows.groupby(["protocol", "metric", "person"]).value.mean()
    db, px = means["landmark-driven", "PSNR head"], means["landmark-driven", "LMD lips"]
    heard_db, heard_px = means["self-driven", "PSNR head"], means["self-driven", "LMD lips"]
    others = db.drop("obama")
    said = expectation(demo_person.report)
    assert f"{db.obama:.1f} dB on held-out heads and lips {px.obama:.1f} px off" in said
    assert f"{heard_db.obama:.1f} dB and {heard_px.obama:.1f} px from the recording alone" in said
    assert f"heads of three other clips had {others.min():.1f} to {others.max():.1f} dB" in said
    assert len(others) == 3


def test_a_person_of_whom_hardly_a_frame_trains_is_not_usable(demo_person):
    found = quality.verdict({**demo_person.report, "trained": 0.1}, [])
    assert found["verdict"] == "not usable" and "only 10% of the frames" in found["obstacles"][0]


def test_a_drift_and_anothers_sound_are_told_apart(demo_person):
    plain = {**demo_person.report, "silent": False, "sound_drift_s": 0.0}
    drifts = quality.verdict(plain | {"sound_drift_s": -0.2, "offset_confidence": 0.1}, [])
    strange = quality.verdict(plain | {"offset_confidence": 0.1}, [])
    assert any("drifts by -0.20 s" in why for why in drifts["reasons"])
    assert not any("belong together" in why for why in drifts["reasons"])
    assert any("belong together" in why for why in strange["reasons"])
