"""The command line: every command reaches what it promises, and no torch is loaded for its help."""

import importlib
import os
import re
import signal
import subprocess
import sys
import time
import types
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from geneface_kit.person import corpus
from geneface_kit.pipeline import options, require
from geneface_kit.pipeline.commands import main
from geneface_kit.pipeline.methods import METHODS
from geneface_kit.pipeline.settings import PROFILES
from geneface_kit.pipeline.stages import STAGES
from notebooks.commands import PROGRAMS
from notebooks.studies.ray_corpus import processes


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

    monkeypatch.setattr(require, "require", fake)
    monkeypatch.setattr(require, "locate", lambda *told, **options: None)
    return asked


@pytest.mark.parametrize("told", [["--help"], ["bench", "--help"], ["runs", "list"]])
def test_help_and_the_list_of_runs_load_no_torch(told):
    script = (
        "import sys\nfrom geneface_kit.pipeline.commands import main\n"
        f"assert main({told}) == 0\nsys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    own = ["run", "all", "talk", "settings", "persons", "runs", "networks"]
    for name in (*own, *PROGRAMS):
        assert re.search(rf"\n  {name} +[A-Z].*\.\n", said)  # and says what it does
    assert "..." not in said.partition("Commands:")[2]
    assert "--install-completion" in said


def test_the_names_told_before_torch_is_loaded_are_those_of_the_kit():
    assert options.STAGES == tuple(STAGES)
    assert options.PROFILES == ("auto", *PROFILES)
    assert options.METHODS == tuple(METHODS)


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == version("geneface-kit")


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
        (["run", "tlak"], "unknown stage 'tlak': did you mean talk? choose one of person, motion"),
        (["run", "nerf", "--profile", "smok"], "unknown profile 'smok': did you mean smoke?"),
        (["run", "nerf", "--method", "no-snc"], "unknown method 'no-snc': did you mean no-sync?"),
        (["run", "nerf", "--set", "head.stepz=3"], "did you mean steps?"),
        (["run", "nerf", "obma"], "no video of person 'obma': did you mean obama?"),
        (["run", "nerf", "--sede", "3"], "No such option: --sede"),
        (["run", "nerf", "--seed", "x"], "Invalid value for '--seed'"),
        (["settings", "hed"], "unknown section 'hed': did you mean head?"),
        (["reproduce", "--methods", "full,apar"], "unknown method 'apar': did you mean apart?"),
        (["ablations", "--seeds", "three"], "--seeds must look like 0,1,2, got 'three'"),
        (["fuzz", "--minutes", "-1"], "Invalid value for '--minutes'"),
        (["prove", "videos", "--folds", "-1"], "Invalid value for '--folds'"),
        (["reproduce", "--cores", "-1"], "Invalid value for '--cores'"),
        (["bench", "rendr"], "unknown benchmark 'rendr': did you mean render?"),
        (["runs", "show", "nothing"], "no run 'nothing' in runs/: `runs list` tells their ids"),
    ],
)
def test_a_mistake_is_one_sentence_that_says_what_was_meant(told, sentence, capsys, monkeypatch):
    assert main(told) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and sentence in said and said.count("\n") == 1


def test_names_are_completed(monkeypatch, capsys):
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "geneface-kit run n")
    monkeypatch.setenv("_GENEFACE_KIT_COMPLETE", "complete_zsh")
    with pytest.raises(SystemExit):
        main([], called="geneface-kit")
    assert "nerf" in capsys.readouterr().out


def test_completion_is_of_the_script_however_the_kit_was_called():
    asked = [sys.executable, "-m", "geneface_kit", "--show-completion", "bash"]
    told = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(asked, capture_output=True, text=True, env=os.environ | told)
    assert done.stdout.splitlines()[-1].endswith("_geneface_kit_completion geneface-kit")


