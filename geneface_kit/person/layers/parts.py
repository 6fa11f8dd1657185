"""Parts: what the labels mean, and how frames are taken apart."""

from dataclasses import dataclass

__all__ = ["BACKGROUND", "HEAD", "NECK", "TORSO", "LayersConfig"]

BACKGROUND, HEAD, NECK, TORSO = 0, 1, 2, 3


@dataclass(frozen=True)
class LayersConfig:
    """How frames are taken apart. Pixels are of a 512 px picture and scale with the size."""

    parser_weights: str = ""  # exported 19-class face parser, see `layers.load_parser`; "" = none
    palette_frames: int = 12  # frames that teach the person's colours (ours)
    vote_frames: int = 2  # frames before and after that vote on a label; 0 = none (ours)
    vote_colour: float = 8.0  # colour change at which a neighbour's vote fades, of 255 (ours)
    person_threshold: float = 0.5  # probability above which a pixel is the person (ours)
    edge_radius: float = 10.0  # window of the edge-aware refinement, px (ours)
    edge_softness: float = 2e-3  # contrast below which it only blurs, squared (ours)
    skin_distance: float = 3.0  # Mahalanobis distance in chroma still taken as skin (ours)
    neck_depth: float = 1.0  # how far below the chin a neck can reach, eye distances (ours)
    neck_least: float = 0.12  # neck always granted below the jaw, eye distances (ours)
    long_hair: float = 0.2  # width beside the jaw that only hair can have, eye distances (ours)
    hair_probability: float = 0.7  # least colour probability of hair against clothes (ours)
    neck_fill_gap: float = 0.5  # torso between head and neck that is shaded neck, eye distances
    hair_reach: float = 1.0  # how far below the chin hair is followed, eye distances (ours)
    plate_frames: int = 40  # pictures searched for the plate (official: every 20th frame)
    plate_votes: int = 3  # of these, how many must see a pixel free of the person (ours)
    plate_distance: float = 10.0  # least distance from the foreground, px (official 5; ours 10,
    # because the person network's edges are less exact than a parsing network's)
    moving_level: float = 0.04  # stray of a background pixel that is motion, of 1 (ours)
    moving_share: float = 0.1  # share of moving background above which one moment is kept (ours)
    torso_fill: int = 9  # rows painted upwards above the torso, px (official)
    neck_fill: int = 53  # rows painted upwards above the neck, px (official)
    neck_inside: int = 4  # how far inside the neck the colour is taken, px (official)
    fill_darkening: float = 0.98  # factor per painted row (official)
