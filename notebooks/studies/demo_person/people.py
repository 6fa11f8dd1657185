"""Demo people: who plays the embedded clips, what they say, and strangers drawn from a seed."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from notebooks.studies.demo_person.hair import Cut
from notebooks.studies.demo_person.identity import Identity

__all__ = ["PEOPLE", "Role", "stranger"]

MACRO = "macrodetails/"
EYES = ((0.05, 0.025, 0.012), (0.10, 0.16, 0.20), (0.08, 0.10, 0.05))  # brown, blue, green


@dataclass(frozen=True)
class Role:
    """An identity with its sentence and voice (see voice.speak)."""

    identity: Identity
    text: str
    seed: int
    speed: float = 1.0
    deeper: Fraction = Fraction(1)


PEOPLE = {
    "demo": Role(
        Identity(
            shape={
                MACRO + "caucasian-female-young": 0.8,
                MACRO + "asian-female-young": 0.2,
                MACRO + "universal-female-young-averagemuscle-averageweight": 0.9,
                "mouth/mouth-lowerlip-volume-incr": 0.2,
            },
            rest={
                "mouthSmileLeft": 0.26,
                "mouthSmileRight": 0.22,
                "browInnerUp": 0.1,
            },
            freckles=0.25,
            cut=Cut(
                whorl=(0.12, 0.85, -0.45),
                thickness=0.11,
                fuzz=0.06,
                bottom=6.02,
                curtain=1.0,
                color=(0.085, 0.045, 0.022),
                shine=0.35,
            ),
        ),
        "Hello, and welcome to the demo. My name is Bea: every move of my mouth was computed from "
        "the sound of this voice. Now open a page, and follow me.",
        seed=1,
        speed=1.05,
    ),
    "demo_b": Role(
        Identity(
            shape={
                MACRO + "african-male-young": 0.5,
                MACRO + "caucasian-male-young": 0.3,
                MACRO + "caucasian-male-old": 0.2,
                MACRO + "universal-male-young-averagemuscle-averageweight": 0.8,
                MACRO + "universal-male-old-averagemuscle-averageweight": 0.2,
            },
            rest={"mouthSmileLeft": 0.18, "mouthSmileRight": 0.22},
            skin=(0.30, 0.16, 0.10),
            lips=(0.20, 0.075, 0.062),
            iris=(0.05, 0.025, 0.012),
            brows=(0.012, 0.009, 0.008),
            brow_width=1.25,
            lash=0.6,
            stubble=0.7,
            freckles=0.0,
            cloth=(0.30, 0.28, 0.24),
            backdrop=(0.42, 0.46, 0.50),
            cut=Cut(
                whorl=(0.1, 0.75, -0.6),
                thickness=0.02,
                fuzz=0.06,
                color=(0.012, 0.009, 0.008),
                shine=0.12,
                bottom=6.55,
                sideburn=7.02,
                forehead=8.04,
            ),
        ),
        "Good morning. Both of my parents were polygons, so please do not blame them. Move on.",
        seed=5,
        deeper=Fraction(6, 5),
    ),
}


def stranger(seed: int) -> Role:
    """Another identity, drawn from the seed: build, colours, hair and clothes."""
    rng = np.random.default_rng(seed)
    sex = str(rng.choice(["female", "male"]))
    shares = rng.dirichlet(np.ones(3))
    peoples = ("african", "asian", "caucasian")
    shape = {f"{MACRO}{p}-{sex}-young": float(s) for p, s in zip(peoples, shares, strict=True)}
    shape[f"{MACRO}universal-{sex}-young-averagemuscle-averageweight"] = 0.9
    dark, fair = np.array([0.20, 0.10, 0.065]), np.array([0.58, 0.38, 0.29])
    light = float(np.clip(1 - shares[0] * 1.1 + 0.1 * rng.normal(), 0, 1))
    skin = dark + light * (fair - dark)
    lips = skin * [0.78, 0.38, 0.44]
    hair = np.array([0.012, 0.008, 0.006]) + (rng.random() * light) ** 2 * np.array([0.3, 0.2, 0.1])
    cut = (
        Cut(color=_color(hair), bottom=6.3, curtain=1.0)
        if sex == "female"
        else Cut(
            whorl=(0.1, 0.9, -0.35), thickness=0.05, color=_color(hair), shine=0.3, bottom=6.55
        )
    )
    identity = Identity(
        shape=shape,
        skin=_color(skin),
        lips=_color(lips),
        iris=EYES[int(rng.integers(len(EYES))) if light > 0.6 else 0],
        brows=_color(0.6 * hair),
        cloth=_color(rng.uniform(0.03, 0.35, 3)),
        backdrop=_color(0.5 + 0.08 * rng.normal(size=3)),
        stubble=0.6 * float(rng.random()) if sex == "male" else 0.0,
        cut=cut,
    )
    text = "Please remember me. We may meet above the moon, on a warm summer evening by the bay."
    return Role(identity, text, seed, deeper=Fraction(6, 5) if sex == "male" else Fraction(1))


def _color(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (float(v) for v in values)
    return red, green, blue
