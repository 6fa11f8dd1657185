"""Joint training: head and torso learn whole frames together, after each had its own start (ours).

The official code trains both apart, on hard masks of a segmentation, and a wrong mask stays in the
picture for ever: hair that is cut, a line under the chin. Here the last updates look at the
composite C = head over torso over background, and the masks are only a prior that fades. What moves
with the head is explained by the head, what rests on the shoulders by the torso; between them lies
a free band in which the picture alone decides.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from geneface_kit.nerf import losses
from geneface_kit.nerf.config import JointConfig
from geneface_kit.nerf.dataset import BOX, RayBatch
from geneface_kit.nerf.head_training import PATCH, HeadTask, adapted, patches
from geneface_kit.nerf.torso import TorsoTask, unit_pixels
from geneface_kit.nerf.turned_lips import turned
from geneface_kit.person.segmentation import BACKGROUND, BAND, FREE, NECK, SURE_HEAD, SURE_NOT
from geneface_kit.runs import training

MOST_FRAMES = 600  # frames that are trained on, spread over the clip; of longer clips not all
SHARES = (0.28, 0.20, 0.32)
"""Parts of the rays in the lip rectangle, the face rectangle and the free band; the others lie
anywhere in the frame."""
RATE = 0.3  # first learning rates over those of the separate starts
RATE_FINAL = 0.1  # last learning rate over the first
WARMUP = 20  # updates in which the rates rise from nothing: the starts are not to be shaken
PRIOR_FINAL = 0.2  # what is left of the prior's weight in the end
ENTROPY = (1e-4, 1e-3)  # weight of the entropy of the head's opacity, at first and in the end
TORSO_WEIGHT = 0.5  # weight of the torso's opacity on sure pixels
PATCH_SHARE = 0.3  # rays of patches whose detail is compared, over the others
UNDER_WEIGHT = 0.1  # weight of the torso as it was painted behind the head, where no frame shows it
NECK_WEIGHT = 0.1  # weight of the head's opacity where it may be neck: no rim of shade on a lit one


class JointTask(training.Task):
    """Trains a head and a torso on whole frames.

    head, torso: their tasks, whose fields had their starts; torso_shifts: (t, 2) of the shoulders
    in each frame, None to predict them from the pose.
    """

    kept = ("n_rays",)

    def __init__(
        self,
        config: JointConfig,
        head: HeadTask,
        torso: TorsoTask,
        torso_shifts: Float[np.ndarray, "t 2"] | None,
    ):
        self.config, self.head_task = config, head
        self.head, self.torso, self.dataset = head.field, torso.field, head.dataset
        self.field = nn.ModuleDict({"head": self.head, "torso": self.torso})
        self.modules = {"joint": self.field}
        apart = [*head.optimizers["adam"].param_groups, *torso.optimizers["adam"].param_groups]
        groups = [{name: group[name] for name in ("params", "rate")} for group in apart]
        self.optimizers = {"adam": torch.optim.Adam(groups, **losses.ADAM)}
        self.n_rays, dataset = 1024.0, self.dataset
        n = min(MOST_FRAMES, len(dataset.usable))
        self.frames = dataset.usable[torch.linspace(0, len(dataset.usable) - 1, n).round().long()]
        free = (np.argwhere(dataset.person.kinds[frame] == FREE) for frame in self.frames.tolist())
        self.bands = [torch.from_numpy(at[:, ::-1].astype(np.int64)) for at in free]
        self.background, self.shifts = dataset.background(), None
        if torso_shifts is not None:
            self.shifts = torch.from_numpy(torso_shifts).float().to(dataset.device)
        # the torso may lie beyond its border; new cells of the head would hold chance: specks
        reach = 2 * round(BAND / 2 * dataset.size) + 1
        wide = functional.max_pool2d(self.torso.occupied[None].float(), reach, 1, reach // 2)
        self.torso.occupied.copy_(wide[0] > 0)

    def step(self, index: int, generator: torch.Generator) -> dict[str, float]:
        config, dataset, own = self.config, self.dataset, self.head.config
        ramp = index / max(1, config.steps)
        for group in self.optimizers["adam"].param_groups:
            group["lr"] = RATE * group["rate"] * RATE_FINAL**ramp * min(1.0, (index + 1) / WARMUP)
        n_patches = max(1, int(PATCH_SHARE * self.n_rays) // PATCH**2)
        wholes = dataset.draw_patches(dataset.head_rects, n_patches, PATCH, generator)
        pixels = self._drawn(generator).beside(wholes)
        if index % (8 if index < 200 else 32) == 0:
            rays = dataset.rays(self._drawn(generator))
            # the last look leaves in all that is dense: no hole in a pose that no frame showed
            self.head_task.update_occupancy(generator, rays, cull=index + 32 < config.steps)
        n = len(pixels.at)
        offsets = torch.rand(n, generator=generator).to(dataset.device)
        noise = torch.rand(n, 3, generator=generator).to(dataset.device)
        rays = turned(dataset.rays(pixels), pixels, dataset, own.turned_share, generator)
        found = self.head.render(rays, self.head_task.field_of(pixels), offsets)
        told = torch.rand(n, 1, generator=generator).to(dataset.device) < 0.5  # as in the start
        seen = told * torch.cat([found.colour, found.alpha[:, None]], -1).detach()
        colour, alpha = self._torso_at(pixels, seen)
        behind = losses.over(colour, alpha, self.background[pixels.at[:, 1], pixels.at[:, 0]])
        fade = 1 - (1 - PRIOR_FINAL) * ramp
        is_sure = pixels.kinds != FREE
        image = found.over(behind)
        pair = (patches(colours, n_patches) for colours in (image, pixels.colour))
        wanted = torch.where((pixels.kinds == SURE_HEAD)[:, None], pixels.colour, noise)
        terms = {
            "image": losses.photometric_loss(image, pixels.colour),
            "prior": fade * losses.masked_error(found.over(noise), wanted, is_sure),
            "torso": fade * self._label_prior(pixels, found.alpha, colour, alpha),
            "entropy": (ENTROPY[0] + (ENTROPY[1] - ENTROPY[0]) * ramp)
            * losses.opacity_entropy(found.alpha)
            + ENTROPY[0] * losses.opacity_entropy(alpha),
            "depth_variance": own.depth_variance_weight
            * losses.depth_variance_loss(found.depth_variance, BOX),
            "ambient": own.ambient_weight * losses.ambient_loss(found.ambient, pixels.in_face),
            "detail": config.detail_weight * losses.detail_loss(*pair),
        }
        loss = torch.stack(list(terms.values())).sum()
        self.optimizers["adam"].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers["adam"].step()
        self.n_rays = adapted(self.n_rays, int(found.n_samples.sum()), own.n_samples)
        return {"loss": float(loss.detach())} | {k: float(v.detach()) for k, v in terms.items()}

    def _drawn(self, generator: torch.Generator) -> RayBatch:
        """The pixels of an update."""
        dataset, n = self.dataset, self.head.config.n_frames
        places = torch.randint(len(self.frames), (n,), generator=generator)
        frames = self.frames[places]
        per_frame = max(16, int(self.n_rays) // n)
        n_lips, n_face, n_band = (round(share * per_frame) for share in SHARES)
        at = []
        for place, frame in zip(places.tolist(), frames.tolist(), strict=True):
            band = self.bands[place]
            counts = (n_lips, n_face, per_frame - n_lips - n_face - (n_band if len(band) else 0))
            whole = torch.tensor([0, 0, dataset.size, dataset.size])
            rects = (dataset.lip_rects[frame], dataset.face_rects[frame], whole)
            for rect, count in zip(rects, counts, strict=True):
                extent = (rect[2:] - rect[:2]).clamp(min=1)
                at.append(rect[:2] + (torch.rand(count, 2, generator=generator) * extent).long())
            if len(band):
                at.append(band[torch.randint(len(band), (n_band,), generator=generator)])
        frame_of_pixel = torch.arange(n).repeat_interleave(per_frame)
        return dataset.read(frames, frame_of_pixel, torch.cat(at).clamp(max=dataset.size - 1))

    def _torso_at(self, pixels: RayBatch, seen: Tensor) -> tuple[Tensor, Tensor]:
        torso, frames = self.torso, pixels.frames
        at = unit_pixels(pixels.at, self.dataset.size)
        shifts = None if self.shifts is None else self.shifts[frames]
        poses, appearance = self.dataset.poses[frames], torso.appearance[frames]
        colour, alpha = torso(at, poses, appearance, seen, pixels.frame_of_pixel, shifts)
        return colour, alpha * torso.occupied[pixels.at[:, 1], pixels.at[:, 0]]

    def _label_prior(self, pixels: RayBatch, head: Tensor, colour: Tensor, alpha: Tensor) -> Tensor:
        """Clear where there is surely background, solid where there is surely body; behind the
        head, which no frame shows, as it was painted; and no head (its opacity) on a neck."""
        dataset = self.dataset
        numbers = pixels.frames[pixels.frame_of_pixel].cpu().numpy()
        where = (numbers, *pixels.at.flip(-1).cpu().T.numpy())
        label = torch.from_numpy(np.asarray(dataset.person.labels[where])).to(dataset.device)
        painted = torch.from_numpy(np.asarray(dataset.person.torso[where])).to(colour) / 255
        is_sure = pixels.kinds == SURE_NOT
        clear, solid = is_sure & (label == BACKGROUND), is_sure & (label != BACKGROUND)
        opacity = (alpha * clear + (1 - alpha) * solid).mean()
        under = (pixels.kinds == SURE_HEAD) & (painted[:, 3] > 0.5)
        missed = (colour - painted[:, :3]).square().mean(-1) + 0.3 * (1 - alpha)
        taken = (head * ((pixels.kinds == FREE) & (label == NECK))).mean()
        return TORSO_WEIGHT * opacity + UNDER_WEIGHT * (missed * under).mean() + NECK_WEIGHT * taken
