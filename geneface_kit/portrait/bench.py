"""Bench: how fast pictures are made and heads are trained here, part by part, and how truly.

Reads the finished nerf run of a person; writes nothing. Every number names the device.
"""

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from geneface_kit import person as person_stage
from geneface_kit import portrait as portrait_stage
from geneface_kit import profiles, runs
from geneface_kit.head import HeadTask
from geneface_kit.portrait.picture import EXACT, Frame, fidelity
from geneface_kit.portrait.survey import calibrated, make_shell
from geneface_kit.views import Views, psnr, windows_of

__all__ = ["Rate", "bench_render", "bench_train", "render_rates", "train_rate"]

SIZES = (256, 512)
RENDER_PARTS = ("march", "encode", "mlp", "composite", "torso")
TRAIN_PARTS = ("march", "encode", "mlp", "composite")


@dataclass(frozen=True)
class Rate:
    """One measurement of pictures of one size.

    fps: frames per second, by the median frame; cpu_s: processor seconds a frame, all cores
    together (wall times mean little on a busy machine); samples: of the head field, a frame;
    parts: share of the wall time of each part, the torso's own march and networks within "torso";
    twin_ratio: time of the torch twins over ours; psnr, head_psnr: worst frame against the
    reference, dB, over the picture and over the head's pixels.
    """

    size: int
    fps: float
    cpu_s: float
    samples: int
    parts: dict[str, float]
    twin_ratio: float
    psnr: float
    head_psnr: float


def bench_render(subject: str = "demo", profile_name: str = "", overrides: str = "") -> str:
    """A table of rendering speeds of a trained person; trains one where there is none.

    subject: a person; profile_name: "" is smoke for the demo and cpu for anyone else.
    """
    name = profile_name or ("smoke" if subject == "demo" else "cpu")
    run = runs.require("nerf", subject, profile=name, overrides=profiles.parse(overrides))
    person = person_stage.load(run.parents["person"].folder)
    portrait = portrait_stage.load(run.folder, person)
    views = Views(person, portrait.device)
    if portrait.painter.shell is None:  # a run of before there were surveys
        portrait = portrait.with_shell(make_shell(portrait.head, views))
        portrait = portrait.configured(calibrated(portrait, views))
    lines = [
        f"rendering {subject} ({person.data_kind}), nerf run {run.id}, trained at {views.size} px",
        f"on {_device(portrait.device)}; networks in {_name(portrait.head.dtype)}, "
        f"step length x{portrait.painter.config.step_factor:g}",
    ]
    for rate in render_rates(portrait, views):
        shares = ", ".join(f"{part} {100 * share:.0f} %" for part, share in rate.parts.items())
        lines += [
            f"{rate.size} x {rate.size}: {rate.fps:.1f} frames/s, {rate.cpu_s * 1000:.0f} ms of "
            f"processor time and {rate.samples:,} samples a frame",
            f"    {shares}",
            f"    torch twins take x{rate.twin_ratio:.1f}; against the reference "
            f"{rate.psnr:.1f} dB, head alone {rate.head_psnr:.1f} dB (worst frame)",
        ]
    return "\n".join(lines)


def render_rates(
    portrait: Any, views: Views, *, sizes: Sequence[int] = SIZES, n_frames: int = 8
) -> list[Rate]:
    """Measures a portrait on held-out frames, after one frame to warm up."""
    width, rates = portrait.head.config.attention_frames, []
    frames = views.held_out(n_frames)
    scenes = [
        (windows_of(views.landmarks, torch.tensor([frame]), width)[0], views.poses[frame])
        for frame in frames
    ]
    for size in sizes:
        fast = portrait.resized(size)
        twins = fast.configured(replace(portrait.painter.config, backend="torch"))
        exact = fast.configured(EXACT)
        walls, cpu_s, pictures = _timed(fast, scenes)
        twin_walls, _, _ = _timed(twins, scenes[:2])
        references = [exact.render_frame(*scene) for scene in scenes[:3]]
        pairs = list(zip(pictures, references, strict=False))
        rates.append(
            Rate(
                size=size,
                fps=1 / statistics.median(walls),
                cpu_s=cpu_s / len(scenes),
                samples=round(statistics.mean(picture.n_samples for picture in pictures)),
                parts=_shares(lambda fast=fast: _timed(fast, scenes[:3]), RENDER_PARTS),
                twin_ratio=statistics.median(twin_walls) / statistics.median(walls[:2]),
                psnr=min(psnr(float((a.rgb - b.rgb).square().mean())) for a, b in pairs),
                head_psnr=min(fidelity(a, b) for a, b in pairs),
            )
        )
    return rates


