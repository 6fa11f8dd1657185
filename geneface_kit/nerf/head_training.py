"""Head training: a head field learns a person's frames; snapshots show how."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from geneface_kit.nerf import losses
from geneface_kit.nerf.config import AvatarConfig, HeadConfig
from geneface_kit.nerf.dataset import BOX, RayBatch, RayDataset
from geneface_kit.nerf.head import HeadField, make_field
from geneface_kit.nerf.held_out import layer_quality
from geneface_kit.nerf.renderer import HeadRenderer, to_uint8
from geneface_kit.nerf.turned_lips import turned
from geneface_kit.person import camera
from geneface_kit.person.mouth import LIPS, mouth_opening
from geneface_kit.person.segmentation import FREE, SURE_NOT
from geneface_kit.render.kernels import small_operations
from geneface_kit.render.rendering import mark_visible
from geneface_kit.runs import live, training
from geneface_kit.runs.arrays import read_npz, write_npz
from geneface_kit.runs.files import Damaged

FACE_SHARE = 0.3  # part of the rays that are drawn inside the face rectangle (ours)
N_WATCHED = 4  # held-out frames that validation renders
PATCH = 16  # edge of the patches that are compared as wholes, pixels
MOUTH = (0.45, 0.4, 0.35)  # radii, iod, of an ellipsoid about the lips (ours)
FILE = "head_snapshots.npz"
MOST = 8  # snapshots that are kept; of more, every second one is dropped, the newest never


class HeadTask(training.Task):
    """Trains a head field on a person's dataset.

    Each update draws rays of a few frames, more of them at lips and face. Behind the head is a
    random colour, so that opacity is learned from the mask, but where the labels leave it free what
    lies there: any opacity is right that gives the picture. The number of field samples, not of
    rays, is kept constant.
    """

    kept = ("n_rays",)

    def __init__(
        self, field: HeadField, dataset: RayDataset, avatar_config: AvatarConfig | None = None
    ):
        self.field, self.dataset, self.config = field, dataset, field.config
        self.avatar_config, self.modules = avatar_config or AvatarConfig(), {"head": field}
        rates = (self.config.lr_grid, self.config.lr_network, self.config.lr_condition)
        pairs = zip(field.parameter_groups(), rates, strict=True)
        groups = [{"params": list(parameters), "rate": rate} for parameters, rate in pairs]
        self.optimizers = {"adam": torch.optim.Adam(groups, **losses.ADAM)}
        self.n_rays, self.lips_from = 1024.0, (1 - self.config.lips_stage) * self.config.steps
        self.on_snapshot: Callable[[int, np.ndarray, float], None] | None = None
        """Told of every validation: updates made, (h, w, 3) uint8 head over background, PSNR."""
        name = losses.chosen_lips_loss(self.config.lips_loss)
        self.lips_loss = losses.lips_loss(name, dataset.device)
        """Of patches of lips, None for single pixels alone."""
        lips = dataset.landmarks[dataset.usable][:, LIPS].mean((0, 1))
        from_lips = camera.from_box(field.occupancy.centres()) - lips
        self.mouth = (from_lips / lips.new_tensor(MOUTH)).norm(dim=1) < 1
        """Cells of the mouth. Lips mostly hide them: left out, open ones show the background."""

    @staticmethod
    def make(
        config: HeadConfig,
        dataset: RayDataset,
        generator: torch.Generator,
        avatar_config: AvatarConfig | None = None,
    ) -> "HeadTask":
        """A new field for a person: its landmark statistics, and the cells its cameras see."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            n_speech = dataset.person.speech.features.shape[1]
            field = make_field(config, dataset.n_train, n_speech).to(dataset.device)
        occupancy = field.occupancy
        field.learn_statistics(dataset.track(config.driven_by)[dataset.usable])
        cell = BOX / occupancy.resolution
        points = camera.from_box(occupancy.centres()).cpu()
        occupancy.restrict(dataset.hull(points, reach=cell).to(dataset.device))
        if not bool(occupancy.bits.any()):
            raise ValueError(
                f"the head of person {dataset.person.name} lies outside the head box of the camera "
                "model; check poses and focal length, prepare the person again"
            )
        return HeadTask(field, dataset, avatar_config)

    def step(self, index: int, generator: torch.Generator) -> dict[str, float]:
        with small_operations() if self.field.fuses else nullcontext():
            return self._step(index, generator)

    def _step(self, index: int, generator: torch.Generator) -> dict[str, float]:
        config, dataset = self.config, self.dataset
        decay = config.lr_final ** (index / max(1, config.steps))
        for group in self.optimizers["adam"].param_groups:
            group["lr"] = group["rate"] * decay
        if index % (8 if index < 512 else 32) == 0:
            self.update_occupancy(generator)
        pixels, n_patches = self._drawn(index, generator)
        offsets = torch.rand(len(pixels.at), generator=generator).to(dataset.device)
        noise = torch.rand(len(pixels.at), 3, generator=generator).to(dataset.device)
        behind = torch.where((pixels.kinds == FREE)[:, None], dataset.behind(pixels), noise)
        rays = turned(dataset.rays(pixels), pixels, dataset, config.turned_share, generator)
        found = self.field.render(rays, self.field_of(pixels), offsets)
        target = torch.where((pixels.kinds == SURE_NOT)[:, None], behind, pixels.colour)
        drawn = found.over(behind)
        image = losses.photometric_loss(drawn, target)
        entropy = losses.opacity_entropy(found.alpha)
        ambient = losses.ambient_loss(found.ambient, pixels.in_face)
        depth_variance = losses.depth_variance_loss(found.depth_variance, BOX)
        ramp = min(1.0, index / max(1, config.steps))
        loss = image + config.entropy_weight * entropy + ramp * config.ambient_weight * ambient
        loss = loss + ramp * config.depth_variance_weight * depth_variance
        if n_patches:
            lips = self.lips_loss(patches(drawn, n_patches), patches(target, n_patches))
            loss = loss + config.lips_weight * lips
        self.optimizers["adam"].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers["adam"].step()
        n_samples = int(found.n_samples.sum())
        self.n_rays = adapted(self.n_rays, n_samples, config.n_samples)
        terms = {"loss": loss, "image": image, "ambient": ambient}
        terms |= {"depth_variance": depth_variance} | ({"lips": lips} if n_patches else {})
        measures = {name: float(value.detach()) for name, value in terms.items()}
        return measures | {"rays": float(len(pixels.at)), "samples": float(n_samples)}

    def shares(self, index: int) -> tuple[float, float]:
        """Parts of an update's rays that come from the lip and from the face rectangle; in the lips
        stage the lips take theirs from face and rest alike."""
        of_lips = self.config.lip_share
        if index < self.lips_from:
            return of_lips, FACE_SHARE
        kept = (1 - self.config.lips_stage_share) / max(1 - of_lips, 1e-6)
        return self.config.lips_stage_share, FACE_SHARE * kept

    def validate(self, index: int) -> dict[str, float]:
        """Held-out PSNR, head and lips, of a few frames of the head over the background."""
        dataset, frames = self.dataset, self.dataset.held_out(N_WATCHED)
        renderer = HeadRenderer(self.field, self.avatar_config)
        images, background = renderer.of_frames(dataset, frames), dataset.background()
        pictures = [to_uint8(image.over(background)).numpy() for image in images]
        if self.on_snapshot:
            shown = watched_frame(dataset)
            picture = pictures[frames.index(shown)]
            psnr = layer_quality([picture], dataset, [shown]).get("head_psnr", np.nan)
            self.on_snapshot(index + 1, picture, psnr)
        quality = layer_quality(pictures, dataset, frames, head_alone=True)
        return {name: quality[name] for name in ("head_psnr", "lip_psnr") if name in quality}

    def field_of(self, pixels: RayBatch) -> Callable:
        """The field under what drives each pixel's frame. Lip pixels take the mean
        appearance, so that no embedding can explain the shape of the mouth."""
        windows = self.dataset.windows(pixels.frames, self.config)
        appearance = self.field.appearance[pixels.frames[pixels.frame_of_pixel]]
        appearance = torch.where(pixels.in_lips[:, None], self.field.mean_appearance(), appearance)
        return self.field.at(self.field.condition(windows), appearance, pixels.frame_of_pixel)

    def _drawn(self, index: int, generator: torch.Generator) -> tuple[RayBatch, int]:
        """The pixels of an update, and how many patches of lips stand at their end.

        In the lips stage the lips' share comes in patches, as far as whole ones go; the official
        code then renders the whole lip rectangle of one frame, every second update, and no rest.
        """
        n_rays, (of_lips, face) = int(self.n_rays), self.shares(index)
        n_patches = 0
        if self.lips_loss and index >= self.lips_from:
            n_patches = max(1, int(of_lips * n_rays) // PATCH**2)
        n_single = max(1, n_rays - n_patches * PATCH**2)
        single = max(0.0, of_lips * n_rays - n_patches * PATCH**2) / n_single
        shares = (single, min(1 - single, face * n_rays / n_single))
        pixels = self.dataset.draw(self.config.n_frames, n_single, shares, generator)
        if n_patches:
            lips = self.dataset.draw_patches(self.dataset.lip_rects, n_patches, PATCH, generator)
            pixels = pixels.beside(lips)
        return pixels, n_patches

    @torch.no_grad()
    def update_occupancy(
        self, generator: torch.Generator, rays: camera.Rays | None = None, *, cull: bool = True
    ) -> None:
        """Density under one random frame's condition; then what light reaches along `rays`, those
        of random pixels of the head if not given. cull: leave out what it did not reach."""
        config, field, dataset = self.config, self.field, self.dataset
        frame = dataset.usable[torch.randint(len(dataset.usable), (1,), generator=generator)]
        condition = field.condition(dataset.windows(frame, config))
        threshold = 0.1 * BOX / config.step_length  # a tenth of an optical depth per step
        field.occupancy.update(
            lambda at: field.density(at, condition), generator=generator, threshold=threshold
        )
        if rays is None:
            rays = dataset.rays(dataset.draw(config.n_frames, 4096, (0.0, 0.3), generator))
        step = 0.7 / field.occupancy.resolution
        origins, decay = camera.to_box(rays.origins), config.occupancy_decay
        mark_visible(field.occupancy, origins, rays.directions, step=step, decay=decay)
        field.occupancy.visible.view(-1)[self.mouth] = 1.0
        if cull:
            field.occupancy.cull_invisible()


def adapted(n_rays: float, n_samples: int, wanted: int) -> float:
    """The number of rays after an update with some samples, nearer to as many as wanted."""
    return min(max(n_rays * (0.8 + 0.2 * wanted / max(n_samples, 1)), 256.0), float(wanted))


def patches(colour: Tensor, n: int) -> Tensor:
    """The last n patches among the colours (r, 3) of rays, (n, 3, PATCH, PATCH)."""
    return colour[-n * PATCH**2 :].view(n, PATCH, PATCH, 3).permute(0, 3, 1, 2)


def watched_frame(dataset: RayDataset) -> int:
    """The held-out frame that is shown while a head learns: the widest mouth of four."""
    frames = dataset.held_out(N_WATCHED)
    return frames[int(mouth_opening(dataset.landmarks[frames].cpu().numpy()).argmax())]


@dataclass(frozen=True)
class Snapshot:
    """A held-out frame as a head rendered it after `step` updates: image (h, w, 3) over the
    background, psnr in dB over the head's pixels."""

    step: int
    image: UInt8[np.ndarray, "h w 3"]
    psnr: float


class Snapshots:
    """Keeps the snapshots of a training in its folder and shows each in a live notebook, beside the
    frame itself, `truth`. Call it with what `HeadTask.on_snapshot` gives."""

    def __init__(self, folder: Path, truth: UInt8[np.ndarray, "h w 3"]):
        self.folder, self.truth, self.is_shown = folder, np.asarray(truth), False

    def __call__(self, step: int, image: UInt8[np.ndarray, "h w 3"], psnr: float) -> None:
        """Keeps and shows a snapshot; later ones, of an attempt that was cut, are forgotten."""
        try:
            kept = [one for one in load_snapshots(self.folder) if one.step < step]
        except Damaged:
            kept = []
        kept.append(Snapshot(step, image, psnr))
        if len(kept) > MOST:
            kept = kept[::-1][::2][::-1]
        columns = {f"{name}s": [getattr(one, name) for one in kept] for name in vars(kept[0])}
        write_npz(self.folder / FILE, **columns)
        if live.is_live() and "IPython" in sys.modules:
            from IPython.display import HTML, display

            both = Image.fromarray(np.concatenate([image, self.truth], axis=1))
            caption = f"{step} updates: {psnr:.1f} dB; right: the frame itself"
            shown = HTML(f"<p>{caption}</p>{live.html_image(both, 'png', caption, both.width)}")
            display(shown, display_id=str(self.folder), update=self.is_shown)
            self.is_shown = True


def load_snapshots(folder: Path) -> list[Snapshot]:
    """What a training's folder keeps; nothing for one that never looked."""
    path = folder / FILE
    if not path.exists():
        return []
    layouts = {"steps": "whole n", "images": "byte n h w 3", "psnrs": "nan n"}
    rows = zip(*read_npz(path, layouts).values(), strict=True)
    return [Snapshot(int(step), image, float(psnr)) for step, image, psnr in rows]
