"""All checks: ruff, then pytest over notebooks and tests, a file to a process, the 20 slowest told.

python -m geneface_kit test
"""

import os
import subprocess
import sys

from geneface_kit.pipeline.options import CommandLine
from geneface_kit.runs import root

PROCESSES = 4  # at most so many, a core and 2 GB each


def test() -> int:
    """Run ruff, then every test and notebook; the exit status is the worst one's."""
    nbval = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", "600"]
    nbval += ["-n", str(min(os.cpu_count() or 1, PROCESSES))]
    nbval += ["--dist", "loadfile", "--no-loadscope-reorder"]
    commands = [
        ["ruff", "format", "--check", "."],
        ["ruff", "check", "."],
        ["pytest", "-q", "--durations=20", *nbval, "tests", "notebooks"],
    ]
    done = [subprocess.run([sys.executable, "-m", *command], cwd=root()) for command in commands]
    return max(one.returncode for one in done)


main = CommandLine(test)

if __name__ == "__main__":
    sys.exit(main())
