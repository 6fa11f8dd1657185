"""Machine: where a run was made: versions, device, threads, and the checkout's commit."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

__all__ = ["machine"]


def machine() -> dict[str, Any]:
    """What run.json says of the machine."""
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


def _git() -> dict[str, Any]:
    """The checkout's commit and whether it was changed; empty outside a checkout."""
    folder = Path(__file__).parent
    ask = ["git", "-C", str(folder)]
    try:
        commit = subprocess.run(
            [*ask, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        status = subprocess.run(
            [*ask, "status", "--porcelain"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": commit.stdout.strip(), "dirty": bool(status.stdout.strip())}
