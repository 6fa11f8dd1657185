"""Make the demo person: python -m notebooks.studies.demo_person CLIPS --to FOLDER

CLIPS: the folder of a talker of the GRID corpus (data/persons/grid_s1), or the name of any other
person. Trains an avatar, lets it say two texts by an offline voice, and writes what ships in
geneface_kit/person/demo: the avatar, the clips demo.mp4 and demo_b.mp4, and their truth. Needs the
extra: pip install 'geneface-kit[demo]'. Seeded: the same clips give the same person.
"""

import json
import sys

import torch

from geneface_kit.person import demo
from geneface_kit.pipeline import options as given
from geneface_kit.pipeline.options import CommandLine
from geneface_kit.pipeline.require import require
from geneface_kit.pipeline.settings import parse, resolve
from geneface_kit.runs import write_json
from geneface_kit.talk.plan import load_actor
from notebooks import commands
from notebooks.studies.demo_person.export import export_avatar
from notebooks.studies.demo_person.film import CREDIT, film
from notebooks.studies.demo_person.script import SCRIPT
from notebooks.studies.demo_person.voice import speak

SLOW = {"head.steps": 9000, "torso.steps": 1500, "joint.steps": 2500}
SMALL = {"person.size": 256, "head.n_levels": 12, "head.finest": 512, "head.log2_rows": 15}
"""What is trained longer than in profile cpu, and what keeps the avatar under 8 MB."""


def demo_person(
    person: given.Person,
    to: commands.To = demo.FOLDER,
    seed: given.Seed = 0,
    overrides: given.Overrides = "",
    out: given.Out = "",
) -> None:
    """Train an avatar, let it speak, and write what ships as the demo person."""
    said = {
        name: speak(role.text, seed=role.seed, speed=role.speed, deeper=role.deeper)
        for name, role in SCRIPT.items()
    }
    chosen = {"profile": "cpu", "overrides": SLOW | SMALL | parse(overrides)}
    options = chosen | {"seed": seed, "out": out}
    made = {
        stage: require(stage, person, **options)
        for stage in ("person", "motion", "adaptation", "nerf")
    }
    actor, config = load_actor(made), resolve(**chosen).talk
    to.mkdir(parents=True, exist_ok=True)
    for name, role in SCRIPT.items():
        generator = torch.Generator().manual_seed(role.seed)
        acted = film(name, actor, said[name], config, generator, folder=to)
        if name == "demo":
            export_avatar(actor, acted, made, to / demo.AVATAR.name)
    write_json(to / demo.AVATAR.name / "run.json", record(made, options))


def record(made: dict, options: dict) -> dict:
    """What the demo person was made of and how: clips by their digest, settings, runs, measures."""
    return {
        "command": "python -m notebooks.studies.demo_person",
        "credit": CREDIT,
        "script": {name: str(role) for name, role in SCRIPT.items()},
        "overrides": options["overrides"],
        "seed": options["seed"],
        "clips": made["person"].facts["inputs"],
        "runs": {stage: run.id for stage, run in made.items()},
        "metrics": {
            stage: json.loads(json.dumps(made[stage].metrics)) for stage in ("adaptation", "nerf")
        },
    }


main = CommandLine(demo_person)

if __name__ == "__main__":
    sys.exit(main())
