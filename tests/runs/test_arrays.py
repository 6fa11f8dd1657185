"""Files of another process: what they hold is looked at before it is read, else one sentence."""

import io
import json
import os
import re
import zipfile
import zlib

import numpy as np
import pytest

from geneface_kit.runs.arrays import read_image, read_npy, read_npz, write_image
from geneface_kit.runs.files import Damaged, read_json, write_json

LAYOUTS = {"poses": "real t 4 4", "found": "bool t", "word": "word"}


def write(path, **changes):
    arrays = {"poses": np.ones((3, 4, 4), np.float32), "found": np.ones(3, bool), "word": "hama"}
    np.savez_compressed(path, **{k: v for k, v in (arrays | changes).items() if v is not None})
    return path


def test_what_fits_its_layouts_is_read(tmp_path):
    lengths = {}
    found = read_npz(write(tmp_path / "a.npz", another=np.zeros(9)), LAYOUTS, lengths)
    assert list(found) == list(LAYOUTS) and found["poses"].shape == (3, 4, 4)
    assert str(found["word"]) == "hama" and lengths == {"t": 3}
    np.save(tmp_path / "b.npy", np.full((3, 2), np.nan))
    assert read_npy(tmp_path / "b.npy", "nan t 2", lengths).shape == (3, 2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"poses": np.ones((3, 4, 4), int)}, r"poses is int64 \(3, 4, 4\), not real t 4 4"),
        ({"poses": np.ones((3, 4))}, r"poses is float64 \(3, 4\), not real"),
        ({"poses": np.ones((3, 4, 5))}, r"poses has shape .* with 4 = 4"),
        ({"found": np.ones(2, bool)}, r"found has shape \(2,\), not bool t with t = 3"),
        ({"poses": np.full((3, 4, 4), np.inf)}, "poses holds NaN or infinite values"),
        ({"poses": None}, "poses.npy"),
        ({"poses": np.array([{}], object)}, "poses is object"),
    ],
)
def test_what_does_not_is_refused_in_one_sentence(tmp_path, changes, said):
    path = write(tmp_path / "a.npz", **changes)
    with pytest.raises(Damaged, match=rf"^.*a.npz cannot be read \(.*{said}.*\): run its stage a"):
        read_npz(path, LAYOUTS)


def test_a_small_file_that_promises_gigabytes_is_refused_before_it_is_read(tmp_path):
    header = io.BytesIO()
    big = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 4, 4)}
    np.lib.format.write_array_header_1_0(header, big)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("poses.npy", header.getvalue())
    with pytest.raises(Damaged, match="poses of shape .* is larger than the file"):
        read_npz(tmp_path / "a.npz", {"poses": "real t 4 4"})
    (tmp_path / "b.npy").write_bytes(header.getvalue())
    with pytest.raises(Damaged, match="b.npy cannot be read"):
        read_npy(tmp_path / "b.npy", "real t 4 4")


def test_every_flipped_byte_is_read_or_refused_by_us(tmp_path):
    content, draw = write(tmp_path / "a.npz").read_bytes(), np.random.default_rng(0)
    for at in draw.integers(0, len(content), 300):
        changed = bytearray(content)
        changed[at] ^= 1 << int(draw.integers(8))
        (tmp_path / "a.npz").write_bytes(changed)
        try:
            found = read_npz(tmp_path / "a.npz", LAYOUTS)
        except Damaged as error:
            assert "\n" not in str(error)
        else:
            assert (found["poses"] == 1).all() and found["found"].all()


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[]", b"{}", b"[" * 100_000, b'{"a": ' * 9999, b'{"a": 1']
)
def test_json_that_is_none_is_refused_in_one_sentence(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(Damaged, match="run.json cannot be read"):
        read_json(path, a=int)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"size": "128"}, "size is '128', not <class 'int'>"),
        ({"size": True}, "size is True"),
        ({"size": 128, "focal": float("nan")}, "focal is nan"),
        ({"size": 128, "focal": 1e3, "schema": 4}, "schema is 4, not 5"),
        ({"size": 128, "focal": 3}, "KeyError: 'schema'"),
    ],
)
def test_what_a_json_file_says_has_its_type_or_value(tmp_path, content, said):
    path, layout = tmp_path / "person.json", {"size": int, "focal": float, "schema": 5}
    path.write_text(json.dumps(content))
    with pytest.raises(Damaged, match=re.escape(said)):
        read_json(path, **layout)
    write_json(path, {"size": 1, "focal": 2, "schema": 5, "more": [np.float32(0.5)]})
    assert read_json(path, **layout)["focal"] == 2
    path.write_text(path.read_text().replace("0.5", "0.6"))
    with pytest.raises(Damaged, match="it was changed"):
        read_json(path, **layout)


def test_a_picture_is_of_the_size_that_is_asked_for_before_it_is_decoded(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    path = tmp_path / "a.png"
    write_image(path, picture)
    assert np.array_equal(read_image(path, 8), picture)
    content = bytearray(path.read_bytes())
    with pytest.raises(Damaged, match="it has \\(8, 8\\) RGB pixels, not 9 x 9"):
        read_image(path, 9)
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(Damaged, match="a.png cannot be read"):
        read_image(path, 8)
    content[16:24] = b"\0\1\0\0" * 2  # it says 65536 x 65536
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4)
    path.write_bytes(content)
    with pytest.raises(Damaged, match="a.png cannot be read"):
        read_image(path, 8)


def test_json_of_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"a": 1}))
    assert read_json(path, a=int) == {"a": 1}
    os.truncate(path, 2**30)  # a hole, no bytes on the disk
    with pytest.raises(Damaged, match="more than"):
        read_json(path, a=int)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")
