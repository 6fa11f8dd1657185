"""Claims: a table of them is read, a wrong one fails, and its line says by how much."""

from types import SimpleNamespace

import pytest

from geneface_kit.pipeline.stages import STAGES
from notebooks.studies.reproduction import claims
from notebooks.studies.reproduction.__main__ import main

METRICS = {"head_psnr": 30.0, "report": {"offset_s": 0.25}, "self-driven PSNR head": 28.0}


@pytest.fixture
def made(monkeypatch):
    asked = []

    def require(stage, person, *, out):
        asked.append((stage, person, out))
        return SimpleNamespace(metrics=METRICS)

    monkeypatch.setattr(claims, "require", require)
    return asked


def claim(metric="head_psnr", expected=30.5, tolerance=1.0, quick=True):
    return claims.Claim("a head", "run nerf demo", metric, expected, tolerance, 1.0, quick)


def test_every_tracked_claim_names_a_stage_and_the_quick_ones_need_no_clip():
    tracked = claims.read()
    assert len(tracked) >= 10
    for one in tracked:
        _, stage, person = one.command.split()
        assert stage in STAGES and one.metric
        distance = one.metric.startswith("distance")  # differs by a third from machine to machine
        assert one.tolerance <= max(0.05, abs(one.expected) / (2 if distance else 4))
        assert not one.quick or (person == "demo" and one.minutes < 2)


def test_a_claim_holds_within_its_tolerance_alone(made):
    (holds, line), (fails, other) = claims.check([claim(), claim(tolerance=0.4)])
    assert holds and line.startswith("pass  a head: 30, expected 30.5 within 1; run nerf demo")
    assert not fails and other.startswith("fail  a head: 30, expected 30.5 within 0.4")
    assert made == [("nerf", "demo", ""), ("nerf", "demo", "")]


def test_a_metric_is_found_by_its_whole_name_or_by_dots(made):
    assert claims.measured(claim("report.offset_s")) == 0.25
    assert claims.measured(claim("self-driven PSNR head")) == 28.0
    ((holds, line),) = claims.check([claim("lips_psnr")])
    assert not holds and "not measured ('lips_psnr')" in line


@pytest.mark.parametrize(
    "row",
    ["c,run nerf demo,m,x,1,1,yes", "c,run nerf,m,1,1,1,yes", "c,rm nerf demo,m,1,1,1,yes",
     "c,run nerf demo,m,1,-1,1,yes", "c,run nerf demo,m,1,1,1,perhaps"],
)  # fmt: skip
def test_a_row_that_is_no_claim_is_refused_with_its_line(tmp_path, row):
    path = tmp_path / "claims.csv"
    path.write_text(f"claim,command,metric,expected,tolerance,minutes,quick\n{row}\n")
    with pytest.raises(ValueError, match="claims.csv, line 2"):
        claims.read(path)


def test_the_command_fails_when_a_claim_does(made, monkeypatch, capsys):
    wrong = claim(tolerance=0.1)
    monkeypatch.setattr(claims, "read", lambda: [claim(), wrong, claim("none", quick=False)])
    assert main(["--check", "--out", "there"]) == 1
    assert [line[:4] for line in capsys.readouterr().out.splitlines()] == ["pass", "fail"]
    monkeypatch.setattr(claims, "read", lambda: [claim()])
    assert main(["--check", "--out", "there"]) == 0
    assert made[0] == ("nerf", "demo", "there")
