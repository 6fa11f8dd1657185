"""Training of a torso field behind a finished head."""

import dataclasses

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from geneface_kit.nerf.head import HeadField
from geneface_kit.nerf.torso import sway
from geneface_kit.nerf.torso.config import TorsoConfig
from geneface_kit.nerf.torso.field import TorsoField, unit_pixels
from geneface_kit.nerf.views import Views
from geneface_kit.runs import training

__all__ = ["TorsoTask"]


class TorsoTask(training.Task):
    """Trains a torso field behind a finished head.

    The head is rendered once for some frames. As in the head's training the background is random;
    the torso pictures of the person (painted over behind the head) are the target.
    """

    def __init__(
        self, field: TorsoField, views: Views, head: HeadField, seen: sway.Sway | None = None
    ):
        self.field, self.views, self.config = field, views, field.config
        self.modules = {"torso": field}
        others = [p for p in field.parameters() if p is not field.grid.table]
        groups = [
            {"params": [field.grid.table], "lr": self.config.lr_grid},
            {"params": others, "lr": self.config.lr_network},
        ]
        adam = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15, fused=True)
        self.optimizers = {"adam": adam}
        n = min(self.config.n_head_frames, views.n_train)
        self.frames = torch.linspace(0, views.n_train - 1, n).round().long()
        self.heads = self._heads(head) if self.config.head_aware else None
        self.pixels = field.occupied.nonzero().flip(-1).cpu()
        self.seen = seen
        self.shifts = None if seen is None else seen.at(self.frames).to(views.device)

    @staticmethod
    def make(
        config: TorsoConfig, views: Views, head: HeadField, generator: torch.Generator
    ) -> "TorsoTask":
        """A new field: the statistics of the poses, and the pixels where a torso is ever seen.

        A torso that cannot be followed is bent by the pose, as without `sway`.
        """
        seen = sway.learn(views.person, views.n_train) if config.sway else None
        config = dataclasses.replace(config, sway=seen is not None)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            field = TorsoField(config, views.n_train, views.size).to(views.device)
        numbers = field.raw_pose(views.poses[: views.n_train])
        field.pose_mean.copy_(numbers.mean(0))
        field.pose_std.copy_(numbers.std(0, correction=0).clamp(min=1e-3))
        ever = np.zeros((views.size, views.size), bool)
        for frame in range(0, views.n_train, max(1, views.n_train // 100)):
            ever |= np.asarray(views.person.torso[frame][..., 3]) > 0
        reach = 2 * (views.size // 64) + 1
        wide = functional.max_pool2d(torch.from_numpy(ever)[None].float(), reach, 1, reach // 2)
        field.occupied.copy_(wide[0] > 0)
        if not ever.any():
            raise ValueError(f"person {views.person.name} has no torso pixel; prepare it again")
        if seen is not None:
            field.sway_map.copy_(seen.weights)
            field.sway_limit.copy_(2 * seen.shifts.abs().amax(0))
        return TorsoTask(field, views, head, seen)

    def step(self, index: int, generator: torch.Generator) -> dict[str, float]:
        config, views = self.config, self.views
        decay = config.lr_final ** (index / max(1, config.steps))
        rates = (config.lr_grid, config.lr_network)
        for group, rate in zip(self.optimizers["adam"].param_groups, rates, strict=True):
            group["lr"] = rate * decay
        n = config.n_pixels
        slot = torch.randint(len(self.frames), (n,), generator=generator)
        at = self.pixels[torch.randint(len(self.pixels), (n,), generator=generator)]
        rgba = views.person.torso[self.frames[slot].numpy(), at[:, 1].numpy(), at[:, 0].numpy()]
        target = torch.from_numpy(rgba).to(views.device).float() / 255
        told = torch.rand(n, 1, generator=generator) < 0.5  # half learn to do without (official)
        seen = torch.zeros(n, 4)
        if self.heads is not None:
            seen = told * self.heads[slot, at[:, 1], at[:, 0]].float() / 255
        behind = torch.rand(n, 3, generator=generator).to(views.device)
        slot, at, seen = (values.to(views.device) for values in (slot, at, seen))
        codes = self.field.codes[self.frames.to(views.device)]
        found = self.field(
            unit_pixels(at, views.size),
            views.poses[self.frames.to(views.device)],
            codes,
            seen,
            slot,
            self.shifts,
        )
        image = functional.mse_loss(
            _over(*found, behind), _over(target[:, :3], target[:, 3], behind)
        )
        p = found[1].clamp(1e-5, 1 - 1e-5)
        entropy = -(p * torch.log2(p) + (1 - p) * torch.log2(1 - p)).mean()
        loss = image + config.entropy_weight * entropy
        self.optimizers["adam"].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers["adam"].step()
        return {"loss": float(loss.detach()), "image": float(image.detach())}

    @torch.no_grad()
    def _heads(self, head: HeadField) -> Tensor:
        """The head's colour and opacity in the training frames, (k, h, w, 4) uint8."""
        views, rendered = self.views, []
        head.train(False)
        for frame in self.frames.tolist():
            window = views.windows(torch.tensor([frame]), head.config)[0]
            image = head.image(window, views.poses[frame], views.focal, views.size)
            rgba = torch.cat([image.colour, image.alpha[..., None]], dim=-1)
            rendered.append((rgba * 255).round().clamp(0, 255).to(torch.uint8).cpu())
        return torch.stack(rendered)


def _over(colour: Tensor, alpha: Tensor, behind: Tensor) -> Tensor:
    return alpha[:, None] * colour + (1 - alpha)[:, None] * behind
