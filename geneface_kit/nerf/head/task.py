"""Training of a head field on a person's views."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from geneface_kit.metrics.formulas import psnr_of_error
from geneface_kit.nerf.head import lips
from geneface_kit.nerf.head.config import HeadConfig
from geneface_kit.nerf.head.field import BOX, HeadField, make_field
from geneface_kit.nerf.views import HEAD, Pixels, Views
from geneface_kit.person import camera
from geneface_kit.person.mouth import mouth_opening
from geneface_kit.render.pruning import mark_visible
from geneface_kit.runs import training

__all__ = ["HeadTask", "watched_frame"]

PATCH = 16
"""Edge of the patches of lips that the lips stage compares, pixels."""


class HeadTask(training.Task):
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
        self.on_look: Callable[[int, np.ndarray, float], None] | None = None
        """Told of every held-out look: updates made, (h, w, 3) uint8 head over plate, PSNR."""
        self.lips_loss = lips.chosen(self.config.lips_loss)
        self.unlike = lips.comparison(self.lips_loss, views.device)

    @staticmethod
    def make(config: HeadConfig, views: Views, generator: torch.Generator) -> "HeadTask":
        """A new field for a person: its landmark statistics, and the cells its cameras see."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            n_speech = views.person.speech.features.shape[1]
            field = make_field(config, views.n_train, n_speech).to(views.device)
        occupancy = field.occupancy
        field.learn_statistics(views.track(config.driven_by)[: views.n_train])
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
        pixels, n_patches = self._drawn(index, generator)
        offsets = torch.rand(len(pixels.at), generator=generator).to(views.device)
        behind = torch.rand(len(pixels.at), 3, generator=generator).to(views.device)
        found = self.field.render(views.rays(pixels), self._field_of(pixels), offsets=offsets)
        target = torch.where(pixels.is_head[:, None], pixels.colour, behind)
        drawn = found.over(behind)
        image = functional.mse_loss(drawn, target)
        entropy = _entropy(found.alpha)
        ambient = (found.ambient * ~pixels.in_face).mean()
        spread = BOX**2 * found.depth_variance.mean()
        ramp = min(1.0, index / max(1, config.steps))
        loss = image + config.entropy_weight * entropy + ramp * config.ambient_weight * ambient
        loss = loss + ramp * config.spread_weight * spread
        if n_patches:
            unlike = self.unlike(_patches(drawn, n_patches), _patches(target, n_patches))
            loss = loss + config.lips_weight * unlike
        self.optimizers["adam"].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers["adam"].step()
        n_samples = int(found.n_samples.sum())
        growth = 0.8 + 0.2 * config.n_samples / max(n_samples, 1)
        self.n_rays = min(max(self.n_rays * growth, 256.0), float(config.n_samples))
        losses = {"loss": loss, "image": image, "ambient": ambient, "spread": spread}
        if n_patches:
            losses["lips"] = unlike
        measures = {name: float(value.detach()) for name, value in losses.items()}
        return measures | {"rays": float(len(pixels.at)), "samples": float(n_samples)}

    def shares(self, index: int) -> tuple[float, float]:
        """Parts of an update's rays that come from the lip and from the face rectangle.

        In the lips stage the lips take theirs from face and rest alike.
        """
        of_lips, face = self.config.lip_share, self.config.face_share
        if not _in_lips_stage(self.config, index):
            return of_lips, face
        kept = (1 - self.config.lips_stage_share) / max(1 - of_lips, 1e-6)
        return self.config.lips_stage_share, face * kept

    def validate(self, index: int) -> dict[str, float]:
        """Held-out PSNR of a few frames, head and lips; the score is the head's squared error."""
        frames = self.views.held_out(4)
        pictures = {frame: self.picture(frame) for frame in frames}
        errors = [self.errors(frame, pictures[frame]) for frame in frames]
        head, lips = (sum(values) / len(values) for values in zip(*errors, strict=True))
        if self.on_look:
            shown = watched_frame(self.views)
            found = (255 * pictures[shown].clamp(0, 1)).round().to(torch.uint8).cpu().numpy()
            self.on_look(index + 1, found, psnr_of_error(errors[frames.index(shown)][0]))
        return {"score": head, "head_psnr": psnr_of_error(head), "lip_psnr": psnr_of_error(lips)}

    def picture(self, frame: int) -> Float[Tensor, "h w 3"]:
        """The head of a frame, rendered from its landmarks, over the plate."""
        views = self.views
        window = views.windows(torch.tensor([frame]), self.config)[0]
        found = self.field.image(window, views.poses[frame], views.focal, views.size)
        plate = torch.from_numpy(np.array(views.person.background)).to(views.device).float() / 255
        return found.colour + (1 - found.alpha)[..., None] * plate

    def errors(self, frame: int, picture: Float[Tensor, "h w 3"]) -> tuple[float, float]:
        """Mean squared error of a frame's picture over its head's pixels, and those at the lips."""
        views = self.views
        rows, columns = np.nonzero(np.asarray(views.person.labels[frame] == HEAD))
        at = torch.from_numpy(np.stack([columns, rows], -1))
        pixels = views.read(torch.tensor([frame]), torch.zeros(len(at), dtype=torch.long), at)
        squared = (picture[rows, columns] - pixels.colour).square().mean(-1)
        lips = squared[pixels.in_lips]
        return float(squared.mean()), float(lips.mean() if len(lips) else squared.mean())

    def state(self) -> dict[str, Tensor]:
        return {"n_rays": torch.tensor(self.n_rays, dtype=torch.float64)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.n_rays = float(state["n_rays"])

    def _field_of(self, pixels: Pixels) -> Callable:
        """The field under what drives each pixel's frame. Lip pixels take the mean code, so
        that no code can explain the shape of the mouth."""
        windows = self.views.windows(pixels.frames, self.config)
        codes = self.field.codes[pixels.frames[pixels.frame_of_pixel]]
        codes = torch.where(pixels.in_lips[:, None], self.field.mean_code(), codes)
        return self.field.at(self.field.condition(windows), codes, pixels.frame_of_pixel)

    def _drawn(self, index: int, generator: torch.Generator) -> tuple[Pixels, int]:
        """The pixels of an update, and how many patches of lips stand at their end.

        In the lips stage the lips' share comes in patches, as far as whole ones go. Differs from
        the official code, which then renders the whole lip rectangle of one frame, every second
        update, without any pixel of the rest.
        """
        n_rays, (of_lips, face) = int(self.n_rays), self.shares(index)
        n_patches = 0
        if self.unlike and _in_lips_stage(self.config, index):
            n_patches = max(1, int(of_lips * n_rays) // PATCH**2)
        n_single = max(1, n_rays - n_patches * PATCH**2)
        single = max(0.0, of_lips * n_rays - n_patches * PATCH**2) / n_single
        shares = (single, min(1 - single, face * n_rays / n_single))
        pixels = self.views.draw(self.config.n_frames, n_single, shares, generator)
        if n_patches:
            pixels = pixels.beside(self.views.draw_lips(n_patches, PATCH, generator))
        return pixels, n_patches

    def _set_rate(self, index: int) -> None:
        config = self.config
        decay = config.lr_final ** (index / max(1, config.steps))
        rates = (config.lr_grid, config.lr_network, config.lr_condition)
        for group, rate in zip(self.optimizers["adam"].param_groups, rates, strict=True):
            group["lr"] = rate * decay

    @torch.no_grad()
    def _update_occupancy(self, generator: torch.Generator) -> None:
        """Density under one random frame's condition; then what light reaches in random frames."""
        config, field, views = self.config, self.field, self.views
        frame = torch.randint(views.n_train, (1,), generator=generator)
        condition = field.condition(views.windows(frame, config))
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
            mark_visible(field.occupancy, origins, rays.directions, step=step, decay=decay)
            field.occupancy.cull_invisible()


def _in_lips_stage(config: HeadConfig, index: int) -> bool:
    return index >= (1 - config.lips_stage) * config.steps


def _patches(colour: Tensor, n: int) -> Tensor:
    """The last n patches among the colours (r, 3) of rays, (n, 3, PATCH, PATCH)."""
    return colour[-n * PATCH**2 :].view(n, PATCH, PATCH, 3).permute(0, 3, 1, 2)


def watched_frame(views: Views) -> int:
    """The held-out frame that is shown while a head learns: the widest mouth of four."""
    frames = views.held_out(4)
    return frames[int(mouth_opening(views.landmarks[frames].cpu().numpy()).argmax())]


def _entropy(alpha: Tensor) -> Tensor:
    """Mean binary entropy of opacities, in bits: 0 for clear or solid, 1 for half."""
    p = alpha.clamp(1e-5, 1 - 1e-5)
    return -(p * torch.log2(p) + (1 - p) * torch.log2(1 - p)).mean()
