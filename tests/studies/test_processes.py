"""Processes: one that dies or hangs costs one item, an error stops all."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import crew
import pytest

from geneface_kit.person.corpus import build
from notebooks.studies.ray_corpus import processes
from notebooks.studies.ray_corpus.cluster import each


def fates(items, function=crew.work, *, workers=2, limit_s=60.0):
    done = processes.each(function, crew.jobs(items), workers=workers, limit_s=limit_s)
    return {job.name: facts.get("name") or facts["reason"] for job, (facts, _) in done}


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_every_item_is_done_by_as_many_processes_as_asked(tmp_path):
    items = [tmp_path / f"{index}" for index in range(12)]
    assert fates(items) == {item.stem: item.stem for item in items}
    makers = {item.read_text() for item in items}
    assert len(makers) <= 2 and str(os.getpid()) not in makers


@pytest.mark.slow
def test_a_dead_worker_costs_one_item(tmp_path):
    items = [tmp_path / name for name in ("a", "killed", "b", "leaves", "c", "d")]
    fate = fates(items)
    assert fate == {
        "a": "a", "b": "b", "c": "c", "d": "d",
        "killed": "its process died (SIGKILL(-9))",
        "leaves": "its process died (EXIT(7))",
    }  # fmt: skip
    assert all((tmp_path / name).exists() for name in "abcd")


@pytest.mark.slow
def test_a_hanging_worker_is_ended(tmp_path):
    items = [tmp_path / name for name in ("hangs", "a", "b")]
    assert fates(items, workers=1, limit_s=2.0) == {
        "hangs": "took longer than 2 s", "a": "a", "b": "b",
    }  # fmt: skip


@pytest.mark.slow
def test_an_error_of_the_function_stops_everything(tmp_path):
    items = [tmp_path / name for name in ("fails", *"abcdefgh")]
    with pytest.raises(FileNotFoundError, match="the weights are not there") as caught:
        fates(items, workers=1)
    assert "crew.py" in str(caught.value.__cause__)  # the worker's traceback
    assert not any(item.exists() for item in items)


def test_a_process_that_cannot_start_is_not_the_items_fault(tmp_path, monkeypatch):
    def run(*parts):
        raise BrokenProcessPool("no interpreter today")
        yield

    monkeypatch.setattr(processes, "_run", run)
    with pytest.raises(OSError, match="no process can be started: no interpreter today"):
        fates([tmp_path / "a"])


def test_no_items_need_no_workers():
    assert list(processes.each(crew.work, [], workers=2, limit_s=1.0)) == []


@pytest.mark.slow
@pytest.mark.parametrize("runs", [processes.each, build.each])
def test_workers_keep_to_one_thread(tmp_path, runs):
    list(runs(crew.count_threads, crew.jobs([tmp_path / "a"]), workers=2))
    assert (tmp_path / "a").read_text() == "1 1"


@pytest.mark.slow
def test_a_dead_process_of_a_stage_is_one_sentence(tmp_path):
    items = [tmp_path / name for name in ("a", "killed")]
    with pytest.raises(OSError, match="a process died .*corpus FOLDER.* leaves it out"):
        list(build.each(crew.work, crew.jobs(items), workers=2))


@pytest.mark.slow
@pytest.mark.parametrize("runs", [processes.each, build.each])
def test_stopping_early_leaves_no_worker(tmp_path, runs):
    items = [tmp_path / name for name in ("a", "hangs")]
    outcomes = runs(crew.work, crew.jobs(items), workers=2)
    next(outcomes)
    outcomes.close()
    assert not is_running(int((tmp_path / "a").read_text()))


@pytest.mark.slow
def test_ctrl_c_ends_the_workers(tmp_path):
    """A script without a main guard: its pool is interrupted while one worker hangs."""
    script = tmp_path / "script.py"
    script.write_text(
        "import signal, sys\nfrom pathlib import Path\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's & ignores it
        f"sys.path.insert(0, {str(crew.ROOT / 'tests')!r})\n"
        "import crew\nfrom notebooks.studies.ray_corpus import processes\n"
        f"items = [Path({str(tmp_path)!r}) / name for name in ('first', 'hangs')]\n"
        "for done in processes.each(crew.work, crew.jobs(items), workers=1, limit_s=600.0):\n"
        "    pass\n"
    )
    owner = subprocess.Popen(
        [sys.executable, script],
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(crew.ROOT)},
    )
    first = tmp_path / "first"
    while not (first.exists() and first.read_text()):
        assert owner.poll() is None, owner.stderr.read().decode()
        time.sleep(0.05)
    owner.send_signal(signal.SIGINT)
    _, words = owner.communicate(timeout=60)
    # a line of its own, not the last: joblib's tracker may warn after it of a folder that is gone
    assert owner.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in words.decode().splitlines()
    assert not is_running(int(first.read_text()))


RAY_SCRIPT = """
import json, sys
from pathlib import Path
import crew
import ray
from notebooks.studies.ray_corpus.cluster import each

place = Path(sys.argv[1])
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
options = {"workers": 2}
list(each(crew.count_threads, crew.jobs([place / "threads"]), limit_s=200.0, **options))
names = ("a", "leaves", "b", "hangs", "c")
jobs = crew.jobs([place / name for name in names])
outcomes = each(crew.work, jobs, limit_s=20.0, **options)
fate = {job.name: facts.get("name") or facts["reason"] for job, (facts, _) in outcomes}
try:
    list(each(crew.work, crew.jobs([place / "fails"]), limit_s=60.0, **options))
except OSError as error:
    fate["fails"] = f"{type(error).__name__}: {error}"
print(json.dumps(fate))
"""


@pytest.mark.slow
def test_ray_runs_the_same_function_with_the_same_promises(tmp_path):
    printed = crew.run_with_ray(RAY_SCRIPT, str(tmp_path), cwd=tmp_path)
    fate = json.loads(printed.splitlines()[-1])
    assert fate == {
        "a": "a", "b": "b", "c": "c",
        "leaves": "its process died, or took longer than 20 s (WorkerCrashedError)",
        "hangs": "its process died, or took longer than 20 s (WorkerCrashedError)",
        "fails": "FileNotFoundError: the weights are not there",
    }  # fmt: skip
    assert (tmp_path / "threads").read_text() == "1 1"


def test_without_ray_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        ValueError, match=r"Ray is not installed: pip install 'geneface-kit\[ray\]'"
    ):
        list(each(crew.work, [], workers=1, limit_s=1.0))
