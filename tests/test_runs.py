"""Run folders: made once, found again, resumed after a kill, honest after a failure."""

import dataclasses
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from geneface_kit import profiles, runs
from geneface_kit.runs.machine import repeatable


@dataclasses.dataclass(frozen=True)
class Config:
    amount: int = 3


@dataclasses.dataclass(frozen=True)
class Settings:
    profile: str = "smoke"
    bread: Config = Config()
    toast: Config = Config()


@pytest.fixture
def kitchen(monkeypatch, tmp_path):
    """Two fake stages, toast made from bread; `calls` says what was made."""
    calls = []

    def bread(run, settings):
        calls.append("bread")
        run.data_kind = "synthetic"
        (run.folder / "bread.txt").write_text("b" * settings.bread.amount)
        run.record("slices", settings.bread.amount)

    def toast(run, settings):
        calls.append("toast")
        (run.folder / "toast.txt").write_text(
            (run.parents["bread"].folder / "bread.txt").read_text().upper()
        )

    for name, make in {"bread": bread, "toast": toast}.items():
        module = types.ModuleType(f"geneface_kit.{name}")
        module.make = make
        monkeypatch.setitem(sys.modules, module.__name__, module)
    stages = {
        "bread": runs.Stage("bread", ("bread",), ()),
        "toast": runs.Stage("toast", ("toast",), ("bread",)),
    }
    monkeypatch.setattr(runs, "STAGES", stages)

    def resolve(profile, overrides):
        return Settings(toast=Config((overrides or {}).get("toast.amount", 3)))

    monkeypatch.setattr(profiles, "resolve", resolve)
    return types.SimpleNamespace(calls=calls, out=tmp_path, modules=sys.modules)


def test_upstream_is_made_and_found_again(kitchen):
    first = runs.require("toast", "anna", out=kitchen.out)
    again = runs.require("toast", "anna", out=kitchen.out)
    assert kitchen.calls == ["bread", "toast"]
    assert (first.folder / "toast.txt").read_text() == "BBB"
    assert again.id == first.id and again.status == "ok"
    assert again.parents["bread"].metrics == {"slices": 3}


def test_other_settings_seeds_and_persons_are_other_runs(kitchen):
    ids = {
        runs.require("toast", "anna", out=kitchen.out).id,
        runs.require("toast", "anna", seed=1, out=kitchen.out).id,
        runs.require("toast", "berta", out=kitchen.out).id,
        runs.require("toast", "anna", overrides={"toast.amount": 4}, out=kitchen.out).id,
    }
    assert len(ids) == 4


def test_run_json_tells_the_whole_story(kitchen):
    run = runs.require("toast", "anna", out=kitchen.out)
    facts = json.loads((run.folder / "run.json").read_text())
    assert facts["status"] == "ok" and facts["config"] == {"toast": {"amount": 3}}
    assert facts["outputs"]["toast.txt"] == runs.sha256(run.folder / "toast.txt")
    assert facts["data_kind"] == "synthetic"  # inherited from bread
    assert facts["machine"]["torch"].startswith("2.13")
    assert runs.open_run(run.folder).parents["bread"].id == run.parents["bread"].id


def test_a_failed_run_is_not_finished_and_starts_clean(kitchen, monkeypatch):
    def burn(run, settings):
        (run.folder / "half.txt").write_text("half")
        raise OSError(28, "No space left on device")

    module = sys.modules["geneface_kit.toast"]
    good = module.make
    monkeypatch.setattr(module, "make", burn)
    with pytest.raises(OSError, match="No space"):
        runs.require("toast", "anna", out=kitchen.out)
    record = next(kitchen.out.glob("anna/toast-*/run.json"))
    assert json.loads(record.read_text())["status"] == "failed"
    monkeypatch.setattr(module, "make", good)
    run = runs.require("toast", "anna", out=kitchen.out)
    assert sorted(path.name for path in run.folder.iterdir()) == ["run.json", "toast.txt"]


