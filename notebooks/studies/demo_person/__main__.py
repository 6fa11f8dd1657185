"""Make a synthetic person: python -m notebooks.studies.demo_person NAME --seed 3 --out FOLDER

Needs the extra: pip install 'geneface-kit[demo]'. The names demo and demo_b are remade exactly as
they were embedded; any other name gives an identity drawn from the seed.
"""

import argparse
from pathlib import Path

from notebooks.studies.demo_person.film import film
from notebooks.studies.demo_person.people import PEOPLE, stranger


def main() -> None:
    """Read the command line, render, and name the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="demo, demo_b, or a name for another identity")
    parser.add_argument("--text", help="English sentences to say")
    parser.add_argument("--seed", type=int, help="identity (new names), motion and noise")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for mp4 and npz")
    given = parser.parse_args()
    role = PEOPLE[given.name] if given.name in PEOPLE else stranger(given.seed or 0)
    film(
        given.name,
        role.identity,
        given.text or role.text,
        seed=role.seed if given.seed is None else given.seed,
        folder=given.out,
        speed=role.speed,
        deeper=role.deeper,
    )


if __name__ == "__main__":
    main()
