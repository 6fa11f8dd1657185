"""Bench: how fast pictures are made and heads are trained here, part by part, and how truly.

Reads the finished nerf run of a person; writes nothing. Every number names the device.
"""

import copy
import platform
import statistics
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.autograd.profiler import profile, record_function
from torch.nn import functional

from geneface_kit import runs
from geneface_kit.metrics.formulas import psnr_of_error
from geneface_kit.nerf import stage as nerf_stage
from geneface_kit.nerf.avatar import Avatar, Frame
from geneface_kit.nerf.config import HeadConfig
from geneface_kit.nerf.dataset import RayDataset, windows_of
from geneface_kit.nerf.head_training import HeadTask
from geneface_kit.nerf.renderer import HeadRenderer
from geneface_kit.nerf.vanilla import VanillaField
from geneface_kit.person import stage as person_stage
from geneface_kit.pipeline.require import require
from geneface_kit.render.kernels import muted

SIZES = (256, 512)
RENDER_PARTS = ("fused", "march", "encode", "mlp", "composite", "torso")
TRAIN_PARTS = ("march", "fused", "encode", "mlp", "composite")
Bench = Generator[str, None, dict[str, float | str]]
"""Yields lines to print, returns what was measured."""


@dataclass(frozen=True)
class Rate:
    """One measurement of pictures of one size.

    fps: frames per second, by the median frame; stream_fps: of a video, whose frames are made one
    on each core (`Avatar.render`); cpu_s: processor seconds a frame, all cores
    together (wall times mean little on a busy machine); samples: of the head field, a frame;
    parts: share of the wall time of each part, the torso's own networks within "torso";
    unfused_ratio: processor time of the kernels one after the other over that of the fused pass,
    frame by frame in turn; reference_ratio, vanilla_ratio: time of the reference, and of the
    vanilla field at as many samples as the reference, over ours; psnr,
    head_psnr: worst frame against the reference, dB, over the picture and over the head's pixels.
    """

    size: int
    fps: float
    stream_fps: float
    cpu_s: float
    samples: int
    parts: dict[str, float]
    unfused_ratio: float
    reference_ratio: float
    vanilla_ratio: float
    psnr: float
    head_psnr: float


def bench_render(subject: str = "") -> Bench:
    """Lines: speed of rendering at 256 and 512 px, part by part, and PSNR to the reference.

    subject: a person (the demo in the profile smoke, anyone else in cpu; trained if it is not),
    or the folder of a finished nerf run.
    """
    if (Path(subject) / "avatar.json").exists() and subject:
        run = runs.open_run(Path(subject))
    else:
        run = require("nerf", subject or "demo", profile=_profile(subject))
    person = person_stage.load(run.parents["person"].folder)
    avatar = nerf_stage.load(run.folder, person)
    dataset = RayDataset(person, avatar.device)
    yield f"rendering {person.name} ({person.data_kind}), {run.id}, trained at {dataset.size} px"
    yield f"on {_device(avatar.device)}; networks in {_name(avatar.head.dtype)}"
    found: dict[str, float | str] = {"run": run.id}
    for size in SIZES:
        rate = render_rate(avatar, dataset, size)
        numbers = {name: value for name, value in asdict(rate).items() if name != "parts"}
        found |= {f"{size} px, {name}": value for name, value in numbers.items()}
        yield (
            f"{size} x {size}: {rate.stream_fps:.1f} frames/s in a video, {rate.fps:.1f} one by "
            f"one, {1000 * rate.cpu_s:.0f} ms of processor "
            f"time and {rate.samples:,} samples a frame"
        )
        yield f"    {_percent(rate.parts)}"
        yield (
            f"    kernel by kernel takes x{rate.unfused_ratio:.1f} of the processor time; every "
            f"pixel and sample x{rate.reference_ratio:.1f} of the time, the vanilla field about "
            f"x{rate.vanilla_ratio:,.0f}"
        )
        yield (
            f"    worst frame against the reference: {rate.psnr:.1f} dB, "
            f"head alone {rate.head_psnr:.1f} dB"
        )
    return found


