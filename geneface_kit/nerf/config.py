"""Settings of the head field, the torso field and the avatar that both become.

"Paper code" is the official implementation of GeneFace (arXiv:2301.13430).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class HeadConfig:
    """The head field and its training. Defaults: smoke."""

    field: str = "grid"  # or "vanilla", the paper's own, or your "package.module:Class"
    driven_by: str = "landmarks"  # or "speech", the sound itself (the AD-NeRF and RAD-NeRF idea)
    steps: int = 450  # updates; paper code: 250,000
    n_samples: int = 12_000  # field samples per update, rays adapt to it (ours)
    n_frames: int = 16  # frames per update; paper code: 1
    hidden: int = 32  # width of the networks; paper code: 128
    condition: int = 32  # channels of the landmark condition; paper code: 64
    lip_modes: int = 6  # principal movements of the lips that join it as they are (ours)
    warp_reach: float = 0.3  # iod, how far landmarks deform the space around them, 0 = none (ours)
    attention_frames: int = 1  # frames the condition is smoothed over, 1 = none; paper code: 5
    direct_condition: bool = True  # the density network also sees the condition itself (ours)
    view_dependent: bool = False  # colours may depend on the direction of view; paper code: yes
    grid_kind: str = "hash"  # "tiled" is the official one, blind on fine levels
    n_levels: int = 8  # levels per grid; paper code: 16
    finest: int = 128  # cells of the finest level along the box; paper code: 2048
    log2_rows: int = 14  # table rows per level; paper code: 16
    step_length: float = 0.1  # iod between samples; paper code: about 0.03
    max_samples: int = 32  # per ray in training; paper code: 16
    occupancy: int = 48  # cells along the box; paper code: 128
    occupancy_decay: float = 0.8  # per look, of what was dense or visible; paper code: 0.95
    lip_share: float = 0.4  # rays inside the lip rectangle (ours)
    lips_stage: float = 0.4  # last part of the updates, in which lips come first; paper code: 0.2
    lips_stage_share: float = 0.7  # rays inside the lip rectangle then; paper code: 0.5
    lips_loss: str = "structure"  # then beside pixels: structure, vgg-hed, lpips, pixels, or auto
    lips_weight: float = 2e-3  # of it, in the loss; paper code: 0.01 for LPIPS
    entropy_weight: float = 1e-4  # opacity of a ray towards 0 or 1 (paper code)
    depth_variance_weight: float = 2e-2  # iod^2, ramped up (ours; sharp is fast)
    ambient_weight: float = 1e-3  # ambient motion outside the face; paper code: 0.1, see note
    lr_grid: float = 3e-2  # Adam, tables; paper code: 5e-3
    lr_network: float = 5e-3  # Adam, density and colour networks, appearance; paper code: 5e-4
    lr_condition: float = 3e-3  # Adam, condition and ambient networks; paper code: 5e-4
    lr_final: float = 0.05  # last learning rate over the first; paper code: 0.1
    precision: str = "auto"  # of the networks: float32, bfloat16, or auto, the machine's faster
    validate_every: int = 75  # updates between held-out looks, 0 = none

    # lips_loss "auto": lpips if its network is at hand, else vgg-hed, else structure; the run says.
    # On obama, 1200 updates: VGG-HED distance of the lips 0.448 by pixels, 0.408 with 3e-3 of it;
    # PSNR of the head 29.37 and 29.15 dB. structure, 1e-2: SSIM of the lips 0.837 and 0.841.
    # Note: ambient_weight is ramped up over the training. In a short one the official 0.1 silences
    # the ambient network before it has found the mouth, which then never moves.


@dataclass(frozen=True)
class TorsoConfig:
    """The torso field and its training. Defaults: smoke."""

    steps: int = 200  # updates; paper code: 250,000
    n_pixels: int = 8192  # per update; paper code: a whole frame
    n_head_frames: int = 24  # frames trained on at a time, their heads rendered; paper code: 1
    renew_every: int = 0  # updates between new ones among them, 0 = never; paper code: 1
    head_aware: bool = True  # the torso sees the head's colour and opacity at its pixel (paper)
    pixel_frequencies: int = 6  # sines of the pixel position; paper code: 10
    pose_frequencies: int = 1  # sines of the head pose, unless it is followed; paper code: 4
    appearance_channels: int = 4  # per-frame code; paper code: 8
    follow_pose: bool = True  # the pose moves it linearly, as measured (ours); paper code: no
    n_levels: int = 10  # levels of the canonical grid; paper code: 16
    finest: int = 128  # cells of the finest level; paper code: 2048
    log2_rows: int = 14  # table rows per level; paper code: 16
    grid_kind: str = "hash"  # "tiled" is the official one
    hidden: int = 64  # width of the deformation network, half of it for colour (paper code)
    lr_grid: float = 3e-2  # Adam, table; paper code: 5e-3
    lr_network: float = 5e-3  # Adam, networks; paper code: 5e-4
    precision: str = "auto"  # as in the head


@dataclass(frozen=True)
class JointConfig:
    """Head and torso together, after their own starts. Defaults: smoke."""

    steps: int = 150  # updates on whole frames (ours); 0 = never, as the paper code


@dataclass(frozen=True)
class AvatarConfig:
    """How a finished head and torso are rendered, in validation and in delivered frames (ours)."""

    exact: bool = False  # every sample at once, float32: what the other ways are measured against
    prune: bool = True  # leave out cells that the clip never shows, take longer steps; paper: no
    stop: float = 0.02  # transmittance at which a ray ends; paper code: 1e-4
    tolerance: float = 0.08  # difference of neighbours, of 1, that is interpolated; 0 = every pixel
    finest: int = 128  # picture size down to which pixels are evaluated one in stride^2
    backend: str = "auto"  # fused on a CPU; or warp, kernel by kernel; or torch, their twins
    n_held_out: int = 24  # held-out frames that are measured in the end, 0 = all
