"""Damages: a whole file -> a truncated, flipped, holed, swapped or forged one, by a seed."""

import io
import json
import zipfile

import numpy as np

FORGED = (
    *(None, True, -1, 0, 10**12, 10**400, 1e308, float("nan"), float("inf")),
    *("", "\0", "..", "../../x", "<b>", "x" * 70_000, [], {}, [[]] * 9),
)
"""What stands in place of a value of a json file."""
SHAPES = ((), (0,), (3, 3), (2**31,), (10**9, 68, 3), (2**62, 4))
"""What a header of an array says instead."""


def mangle(content: bytes, seed: int) -> bytes:
    """A damaged copy: cut off, bits flipped anywhere or in the head, a hole, or bytes moved."""
    random = np.random.default_rng(seed)
    data = np.frombuffer(content, np.uint8).copy()
    kind = seed % 6
    if kind == 0:
        return content[: random.integers(0, len(content))]
    if kind == 1:  # a few bits anywhere
        places = random.integers(0, len(data), random.integers(1, 40))
    elif kind == 2:  # the header, where sizes and clocks are
        places = random.integers(0, min(len(data), 1200), random.integers(1, 6))
    elif kind == 3:  # the end, where the index may be
        places = len(data) - 1 - random.integers(0, min(len(data), 2500), random.integers(1, 6))
    elif kind == 4:
        start = random.integers(0, len(data))
        data[start : start + random.integers(1, 4000)] = 0
        return data.tobytes()
    else:  # a stretch lost, or repeated
        first, second = random.integers(0, len(data), 2)
        return content[:first] + content[second:]
    data[places] ^= np.uint8(1) << random.integers(0, 8, len(places)).astype(np.uint8)
    return data.tobytes()


def damaged(content: bytes, seed: int) -> bytes:
    """A mangled copy, or one forged by somebody who knows the format: every third seed."""
    random = np.random.default_rng(seed)
    if seed % 3 == 2:
        if content[:1] == b"{":
            return _forged_json(content, random)
        if content[:4] == b"PK\3\4":
            return _forged_zip(content, random)
        if content[:6] == b"\x93NUMPY":
            return _forged_array(content, random)
        if content[8:9] == b"{":
            return _forged_tensors(content, random)
    return mangle(content, seed // 3 * 2 + seed % 3)


def _forged_json(content: bytes, random: np.random.Generator) -> bytes:
    """One value, at any depth, is another, or its name is gone."""
    facts = json.loads(content)
    places: list[tuple[dict | list, str | int]] = []
    left: list[dict | list] = [facts]
    for part in left:
        for name in part if isinstance(part, dict) else range(len(part)):
            places.append((part, name))
            left += [part[name]] if isinstance(part[name], dict | list) else []
    part, name = places[random.integers(len(places))]
    pick = int(random.integers(len(FORGED) + 2))
    if pick < len(FORGED):
        part[name] = FORGED[pick]
    elif pick == len(FORGED):
        del part[name]
    else:
        return content.replace(b"{", b'{"deep": ' + b"[" * 200_000, 1)
    return json.dumps(facts).encode()


def _forged_zip(content: bytes, random: np.random.Generator) -> bytes:
    """A member is forged as an array, missing, of another name, method or as a link."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(made, "w") as target:
        names = source.namelist()
        chosen, kind = names[random.integers(len(names))], int(random.integers(7))
        for name in names:
            part, info = source.read(name), zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if name == chosen:
                if kind == 0:
                    continue
                info.filename = {1: f"../{name}", 2: f"/{name}", 3: "con"}.get(kind, name)
                info.external_attr = 0o120777 << 16 if kind == 4 else 0
                info.compress_type = zipfile.ZIP_LZMA if kind == 5 else zipfile.ZIP_DEFLATED
                if kind == 6:
                    is_array = part[:6] == b"\x93NUMPY"
                    part = _forged_array(part, random) if is_array else part + b"x"
            target.writestr(info, part)
    return made.getvalue()


def _forged_array(content: bytes, random: np.random.Generator) -> bytes:
    """The header of an npy says another shape or type."""
    array = np.load(io.BytesIO(content), allow_pickle=False)
    header = io.BytesIO()
    descr = str(random.choice([array.dtype.str, "<f8", "<i8", "|O", "<U9", "<f2", "<c16"]))
    told = {"descr": descr, "fortran_order": False, "shape": SHAPES[random.integers(len(SHAPES))]}
    np.lib.format.write_array_header_1_0(header, told)
    return header.getvalue() + array.tobytes()


def _forged_tensors(content: bytes, random: np.random.Generator) -> bytes:
    """The header of a safetensors file says something else."""
    length = int.from_bytes(content[:8], "little")
    header = _forged_json(content[8 : 8 + length], random)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]