def render_rate(avatar: Avatar, dataset: RayDataset, size: int, *, n_frames: int = 8) -> Rate:
    """Measures a avatar on held-out frames, after one frame to warm up."""
    width = avatar.head.config.attention_frames
    scenes = [
        (windows_of(dataset.landmarks, torch.tensor([frame]), width)[0], dataset.poses[frame])
        for frame in dataset.held_out(n_frames)
    ]
    fast = resized(avatar, size)
    walls, cpu_s, pictures = _timed(fast, scenes)
    ways = (fast, _unfused(fast))
    turns = [_timed(way, [scene])[1] for scene in scenes for way in ways]
    exact_walls, _, references = _timed(configured(fast, exact=True), scenes[:3])
    vanilla_s = _vanilla_s(fast, scenes[0])
    pairs = list(zip(pictures, references, strict=False))
    usual = statistics.median(walls)
    return Rate(
        size=size,
        fps=1 / usual,
        stream_fps=_stream_fps(fast, dataset, n_frames),
        cpu_s=cpu_s / len(scenes),
        samples=round(statistics.mean(picture.head.n_samples for picture in pictures)),
        parts=_shares(lambda: _timed(fast, scenes[:3]), RENDER_PARTS),
        unfused_ratio=sum(turns[1::2]) / sum(turns[::2]),
        reference_ratio=statistics.median(exact_walls) / usual,
        vanilla_ratio=vanilla_s / usual,
        psnr=min(psnr_of_error(float((a.rgb - b.rgb).square().mean())) for a, b in pairs),
        head_psnr=min(fidelity(a, b) for a, b in pairs),
    )


def bench_train(subject: str = "") -> Bench:
    """Lines: speed of training a person's head from its start, part by part; keeps nothing."""
    from geneface_kit.pipeline.settings import (
        resolve,  # it knows all stages, those after this one too
    )

    settings = resolve(_profile(subject))
    run = require("person", subject or "demo", profile=_profile(subject))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = RayDataset(person_stage.load(run.folder), device)
    yield f"training the head of {dataset.person.name}, {settings.profile}, on {_device(device)}"
    rate = train_rate(settings.head, dataset)
    yield (
        f"{rate['steps']:.1f} steps/s, {rate['rays']:,.0f} rays/s, {rate['samples']:,.0f} "
        f"samples/s, {rate['cpu_s'] * 1000:.0f} ms of processor time a step"
    )
    yield f"    {_percent(rate['parts'])}"
    yield (
        f"    kernel by kernel: {rate['unfused_steps']:.1f} steps/s, "
        f"x{rate['unfused_ratio']:.1f} of the processor time"
    )
    return {"run": run.id} | {name: value for name, value in rate.items() if name != "parts"}


def train_rate(
    config: HeadConfig, dataset: RayDataset, *, n_warm: int = 40, n_steps: int = 20
) -> dict[str, Any]:
    """Speed of training steps after some to warm up: steps, rays and samples a second.

    unfused_steps: a second, kernel by kernel; unfused_ratio: processor time of such a step over
    that of a fused one, from the same start and of the same draws; the shorter of two turns each.
    """
    ways = {fuses: _HeadTraining(config, dataset, fuses) for fuses in (True, False)}
    for way in ways.values():
        way.run(n_warm)
    turns = [(name, way.run(n_steps)) for _ in range(2) for name, way in ways.items()]
    fused, unfused = (
        min((turn for name, turn in turns if name == wanted), key=lambda turn: turn["cpu_s"])
        for wanted in ways
    )
    parts = _shares(lambda: ways[True].run(n_steps), TRAIN_PARTS, backward=True)
    ratio = unfused["cpu_s"] / fused["cpu_s"]
    return fused | {"unfused_steps": unfused["steps"], "unfused_ratio": ratio, "parts": parts}


class _HeadTraining:
    """A head's training by fused passes where there are any, or by kernels one after the other."""

    def __init__(self, config: HeadConfig, dataset: RayDataset, fuses: bool):
        self.generator = torch.Generator().manual_seed(0)
        self.task, self.n_done = HeadTask.make(config, dataset, self.generator), 0
        self.task.field.fuses &= fuses

    def run(self, n_steps: int) -> dict[str, float]:
        """Steps, rays and samples a second, processor seconds a step."""
        wall, cpu, first = time.perf_counter(), time.process_time(), self.n_done
        self.n_done += n_steps
        rows = [self.task.step(index, self.generator) for index in range(first, self.n_done)]
        _wait(self.task.dataset.device)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        rates = {name: sum(row[name] for row in rows) / wall for name in ("rays", "samples")}
        return rates | {"steps": n_steps / wall, "cpu_s": cpu / n_steps}


def _unfused(avatar: Avatar) -> Avatar:
    """The same person, rendered by kernels one after the other."""
    fields = (copy.copy(avatar.renderer.trained), copy.copy(avatar.torso))
    for field in fields:
        field.fuses = False
    renderer = HeadRenderer(fields[0], avatar.renderer.config, avatar.renderer.pruned)
    return Avatar(renderer, fields[1], avatar.background, avatar.focal, avatar.torso_shifts)


