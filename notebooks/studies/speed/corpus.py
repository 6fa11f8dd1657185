"""Bench: how many clips this machine reads, with one process and with all cores."""

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from joblib import cpu_count

from geneface_kit.person import clip, corpus
from geneface_kit.person.corpus.manifest import CorpusConfig, clip_paths

PER_CORE = 4
"""Clips read per core at least, so that starting up does not decide the number (ours)."""
NIGHT_H = 10
"""Hours of a night (ours)."""


def run(subject: str = "") -> Iterator[str]:
    """Lines: clips per minute and core, and CPU seconds a clip, start-up included.

    subject: a folder of videos; "" repeats the demo clips. Nothing is kept.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "clips"
        n_clips = _fill(folder, subject, PER_CORE * cpu_count())
        yield f"{n_clips} clips of {subject or 'the demo'}, {_copies()}"
        for workers in sorted({1, cpu_count()}):
            wall_s, cpu_s, minutes = _measure(folder, Path(place) / f"with{workers}", workers)
            rate = 60 * n_clips / wall_s
            yield (
                f"{workers} process{'es' * (workers > 1)}: {wall_s:.0f} s, {rate:.1f} clips per "
                f"minute, {rate / workers:.1f} per minute and core; {cpu_s / n_clips:.1f} CPU-s "
                f"a clip of {60 * minutes / n_clips:.0f} s"
            )
        night = NIGHT_H * 60 * rate
        yield f"a night of {NIGHT_H} h on {workers} cores: {night:,.0f} such clips"


def _fill(folder: Path, subject: str, least: int) -> int:
    """Links to the clips, each as often as it takes to have `least`; returns how many."""
    folder.mkdir()
    paths = clip_paths(subject)
    rounds = -(-least // len(paths))
    for index in range(rounds):
        for number, path in enumerate(paths):
            name = f"{index}-{number}-{path.stem}"
            (folder / f"{name}{path.suffix}").symlink_to(path.resolve())
            if path.with_suffix(".wav").exists():
                (folder / f"{name}.wav").symlink_to(path.with_suffix(".wav").resolve())
    return rounds * len(paths)


def _measure(folder: Path, out: Path, workers: int) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds of all processes, and minutes of usable video read."""
    start, before = time.perf_counter(), _cpu_s()
    data = corpus.prepare(CorpusConfig(folder=str(folder)), workers=workers, out=out)
    wall_s, cpu_s = time.perf_counter() - start, _cpu_s() - before
    read = [utterance for utterance in data.utterances if utterance.name == utterance.clip]
    return wall_s, cpu_s, sum(len(utterance) for utterance in read) / clip.FPS / 60


def _cpu_s() -> float:
    """CPU seconds of this process and of those it has ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _copies() -> str:
    return f"each at {len(CorpusConfig().rates)} speeds"
