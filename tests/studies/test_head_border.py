"""Head border: the measures of a study on edges drawn by hand."""

from dataclasses import replace
from types import SimpleNamespace

import acting
import cv2
import numpy as np
import pandas as pd
import pytest

from notebooks.studies import head_border as study
from notebooks.studies.head_border import SIZE, WAYS, border_quality, rows_of


def edge(contrast, at=16):
    """A picture of two halves, `contrast` levels apart, and the band of 3 pixels about 16."""
    picture = np.full((32, 32, 3), 100, np.uint8)
    picture[:, at:] += contrast
    band = np.zeros((32, 32), bool)
    band[:, 13:19] = True
    return picture, band


def test_the_energy_of_an_edge_is_its_contrast_squared():
    true, band = edge(100)
    soft, _ = edge(50)
    found = border_quality([soft], [true], [band])
    assert found["energy"] == pytest.approx(0.25) and found["error"] == pytest.approx(0.25)
    # half of the band is 50 of 255 levels off, and half of the picture
    assert found["border_psnr"] == pytest.approx(-10 * np.log10(0.5 * (50 / 255) ** 2))
    assert found["frame_psnr"] == pytest.approx(found["border_psnr"])


def test_an_edge_that_lies_elsewhere_is_as_sharp_and_wrong():
    true, band = edge(100)
    moved, _ = edge(100, at=14)
    found = border_quality([moved, moved], [true, true], [band, band])
    assert found["energy"] == pytest.approx(1) and found["error"] == pytest.approx(2)
    assert found["border_psnr"] == pytest.approx(-10 * np.log10(2 / 6 * (100 / 255) ** 2))


def test_each_way_has_a_row_and_the_worst_frame_of_the_last_is_shown(tmp_path):
    person = acting.person(tmp_path)
    labels = np.ones((44, acting.SIZE, acting.SIZE), np.uint8)
    labels[:, :16] = 0
    person = replace(person, labels=labels)
    true = np.asarray(person.frames)

    def avatar(worst, by):
        shown = true.astype(int)
        shown[worst] += np.where(shown[worst] < 128, by, -by)
        render = lambda track, poses, only, torso_shifts: iter(shown[only].astype(np.uint8))  # noqa: E731
        return SimpleNamespace(driven_by="landmarks", torso_shifts=None, render=render, shown=shown)

    dataset = SimpleNamespace(person=person, held_out=lambda n: [40, 42, 43], track=lambda name: 0)
    ways = {"apart": avatar(40, 50), "together": avatar(42, 20)}
    rows, drawn = rows_of("ada", dataset, ways)
    assert [row["way"] for row in rows] == ["apart", "together"] and rows[0]["n_frames"] == 3
    # a third of all pixels is off by 50, or by 20, of 255 levels
    for row, by in zip(rows, (50, 20), strict=True):
        assert row["border_psnr"] == pytest.approx(-10 * np.log10((by / 255) ** 2 / 3))
    assert drawn["frames"].tolist() == [42] * 4
    assert drawn["psnr"] == pytest.approx([120, -20 * np.log10(20 / 255)] * 2)
    whole = np.stack([true[42], ways["together"].shown[42]])
    for k, half in ((0, np.s_[:, :]), (2, np.s_[16:, 7:23])):
        wanted = [
            cv2.resize(one[half].astype(np.uint8), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            for one in whole
        ]
        assert (drawn["pictures"][k : k + 2] == wanted).all()


def test_the_study_writes_a_table_and_a_figure(tmp_path, monkeypatch):
    run = SimpleNamespace(folder=tmp_path, id="nerf-ada", status="ok", data_kind="synthetic")
    run.profile, run.parents = "smoke", {"person": run}
    pictures = np.zeros((4, SIZE, SIZE, 3), np.uint8)
    drawn = {"pictures": pictures, "frames": np.full(4, 42), "psnr": np.full(4, 20.0)}
    rows = [{"person": "ada", "way": way, "n_frames": 3, "energy": 1.0} for way in WAYS]
    monkeypatch.setattr(study, "require", lambda *args, **kwargs: run)
    monkeypatch.setattr(study.person_stage, "load", lambda folder: None)
    monkeypatch.setattr(study.nerf_stage, "load", lambda folder, person, together: None)
    monkeypatch.setattr(study, "RayDataset", lambda person: None)
    monkeypatch.setattr(study, "rows_of", lambda name, dataset, avatars: (rows, drawn))
    study.head_border(["ada"], to=tmp_path)
    assert pd.read_csv(tmp_path / "head_border.csv")["way"].tolist() == ["apart", "together"]
    assert {path.suffix for path in tmp_path.glob("border_frames.*")} == {".json", ".npz", ".png"}
