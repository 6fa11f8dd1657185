"""What the demo person says: texts of ours, and how the voice speaks them."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Role:
    """A text and its voice, see `voice.speak`; seed: of the draw from the prior and the motion."""

    text: str
    seed: int
    speed: float = 1.0
    deeper: Fraction = Fraction(6, 5)


SCRIPT = {
    "demo": Role(
        "Hello. I was made by a small program on an ordinary computer. Nobody filmed me saying "
        "this. My lips move by what they hear in a voice.",
        seed=1,
    ),
    "demo_b": Role(
        "Good morning. Give me a voice, and I will move my mouth with every word. Most people "
        "believe what they see.",
        seed=2,
        speed=1.1,
        deeper=Fraction(11, 10),
    ),
}
