"""Files: digests, and json that is never half written."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

__all__ = ["plain", "sha256", "write_json"]


def sha256(path: Path) -> str:
    """The digest of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Writes json through a temporary name."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(content, indent=1, default=plain))
    os.replace(partial, path)


def plain(value: Any) -> Any:
    """What json holds of an array, a tensor or a path; for `json.dumps(..., default=plain)`."""
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        return value.tolist()
    if isinstance(value, Path):
        return value.name
    raise TypeError(f"run.json cannot hold a {type(value).__name__}")
