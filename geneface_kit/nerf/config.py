"""Settings of the head field, the torso field and the avatar that both become.

"Paper code" is the official implementation of GeneFace (arXiv:2301.13430).
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from geneface_kit.runs.ranges import Count, Named, Natural, NotNegative, Positive, Range, Share

OwnField = Annotated[str, Named(("grid", "vanilla"), "geneface_kit.nerf.head:HeadField")]
LipsLoss = Literal["auto", "structure", "vgg-hed", "lpips", "pixels"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class HeadConfig:
    """The head field and its training. Defaults: smoke."""

    field: OwnField = "grid"  # grid (RAD-NeRF), vanilla (the paper) or your own class
    driven_by: Literal["landmarks", "speech"] = "landmarks"  # or speech, as in AD-NeRF
    steps: Count = 450  # updates; paper code: 250,000
    n_samples: Count = 12_000  # field samples per update, rays adapt to it (ours)
    n_frames: Count = 16  # frames per update; paper code: 1
    hidden: Count = 32  # width of the networks; paper code: 128
    condition: Count = 32  # channels of the landmark condition; paper code: 64
    lip_modes: Natural = 6  # principal movements of the lips that join it as they are (ours)
    warp_reach: NotNegative = 0.3  # eye distances, how far landmarks deform space (ours)
    warp_inside: Annotated[float, Range(1)] = 3.0  # factor on distances across lids and lips (ours)
    attention_frames: Count = 1  # frames the condition is smoothed over, 1 = none; paper code: 5
    direct_condition: bool = True  # the density network also sees the condition itself (ours)
    view_dependent: bool = False  # colours may depend on the direction of view; paper code: yes
    grid_kind: Literal["hash", "tiled"] = "hash"  # paper code: tiled, whose fine levels ignore z
    n_levels: Count = 8  # levels per grid; paper code: 16
    finest: Count = 128  # cells of the finest level along the box; paper code: 2048
    log2_rows: Count = 14  # table rows per level; paper code: 16
    step_length: Positive = 0.1  # eye distances between samples; paper code: about 0.03
    max_samples: Count = 32  # per ray in training; paper code: 16
    occupancy: Annotated[int, Range(8)] = 48  # cells along the box; paper code: 128
    occupancy_decay: Share = 0.8  # of a cell's density, at each refresh; paper code: 0.95
    lip_share: Share = 0.4  # share of rays inside the lip rectangle (ours)
    turned_share: Share = 0.5  # of frames whose lips other frames' cameras see; paper code: 0
    lips_stage: Share = 0.4  # last part of the updates, for the lips; paper code: 0.2
    lips_stage_share: Share = 0.7  # share inside the rectangle then; paper code: 0.5
    lips_loss: LipsLoss = "structure"  # of lip patches then; auto: the best network here
    lips_weight: NotNegative = 2e-3  # of that loss; paper code: 0.01, of LPIPS
    entropy_weight: NotNegative = 1e-4  # opacity of a ray towards 0 or 1 (paper code)
    depth_variance_weight: NotNegative = 2e-2  # keeps surfaces thin and fast (ours)
    ambient_weight: NotNegative = 1e-3  # ambient motion outside the face; paper code: 0.1
    lr_grid: Positive = 3e-2  # Adam, tables; paper code: 5e-3
    lr_network: Positive = 5e-3  # Adam, density and colour networks, appearance; paper code: 5e-4
    lr_condition: Positive = 3e-3  # Adam, condition and ambient networks; paper code: 5e-4
    lr_final: Positive = 0.05  # last learning rate over the first; paper code: 0.1
    precision: Precision = "auto"  # of the networks; auto: bfloat16 where the processor has it
    validate_every: Natural = 75  # updates between validations, 0 = none


@dataclass(frozen=True)
class TorsoConfig:
    """The torso field and its training. Defaults: smoke."""

    steps: Count = 200  # updates; paper code: 250,000
    n_pixels: Count = 8192  # per update; paper code: a whole frame
    n_head_frames: Count = 24  # frames trained on at a time, their heads rendered; paper code: 1
    renew_every: Natural = 0  # updates between two exchanges of one, 0 = never; paper code: 1
    head_aware: bool = True  # the torso sees the head's colour and opacity at its pixel (paper)
    pixel_frequencies: Natural = 6  # sines of the pixel position; paper code: 10
    pose_frequencies: Natural = 1  # sines of the head pose, unless it is followed; paper code: 4
    appearance_channels: Natural = 4  # per-frame code; paper code: 8
    follow_pose: bool = True  # the pose moves it linearly, as measured (ours); paper code: no
    n_levels: Count = 10  # levels of the canonical grid; paper code: 16
    finest: Count = 128  # cells of the finest level; paper code: 2048
    log2_rows: Count = 14  # table rows per level; paper code: 16
    grid_kind: Literal["hash", "tiled"] = "hash"  # "tiled" is the official one
    hidden: Count = 64  # width of the deformation network, half of it for colour (paper code)
    lr_grid: Positive = 3e-2  # Adam, table; paper code: 5e-3
    lr_network: Positive = 5e-3  # Adam, networks; paper code: 5e-4
    precision: Precision = "auto"  # as in the head


@dataclass(frozen=True)
class JointConfig:
    """Head and torso together, after their own starts. Defaults: smoke."""

    steps: Natural = 150  # updates on whole frames (ours); 0 = never, as the paper code
    detail_weight: NotNegative = 0.0  # of the strength of fine detail (ours); paper code: 0


@dataclass(frozen=True)
class AvatarConfig:
    """How a finished head and torso are rendered, in validation and in delivered frames (ours)."""

    exact: bool = False  # every sample at once, float32: what the other ways are measured against
    prune: bool = True  # leave out cells that the clip never shows, take longer steps; paper: no
    stop: Share = 0.02  # transmittance at which a ray ends; paper code: 1e-4
    tolerance: NotNegative = 0.06  # largest colour step that is interpolated, of 1; 0 = never
    finest: Count = 128  # picture size above which every other pixel is looked at first
    n_held_out: Natural = 24  # held-out frames that are measured in the end, 0 = all
