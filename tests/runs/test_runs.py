"""Run folders: made once, found again, resumed after a kill, honest after a failure."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from geneface_kit import runs
from geneface_kit.pipeline import require
from geneface_kit.pipeline.settings import Settings, resolve
from geneface_kit.pipeline.stages import Stage
from geneface_kit.runs.files import Lacking
from geneface_kit.runs.record import repeatable
from geneface_kit.runs.training import History


@dataclasses.dataclass(frozen=True)
class Config:
    amount: int = 3


@dataclasses.dataclass(frozen=True)
class Kitchen(Settings):
    bread: Config = Config()
    toast: Config = Config()


@pytest.fixture
def kitchen(monkeypatch, tmp_path):
    """Two fake stages, toast made from bread; `calls` says what was made."""
    calls = []

    def bread(run, config):
        calls.append("bread")
        run.data_kind = "synthetic"
        (run.folder / "bread.txt").write_text("b" * config.amount)
        run.record("slices", config.amount)

    def toast(run, config):
        calls.append("toast")
        (run.folder / "toast.txt").write_text(
            (run.parents["bread"].folder / "bread.txt").read_text().upper()
        )

    stages = {
        "bread": Stage(bread, ("bread",), ()),
        "toast": Stage(toast, ("toast",), ("bread",)),
    }
    monkeypatch.setattr(require, "STAGES", stages)

    smoke = resolve()

    def resolved(profile, overrides):
        return Kitchen(**vars(smoke), toast=Config((overrides or {}).get("toast.amount", 3)))

    monkeypatch.setattr(require, "resolve", resolved)

    def change(name, **other):
        """Another `make` or `inputs` for a stage."""
        stages[name] = dataclasses.replace(stages[name], **other)

    return types.SimpleNamespace(calls=calls, out=tmp_path, stages=stages, change=change)


def test_upstream_is_made_and_found_again(kitchen):
    first = require.require("toast", "anna", out=kitchen.out)
    again = require.require("toast", "anna", out=kitchen.out)
    assert kitchen.calls == ["bread", "toast"]
    assert (first.folder / "toast.txt").read_text() == "BBB"
    assert again.id == first.id and again.status == "ok"
    assert again.parents["bread"].metrics == {"slices": 3}


def test_other_settings_seeds_and_persons_are_other_runs(kitchen):
    ids = {
        require.require("toast", "anna", out=kitchen.out).id,
        require.require("toast", "anna", seed=1, out=kitchen.out).id,
        require.require("toast", "berta", out=kitchen.out).id,
        require.require("toast", "anna", overrides={"toast.amount": 4}, out=kitchen.out).id,
    }
    assert len(ids) == 4


def test_run_json_tells_the_whole_story(kitchen):
    run = require.require("toast", "anna", out=kitchen.out)
    facts = json.loads((run.folder / "run.json").read_text())
    assert facts["status"] == "ok" and facts["config"] == {"toast": {"amount": 3}}
    assert facts["outputs"]["toast.txt"] == runs.sha256(run.folder / "toast.txt")
    assert facts["data_kind"] == "synthetic"  # inherited from bread
    assert facts["machine"]["torch"].startswith("2.13")
    assert runs.open_run(run.folder).parents["bread"].id == run.parents["bread"].id


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux says it by stage")
def test_peak_memory_is_of_the_stage_and_not_of_what_the_process_did_before(kitchen):
    def hungry(run, config):
        np.ones(400 * 2**17)
        (run.folder / "bread.txt").write_text("b")

    kitchen.change("bread", make=hungry)
    toast = require.require("toast", "anna", out=kitchen.out)
    peaks = [run.facts["peak_memory_mb"] for run in (toast.parents["bread"], toast)]
    assert peaks[1] < peaks[0] - 300


def test_a_run_tells_the_steps_that_were_done(kitchen):
    def stopped(run, config):
        history = History()
        for step in (100, 250):
            history.add({"loss": 1.0}, 0.1)
            history.end_row(step)
        history.save(run.folder, "crust")
        (run.folder / "bread.txt").write_text("b")

    kitchen.change("bread", make=stopped)
    run = require.require("toast", "anna", out=kitchen.out)
    assert run.facts["steps"] == {}
    facts = json.loads((run.parents["bread"].folder / "run.json").read_text())
    assert facts["steps"] == {"crust": 250}


def test_a_failed_run_is_not_finished_and_goes_on_after_its_finished_parts(kitchen):
    def burn(run, config):
        (run.folder / "half.txt").write_text("half")
        (run.folder / ".toast.part.txt").write_text("of a process that was killed")
        raise OSError(28, "No space left on device")

    good = kitchen.stages["toast"].make
    kitchen.change("toast", make=burn)
    with pytest.raises(Lacking, match="the disk is full: make room, and run the same command"):
        require.require("toast", "anna", out=kitchen.out)
    record = next(kitchen.out.glob("anna/toast-*/run.json"))
    assert json.loads(record.read_text())["status"] == "failed"
    kitchen.change("toast", make=good)
    run = require.require("toast", "anna", out=kitchen.out)
    names = ["half.txt", "run.json", "toast.txt"]
    assert sorted(path.name for path in run.folder.iterdir()) == names


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_its_checkpoints(kitchen, number, hears_ctrl_c):
    before = signal.getsignal(number)

    def stop(run, config):
        (run.folder / "toast_checkpoint.safetensors").write_text("half way")
        os.kill(os.getpid(), number)

        raise AssertionError("it was not interrupted")

    good, seen = kitchen.stages["toast"].make, []
    kitchen.change("toast", make=stop)
    with pytest.raises(KeyboardInterrupt):
        require.require("toast", "anna", out=kitchen.out)

    def go_on(run, config):
        seen.extend(path.name for path in run.folder.glob("*checkpoint*"))
        good(run, config)

    kitchen.change("toast", make=go_on)
    run = require.require("toast", "anna", out=kitchen.out)
    assert seen == ["toast_checkpoint.safetensors"] and run.status == "ok"
    assert not list(run.folder.glob("*checkpoint*"))
    assert signal.getsignal(number) == before


def test_a_killed_run_is_made_again(kitchen):
    run = require.require("toast", "anna", out=kitchen.out)
    run.facts["status"] = "running"  # what a kill leaves behind
    run.save()
    require.require("toast", "anna", out=kitchen.out)
    assert kitchen.calls == ["bread", "toast", "toast"]


def test_a_run_with_a_missing_file_is_made_again(kitchen):
    run = require.require("toast", "anna", out=kitchen.out)
    (run.folder / "toast.txt").unlink()
    require.require("toast", "anna", out=kitchen.out)
    assert kitchen.calls == ["bread", "toast", "toast"]


def test_a_run_with_a_truncated_file_is_made_again_and_its_whole_files_stay(kitchen):
    def toast(run, config):
        for name in ("toast.txt", "butter.txt"):
            if not (run.folder / name).exists():
                kitchen.calls.append(name)
                (run.folder / name).write_text("BBB")

    kitchen.change("toast", make=toast)
    run = require.require("toast", "anna", out=kitchen.out)
    (run.folder / "butter.txt").write_text("BB")
    again = require.require("toast", "anna", out=kitchen.out)
    assert kitchen.calls == ["bread", "toast.txt", "butter.txt", "butter.txt"]
    assert again.status == "ok" and (run.folder / "butter.txt").read_text() == "BBB"


def test_other_bytes_of_the_same_size_are_found_when_another_stage_reads_them(kitchen):
    run = require.require("bread", "anna", out=kitchen.out)
    (run.folder / "bread.txt").write_text("xbb")
    require.require("bread", "anna", out=kitchen.out)
    assert kitchen.calls == ["bread"]
    toast = require.require("toast", "anna", out=kitchen.out)
    assert kitchen.calls == ["bread", "bread", "toast"]
    assert (toast.folder / "toast.txt").read_text() == "BBB"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b'{"status": "ok"}'])
def test_a_run_whose_run_json_cannot_be_read_is_made_again(kitchen, content):
    run = require.require("bread", "anna", out=kitchen.out)
    (run.folder / "run.json").write_bytes(content)
    assert require.require("bread", "anna", out=kitchen.out).status == "ok"
    assert kitchen.calls == ["bread", "bread"]


def test_a_forged_run_json_deletes_nothing_outside_its_folder(kitchen):
    beside = kitchen.out / "mine.txt"
    beside.write_text("mine")
    run = require.require("bread", "anna", out=kitchen.out)
    run.facts["outputs"]["../../mine.txt"] = "0"
    run.save()
    require.require("bread", "anna", out=kitchen.out)
    assert beside.read_text() == "mine"


def test_a_run_is_located_before_it_is_made(kitchen):
    folder = require.locate("toast", "anna", out=kitchen.out)
    assert kitchen.calls == [] and list(kitchen.out.iterdir()) == []
    assert require.require("toast", "anna", out=kitchen.out).folder == folder
    assert require.locate("toast", "anna", out=kitchen.out, seed=1) != folder


def test_a_notebook_kept_with_a_run_is_none_of_its_outputs(kitchen):
    folder = require.locate("toast", "anna", out=kitchen.out)
    folder.mkdir(parents=True)
    (folder / "03_toast.ipynb").write_text("{}")
    run = require.require("toast", "anna", out=kitchen.out)
    assert list(run.facts["outputs"]) == ["toast.txt"]
    assert (folder / "03_toast.ipynb").exists()


def test_wall_time_kept_with_a_run_is_none_of_its_outputs(kitchen):
    def timed(run, config):
        for name in ("toast_history.csv", "toast_clock.csv"):
            (run.folder / name).write_text("step")

    kitchen.change("toast", make=timed)
    run = require.require("toast", "anna", out=kitchen.out)
    assert list(run.facts["outputs"]) == ["toast_history.csv"]
    assert (run.folder / "toast_clock.csv").exists()


def test_an_unknown_stage_is_refused(kitchen):
    with pytest.raises(ValueError, match=r"'tost': did you mean toast\? choose one of"):
        require.require("tost", out=kitchen.out)


def test_streams_depend_on_seed_stage_and_name(kitchen):
    bread = require.require("bread", "anna", out=kitchen.out)
    toast = require.require("toast", "anna", out=kitchen.out)
    draws = [
        int(generator.initial_seed())
        for generator in (bread.generator(), bread.generator("x"), toast.generator())
    ]
    assert len(set(draws)) == 3
    assert bread.generator().initial_seed() == draws[0]


def test_the_root_is_found_from_the_notebooks_folder(monkeypatch, tmp_path):
    (tmp_path / "pyproject.toml").write_text('name = "geneface-kit"')
    (tmp_path / "notebooks").mkdir()
    monkeypatch.delenv("GENEFACE_KIT_ROOT", raising=False)
    monkeypatch.chdir(tmp_path / "notebooks")
    assert runs.root() == tmp_path


@pytest.mark.slow
def test_an_unknown_person_ends_in_one_sentence(tmp_path):
    environment = {**os.environ, "GENEFACE_KIT_DATA": str(tmp_path)}
    command = [sys.executable, "-m", "geneface_kit", "run", "person", "nobody", "--out", "."]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and "data/persons/nobody.mp4" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(Path(tmp_path).rglob("run.json"))


def test_a_finished_run_is_found_when_its_inputs_are_gone(kitchen):
    flour = kitchen.out / "flour.txt"
    flour.write_text("f")

    def inputs(subject, config):
        if not flour.exists():
            raise FileNotFoundError("no flour")
        return {"flour.txt": flour}

    kitchen.change("bread", inputs=inputs)
    first = require.require("bread", "ada", out=kitchen.out)
    flour.unlink()
    assert require.require("bread", "ada", out=kitchen.out).folder == first.folder
    assert kitchen.calls == ["bread"]
    with pytest.raises(FileNotFoundError, match="no flour"):
        require.require("bread", "ada", seed=1, out=kitchen.out)
    with pytest.raises(FileNotFoundError, match="no flour"):
        require.require("bread", "bob", out=kitchen.out)


def test_content_of_inputs_tells_runs_apart_and_not_where_they_lie(kitchen, monkeypatch):
    files = {"rye/grain.txt": kitchen.out / "grain.txt"}
    kitchen.change("bread", inputs=lambda subject, config: files)
    monkeypatch.setattr(require, "PATHS", {"toast.amount"})  # as if it named a file
    files["rye/grain.txt"].write_text("grain")

    def asked(**options):
        return require.locate("toast", "anna", out=kitchen.out, **options).name

    first = asked()
    assert asked(overrides={"toast.amount": 4}) == first
    files["rye/grain.txt"] = files["rye/grain.txt"].rename(kitchen.out / "moved.txt")
    assert asked() == first
    files["wheat/grain.txt"] = files["rye/grain.txt"]
    assert asked() != first
    del files["wheat/grain.txt"]
    files["rye/grain.txt"].write_text("other")
    assert asked() != first
    files["rye/grain.txt"].write_text("grain")
    assert asked() == first
    kitchen.change("bread", version=2)
    assert asked() != first


def test_gradients_of_gathered_values_repeat_while_a_run_is_made():
    """Many values are gathered from few, so that two threads would often meet."""
    values = torch.randn(50, 64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    index = torch.randint(50, (4000,), generator=torch.Generator().manual_seed(1))
    weight = torch.randn(4000, 64, generator=torch.Generator().manual_seed(2))
    with repeatable():
        assert torch.are_deterministic_algorithms_enabled() != torch.cuda.is_available()
        sums = {
            torch.autograd.grad((values[index] * weight).sum(), values)[0].numpy().tobytes()
            for _ in range(20)
        }
    assert len(sums) == 1
    assert not torch.are_deterministic_algorithms_enabled()
