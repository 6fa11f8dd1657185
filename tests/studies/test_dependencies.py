"""Dependencies: every one is pinned with digests, and its licence and networks are named."""

import csv
import re

from geneface_kit.runs import root
from notebooks.studies import dependencies

APART = {"ray", "msgpack"}
"""Of the extra `ray`, which the README's commands do not install."""


def test_the_lock_holds_what_is_pinned_with_a_digest_of_every_file():
    text = (root() / "requirements.lock").read_text()
    assert text.startswith(dependencies.HEADER) and "http:" not in text and "https:" not in text
    locked = {}
    for block in re.split(r"\n(?=[\w.-]+==)", text)[1:]:
        name, version = re.match(r"([\w.-]+)==([^\s;]+)", block).groups()
        locked[name] = version
        assert re.findall(r"--hash=sha256:[0-9a-f]{64}(?= |\n|$)", block), name
        assert block.count("--hash") == len(re.findall(r"sha256:[0-9a-f]{64}\b", block)), name
    pinned = {name.lower().replace("_", "-"): v for name, v in dependencies.pins().items()}
    assert len(pinned) > 200
    assert {name: locked.get(name) for name in pinned.keys() - APART} == {
        name: version for name, version in pinned.items() if name not in APART
    }


def test_every_licence_is_named_as_the_packages_say_it():
    with (root() / "licences.csv").open(newline="", encoding="utf-8") as file:
        table = {row["name"]: tuple(row.values()) for row in csv.DictReader(file)}
    here = {row[0]: row for row in dependencies.rows()}
    assert here.items() <= table.items()
    assert table.keys() >= dependencies.pins().keys() - APART
    assert all(row[2] for row in table.values())
    assert "asr_waveform.hama" in table["hama"][3] and table["hama"][2].startswith("Apache")
    assert "face_landmark" in table["mediapipe"][3]
