"""Endurance: how much memory and time preparing a long clip takes.

`python -m notebooks.studies.speed.endurance CLIP FOLDER --minutes 5 --size 512` plays a clip
forwards and backwards until it is long enough, prepares it as a person and prints what that took.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from jaxtyping import UInt8

from geneface_kit.person import clip
from geneface_kit.person import stage as person
from geneface_kit.pipeline.options import CommandLine, argument
from geneface_kit.pipeline.settings import resolve

STEP_S = 0.2
"""Seconds between two looks at the memory."""


@dataclass(frozen=True)
class Usage:
    """What a preparation took.

    own_gb: largest memory of the process itself; mapped_gb: largest share of files it had mapped
    (the system takes that back when it needs it); cpu_s, wall_s: seconds; frames: how many.
    """

    own_gb: float
    mapped_gb: float
    cpu_s: float
    wall_s: float
    frames: int


def lengthen(source: Path, out: Path, *, minutes: float, size: int) -> Path:
    """A clip of so many minutes and size x size pixels: the source to and fro, without a cut."""
    frames, sound = list(clip.stream_frames(source)), clip.sound_of(source)
    sound = sound[: round(len(frames) / clip.FPS * clip.SAMPLE_RATE)]
    n_frames = round(minutes * 60 * clip.FPS)
    period = 2 * len(frames)
    fro = np.concatenate([sound, sound[::-1]])
    audio = np.tile(fro, n_frames // period + 1)[: n_frames * clip.SAMPLE_RATE // clip.FPS]

    def pictures() -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        import cv2

        for index in range(n_frames):
            at = index % period
            frame = frames[min(at, period - 1 - at)]
            yield cv2.resize(frame, (size, size), interpolation=cv2.INTER_CUBIC)

    clip.write_video(out, pictures(), audio)
    return out


def measure(source: Path, folder: Path, config: person.PersonConfig) -> Usage:
    """Prepares a person while a thread watches the memory (Linux: /proc/self/status)."""
    peaks, stop = {"RssAnon": 0, "RssFile": 0}, threading.Event()

    def watch() -> None:
        while not stop.wait(STEP_S):
            for line in Path("/proc/self/status").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name in peaks:
                    peaks[name] = max(peaks[name], int(rest.split()[0]))

    watcher = threading.Thread(target=watch)
    cpu, wall = time.process_time(), time.perf_counter()
    watcher.start()
    try:
        prepared = person.prepare(source, folder, config)
    finally:
        stop.set()
        watcher.join()
    return Usage(
        own_gb=round(peaks["RssAnon"] / 2**20, 2),
        mapped_gb=round(peaks["RssFile"] / 2**20, 2),
        cpu_s=round(time.process_time() - cpu, 1),
        wall_s=round(time.perf_counter() - wall, 1),
        frames=len(prepared),
    )


def endurance(
    source: Annotated[Path, argument("CLIP", "to be made longer")],
    folder: Annotated[Path, argument("FOLDER", "for the longer clip and the person")],
    minutes: Annotated[float, typer.Option(min=0.1, help="of the longer clip")] = 5.0,
    size: Annotated[int, typer.Option(help="of its pictures, pixels")] = 512,
) -> None:
    """Prepare a long clip and say what memory and time that took."""
    config = resolve("smoke", {"person.size": size}).person
    folder.mkdir(parents=True, exist_ok=True)
    long = lengthen(source, folder / "long.mp4", minutes=minutes, size=size)
    typer.echo(json.dumps(asdict(measure(long, folder / "person", config))))


main = CommandLine(endurance)


if __name__ == "__main__":
    sys.exit(main())
