"""Damaged files to every reader, and a kill to every stage; what came of it.

python -m geneface_kit fuzz --minutes 30
python -m geneface_kit fuzz --kills 6

With `--to FOLDER` the counts become fuzz.json or kills.json there.
"""

import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from geneface_kit.pipeline.options import STAGES, CommandLine, Seed, one_of, several
from geneface_kit.runs.files import write_json
from notebooks import commands


def fuzz(
    minutes: Annotated[float, typer.Option(min=0.01, help="of damaged files")] = 1.0,
    seed: Seed = 0,
    kills: Annotated[int, typer.Option(min=0, help="of each stage, instead of files")] = 0,
    stages: Annotated[
        str, typer.Option(help="which are killed", **one_of("stage", STAGES))
    ] = ",".join(STAGES),
    to: commands.To = None,
) -> int:
    """Feed damaged files to every reader, or kill every stage."""
    with tempfile.TemporaryDirectory() as folder:
        if kills:
            from notebooks.studies.fuzz.kills import kill

            done = Counter()
            for line in kill(several(stages), kills, seed, Path(folder)):
                typer.echo(line)
                done[line.partition(" ")[0]] += 1
            if to:
                command = f"python -m geneface_kit fuzz --kills {kills} --seed {seed}"
                command += "" if stages == ",".join(STAGES) else f" --stages {stages}"
                write_json(to / "kills.json", done | {"all": done.total(), "command": command})
            return 0
        from notebooks.studies.fuzz import fuzzing

        for name in ("geneface_kit", "geneface_kit_figures", "libav"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        counts, faults = fuzzing.run_for(minutes, seed, Path(folder))
    total = sum(counts.values(), Counter())
    lines = [f"{'reader':22}" + "".join(f"{name:>12}" for name in fuzzing.OUTCOMES)]
    for name, count in [*counts.items(), ("all", total)]:
        lines.append(f"{name:22}" + "".join(f"{count[one]:12}" for one in fuzzing.OUTCOMES))
    typer.echo("\n".join([*faults, *lines]))
    if to:
        found = {"readers": len(counts), "damages": total.total()}
        found |= {name: total[name] for name in fuzzing.OUTCOMES}
        found["command"] = f"python -m geneface_kit fuzz --minutes {minutes:g} --seed {seed}"
        write_json(to / "fuzz.json", found)
    return 1 if faults else 0


main = CommandLine(fuzz)

if __name__ == "__main__":
    sys.exit(main())
