"""Pruning: a finished head seen from its own cameras -> where its pictures may look."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from geneface_kit.metrics.formulas import psnr_of_error
from geneface_kit.nerf.config import AvatarConfig
from geneface_kit.nerf.dataset import BOX, RayDataset
from geneface_kit.nerf.head import HeadField
from geneface_kit.nerf.renderer import HeadRenderer
from geneface_kit.person import camera
from geneface_kit.render.occupancy import Occupancy
from geneface_kit.render.rendering import max_cell_weights
from geneface_kit.runs.arrays import read_npz, write_npz
from geneface_kit.runs.files import Damaged

log = logging.getLogger(__name__)

CELL = 0.7
"""About how many steps a pruned cell is wide. Finer ones are stepped over and not found. Each lies
within one cell of the loose grid: outside that nothing was learned, and anything may show."""
LEAST = (0.03, 0.01, 0.003)  # weights below which a cell is left out, the fastest first
BEHIND = 2
"""Cells that stay behind each: where a pose or a mouth is new, the surface may lie deeper, and what
is behind would show. They cost little, since rays mostly end before."""
FIDELITY = 42.0  # PSNR to the reference, dB over the head's pixels, that every frame must keep
FRAMES, SIZE = 64, 128  # training frames through which the cells are found, and their pixels
BEYOND = 1.25  # the extremes are also looked at exaggerated so far: talk may go there
MOVING = (8, 51, 57, 62, 66, 48, 54, 37, 38, 40, 41, 43, 44, 46, 47)  # jaw, lips, lids


def prune(renderer: HeadRenderer, dataset: RayDataset, *, n_frames: int = 3) -> HeadRenderer:
    """A renderer with the fewest cells that keep the head's pictures: by the first of LEAST at
    which each of some training frames is within FIDELITY of the reference; the renderer as it was
    without any such, and when its config is not to prune. Costs a few reference pictures."""
    head, config = renderer.trained, renderer.config
    if config.exact or not config.prune:
        return renderer
    weights = max_weights(renderer, dataset)
    frames = np.linspace(0, dataset.n_train - 1, n_frames + 2).astype(int)[1:-1].tolist()
    exact = HeadRenderer(head, AvatarConfig(exact=True))
    references = list(exact.of_frames(dataset, frames))
    fine = functional.interpolate(head.occupancy.bits[None, None].float(), size=weights.shape)
    learned = fine[0, 0] > 0
    for least in LEAST:
        cells = with_behind(weights > least) & learned
        tried = HeadRenderer(head, config, occupancy_of(cells))
        errors = []
        for image, true in zip(tried.of_frames(dataset, frames), references, strict=True):
            squared = (image.colour - true.colour).square().mean(-1)
            errors.append(float(squared[(image.alpha > 0) | (true.alpha > 0)].mean()))
        if psnr_of_error(max(errors)) >= FIDELITY:
            return tried
    log.warning("no pruning keeps %s's pictures: they are made the slow way", dataset.person.name)
    return renderer


def max_weights(renderer: HeadRenderer, dataset: RayDataset) -> Float[Tensor, "n n n"]:
    """The largest weight that each fine cell has in the pictures of training frames: some spread
    over the clip, and those of the extremes of lips, jaw and lids, also exaggerated: what moves
    must have been seen where it goes."""
    head = renderer.trained
    step, loose = head.config.step_length, head.occupancy.resolution
    n = loose * max(1, round(BOX / (CELL * step) / loose))  # whole parts of the loose cells
    weights = torch.zeros(n, n, n, device=dataset.device)
    focal = dataset.focal * SIZE / dataset.size
    for frame, reach in _telling_frames(dataset):
        pixels = renderer.bounds(dataset.poses[frame], focal, SIZE).mask(SIZE).nonzero().flip(-1)
        rays = camera.rays(dataset.poses[frame], focal, SIZE, pixels)
        window = dataset.windows(torch.tensor([frame]), head.config)
        if head.config.driven_by == "landmarks":
            mean = head.landmark_mean.view(68, 3)
            window = mean + reach * (window - mean)
        with torch.no_grad():
            field = head.at(head.condition(window), head.mean_appearance(), None)
        origins = camera.to_box(rays.origins)
        weights = max_cell_weights(
            weights, field, origins, rays.directions, head.occupancy, step=step / BOX
        )
    return weights


def save_occupancy(path: Path, renderer: HeadRenderer) -> None:
    """Writes the cells that pruning left, a bit each."""
    bits = np.packbits(renderer.pruned.bits.cpu().numpy().reshape(-1))
    write_npz(path, bits=bits, resolution=renderer.pruned.resolution)


def load_renderer(path: Path, head: HeadField, config: AvatarConfig) -> HeadRenderer:
    """A renderer of a head with the cells of a file; without one the head's own, which takes
    longer. Raises: ValueError when it is damaged."""
    if not path.exists():
        return HeadRenderer(head, config)
    stored = read_npz(path, {"resolution": "whole", "bits": "byte n"})
    n, bits = int(stored["resolution"]), np.unpackbits(stored["bits"])
    if len(stored["bits"]) != -(-(n**3) // 8):
        raise Damaged(f"{path} holds other than {n} cells a side: run the stage nerf again")
    cells = torch.from_numpy(bits[: n**3].astype(bool)).view(n, n, n)
    return HeadRenderer(head, config, occupancy_of(cells.to(head.appearance.device)))


def with_behind(cells: Bool[Tensor, "n n n"]) -> Bool[Tensor, "n n n"]:
    """Cells, and BEHIND more at the back of each. Example: of a single one at (x, y, z) also
    (x, y, z - 1) and (x, y, z - 2)."""
    found = cells.clone()
    for depth in range(1, BEHIND + 1):
        found[..., :-depth] |= cells[..., depth:]
    return found


def _telling_frames(dataset: RayDataset) -> Sequence[tuple[int, float]]:
    """Training frames, and how many times as far from the mean face as they are to look at them."""
    usable = dataset.usable
    spread = np.linspace(0, len(usable) - 1, min(FRAMES, len(usable))).round().astype(int)
    places = dataset.landmarks[usable][:, MOVING].cpu().flatten(1)
    extremes = usable[torch.cat([places.argmin(0), places.argmax(0)])].unique().tolist()
    frames = sorted({*usable[spread].tolist(), *extremes})
    return [(frame, 1.0) for frame in frames] + [(frame, BEYOND) for frame in extremes]


def occupancy_of(cells: Bool[Tensor, "n n n"]) -> Occupancy:
    """An occupancy grid of which the march looks at some cells alone."""
    pruned = Occupancy(len(cells)).to(cells.device)
    pruned.bits.copy_(cells)
    return pruned
