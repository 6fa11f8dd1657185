"""Claims: a number of the prose that names its source is the number that stands there.

A marked number is followed by a comment that nobody sees: 0.66<!-- figures/a.json: key --> is the
value of a key, or the first of a list (`key[2]` the third); 0.66<!-- figures/a.csv: r where a=x -->
is a column in the one line that the conditions leave, or its mean over those that are one a seed,
and 0.02<!-- figures/a.csv: spread of r where a=x --> the standard deviation of these.
"""

import re
from pathlib import Path

import pandas as pd
import pytest
from geneface_kit_figures.records import wrong_records

from geneface_kit.runs.files import read_json

ROOT = Path(__file__).parents[2]
TEXTS = ("README.md", "REPRODUCTION.md", "geneface_kit/motion/MODEL_CARD.md")
MARK = re.compile(r"(-?\d+(?:\.\d+)?)<!-- (\S+\.(?:csv|json)): (.*?) -->")


def stored(file: Path, key: str) -> float:
    if file.suffix == ".json":
        name, place = re.fullmatch(r"(.*?)(?:\[(\d+)\])?", key).groups()
        value = read_json(file)[name]
        return value[int(place or 0)] if isinstance(value, list) else value
    column, _, conditions = key.partition(" where ")
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    for condition in conditions.split(" and "):
        name, _, wanted = condition.partition("=")
        table = table[table[name] == wanted]
    of_spread, column = column.startswith("spread of "), column.removeprefix("spread of ")
    seeds = table["seed"].nunique() if "seed" in table else 1
    assert len(table) == seeds, f"{key} leaves {len(table)} lines of {file.name}"
    values = table[column].astype(float)
    return float(values.std() if of_spread else values.mean())


def wrong_claims(text: str, root: Path) -> list[str]:
    """Marked numbers that are not their source, rounded as they are."""
    wrong = []
    for number, file, key in MARK.findall(text):
        digits = len(number.partition(".")[2])
        found = f"{stored(root / file, key):.{digits}f}"
        wrong += [] if found == number else [f"{number} should be {found} ({file}: {key})"]
    return wrong


@pytest.mark.parametrize("name", TEXTS)
def test_marked_numbers_are_those_of_their_files(name):
    text = (ROOT / name).read_text()
    assert MARK.search(text), "no number names its source"
    assert wrong_claims(text, ROOT) == []
    assert len(MARK.findall(text)) == len(re.findall(r"<!-- \S+\.(?:csv|json): ", text))


def test_recorded_facts_are_as_they_were_written():
    for file in sorted((ROOT / "figures").glob("*.json")):
        read_json(file)


def test_recorded_tables_are_those_of_the_records_of_their_runs():
    assert list((ROOT / "figures" / "runs").glob("evaluation-*/run.json"))
    assert wrong_records(ROOT / "figures") == []


def test_a_number_that_is_not_its_source_is_found(tmp_path):
    (tmp_path / "a.json").write_text('{"r": [0.656, 0.64], "n": 90}')
    (tmp_path / "b.csv").write_text("row,seed,r\nridge,0,0.349\nridge,1,0.2\n")
    good = (
        "0.66<!-- a.json: r --> from 0.640<!-- a.json: r[1] -->, 90<!-- a.json: n -->, "
        "0.35<!-- b.csv: r where row=ridge and seed=0 -->"
    )
    assert wrong_claims(good, tmp_path) == []
    changed = good.replace("0.66<", "0.65<").replace("0.35<", "0.34<")
    assert wrong_claims(changed, tmp_path) == [
        "0.65 should be 0.66 (a.json: r)",
        "0.34 should be 0.35 (b.csv: r where row=ridge and seed=0)",
    ]
    (tmp_path / "b.csv").write_text("row,seed,r\nridge,0,0.3\nridge,1,0.2\nmel,1,0.2\n")
    of_seeds = (
        "0.25<!-- b.csv: r where row=ridge --> ± 0.07<!-- b.csv: spread of r where row=ridge -->"
    )
    assert wrong_claims(of_seeds, tmp_path) == []
    with pytest.raises(AssertionError, match="leaves 2 lines of b.csv"):
        wrong_claims("0.2<!-- b.csv: r where seed=1 -->", tmp_path)
