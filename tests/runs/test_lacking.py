"""What the machine lacks - room, rights, memory - is one sentence, and nothing is half written."""

import contextlib
import resource

import av
import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from test_training import Line, run, weights_of
from torch import nn

from geneface_kit.person import clip
from geneface_kit.runs import replacing, training, weights, write_json
from geneface_kit.runs.arrays import read_npz, write_image, write_npy, write_npz
from geneface_kit.runs.files import Lacking, enough, readable

LARGE = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)


@contextlib.contextmanager
def files_of_at_most(n_bytes: int):
    """What a full disk is to one process: no file may be longer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WRITERS = {
    "a.npz": lambda path: write_npz(path, values=LARGE),
    "a.npy": lambda path: write_npy(path, LARGE),
    "a.png": lambda path: write_image(path, LARGE),
    "a.json": lambda path: write_json(path, {"values": LARGE}),
    "a.safetensors": lambda path: weights.save_weights(path, nn.Linear(300, 300)),
    "a_checkpoint.safetensors": lambda path: weights.save_nested(path, {"m": torch.ones(90_000)}),
    "a.wav": lambda path: clip.write_audio(path, np.sin(np.arange(2e5)).astype(np.float32)),
    "a.mp4": lambda path: clip.write_video(path, [LARGE] * 4, np.zeros(2560, np.float32)),
}


def caused(error: Exception, cause: Exception) -> Exception:
    """As `raise error from cause` leaves it."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_cannot_be_written_whole_leaves_what_was_there(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"what was there")
    with files_of_at_most(2**15), pytest.raises(Lacking) as caught:
        WRITERS[name](path)
    assert "\n" not in str(caught.value) and "and run the same command again" in str(caught.value)
    assert [*tmp_path.iterdir()] == [path] and path.read_bytes() == b"what was there"
    WRITERS[name](path)
    assert path.stat().st_size > 2**15


def test_a_training_whose_checkpoint_finds_no_room_goes_on_after_the_last_one(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(training, "CHECKPOINT_S", 0.0)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = Line()
    run(whole, tmp_path / "a")
    with pytest.raises(MemoryError):
        run(Line(kill_at=20), tmp_path / "b")
    kept = (tmp_path / "b" / "line_checkpoint.safetensors").read_bytes()
    with files_of_at_most(1000), pytest.raises(Lacking):
        run(Line(), tmp_path / "b")
    assert (tmp_path / "b" / "line_checkpoint.safetensors").read_bytes() == kept
    again = Line()
    run(again, tmp_path / "b")
    assert torch.equal(weights_of(whole), weights_of(again))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "the disk is full"),
        (OSError("270000 requested and 32640 written"), "the disk is full"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (OSError(30, "Read-only file system"), "nothing can be written there"),
        (PermissionError(13, "Permission denied"), "permission is denied"),
        (MemoryError(), "there is not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "there is not enough memory"),
        (RuntimeError("can't start new thread"), "not enough memory for another thread"),
        (
            caused(
                RuntimeError("Failed to load the shared library '/a/warp.so'"),
                OSError("/a/warp.so: failed to map segment from shared object"),
            ),
            "Warp found not enough memory to start",
        ),
        (
            Exception("Failed to load CPU module 'fused' (no symbol)"),
            "not enough memory for its kernels",
        ),
        (Exception("CPU kernel build failed with error code 1"), "memory to build its kernels"),
        (av.error.ExternalError(-1, "in a library", 'open("libx264")'), "memory to encode a video"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "not enough memory"),
    ],
)
def test_what_libraries_say_of_the_machine_is_one_sentence_of_ours(tmp_path, error, said):
    for inside in (replacing, readable, enough):
        with pytest.raises(Lacking, match=f"a.npz: .*{said}") as caught, inside(tmp_path / "a.npz"):
            raise error
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("a bug stays one"),
        FileNotFoundError("no recording at Memory/alloc.wav"),
        ValueError("Memory/alloc.wav is not a readable media file"),
        PermissionError("nothing can be written in /Memory"),
        FileNotFoundError(2, "No such file or directory", "Memory/alloc.wav"),
    ],
)
def test_what_is_no_fault_of_the_machine_stays_what_it_is(tmp_path, error):
    with pytest.raises(type(error)) as caught, enough(tmp_path):
        raise error
    assert caught.value is error


def test_a_file_that_must_not_be_read_is_named(tmp_path, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("geneface_kit.runs.arrays.zipfile.ZipFile", denied)
    with pytest.raises(Lacking, match="a.npz: permission is denied: allow it"):
        read_npz(tmp_path / "a.npz")