def _stream_fps(avatar: Avatar, dataset: RayDataset, n_frames: int) -> float:
    """Frames per second of held-out frames made as a video is."""
    frames = dataset.held_out(2 * n_frames)
    person, start = dataset.person, time.perf_counter()
    made = list(avatar.render(person.landmarks, person.poses, only=frames))
    return len(made) / (time.perf_counter() - start)


def _timed(avatar: Avatar, scenes: Sequence[tuple]) -> tuple[list[float], float, list[Frame]]:
    """Wall seconds of each scene, processor seconds of all, and their pictures."""
    avatar.render_frame(*scenes[0])
    walls, pictures, cpu = [], [], time.process_time()
    for scene in scenes:
        _wait(avatar.device)
        start = time.perf_counter()
        pictures.append(avatar.render_frame(*scene))
        _wait(avatar.device)
        walls.append(time.perf_counter() - start)
    return walls, time.process_time() - cpu, pictures


def _shares(
    work: Callable[[], Any], parts: Sequence[str], *, backward: bool = False
) -> dict[str, float]:
    """Shares of the wall time inside labelled parts; with `backward`, of gradients and Adam too.

    "torso" holds what its own parts take, which is taken off them.
    """
    with muted(), profile(use_kineto=False) as watch, record_function("work"):
        work()
    spans = dict.fromkeys(parts, 0.0)
    total = 1e-9
    for event in watch.function_events:
        if event.name == "work":
            total = event.cpu_time_total
        elif event.name in spans and not _inside(event, "torso"):
            spans[event.name] += event.cpu_time_total
        elif backward and event.name.startswith("autograd::engine::evaluate_function"):
            spans["backward"] = spans.get("backward", 0.0) + event.cpu_time_total
        elif backward and event.name.startswith("Optimizer.step"):
            spans["adam"] = spans.get("adam", 0.0) + event.cpu_time_total
    shares = {part: span / total for part, span in spans.items()}
    return shares | {"other": max(0.0, 1 - sum(shares.values()))}


def _vanilla_s(avatar: Avatar, scene: tuple, n: int = 8192) -> float:
    """Seconds of a frame by the paper's networks: n samples timed, times those of a frame."""
    config = replace(avatar.head.config, hidden=256, precision="float32")
    field = VanillaField(config, 1).to(avatar.device)
    exact = configured(avatar, exact=True).render_frame(*scene)
    positions = torch.rand(n, 3, device=avatar.device)
    directions = torch.nn.functional.normalize(positions - 2, dim=-1)
    rays = torch.arange(n, device=avatar.device)
    with torch.no_grad():
        ask = field.at(field.condition(scene[0][None]), field.mean_appearance(), None)
        ask(positions, directions, rays)
        start = time.perf_counter()
        ask(positions, directions, rays)
        _wait(avatar.device)
    return (time.perf_counter() - start) * exact.head.n_samples / n


def configured(avatar: Avatar, **changes: bool | float | int) -> Avatar:
    """The same person, rendered another way: settings of `AvatarConfig`, such as exact=True."""
    config = replace(avatar.renderer.config, **changes)
    renderer = HeadRenderer(avatar.renderer.trained, config, avatar.renderer.pruned)
    return Avatar(renderer, avatar.torso, avatar.background, avatar.focal, avatar.torso_shifts)


def resized(avatar: Avatar, size: int) -> Avatar:
    """The same person in another picture size; the background is interpolated."""
    background = avatar.background.permute(2, 0, 1)[None]
    background = functional.interpolate(background, (size, size), mode="bilinear", antialias=True)
    background = (background[0].permute(1, 2, 0) * 255).round() / 255
    focal = avatar.focal * size / avatar.size
    return Avatar(avatar.renderer, avatar.torso, background, focal, avatar.torso_shifts)


def fidelity(picture: Frame, reference: Frame) -> float:
    """PSNR in dB between two pictures, over the pixels where either shows the head."""
    is_head = (picture.head.alpha > 0) | (reference.head.alpha > 0)
    squared = (picture.rgb - reference.rgb).square().mean(-1)[is_head]
    return psnr_of_error(float(squared.mean()) if len(squared) else 0.0)


def _percent(parts: dict[str, float]) -> str:
    return ", ".join(f"{part} {100 * share:.0f} %" for part, share in parts.items() if share)


def _profile(subject: str) -> str:
    return "smoke" if subject in ("", "demo") else "cpu"


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
