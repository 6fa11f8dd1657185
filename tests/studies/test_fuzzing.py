"""Fuzz: no damaged file is believed, no reader is forgotten, no kill leaves half a run."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from notebooks.studies.fuzz.damages import damaged
from notebooks.studies.fuzz.fuzzing import fuzz
from notebooks.studies.fuzz.readers import (
    COVERS,
    KITS_OWN,
    OWN_WRITTEN,
    READERS,
    ROOT,
    Reader,
    found,
)

SLOW = ("figure of a table", "figure of arrays", "motion", "avatar", "adaptation", "clip")
"""Readers that take a tenth of a second and more for a file."""


def test_every_function_that_reads_a_file_is_fuzzed():
    covered = {name for names in COVERS.values() for name in names}
    assert covered | {*KITS_OWN} | {*OWN_WRITTEN} == found()
    assert COVERS.keys() <= READERS.keys()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_refused_in_one_sentence(name, tmp_path):
    seeds = range(4) if name in SLOW else range(24)
    outcomes = list(fuzz(seeds, tmp_path, {name: READERS[name]}))
    wrong = [one for one in outcomes if one[2] not in ("sentence", "same", "unknowable")]
    assert len(outcomes) == len(seeds) and not wrong, wrong
    assert READERS[name].unknowable or all(one[2] != "unknowable" for one in outcomes)


def test_the_fuzz_sees_what_is_wrong(tmp_path):
    def believes(folder):
        return (folder / "a.txt").read_bytes()

    def crashes(folder):
        return [].index(believes(folder) == b"whole" or 1 / 0)

    def writes_beside(folder):
        (folder.parent / "beside.txt").write_bytes(believes(folder))

    def refuses(folder):
        if believes(folder) != b"whole" * 9:
            raise ValueError("one sentence")

    seen = {}
    for read in (believes, crashes, writes_beside, refuses):
        reader = Reader(lambda folder: (folder / "a.txt").write_bytes(b"whole" * 9), read)
        (tmp_path / read.__name__).mkdir()
        try:
            outcomes = fuzz(range(6), tmp_path / read.__name__, {"a": reader})
            seen[read.__name__] = Counter(outcome for *_, outcome, _ in outcomes)
        except ZeroDivisionError:
            seen[read.__name__] = "not even a whole file"
    assert seen["believes"].keys() <= {"silent", "same"} and seen["believes"]["silent"]
    assert seen["crashes"] == "not even a whole file"
    assert seen["writes_beside"]["outside"]
    assert seen["refuses"].keys() <= {"foreign", "sentence", "same"}  # a test is not the kit


def test_the_same_seed_damages_alike_and_every_seed_does(tmp_path):
    content = (ROOT / "figures" / "demo_bars.json").read_bytes()
    copies = [damaged(content, seed) for seed in range(30)]
    assert copies == [damaged(content, seed) for seed in range(30)]
    assert sum(copy != content for copy in copies) >= 28


@pytest.mark.slow
def test_a_killed_stage_goes_on_to_the_same_files(tmp_path):
    """Smallest settings; all stages: `python -m geneface_kit fuzz --kills 6`."""
    command = [sys.executable, "-m", "notebooks.studies.fuzz", "--kills", "3", "--stages", "motion"]
    environment = os.environ | {"GENEFACE_KIT_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and all("the same" in line for line in lines)
    assert [line.split()[2] for line in lines] == ["before", "after", "after"]