def bench_train(subject: str = "demo", profile_name: str = "", overrides: str = "") -> str:
    """A table of training speed of a person's head, from its start; keeps nothing."""
    name = profile_name or ("smoke" if subject == "demo" else "cpu")
    settings = profiles.resolve(name, overrides)
    run = runs.require("person", subject, profile=name)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    views = Views(person_stage.load(run.folder), device)
    rate = train_rate(settings.head, views)
    shares = ", ".join(f"{part} {100 * share:.0f} %" for part, share in rate["parts"].items())
    return "\n".join(
        [
            f"training the head of {subject}, profile {name}, on {_device(device)}",
            f"{rate['steps']:.1f} steps/s, {rate['rays']:,.0f} rays/s, {rate['samples']:,.0f} "
            f"samples/s, {rate['cpu_s'] * 1000:.0f} ms of processor time a step",
            f"    {shares}",
        ]
    )


def train_rate(config: Any, views: Views, *, n_warm: int = 40, n_steps: int = 20) -> dict[str, Any]:
    """Speed of training steps after some to warm up: steps, rays and samples a second."""
    generator = torch.Generator().manual_seed(0)
    task = HeadTask.make(config, views, generator)
    for index in range(n_warm):
        task.step(index, generator)
    done: list[dict[str, float]] = []

    def some(first: int) -> None:
        done.extend(task.step(first + index, generator) for index in range(n_steps))
        _wait(views.device)

    wall, cpu = time.perf_counter(), time.process_time()
    some(n_warm)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    totals = {name: sum(row[name] for row in done) for name in ("rays", "samples")}
    return {
        "steps": n_steps / wall,
        "rays": totals["rays"] / wall,
        "samples": totals["samples"] / wall,
        "cpu_s": cpu / n_steps,
        "parts": _shares(lambda: some(n_warm + n_steps), TRAIN_PARTS, backward=True),
    }


def _timed(portrait: Any, scenes: Sequence[tuple]) -> tuple[list[float], float, list[Frame]]:
    """Wall seconds of each scene, processor seconds of all, and their pictures."""
    portrait.render_frame(*scenes[0])
    walls, pictures, cpu = [], [], time.process_time()
    for scene in scenes:
        _wait(portrait.device)
        start = time.perf_counter()
        pictures.append(portrait.render_frame(*scene))
        _wait(portrait.device)
        walls.append(time.perf_counter() - start)
    return walls, time.process_time() - cpu, pictures


def _shares(
    work: Callable[[], Any], parts: Sequence[str], *, backward: bool = False
) -> dict[str, float]:
    """Shares of the wall time inside labelled parts; with `backward`, of gradients and Adam too.

    "torso" holds what its own parts take, which is taken off them.
    """
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    start = time.perf_counter()
    with profile(activities=activities) as watch:
        work()
    total = 1e6 * (time.perf_counter() - start)
    spans = {part: 0.0 for part in parts}
    for event in watch.events():
        if event.name in spans and not _inside(event, "torso"):
            spans[event.name] += event.cpu_time_total
        elif backward and event.name.startswith("autograd::engine::evaluate_function"):
            spans["backward"] = spans.get("backward", 0.0) + event.cpu_time_total
        elif backward and event.name.startswith("Optimizer.step"):
            spans["adam"] = spans.get("adam", 0.0) + event.cpu_time_total
    shares = {part: span / total for part, span in spans.items()}
    return shares | {"other": max(0.0, 1 - sum(shares.values()))}


def _inside(event: Any, name: str) -> bool:
    parent = event.cpu_parent
    while parent is not None:
        if parent.name == name:
            return True
        parent = parent.cpu_parent
    return False


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} (CUDA)"
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads (not run on a GPU)"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
