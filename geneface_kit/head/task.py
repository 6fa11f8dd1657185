"""Training of a head field on a person's views."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from geneface_kit import camera, fitting
from geneface_kit.head.config import HeadConfig
from geneface_kit.head.field import BOX, HeadField, make_field
from geneface_kit.views import HEAD, Pixels, Views, psnr, windows_of

__all__ = ["HeadTask"]


class HeadTask(fitting.Task):
    """Trains a head field on a person's views.

    Each update draws rays of a few frames, more of them at the lips and the face; puts a random
    colour behind the head, so that opacity is learned from the mask and not from the plate; and
    keeps the number of field samples, not of rays, constant.
    """

    def __init__(self, field: HeadField, views: Views):
        self.field, self.views, self.config = field, views, field.config
        self.modules = {"head": field}
        groups = [{"params": parameters} for parameters in field.parameter_groups()]
        adam = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15, fused=True)
        self.optimizers = {"adam": adam}
        self.n_rays = 1024.0

    @staticmethod
    def make(config: HeadConfig, views: Views, generator: torch.Generator) -> "HeadTask":
        """A new field for a person: its landmark statistics, and the cells its cameras see."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            field = make_field(config, views.n_train).to(views.device)
        occupancy = field.occupancy
        field.learn_statistics(views.landmarks[: views.n_train])
        cell = BOX / occupancy.resolution
        points = camera.from_box(occupancy.centres()).cpu()
        occupancy.restrict(views.hull(points, reach=cell).to(views.device))
        if not bool(occupancy.bits.any()):
            raise ValueError(
                f"the head of person {views.person.name} lies outside the head box of the camera "
                "model; check poses and focal length, prepare the person again"
            )
        return HeadTask(field, views)

    def step(self, index: int, generator: torch.Generator) -> dict[str, float]:
        config, views = self.config, self.views
        self._set_rate(index)
        if index % (8 if index < 512 else 32) == 0:
            self._update_occupancy(generator)
        pixels = views.draw(config.n_frames, int(self.n_rays), self.shares(index), generator)
        offsets = torch.rand(len(pixels.at), generator=generator).to(views.device)
        behind = torch.rand(len(pixels.at), 3, generator=generator).to(views.device)
        found = self.field.render(views.rays(pixels), self._field_of(pixels), offsets=offsets)
        target = torch.where(pixels.is_head[:, None], pixels.colour, behind)
        image = functional.mse_loss(found.over(behind), target)
        entropy = _entropy(found.alpha)
        ambient = (found.extra * ~pixels.in_face).mean()
        spread = BOX**2 * found.spread.mean()
        ramp = min(1.0, index / max(1, config.steps))
        loss = image + config.entropy_weight * entropy + ramp * config.ambient_weight * ambient
        loss = loss + ramp * config.spread_weight * spread
        self.optimizers["adam"].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers["adam"].step()
        n_samples = int(found.n_samples.sum())
        growth = 0.8 + 0.2 * config.n_samples / max(n_samples, 1)
        self.n_rays = min(max(self.n_rays * growth, 256.0), float(config.n_samples))
        return {
            "loss": float(loss.detach()),
            "image": float(image.detach()),
            "ambient": float(ambient.detach()),
            "spread": float(spread.detach()),
            "rays": float(len(pixels.at)),
            "samples": float(n_samples),
        }

    def shares(self, index: int) -> tuple[float, float]:
        """Parts of an update's rays that come from the lip and from the face rectangle.

        In the lips stage the lips take theirs from face and rest alike. Differs from the official
        code, whose last stage renders the lip rectangle whole with LPIPS, in place of pixels.
        """
        lips, face = self.config.lip_share, self.config.face_share
        if index < (1 - self.config.lips_stage) * self.config.steps:
            return lips, face
        kept = (1 - self.config.lips_stage_share) / max(1 - lips, 1e-6)
        return self.config.lips_stage_share, face * kept

    def validate(self, index: int) -> dict[str, float]:
        """Held-out PSNR of a few frames, head and lips; the score is the head's squared error."""
        errors = [self.errors(frame) for frame in self.views.held_out(4)]
        head, lips = (sum(values) / len(values) for values in zip(*errors, strict=True))
        return {"score": head, "head_psnr": psnr(head), "lip_psnr": psnr(lips)}

    def errors(self, frame: int) -> tuple[float, float]:
        """Mean squared error of one frame over head pixels and over lip pixels of the head."""
        views = self.views
        window = windows_of(views.landmarks, torch.tensor([frame]), self.config.attention_frames)[0]
        found = self.field.image(window, views.poses[frame], views.focal, views.size)
        rows, columns = np.nonzero(np.asarray(views.person.labels[frame] == HEAD))
        at = torch.from_numpy(np.stack([columns, rows], -1))
        pixels = views.read(torch.tensor([frame]), torch.zeros(len(at), dtype=torch.long), at)
        plate = torch.from_numpy(views.person.plate[rows, columns]).to(views.device).float() / 255
        colour = found.colour[rows, columns] + (1 - found.alpha[rows, columns])[:, None] * plate
        squared = (colour - pixels.colour).square().mean(-1)
        lips = squared[pixels.in_lips]
        return float(squared.mean()), float(lips.mean() if len(lips) else squared.mean())

    def state(self) -> dict[str, Tensor]:
        return {"n_rays": torch.tensor(self.n_rays, dtype=torch.float64)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.n_rays = float(state["n_rays"])

    def _field_of(self, pixels: Pixels) -> Callable:
        """The field under the landmarks of each pixel's frame. Lip pixels take the mean code, so
        that no code can explain the shape of the mouth."""
        windows = windows_of(self.views.landmarks, pixels.frames, self.config.attention_frames)
        codes = self.field.codes[pixels.frames[pixels.frame_of_pixel]]
        codes = torch.where(pixels.in_lips[:, None], self.field.mean_code(), codes)
        return self.field.at(self.field.condition(windows), codes, pixels.frame_of_pixel)

    def _set_rate(self, index: int) -> None:
        config = self.config
        decay = config.lr_final ** (index / max(1, config.steps))
        rates = (config.lr_grid, config.lr_network, config.lr_condition)
        for group, rate in zip(self.optimizers["adam"].param_groups, rates, strict=True):
            group["lr"] = rate * decay

    @torch.no_grad()
    def _update_occupancy(self, generator: torch.Generator) -> None:
        """Density under one random frame's landmarks; then what light reaches in random frames."""
        config, field, views = self.config, self.field, self.views
        frame = torch.randint(views.n_train, (1,), generator=generator)
        condition = field.condition(windows_of(views.landmarks, frame, config.attention_frames))
        threshold = 0.1 * BOX / config.step_length  # a tenth of an optical depth per step
        field.occupancy.update(
            lambda points: field.density(points, condition),
            generator=generator,
            threshold=threshold,
        )
        if config.cull == "visible":
            rays = self.views.rays(views.draw(config.n_frames, 4096, (0.0, 0.3), generator))
            step = 0.7 / field.occupancy.resolution
            origins, decay = camera.to_box(rays.origins), config.occupancy_decay
            field.occupancy.look(origins, rays.directions, step=step, decay=decay)
            field.occupancy.hide_unseen()


def _entropy(alpha: Tensor) -> Tensor:
    """Mean binary entropy of opacities, in bits: 0 for clear or solid, 1 for half."""
    p = alpha.clamp(1e-5, 1 - 1e-5)
    return -(p * torch.log2(p) + (1 - p) * torch.log2(1 - p)).mean()