def test_an_interrupted_run_keeps_its_checkpoints(kitchen, monkeypatch):
    def stop(run, settings):
        (run.folder / "toast_checkpoint.safetensors").write_text("half way")
        raise KeyboardInterrupt

    module = sys.modules["geneface_kit.toast"]
    good, seen = module.make, []
    monkeypatch.setattr(module, "make", stop)
    with pytest.raises(KeyboardInterrupt):
        runs.require("toast", "anna", out=kitchen.out)

    def go_on(run, settings):
        seen.extend(path.name for path in run.folder.glob("*checkpoint*"))
        good(run, settings)

    monkeypatch.setattr(module, "make", go_on)
    run = runs.require("toast", "anna", out=kitchen.out)
    assert seen == ["toast_checkpoint.safetensors"] and run.status == "ok"
    assert not list(run.folder.glob("*checkpoint*"))


def test_a_killed_run_is_made_again(kitchen):
    run = runs.require("toast", "anna", out=kitchen.out)
    run.facts["status"] = "running"  # what a kill leaves behind
    run.save()
    runs.require("toast", "anna", out=kitchen.out)
    assert kitchen.calls == ["bread", "toast", "toast"]


def test_a_run_with_a_missing_file_is_made_again(kitchen):
    run = runs.require("toast", "anna", out=kitchen.out)
    (run.folder / "toast.txt").unlink()
    runs.require("toast", "anna", out=kitchen.out)
    assert kitchen.calls == ["bread", "toast", "toast"]


def test_a_run_is_located_before_it_is_made(kitchen):
    folder = runs.locate("toast", "anna", out=kitchen.out)
    assert kitchen.calls == [] and list(kitchen.out.iterdir()) == []
    assert runs.require("toast", "anna", out=kitchen.out).folder == folder
    assert runs.locate("toast", "anna", out=kitchen.out, seed=1) != folder


def test_a_notebook_kept_with_a_run_is_none_of_its_outputs(kitchen):
    folder = runs.locate("toast", "anna", out=kitchen.out)
    folder.mkdir(parents=True)
    (folder / "03_toast.ipynb").write_text("{}")
    run = runs.require("toast", "anna", out=kitchen.out)
    assert list(run.facts["outputs"]) == ["toast.txt"]
    assert (folder / "03_toast.ipynb").exists()


def test_wall_time_kept_with_a_run_is_none_of_its_outputs(kitchen, monkeypatch):
    def timed(run, settings):
        for name in ("toast_history.csv", "toast_clock.csv"):
            (run.folder / name).write_text("step")

    monkeypatch.setattr(kitchen.modules["geneface_kit.toast"], "make", timed)
    run = runs.require("toast", "anna", out=kitchen.out)
    assert list(run.facts["outputs"]) == ["toast_history.csv"]
    assert (run.folder / "toast_clock.csv").exists()


def test_an_unknown_stage_is_refused(kitchen):
    with pytest.raises(ValueError, match="unknown stage 'tost': choose one of bread, toast"):
        runs.require("tost", out=kitchen.out)


def test_streams_depend_on_seed_stage_and_name(kitchen):
    bread = runs.require("bread", "anna", out=kitchen.out)
    toast = runs.require("toast", "anna", out=kitchen.out)
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


def test_a_finished_run_is_found_when_its_inputs_are_gone(kitchen, monkeypatch):
    flour = kitchen.out / "flour.txt"
    flour.write_text("f")
    bread = kitchen.modules["geneface_kit.bread"]

    def inputs(subject, settings):
        if not flour.exists():
            raise FileNotFoundError("no flour")
        return [flour]

    monkeypatch.setattr(bread, "inputs", inputs, raising=False)
    first = runs.require("bread", "ada", out=kitchen.out)
    flour.unlink()
    assert runs.require("bread", "ada", out=kitchen.out).folder == first.folder
    assert kitchen.calls == ["bread"]
    with pytest.raises(FileNotFoundError, match="no flour"):
        runs.require("bread", "ada", seed=1, out=kitchen.out)
    with pytest.raises(FileNotFoundError, match="no flour"):
        runs.require("bread", "bob", out=kitchen.out)


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
