"""The command line: every command reaches what it promises, and no torch is loaded for its help."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import types
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

from geneface_kit.person import corpus
from geneface_kit.pipeline import commands, require
from geneface_kit.pipeline import say as saying
from geneface_kit.pipeline.commands import main
from geneface_kit.pipeline.stages import STAGES


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Runs that are asked for, and not made: (stage, person, options)."""
    asked = []

    def fake(stage, person, **options):
        asked.append((stage, person, options))
        (tmp_path / "talk.mp4").write_bytes(b"film")
        facts = {"wall_s": 3.0}
        metrics = {"verdict": ["good: lips meet"], "consent": "none"}
        return types.SimpleNamespace(
            id=f"{stage}-{person}", status="ok", facts=facts, folder=tmp_path, metrics=metrics
        )

    for module in (require, saying):
        monkeypatch.setattr(module, "require", fake)
    monkeypatch.setattr(require, "locate", lambda *told, **options: None)
    return asked


def test_help_loads_no_torch():
    script = (
        "import sys\nfrom geneface_kit.pipeline.commands import main\n"
        "try: main(['--help'])\nexcept SystemExit: sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in (
        *["run", "all", "talk", "corpus", "prove", "ablations", "bench", "notebooks", "reproduce"],
        *["filmstrips", "figures", "tables", "networks", "export", "verify", "test"],
    ):
        assert f"\n    {name}" in done.stdout


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == version("geneface-kit")


def test_run_makes_one_stage_with_the_options_given(made, capsys):
    options = "--profile cpu --seed 2 --method no-sync --set head.steps=7 --out there"
    assert main(["run", "nerf", "obama", *options.split()]) == 0
    (stage, person, given), *_ = made
    assert (stage, person, given["profile"], given["seed"]) == ("nerf", "obama", "cpu", 2)
    assert given["out"] == "there" and given["overrides"]["head.steps"] == 7
    assert given["overrides"]["motion.sync_weight"] == 0.0  # of the method
    assert "nerf-obama: ok, 3 s" in capsys.readouterr().out


def test_all_makes_every_stage_and_drives_the_video_alone(made, capsys):
    assert main(["all", "obama", "--audio", "a.wav"]) == 0
    assert [stage for stage, _, _ in made] == list(STAGES)
    heard = {stage for stage, _, options in made if "talk.audio" in options["overrides"]}
    assert heard == {"talk"}
    assert "talk.mp4" in capsys.readouterr().out


def test_talk_copies_the_video_of_a_recording_or_a_text(made, tmp_path):
    film = tmp_path / "out.mp4"
    assert main(["talk", "obama", "a.wav", str(film)]) == 0 and film.read_bytes() == b"film"
    assert made[0][2]["overrides"] == {"talk.audio": str(Path("a.wav").resolve())}
    assert main(["talk", "obama", str(film), "--text", "Hello."]) == 0
    assert made[1][2]["overrides"] == {"talk.text": "Hello."}


def test_a_bad_input_is_one_sentence(capsys):
    assert main(["talk", "obama", "out.mp4"]) == 2
    assert capsys.readouterr().err == (
        "error: talk needs either a recording or a text, and then the video's name\n"
    )
    assert main(["run", "tlak"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown stage 'tlak': did you mean talk?")


def test_corpus_reads_a_folder_with_its_options(monkeypatch, capsys):
    def prepare(config, **options):
        return config.folder, options

    monkeypatch.setattr(corpus, "prepare", prepare)
    monkeypatch.setattr(corpus, "summary", str)
    assert main(["corpus", "films", "--workers", "3", "--retry"]) == 0
    given = {"workers": 3, "retry": True}
    assert capsys.readouterr().out == f"{('films', given)}\n"


@pytest.mark.parametrize("name", commands.OF_THE_CHECKOUT)
def test_what_is_no_part_of_the_package_is_a_process_with_its_own_arguments(name, monkeypatch):
    seen = []

    class Process(contextlib.nullcontext):
        returncode = None

        def __init__(self, command, **options):
            super().__init__(self)
            seen.append(command)

        def wait(self):
            self.returncode = 5

    monkeypatch.setattr(subprocess, "Popen", Process)
    assert main([name, "obama", "--seeds", "3"]) == 5
    module, *told = commands.OF_THE_CHECKOUT[name]
    assert told in ([], [name])
    assert seen == [[sys.executable, "-m", module, *told, "obama", "--seeds", "3"]]
    assert importlib.util.find_spec(f"{module}.__main__")


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_no_part_of_the_package_is_asked_to_end_and_waited_for(number, monkeypatch, capfd):
    """Ctrl-C reaches a whole terminal, SIGTERM the parent alone; the child then saves for 0.5 s."""
    study = (
        "import os, signal, sys, time\n"
        "def save(*_): time.sleep(0.5); print('saved', flush=True); sys.exit(7)\n"
        "signal.signal(signal.SIGINT, save); signal.signal(signal.SIGTERM, save)\n"
        f"os.kill(os.getppid(), {number})\n"
        f"if {number} == signal.SIGINT: os.kill(os.getpid(), {number})\n"
        "time.sleep(30)"
    )
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *_, **options: popen([sys.executable, "-c", study], **options)
    )
    assert main(["bench"]) == 7
    assert capfd.readouterr().out == "saved\n"


def test_a_study_needs_a_checkout(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("GENEFACE_KIT_ROOT", str(tmp_path))
    assert main(["bench"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: bench is no part of the package: run it in a ch"
    )


def test_networks_are_listed_with_their_source(capsys):
    assert main(["networks"]) == 0
    assert "inception: " in capsys.readouterr().out


def test_the_checks_are_ruff_and_one_pytest_and_the_worst_counts(monkeypatch):
    seen = []

    def run(command, **options):
        seen.append(command[2])
        return types.SimpleNamespace(returncode=len(seen) % 3)

    monkeypatch.setattr(subprocess, "run", run)
    assert import_module("tests.__main__").main() == 2
    assert seen == ["ruff", "ruff", "pytest"]
