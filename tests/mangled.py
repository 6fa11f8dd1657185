"""Mangled files: truncated and bit-flipped media, decoded in a process of their own.

`python -m tests.mangled SEEDS FILE...` decodes variants SEED of every file and writes one line
each: file, seed, what came of it. A variant that takes too long ends the process with status 1
and a trace; a crash ends it with a signal. Whoever runs it reads the last line.
"""

import faulthandler
import logging
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

from geneface_kit.person import clip
from notebooks.studies.fuzz.damages import mangle

LIMIT_S = 60
"""Seconds after which decoding one small file counts as hanging."""
MEMORY = 8 << 30
"""Address space of the process, bytes: what a small file may not exhaust."""
MOST_FRAMES = 3000
"""Frames beyond which one second of video has no end."""


def decode(path: Path) -> str:
    """What a variant gives: its numbers of frames and samples, or the sentence of the error."""
    try:
        n_frames = 0
        for frame in clip.stream_frames(path, long_side=64):
            n_frames += 1
            assert frame.dtype == np.uint8 and frame.shape[2] == 3
            assert n_frames < MOST_FRAMES, "the video does not end"
        sound = clip.sound_of(path) if clip.probe(path).n_sounds else np.zeros(0, np.float32)
        assert np.isfinite(sound).all()
        assert len(sound) < 60 * clip.SAMPLE_RATE, "the sound does not end"
    except ValueError as error:
        assert "\n" not in str(error), error
        return "refused"
    return f"{n_frames} frames, {len(sound)} samples"


def main(seeds: range, files: list[Path]) -> None:
    faulthandler.enable()
    logging.basicConfig(level=logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            content = file.read_bytes()
            for seed in seeds:
                path = Path(folder) / f"mangled{file.suffix}"
                path.write_bytes(mangle(content, seed))
                faulthandler.dump_traceback_later(LIMIT_S, exit=True)
                sys.stdout.write(f"{file.name} {seed} ")
                sys.stdout.flush()
                sys.stdout.write(f"{decode(path)}\n")
                sys.stdout.flush()
                faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    first, last = (int(number) for number in sys.argv[1].split(":"))
    main(range(first, last), [Path(name) for name in sys.argv[2:]])
