"""Kills: every stage is killed at a write, or at any moment, and goes on to the same files.

A child is forked for each attempt, so that torch is loaded once. It is killed before or after its
n-th file gets its name, which is where a half-finished run could be mistaken for a finished one,
or after a share of the time that the whole stage takes.
"""

import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from geneface_kit.pipeline.require import locate, require
from geneface_kit.pipeline.stages import STAGES
from geneface_kit.runs.record import read_facts
from geneface_kit.runs.weights import load_tensors
from notebooks.studies.fuzz.fuzzing import content

SMALL = (
    "person.size=32,person.max_s=2,motion.weights=train,motion.steps=4,sync.steps=4,corpus.max_s=2.5,"
    "adaptation.steps=4,head.steps=60,head.validate_every=20,torso.steps=6,joint.steps=3,"
    "talk.max_s=0.6,evaluation.n_frames=2,evaluation.cross_s=0.6"
)
"""The smallest settings that give a head."""
NEVER_TWICE = ("talk.mp4", "table_d.csv")  # a video is signed with keys of its own; times


def kill(
    stages: Sequence[str], n_kills: int, seed: int, folder: Path, overrides: str = SMALL
) -> Iterator[str]:
    """A sentence for every kill of a stage: how it was killed, and whether its files are the same.

    folder: an empty one to work in. Raises: AssertionError where they are not.
    """
    torch.set_num_threads(1)  # before any thread is there that a fork would lose
    whole = folder / "whole"
    for stage in sorted(stages, key=list(STAGES).index):  # upstream first
        place = locate(stage, overrides=overrides, out=whole)
        for parent in STAGES[stage].parents:
            _attempt(parent, overrides, whole)
        before = folder / f"before_{stage}"
        shutil.copytree(whole, before) if whole.exists() else before.mkdir()
        start = time.monotonic()
        n_writes = _attempt(stage, overrides, whole)
        seconds = time.monotonic() - start
        expected = _outputs(place)
        draw = np.random.default_rng(seed)
        for number in range(n_kills):
            out = folder / f"{stage}_{number}"
            shutil.copytree(before, out)
            at, how = int(draw.integers(1, n_writes + 1)), ("before", "after", "time")[number % 3]
            share = float(draw.uniform(0.05, 0.95))
            if how == "time":
                _attempt(stage, overrides, out, after_s=share * seconds)
                told = f"after {share:.0%} of its time"
            else:
                _attempt(stage, overrides, out, at=at, how=how)
                told = f"{how} write {at} of {n_writes}"
            _attempt(stage, overrides, out)
            found = _outputs(out / place.relative_to(whole))
            names = expected | found
            wrong = sorted(name for name in names if expected.get(name) != found.get(name))
            left = [path.name for path in out.rglob(".*.part*")]
            assert not wrong and not left, f"{stage} killed {told}: {wrong} differ, {left} left"
            yield f"{stage} killed {told}: the same {len(found)} files"
            shutil.rmtree(out)


def _outputs(place: Path) -> dict[str, str]:
    """The digests of a finished run's outputs; of weights, whose header is in any order, of what
    they hold."""
    facts = read_facts(place)
    assert facts is not None and facts["status"] == "ok", f"{place.name} is not finished"
    found = {name: facts["outputs"][name] for name in facts["outputs"] if name not in NEVER_TWICE}
    for name in found:
        if name.endswith(".safetensors"):
            found[name] = content(load_tensors(place / name))
    return found


def _attempt(
    stage: str, overrides: str, out: Path, *, at: int = 0, how: str = "", after_s: float = 0.0
) -> int:
    """Makes a stage in a child that is killed, unless neither a write nor a time is given; how many
    files got their names there."""
    count = out.with_name("writes.txt")
    child = os.fork()
    if child == 0:
        status = 1
        os.setpgid(0, 0)  # its workers are killed with it: they would wait for minutes
        try:
            os.replace = _killing(os.replace, at, how, count)
            os.environ["GENEFACE_KIT_ROOT"] = str(out)  # its corpus is made there, too
            sys.stdout = sys.stderr = open(os.devnull, "w")
            require(stage, overrides=overrides, out=out)
            status = 0
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    if after_s:
        time.sleep(after_s)
        os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert status == 0 or (at or after_s) and os.WIFSIGNALED(status), f"{stage} failed: {status}"
    return len(count.read_text()) if count.exists() else 0


def _killing(replace: Callable[..., None], at: int, how: str, count: Path) -> Callable[..., None]:
    """os.replace that ends this process by SIGKILL, before or after its call number `at`."""
    count.write_text("")

    def counted(source: Path, target: Path) -> None:
        with count.open("a") as file:
            file.write("x")
        is_last = count.stat().st_size == at
        if is_last and how == "before":
            os.killpg(0, signal.SIGKILL)
        replace(source, target)
        if is_last:
            os.killpg(0, signal.SIGKILL)

    return counted