def test_run_makes_one_stage_with_the_options_given(made, capsys):
    options = "--profile cpu --seed 2 --method no-sync --set head.steps=7 --out there"
    assert main(["run", "nerf", "obama", *options.split()]) == 0
    (stage, person, given), *_ = made
    assert (stage, person, given["profile"], given["seed"]) == ("nerf", "obama", "cpu", 2)
    assert given["out"] == "there" and given["overrides"] == "head.steps=7"
    assert given["method"] == "no-sync"
    assert "nerf-obama: ok, 3 s" in capsys.readouterr().out


def test_all_makes_every_stage_and_drives_the_video_alone(made, capsys):
    assert main(["all", "obama", "--audio", "a.wav"]) == 0
    assert [stage for stage, _, _ in made] == list(STAGES)
    heard = {stage for stage, _, options in made if "talk.audio" in options["overrides"]}
    assert heard == {"talk"}
    assert "talk.mp4" in capsys.readouterr().out


@pytest.mark.parametrize("told", ["talk.text=Hello.,talk.label=AI", "talk.audio=a.wav"])
def test_all_for_the_demo_says_the_same_words_twice(told, made, monkeypatch, tmp_path):
    said = []

    def fake(*given, **options):
        said.append((*given, options["text"], options["overrides"], options["seed"]))
        return types.SimpleNamespace(verdict=[], consent="", path="", origin="")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").write_bytes(b"sound")
    monkeypatch.setattr(require, "say", fake)
    assert main(["all", "demo", "--seed", "3", "--set", f"{told},head.steps=7"]) == 0
    film = tmp_path.parent / "demo_trained_for_long.mp4"
    words = ("", film, "Hello.") if "text" in told else ("a.wav", film, "")
    own = dict(part.split("=") for part in told.split(","))
    assert said == [("demo", *words, own, 3)]


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


def test_corpus_reads_a_folder_with_its_options(monkeypatch, capsys):
    def prepare(config, **options):
        return config.folder, options

    monkeypatch.setattr(corpus, "prepare", prepare)
    monkeypatch.setattr("notebooks.studies.ray_corpus.__main__.summary", str)
    assert main(["corpus", "films", "--workers", "3", "--retry"]) == 0
    given = {"workers": 3, "retry": True, "by": processes.each}
    assert capsys.readouterr().out == f"{('films', given)}\n"


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_no_part_of_the_package_gets_its_own_arguments(name, monkeypatch):
    program = importlib.import_module(f"{PROGRAMS[name][0]}.__main__")
    several, seen = len(program.main.registered_commands + program.main.registered_groups) > 1, []

    class Program:
        registered_commands = program.main.registered_commands
        registered_groups = program.main.registered_groups

        def __call__(self, arguments, *, called):
            seen.append((arguments, called))
            return 5

    monkeypatch.setattr(program, "main", Program())
    assert main([name, "obama", "--seeds", "3", "--help"]) == 5
    told = ["obama", "--seeds", "3", "--help"]
    assert seen == [([name, *told], "geneface-kit") if several else (told, f"geneface-kit {name}")]


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_study_that_is_asked_to_end_saves_first_and_says_so_once(
    number, monkeypatch, capsys, hears_ctrl_c
):
    def bench():
        try:
            os.kill(os.getpid(), number)
            time.sleep(30)
        finally:
            typer.echo("saved")

    program = importlib.import_module("notebooks.studies.speed.__main__")
    monkeypatch.setattr(program, "main", options.CommandLine(bench))
    assert main(["bench"]) == 130
    said = capsys.readouterr()
    assert said.out == "saved\n"
    assert said.err == "interrupted: the same command goes on where it stopped\n"


def test_networks_are_listed_with_their_source(capsys):
    assert main(["networks"]) == 0
    assert "inception: " in capsys.readouterr().out


def test_the_checks_are_ruff_and_one_pytest_and_the_worst_counts(monkeypatch):
    seen = []

    def run(command, **options):
        seen.append(command[2])
        return types.SimpleNamespace(returncode=len(seen) % 3)

    monkeypatch.setattr(subprocess, "run", run)
    assert main(["test"]) == 2
    assert seen == ["ruff", "ruff", "pytest"]
