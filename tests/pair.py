"""Work for two processes in tests: importable by name, and light, so that they find it soon."""

import numpy as np
import torch
from torch import nn

from geneface_kit.runs.training import Task, fit


class Shared(Task):
    """Fits y = 2x on batches that the processes share out; counts how often it is validated."""

    def __init__(self, fabric):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        adam = torch.optim.Adam(net.parameters(), lr=0.02)
        self.modules, self.optimizers = {"net": net}, {"adam": adam}
        self.fabric, self.looked = fabric, 0
        self.network, self.optimizer = fabric.setup(net, adam) if fabric else (net, adam)

    def step(self, index: int, generator: torch.Generator) -> dict[str, float]:
        x = self.share(torch.randn(16, 1, generator=generator))
        loss = (self.network(x) - 2 * x).square().mean()
        self.update(self.network, self.optimizer, loss)
        return {"loss": loss.item()}

    def validate(self, index: int) -> dict[str, float]:
        self.looked += 1
        return {"score": self.looked}

    def state(self) -> dict[str, torch.Tensor]:
        return {"looked": torch.tensor(self.looked)}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        self.looked = int(state["looked"])


def fitted(fabric, folder, cut: int = 0) -> np.ndarray:
    """All weights after 8 updates, cut in the middle or not, then how often it was looked."""
    folder.mkdir(parents=True, exist_ok=True)
    for steps in filter(None, (cut, 8)):
        task, draw = Shared(fabric), torch.Generator().manual_seed(1)
        fit(task, folder, name="m", steps=steps, generator=draw, validate_every=2)
    values = [value.detach().flatten() for value in task.modules["net"].parameters()]
    return torch.cat([*values, torch.tensor([float(task.looked)])]).numpy()


def in_two(fabric, folder):
    """In each of two processes: an uncut fit with a folder of its own, then a cut one."""
    whole = fitted(fabric, folder / str(fabric.global_rank))
    cut = fitted(fabric, folder / "cut", 4)
    np.savez(folder / f"{fabric.global_rank}.npz", whole=whole, cut=cut)
    fabric.barrier()
