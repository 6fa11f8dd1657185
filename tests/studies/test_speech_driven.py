"""Speech driven: differences of two renderings, their intervals and the table, made-up frames."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from geneface_kit.person.landmarks import Mesh
from notebooks.studies import speech_driven
from notebooks.studies.speech_driven import Seen, intervals, seen_of


def curves(n: int, *, off: float, noise: float) -> Seen:
    draw = np.random.default_rng(1)
    true = np.sin(np.arange(n) / 3)
    lips = off + draw.standard_normal(n)
    return Seen(lips, 30 - lips, true + noise * draw.standard_normal(n), true)


def test_a_difference_that_is_the_same_in_every_frame_is_sure():
    """Lips 2 px nearer and heads 2 dB better in each frame: the interval is that number."""
    one = curves(44, off=3.0, noise=0.0)
    other = Seen(one.lips + 2, one.head - 2, one.opening, one.true)
    found = intervals(one, other)
    assert found["LMD lips"] == pytest.approx((-2, -2, -2))
    assert found["PSNR head"] == pytest.approx((2, 2, 2))
    assert found["mouth correlation seen"] == pytest.approx((0, 0, 0))


def test_an_interval_holds_the_difference_and_is_wider_where_neighbours_are_alike():
    one, other = curves(64, off=3.0, noise=0.1), curves(64, off=3.5, noise=1.0)
    apart, low, high = intervals(one, other)["mouth correlation seen"]
    assert low < apart < high and low > 0  # the first follows, the second hardly does
    alike = np.repeat(np.random.default_rng(0).standard_normal(8), 8)  # 8 stretches of 64 frames
    mixed = np.random.default_rng(0).permutation(alike)
    widths = []
    for values in (alike, mixed):
        shifted = Seen(one.lips + values, one.head, one.opening, one.true)
        _, low, high = intervals(shifted, one)["LMD lips"]
        widths.append(high - low)
    assert widths[0] > 1.5 * widths[1]


def test_an_interval_of_one_block_is_refused():
    with pytest.raises(ValueError, match="12 frames show a face in all renderings, 16 are needed"):
        intervals(curves(12, off=1.0, noise=0.1), curves(12, off=2.0, noise=0.1))


def test_frames_without_a_face_are_left_out_of_both(tmp_path, monkeypatch):
    """Four frames of 64 pixels; no face in one rendering's second. Its lips are 3 right and 4 down,
    once for each frame before."""
    truth = np.full((4, 64, 64, 3), 100, np.uint8)
    person = SimpleNamespace(frames=truth, labels=np.ones((4, 64, 64)), size=64)
    points = np.random.default_rng(0).uniform(10, 50, (4, 68, 3))
    monkeypatch.setattr(speech_driven.person_stage, "load", lambda folder: person)
    monkeypatch.setattr(speech_driven, "held_out", lambda person, n: np.arange(4))
    runs = []
    for name, value in (("full", 100), ("speech", 151)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "self_driven.npy", np.full_like(truth, value))
        parents = {"person": SimpleNamespace(folder=tmp_path)}
        runs.append(SimpleNamespace(folder=tmp_path / name, parents=parents))

    def detect(frames):
        wrong = frames[0, 0, 0, 0] == 151
        found = np.array([True, not wrong, True, True])
        shift = wrong * np.arange(4)[:, None, None] * np.array([3, 4, 0])
        return Mesh(points + shift, found, np.zeros(4))

    monkeypatch.setattr(speech_driven.landmarks, "detect", detect)
    one, other = seen_of(runs, 4)
    assert len(one.lips) == len(other.lips) == 3 and (one.lips == 0).all()
    assert other.lips == pytest.approx([0, 80, 120])  # 0, 10 and 15 of 64 pixels, of 512
    assert other.head == pytest.approx([13.979] * 3, abs=1e-3)
    assert other.opening == pytest.approx(other.true)


def test_a_line_a_person_pair_and_measure(tmp_path, monkeypatch):
    asked = []

    def require(stage, person, *, profile, overrides, out):
        asked.append((stage, person, overrides["head.steps"], overrides.get("head.driven_by")))
        config = {"evaluation": {"n_frames": 44}}
        return SimpleNamespace(id=f"evaluation-{len(asked)}", subject=person, config=config)

    seen = [curves(44, off=2.0, noise=0.1), curves(44, off=3.0, noise=0.1)]
    monkeypatch.setattr(speech_driven, "require", require)
    monkeypatch.setattr(speech_driven, "seen_of", lambda runs, n: seen)
    arguments = ["ada", "bob", "--set", "head.steps=25", "--to", str(tmp_path)]
    assert speech_driven.main(arguments) == 0
    assert asked[0] == ("evaluation", "ada", 25, None)
    assert asked[1][3] == asked[3][3] == "speech" and len(asked) == 8
    table = pd.read_csv(tmp_path / "speech_driven.csv")
    assert len(table) == 2 * 2 * 3 and set(table.n_frames) == {44}
    lips = table[(table.person == "bob") & (table.measure == "LMD lips")]
    assert lips.difference.tolist() == [-1.0, -1.0] and (lips.low == -1).all()
    assert table.runs[0] == "evaluation-1 evaluation-2"
