"""Bench: frames per second of each step of a person's preparation on this machine."""

import os
import platform
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from geneface_kit.person import stage as person
from geneface_kit.pipeline.settings import resolve


class Watch:
    """Wall and CPU seconds of named steps, of which one is running at a time.

    Called with a step's name it starts that step and ends the one before.
    """

    def __init__(self) -> None:
        self.steps: dict[str, tuple[float, float]] = {}
        self._running = ""
        self._since = (0.0, 0.0)

    def __call__(self, step: str) -> None:
        self.stop()
        self._running, self._since = step, _clocks()

    def stop(self) -> None:
        """End the running step; a step that ran before is added up."""
        if self._running:
            spent = [now - then for now, then in zip(_clocks(), self._since, strict=True)]
            before = self.steps.get(self._running, (0.0, 0.0))
            self.steps[self._running] = (before[0] + spent[0], before[1] + spent[1])
        self._running = ""


def run(subject: str = "") -> Iterator[str]:
    """Lines: each step's wall and CPU seconds and frames per second, in profile cpu.

    subject: a person as `person.find` knows it, "" is the demo. Nothing is kept.
    """
    name = subject or "demo"
    source = person.find(name)
    watch, start = Watch(), _clocks()
    with tempfile.TemporaryDirectory() as folder:
        config = resolve("cpu").person
        who = person.prepare(source, Path(folder), config, name=Path(name).stem, step=watch)
        watch.stop()
        n_frames, verdict = len(who), who.report["verdict"]
        del who
    wall_s, cpu_s = (now - then for now, then in zip(_clocks(), start, strict=True))
    yield f"{name}: {n_frames} frames ({n_frames / 25:.0f} s), {config.size} x {config.size} pixels"
    yield f"on {processor()}"
    yield f"{'step':10}{'wall s':>8}{'CPU s':>8}{'frames/s':>10}"
    for step, (wall, cpu) in watch.steps.items():
        yield _line(step, wall, cpu, n_frames)
    yield _line("whole", wall_s, cpu_s, n_frames)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield f"verdict {verdict}; peak memory of the process {peak_mb:.0f} MB"


def _line(step: str, wall_s: float, cpu_s: float, n_frames: int) -> str:
    return f"{step:10}{wall_s:8.2f}{cpu_s:8.2f}{n_frames / max(wall_s, 1e-9):10.1f}"


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def processor() -> str:
    """Cores and what they are; the preparation uses no other device."""
    info = Path("/proc/cpuinfo")
    models = [
        line.partition(":")[2].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    model = models[0] if models else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} CPU cores ({model}), {torch.get_num_threads()} torch threads, no GPU used"
