"""Demo: the embedded person, an avatar of this kit ready to talk, and two clips of it.

All is made by `python -m notebooks.studies.demo_person` from clips of talker s1 of the GRID corpus
and the voice of `hibari-tts` 0.2.1 (Apache-2.0), see demo.consent.txt. "demo", the default person
everywhere, and "demo_b", held out, are two films of the avatar: nothing in them was said, seen or
endorsed by the talker.
"""

from pathlib import Path

NAMES = ("demo", "demo_b")
FOLDER = Path(__file__).parent
AVATAR = FOLDER / "avatar"
"""The finished avatar, for `talk.plan.embedded_actor`."""


def clip_path(name: str) -> Path:
    """The mp4 of an embedded demo person."""
    if name not in NAMES:
        raise ValueError(f"the embedded demo persons are {', '.join(NAMES)}; there is no {name!r}")
    if not (FOLDER / f"{name}.mp4").is_file():
        raise FileNotFoundError(f"{FOLDER / name}.mp4 is missing; install the kit again")
    return FOLDER / f"{name}.mp4"
