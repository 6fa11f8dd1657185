"""Settings of the torso field and its training."""

from dataclasses import dataclass

__all__ = ["CPU", "PAPER", "TorsoConfig"]


@dataclass(frozen=True)
class TorsoConfig:
    """The torso field and its training. Defaults: smoke."""

    steps: int = 200  # updates; paper code: 250,000
    n_pixels: int = 8192  # per update; paper code: a whole frame
    n_head_frames: int = 24  # frames whose head is rendered once and trained on; paper code: all
    head_aware: bool = True  # the torso sees the head's colour and opacity at its pixel (paper)
    pixel_frequencies: int = 6  # sines of the pixel position; paper code: 10
    pose_frequencies: int = 1  # sines of the head pose, without sway; paper code: 4
    code_channels: int = 4  # per-frame code; paper code: 8
    sway: bool = True  # the pose moves the torso linearly, as measured (ours); paper code: no
    n_levels: int = 10  # lattices of the canonical grid; paper code: 16
    finest: int = 128  # cells of the finest lattice; paper code: 2048
    log2_rows: int = 14  # table rows per lattice; paper code: 16
    grid_kind: str = "hash"  # "tiled" is the official one
    hidden: int = 64  # width of the deformation network, half of it for colour (paper code)
    entropy_weight: float = 1e-4  # opacity towards 0 or 1 (paper code)
    lr_grid: float = 3e-2  # Adam, table; paper code: 5e-3
    lr_network: float = 5e-3  # Adam, networks; paper code: 5e-4
    lr_final: float = 0.1  # last learning rate over the first (paper code)
    precision: str = "auto"  # as in the head


CPU = {
    "steps": 600,
    "n_pixels": 8192,
    "n_head_frames": 64,
    "n_levels": 16,
    "finest": 512,
    "log2_rows": 15,
    "lr_grid": 2e-2,
    "lr_network": 4e-3,
}
"""A real person at 256x256 on two CPU cores."""

PAPER = {
    "steps": 250_000,
    "n_pixels": 262_144,
    "n_head_frames": 1_000_000,
    "pixel_frequencies": 10,
    "pose_frequencies": 4,
    "code_channels": 8,
    "sway": False,
    "n_levels": 16,
    "finest": 2048,
    "log2_rows": 16,
    "lr_grid": 5e-3,
    "lr_network": 5e-4,
}
"""The official settings (method.md 5b), on a GPU."""
