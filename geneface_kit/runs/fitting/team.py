"""Team: one process, or several on the devices of one machine that train one network together.

Every process draws the same batch from the same generator and runs the network on its part of it.
Outputs are gathered, so each process computes the losses of the whole batch; gradients are
averaged. Masks, counts and random windows are those of one process, and so are the losses.
Lightning Fabric starts the processes and carries what they exchange (the extra `multi`); one
process alone does not need it. On CUDA nothing of this has been run yet: it is tested on the CPU.
"""

import contextlib
import functools
import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Team", "launch", "precision_on"]

CLIP = 1.0
"""Largest norm of a network's gradient (code)."""


class Team:
    """What a task asks of the processes it is trained by.

    fabric: a Lightning Fabric that has been launched; None is this process alone, on CUDA when
    there is a device. precision: Lightning's name of it; None chooses by `precision_on`.
    """

    def __init__(self, fabric: Any = None, *, precision: str | None = None) -> None:
        self._fabric, self._precision = fabric, precision

    @property
    def rank(self) -> int:
        """Which process this is, from 0; the first one writes files and validates."""
        return self._fabric.global_rank if self._fabric else 0

    @property
    def size(self) -> int:
        """How many processes there are."""
        return self._fabric.world_size if self._fabric else 1

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        if self._fabric:
            return self._fabric.device
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def precision(self) -> str:
        """The precision in force: "bf16-mixed" or "32-true"."""
        return self._precision or precision_on(self.device.type)

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """The context networks run in; outputs leave it through `whole`, in float32."""
        mixed = self.precision == "bf16-mixed"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=mixed)

    def part(self, values: Tensor) -> Tensor:
        """This process' rows of a batch that all have: an equal share, in the order of ranks.

        Raises: ValueError when the rows cannot be shared out equally.
        """
        if self.size == 1:
            return values
        if len(values) % self.size:
            raise ValueError(
                f"a batch of {len(values)} cannot be shared by {self.size} devices: "
                "choose a batch size that is a multiple of the devices"
            )
        share = len(values) // self.size
        return values[self.rank * share : (self.rank + 1) * share]

    def whole(self, part: Tensor) -> Float[Tensor, "..."]:
        """The rows of all processes, in float32, differentiable.

        Every process computes the same loss from them. Going back, the gradients of these equal
        losses are summed: `size` times the gradient of this part, which `update` averages.
        """
        part = part.float()
        return part if self.size == 1 else self._gathered(part).flatten(0, 1)

    def total(self, values: Tensor) -> Tensor:
        """The sum over processes, differentiable like `whole`."""
        return values if self.size == 1 else self._gathered(values).sum(0)

    def update(self, optimizer: torch.optim.Optimizer, network: nn.Module, loss: Tensor) -> None:
        """One step down the loss, gradients averaged over processes, then clipped to norm 1."""
        optimizer.zero_grad()
        loss.backward()
        parameters = [value for value in network.parameters() if value.grad is not None]
        if self.size > 1:
            flat = torch.cat([value.grad.flatten() for value in parameters])
            mean = self._fabric.all_reduce(flat, reduce_op="mean")
            for value, grad in zip(
                parameters, mean.split([value.numel() for value in parameters]), strict=True
            ):
                value.grad = grad.view_as(value).clone()
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Whether each flag is up in any process, so that all stop at the same update."""
        if self.size == 1:
            return flags
        count = torch.tensor([float(flag) for flag in flags], device=self.device)
        return tuple(self._fabric.all_reduce(count, reduce_op="sum").cpu().gt(0).tolist())

    def told(self, news: Any) -> Any:
        """The first process' value of something, in every process."""
        return news if self.size == 1 else self._fabric.broadcast(news)

    @contextlib.contextmanager
    def joined(self, networks: Iterable[nn.Module]) -> Iterator[None]:
        """While it lasts, batch norms and channel dropouts see the whole batch, not a part.

        Statistics are those of all processes' rows; dropout draws for the whole batch from the
        global generator, which is in the same state everywhere, and takes its part.
        """
        shared = {nn.BatchNorm1d: _norm, nn.Dropout1d: _dropout}
        changed = []
        if self.size > 1:
            layers = [layer for network in networks for layer in network.modules()]
            changed = [layer for layer in layers if type(layer) in shared]
        for layer in changed:
            layer.forward = functools.partial(shared[type(layer)], self, layer)
        try:
            yield
        finally:
            for layer in changed:
                del layer.forward

    def _gathered(self, values: Tensor) -> Tensor:
        return self._fabric.all_gather(values, sync_grads=True)


def precision_on(device: str) -> str:
    """How networks compute on a kind of device: bfloat16 where it is fast, else float32.

    "cuda" gives "bf16-mixed" (weights, losses and updates stay float32), "cpu" "32-true".
    """
    return "bf16-mixed" if device == "cuda" else "32-true"


def launch(devices: int, work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of work(fabric, *arguments) in the first of `devices` new processes.

    They run on CUDA devices when there are any, else on the CPU. work: a function of a module,
    since processes import it; it and its arguments are pickled. What it returns must be small (a
    pipe's 64 kB): networks go into files.
    Raises: ModuleNotFoundError without Lightning Fabric; ValueError when there are fewer CUDA
    devices, or with the words of a process that failed.
    """
    try:
        from lightning_fabric import Fabric
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"training on {devices} devices needs Lightning Fabric: "
            "pip install 'geneface-kit[multi]'"
        ) from None
    n_cuda = torch.cuda.device_count()
    if 0 < n_cuda < devices:
        raise ValueError(f"{devices} devices were asked for, this machine has {n_cuda}")
    kind = "cuda" if n_cuda else "cpu"
    fabric = Fabric(
        accelerator=kind, devices=devices, strategy="ddp_spawn", precision=precision_on(kind)
    )
    try:
        return fabric.launch(_unpacked, pickle.dumps((work, arguments)))
    except torch.multiprocessing.ProcessRaisedException as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"one of {devices} training processes failed: {reason}") from error


def _unpacked(fabric: Any, packed: bytes) -> Any:
    """Runs the work; Fabric looks into arguments and refuses frozen dataclasses, not bytes."""
    work, arguments = pickle.loads(packed)
    return work(fabric, *arguments)


def _norm(team: Team, layer: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Batch norm of (b, c) or (b, c, t) with the statistics of all processes' rows."""
    if not layer.training:
        return nn.BatchNorm1d.forward(layer, x)
    x = x.float()
    axes = [0, *range(2, x.ndim)]
    n = team.size * x.numel() // x.shape[1]
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean = team.total(x.sum(axes)) / n
    centred = x - mean.view(shape)
    variance = team.total((centred**2).sum(axes)) / n
    with torch.no_grad():
        layer.running_mean.lerp_(mean, layer.momentum)
        layer.running_var.lerp_(variance * n / (n - 1), layer.momentum)
        layer.num_batches_tracked += 1
    scale = layer.weight * torch.rsqrt(variance + layer.eps)
    return centred * scale.view(shape) + layer.bias.view(shape)


def _dropout(team: Team, layer: nn.Dropout1d, x: Tensor) -> Tensor:
    """Channel dropout of (b, c, t): the draw for the whole batch, and this process' part of it."""
    if not layer.training or not layer.p:
        return x
    kept = x.new_empty(team.size * len(x), x.shape[1], 1).bernoulli_(1 - layer.p)
    return x * team.part(kept.div_(1 - layer.p))
