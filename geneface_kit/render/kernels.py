"""Kernels: how Warp kernels are compiled, kept and launched, one source on CPU and CUDA alike.

Warp carries its compilers: nothing but the wheel is needed, and what was compiled once is kept in
Warp's cache on the machine. On CUDA a thread does one ray, sample or cell, and table gradients are
summed with atomics, so that trainings repeat only on a CPU. The kernels have been compiled for CUDA
(tests), and not yet run on a GPU. What is C++ in a header (`launch_blocks`) is for CPUs alone.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import cache, wraps
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar, no_type_check

import torch
import warp as wp

log = logging.getLogger(__name__)

LANES = 16  # items that a CPU's thread handles side by side: float32 in its widest register
SMALL = 2048  # items of a launch that are not worth sharing between processor cores

Result = TypeVar("Result")
_LOADING = RLock()
_THREADS: ContextVar[int] = ContextVar("threads", default=0)


def once(make: Callable[..., Result]) -> Callable[..., Result]:
    """Keeps what make(*arguments) gave, as functools.cache does, and never makes it twice.

    Pictures are rendered on several threads, and Warp neither starts nor loads a module safely on
    two at a time: the second finds the first one's half-built module.
    """
    kept = cache(make)

    @wraps(make)
    def call(*arguments: Any) -> Result:
        with _LOADING:
            return kept(*arguments)

    return call


def arrays(kernel: wp.Kernel, values: Sequence[Any]) -> list[Any]:
    """A loaded kernel's first arguments with tensors as it sees them, not copied: rows of three as
    vectors where it declares vectors.

    They become Warp's bare descriptions of the memory, with the tensor tied to each: a wp.array
    takes four times as long to make, and a picture needs a thousand.
    """
    found = list(values)
    for place, (value, told) in enumerate(zip(values, kernel.adj.args, strict=False)):
        if isinstance(value, torch.Tensor):
            detached = value.detach()
            found[place] = wp.from_torch(detached, dtype=told.type.dtype, return_ctype=True)
            found[place].owner = value
    return found


def launch(
    kernel: wp.Kernel, n: int, inputs: Sequence[Any], device: torch.device, *, lanes: int = 1
) -> None:
    """Runs a kernel over n items; on a CPU the cores share them in contiguous parts.

    inputs: numbers and contiguous tensors. The kernel's last argument is `first`, the number of its
    first thread. lanes: how many items a thread handles together.
    """
    if not n:
        return
    kernel, where = loaded(kernel, device), wp.device_from_torch(device)
    inputs = arrays(kernel, inputs)
    n_items = -(-n // lanes)
    n_parts = n_threads() if device.type == "cpu" and n > SMALL else 1

    def part(number: int) -> None:
        first, end = (n_items * k // n_parts for k in (number, number + 1))
        wp.launch(kernel, dim=end - first, inputs=[*inputs, first], device=where)

    on_threads(part, n_parts)


def launch_blocks(source: str, n_blocks: int, sizes: dict[str, int], **values: Any) -> None:
    """Runs a kernel of a CPU whose body, for one block of its work, is C++: `fused.h`, then the
    file `source`. Each core takes every so-manieth block: heavy ones lie side by side.

    sizes: macros of the source (AMX, HALF: bfloat16 tiles, 0 unless given). values: what it reads
    and writes as `given.NAME`: tensors, flat there, and numbers, which must be float or int as it
    wants them. The source is also told `block` and `part`, the number of its thread.
    """
    if not n_blocks:
        return
    _start()
    sizes = {"LEVELS": 1, "HIDDEN": 8, "AMX": 0} | sizes
    sizes = {"HALF": sizes["AMX"]} | sizes
    for name, value in values.items():
        if isinstance(value, torch.Tensor):
            values[name] = wp.from_torch(value.detach().contiguous().view(-1))
    kinds = tuple((name, getattr(value, "dtype", type(value))) for name, value in values.items())
    kernel, given = _block_kernel(source, kinds, tuple(sizes.items()))
    kernel, filled = loaded(kernel, torch.device("cpu")), given()
    for name, value in values.items():
        setattr(filled, name, value)
    n_parts = min(n_threads(), n_blocks)

    def part(number: int) -> None:
        n = len(range(number, n_blocks, n_parts))
        wp.launch(kernel, dim=n, inputs=[filled, number, n_parts], device="cpu")

    on_threads(part, n_parts)


def n_threads() -> int:
    """Threads of a CPU that share a launch: torch's, `small_operations` or not."""
    return _THREADS.get() or torch.get_num_threads()


@contextlib.contextmanager
def small_operations() -> Iterator[None]:
    """Lets torch work on one thread, where what is large is in kernels, which keep all theirs: to
    wake another thread takes longer than a small operation."""
    before, token = torch.get_num_threads(), _THREADS.set(n_threads())
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _THREADS.reset(token)


def on_threads(part: Callable[[int], None], n_parts: int) -> None:
    """Calls part(0) ... part(n_parts - 1), each on a thread: kernels run without Python's lock."""
    jobs = [_pool(n_parts - 1).submit(part, number) for number in range(1, n_parts)]
    part(0)
    for job in jobs:
        job.result()


@once
def _block_kernel(source: str, kinds: tuple, sizes: tuple) -> tuple[wp.Kernel, Any]:
    """The kernel of a source, and the Warp struct that it is given."""
    types = {name: kind if kind in (int, float) else wp.array(dtype=kind) for name, kind in kinds}
    given = wp.struct(type(Path(source).stem, (), {"__annotations__": types}))
    defined = [f"#define {name} {number}" for name, number in sizes]
    parts = [Path(__file__).with_name(part).read_text() for part in ("fused.h", source)]
    code = "\n".join([*defined, *parts])

    @no_type_check
    @wp.func_native(code)
    def body(given: given, block: int, part: int): ...

    @no_type_check
    @wp.kernel(name=Path(source).stem, enable_backward=False, module="unique")
    def blocks(given: given, first: int, stride: int):
        body(given, first + stride * wp.tid(), first)

    return blocks, given


@once
def loaded(kernel: wp.Kernel, device: torch.device) -> wp.Kernel:
    """The kernel, its module compiled for the device: once per machine, then read from disk."""
    _start()
    module, where = kernel.module, wp.device_from_torch(device)
    kept = Path(wp.config.kernel_cache_dir).glob(f"wp_{module.name}_*/*")
    endings = (".o",) if device.type == "cpu" else (".ptx", ".cubin")
    if not any(path.suffix in endings for path in kept):
        text = "compiling the renderer's kernels %s for %s: once per machine, kept in Warp's cache"
        log.info(text, module.name.rsplit(".", 1)[-1], where)
    wp.load_module(module, device=where)
    return kernel


@once
def _pool(n_threads: int) -> ThreadPoolExecutor:
    """Threads for CPU launches: a launch releases Python's lock while the kernel runs."""
    return ThreadPoolExecutor(n_threads, thread_name_prefix="kernel")


@once
def _start() -> None:
    """Warp, without its greeting."""
    wp.config.log_level = wp.LOG_ERROR
    with contextlib.nullcontext() if torch.cuda.is_available() else muted():
        wp.init()


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Keeps what Warp and torch's profiler write past Python's stderr from the screen."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
