"""Parallel: a process that dies or hangs costs one item, an error stops all."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import crew
import pytest

from geneface_kit.person import parallel
from geneface_kit.person.parallel import GivenUp


def fates(items, function=crew.work, *, workers=2, limit_s=60.0):
    done = parallel.each(function, items, workers=workers, limit_s=limit_s)
    return {item.stem: result for item, result in done}


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


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
        "killed": GivenUp("its process died (SIGKILL(-9))"),
        "leaves": GivenUp("its process died (EXIT(7))"),
    }  # fmt: skip
    assert all((tmp_path / name).exists() for name in "abcd")


@pytest.mark.slow
def test_a_hanging_worker_is_ended(tmp_path):
    items = [tmp_path / name for name in ("hangs", "a", "b")]
    assert fates(items, workers=1, limit_s=2.0) == {
        "hangs": GivenUp("took longer than 2 s"), "a": "a", "b": "b",
    }  # fmt: skip


def test_an_error_of_the_function_stops_everything(tmp_path):
    items = [tmp_path / name for name in ("fails", *"abcdefgh")]
    with pytest.raises(OSError, match="FileNotFoundError: the weights are not there") as caught:
        fates(items, workers=1)
    assert "crew.py" in caught.value.__notes__[0]  # the worker's traceback
    assert not any(item.exists() for item in items)


def test_a_process_that_cannot_start_is_not_the_items_fault(tmp_path, monkeypatch):
    def run(*parts):
        raise BrokenProcessPool("no interpreter today")
        yield

    monkeypatch.setattr(parallel, "_run", run)
    with pytest.raises(OSError, match="no process can be started: no interpreter today"):
        parallel._alone(crew.work, tmp_path / "a", 1.0, (BrokenProcessPool,))


def test_no_items_need_no_workers():
    assert list(parallel.each(crew.work, [], workers=2, limit_s=1.0)) == []


def test_workers_keep_to_one_thread(tmp_path):
    fates([tmp_path / "a"], crew.count_threads)
    assert (tmp_path / "a").read_text() == "1 1"


def test_stopping_early_leaves_no_worker(tmp_path):
    items = [tmp_path / name for name in ("a", "hangs")]
    outcomes = parallel.each(crew.work, items, workers=1, limit_s=60.0)
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
        "import crew\nfrom geneface_kit.person import parallel\n"
        f"items = [Path({str(tmp_path)!r}) / name for name in ('first', 'hangs')]\n"
        "for item, result in parallel.each(crew.work, items, workers=1, limit_s=600.0):\n"
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
    assert owner.returncode != 0 and words.decode().strip().endswith("KeyboardInterrupt")
    assert not is_running(int(first.read_text()))


RAY_SCRIPT = """
import json, sys
from pathlib import Path
import crew
import ray
from geneface_kit.person import parallel

place = Path(sys.argv[1])
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
options = {"workers": 2, "on_ray": True}
list(parallel.each(crew.count_threads, [place / "threads"], limit_s=200.0, **options))
names = ("a", "leaves", "b", "hangs", "c")
outcomes = parallel.each(crew.work, [place / name for name in names], limit_s=20.0, **options)
fate = {item.stem: getattr(result, "why", result) for item, result in outcomes}
try:
    list(parallel.each(crew.work, [place / "fails"], limit_s=60.0, **options))
except OSError as error:
    fate["fails"] = str(error)
print(json.dumps(fate))
"""


@pytest.mark.slow
def test_ray_runs_the_same_function_with_the_same_promises(tmp_path):
    printed = crew.run_with_ray(RAY_SCRIPT, str(tmp_path), cwd=tmp_path)
    fate = json.loads(printed.splitlines()[-1])
    assert fate.pop("leaves").startswith("its process died")
    assert fate == {
        "a": "a", "b": "b", "c": "c",
        "hangs": "took longer than 20 s",
        "fails": "FileNotFoundError: the weights are not there",
    }  # fmt: skip
    assert (tmp_path / "threads").read_text() == "1 1"


def test_without_ray_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        ValueError, match=r"Ray is not installed: pip install 'geneface-kit\[ray\]'"
    ):
        list(parallel.each(crew.work, [tmp_path / "a"], workers=1, limit_s=1.0, on_ray=True))
