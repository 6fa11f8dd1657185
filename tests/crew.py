"""Work for pools in tests: importable by name, so that other processes can find it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from geneface_kit.person.corpus.manifest import ClipJob, CorpusConfig, Outcome

ROOT = Path(__file__).parents[1]


def jobs(paths: list[Path]) -> list[ClipJob]:
    """A job for each path, of which only the path means something."""
    config = CorpusConfig()
    return [ClipJob(path.stem, path.name, path, "", "", path, config) for path in paths]


def work(job: ClipJob) -> Outcome:
    """Writes the file of its path and gives its name; or dies, hangs, fails as its name says."""
    item = job.path
    if item.stem == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if item.stem == "leaves":
        os._exit(7)
    if item.stem == "hangs":
        time.sleep(1000)
    if item.stem == "fails":
        raise FileNotFoundError("the weights are not there")
    item.write_text(str(os.getpid()))
    return {"name": item.stem}, {}


def count_threads(job: ClipJob) -> Outcome:
    """Writes how many threads torch and OpenCV use here."""
    import cv2
    import torch

    job.path.write_text(f"{torch.get_num_threads()} {cv2.getNumThreads()}")
    return {"name": job.name}, {}


def run_with_ray(script: str, *arguments: str, cwd: Path) -> str:
    """What a script prints that uses local Ray, in a process of its own (Ray leaves daemons).

    Skips visibly without the extra, or when Ray's own processes miss their start-up time limits,
    which are fixed: on a machine busy with other work.
    """
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'geneface-kit[ray]'")
    places = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | {"PYTHONPATH": places},
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    if done.returncode and "timed out during startup" in done.stderr:
        pytest.skip("Ray did not start within its 30 s: this machine is busy")
    assert done.returncode == 0, done.stderr
    return done.stdout
