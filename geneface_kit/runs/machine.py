"""Machine: where a run was made, and how it is made the same again there."""

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from geneface_kit.runs.files import Facts

__all__ = ["machine", "repeatable"]


@contextlib.contextmanager
def repeatable() -> Iterator[None]:
    """On a CPU, the same work gives the same bytes inside.

    Otherwise torch sums the gradient of gathered values (`values[index]`) on all threads at once,
    in an order that is never twice the same. With CUDA nothing is changed: some of its kernels
    have no repeatable form.
    """
    before = torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    if not torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, changes nothing
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled


def machine() -> Facts:
    """Versions, device, threads, and the checkout's commit, for run.json."""
    cuda = torch.cuda.is_available()
    return {
        "kit": importlib.metadata.version("geneface-kit"),
        "git": _git(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cuda": torch.version.cuda if cuda else None,
        "device": torch.cuda.get_device_name() if cuda else f"cpu ({os.cpu_count()} cores)",
        "threads": torch.get_num_threads(),
    }


def _git() -> Facts:
    """The checkout's commit and whether it was changed; empty outside a checkout."""
    ask = ["git", "-C", str(Path(__file__).parent), "status", "--porcelain=v2", "--branch"]
    try:
        said = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return {}
    commit = said[0].removeprefix("# branch.oid ")
    return {"commit": commit, "dirty": any(not line.startswith("# ") for line in said)}
