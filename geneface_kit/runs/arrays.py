"""Arrays: npy and npz files and pictures, looked at by their headers before anything is read.

A layout says what an array must be: a kind of KINDS and its lengths, as in "real t 68 3". A letter
is a length that all arrays share which are read with the same `lengths`.
"""

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from geneface_kit.runs.files import readable, replacing

KINDS = {"real": "f", "nan": "f", "whole": "iu", "byte": "u", "bool": "b", "word": "U"}
"""Kind -> numpy's letters for it; reals are finite, of the kind "nan" they need not be."""
LIMIT = 2**32  # bytes that an array of an npz may take (ours)


def read_npz(
    path: Path, layouts: Mapping[str, str] | None = None, lengths: dict[str, int] | None = None
) -> dict[str, np.ndarray]:
    """The arrays of an npz file that the layouts name; without any, all that it holds.

    lengths: letters of the layouts -> lengths; receives those that it lacks.
    Raises: FileNotFoundError; Damaged where the file is not what the layouts say.
    """
    lengths = {} if lengths is None else lengths
    with readable(path), zipfile.ZipFile(path) as archive:
        layouts = layouts or dict.fromkeys(name[:-4] for name in archive.namelist())
        return {name: _member(archive, name, layouts[name], lengths) for name in layouts}


def read_npy(path: Path, layout: str, lengths: dict[str, int] | None = None) -> np.ndarray:
    """The array of an npy file as a memory map, see `read_npz`; of reals all are looked at."""
    with readable(path):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        _check(path.stem, array.shape, array.dtype, layout, {} if lengths is None else lengths)
        _check_finite(path.stem, array, layout)
    return array


def read_image(path: Path, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """A picture of size x size pixels, red, green, blue; raises what `read_npz` raises."""
    with readable(path), Image.open(path) as picture:
        if (picture.size, picture.mode) != ((size, size), "RGB"):
            raise ValueError(f"it has {picture.size} {picture.mode} pixels, not {size} x {size}")
        return np.array(picture)


def write_npz(path: Path, **arrays: np.ndarray | list | str | int) -> None:
    """Arrays as one packed npz file, all or nothing."""
    with replacing(path) as partial:
        np.savez_compressed(partial, **arrays)


def write_npy(path: Path, array: np.ndarray) -> None:
    """An array as an npy file, all or nothing."""
    with replacing(path) as partial:
        np.save(partial, array, allow_pickle=False)


def write_image(path: Path, picture: UInt8[np.ndarray, "h w 3"]) -> None:
    """A picture as png, all or nothing."""
    with replacing(path) as partial:
        Image.fromarray(picture).save(partial)


def _member(
    archive: zipfile.ZipFile, name: str, layout: str | None, lengths: dict[str, int]
) -> np.ndarray:
    formats = np.lib.format
    with archive.open(f"{name}.npy") as file:
        is_first = formats.read_magic(file) == (1, 0)
        read = formats.read_array_header_1_0 if is_first else formats.read_array_header_2_0
        shape, _, dtype = read(file)
    if layout:
        _check(name, shape, dtype, layout, lengths)
    if math.prod(shape) * dtype.itemsize > min(LIMIT, archive.getinfo(f"{name}.npy").file_size):
        raise ValueError(f"{name} of shape {shape} is larger than the file or {LIMIT} bytes")
    with archive.open(f"{name}.npy") as file:
        array = formats.read_array(file, allow_pickle=False)
    _check_finite(name, array, layout)
    return array


def _check(
    name: str, shape: tuple[int, ...], dtype: np.dtype, layout: str, lengths: dict[str, int]
) -> None:
    kind, *wanted = layout.split()
    if dtype.kind not in KINDS[kind] or len(shape) != len(wanted):
        raise ValueError(f"{name} is {dtype} {shape}, not {layout}")
    for length, letter in zip(shape, wanted, strict=True):
        needed = int(letter) if letter.isdigit() else lengths.setdefault(letter, length)
        if length != needed:
            raise ValueError(f"{name} has shape {shape}, not {layout} with {letter} = {needed}")


def _check_finite(name: str, array: np.ndarray, layout: str | None) -> None:
    if layout and layout.startswith("real") and not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinite values")
