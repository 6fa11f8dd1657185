"""Sample: the first seconds of the demo's film as a small moving picture that pages show by itself.

python -m notebooks.studies.demo_person.sample figures/demo_sample.webp
"""

import sys
from pathlib import Path

import av
from PIL import Image

from geneface_kit.person import demo

SIDE, SECONDS, EVERY = 192, 5, 2  # pixels; of film; frames of 25 a second from one to the next


def write_sample(path: Path) -> None:
    """Writes a WebP that repeats itself; it has no sound, the film has."""
    with av.open(str(demo.clip_path("demo"))) as film:
        frames = [frame.to_image() for frame in film.decode(video=0)][: 25 * SECONDS : EVERY]
    small = [frame.resize((SIDE, SIDE), Image.Resampling.LANCZOS) for frame in frames]
    duration = 1000 * EVERY // 25
    small[0].save(
        path, save_all=True, append_images=small[1:], duration=duration, loop=0, quality=60
    )


if __name__ == "__main__":
    write_sample(Path(sys.argv[1]))
