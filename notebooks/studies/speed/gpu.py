"""GPU: what cannot be measured without one, in one go of under eight minutes.

Kernels against their torch twins, training of a head, and frames; prints them and writes
figures/gpu.csv. Without a GPU it says so, and writes nothing.
"""

import csv
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from geneface_kit.nerf import stage as nerf_stage
from geneface_kit.nerf.dataset import RayDataset
from geneface_kit.nerf.head_training import HeadTask
from geneface_kit.person import stage as person_stage
from geneface_kit.pipeline.require import require
from geneface_kit.pipeline.settings import resolve
from geneface_kit.runs import replacing
from geneface_kit.runs.record import root
from notebooks.studies.speed.render import SIZES, render_rate

GOAL = 30.0
"""dB over the head's pixels of held-out frames, to which minutes are counted."""
LOOK = 100
"""Updates between two looks at those."""
LONGEST = {"parity": 120.0, "training": 150.0}
"""Seconds after which a part ends, reached or not."""

Row = tuple[str, float | str, str]
"""What was measured, the value, its unit."""


def bench_gpu(subject: str = "", *, folder: Path | None = None) -> Iterator[str]:
    """Lines: kernel parity, training and frames on a GPU, and memory; kept in figures/gpu.csv.

    subject: a person; the demo by default. folder: figures/ of the project.
    """
    if not torch.cuda.is_available():
        yield "no GPU: nothing was measured, nothing is written"
        return
    rows: list[Row] = [("device", torch.cuda.get_device_name(0), "")]
    for part in (_parity, _training, _frames):
        start = time.perf_counter()
        try:
            found = list(part(subject or "demo"))
        except (RuntimeError, ValueError, subprocess.SubprocessError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            found = [(part.__name__.strip("_"), f"not measured: {reason}", "")]
        rows += found
        for what, value, unit in found:
            yield f"{what:32} {value if isinstance(value, str) else f'{value:.4g}'} {unit}"
        yield f"    {time.perf_counter() - start:.0f} s"
    path = (folder or root() / "figures") / "gpu.csv"
    with replacing(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["what", "value", "unit"])
        writer.writerows(rows)
    yield f"written: {path}"


def _parity(subject: str) -> Iterator[Row]:
    """The tests of all kernels on CUDA against their torch twins."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "cuda"]
    tests = str(root() / "tests" / "render")
    done = subprocess.run(
        [*command, tests], cwd=root(), capture_output=True, text=True, timeout=LONGEST["parity"]
    )
    counts = re.findall(r"(\d+) (passed|failed|skipped|errors?)", done.stdout)
    for number, kind in counts:
        yield f"kernel tests on CUDA, {kind}", float(number), "tests"
    if not counts:
        raise RuntimeError(f"pytest says: {(done.stdout + done.stderr).strip()[-200:]}")


def _training(subject: str) -> Iterator[Row]:
    """Updates a second of the profile cpu's head, and minutes until held-out frames reach GOAL."""
    config, device = resolve("cpu").head, torch.device("cuda")
    run = require("person", subject, profile="smoke" if subject == "demo" else "cpu")
    dataset, generator = RayDataset(person_stage.load(run.folder), device), torch.Generator()
    generator.manual_seed(0)
    task = HeadTask.make(config, dataset, generator)
    torch.cuda.reset_peak_memory_stats()
    seconds, quality, index = 0.0, 0.0, 0
    while index < config.steps and seconds < LONGEST["training"] and quality < GOAL:
        start = time.perf_counter()
        for _ in range(min(LOOK, config.steps - index)):
            task.step(index, generator)
            index += 1
        torch.cuda.synchronize()
        seconds += time.perf_counter() - start
        quality = task.validate(index - 1).get("head_psnr", 0.0)
    yield "training", index / seconds, "updates/s"
    yield f"head after {index} updates", quality, "dB"
    reached = seconds / 60 if quality >= GOAL else f"not within {seconds / 60:.1f}"
    yield f"to {GOAL:.0f} dB", reached, "min"
    yield "memory, training", torch.cuda.max_memory_allocated() / 2**30, "GiB"


def _frames(subject: str) -> Iterator[Row]:
    """Frames a second of a finished avatar."""
    run = require("nerf", subject, profile="smoke" if subject == "demo" else "cpu")
    person = person_stage.load(run.parents["person"].folder)
    avatar = nerf_stage.load(run.folder, person)
    dataset = RayDataset(person, avatar.device)
    for size in SIZES:
        torch.cuda.reset_peak_memory_stats()
        rate = render_rate(avatar, dataset, size)
        yield f"{size} x {size}, video", rate.stream_fps, "frames/s"
        yield f"{size} x {size}, one by one", rate.fps, "frames/s"
        yield f"{size} x {size}, against the reference", rate.psnr, "dB"
        yield f"memory, {size} x {size}", torch.cuda.max_memory_allocated() / 2**30, "GiB"
