"""Speech: a head moved by the sound itself, on the grids of the landmark-driven one.

The idea of AD-NeRF (2021) and RAD-NeRF (2022), the baseline that GeneFace compares itself with.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from geneface_kit.nerf.condition import ConditionNet
from geneface_kit.nerf.head.config import HeadConfig
from geneface_kit.nerf.head.field import HeadField, check_windows
from geneface_kit.nerf.views import SPEECH_STEPS

__all__ = ["SpeechField"]

STD_FLOOR = 1e-3
"""Least spread by which a channel of the features is divided."""


class SpeechField(HeadField):
    """A head field whose condition is the speech around a frame; no landmark reaches it.

    Nothing is carried and no movement of the lips is given: which sound looks like what is left
    to the training, as in RAD-NeRF. Differs from it: the features are those of the kit's speech
    encoder, standardised over the training frames, and what sound cannot tell (eyes, brows) has
    no signal of its own.
    n_channels: of the speech features.
    """

    def __init__(self, config: HeadConfig, n_frames: int, n_channels: int):
        if n_channels < 1:
            raise ValueError(f"a head that speech drives needs its channels, got {n_channels}")
        super().__init__(replace(config, carry_reach=0.0, lip_modes=0), n_frames)
        shape = (config.condition, config.attention_frames, SPEECH_STEPS)
        self.condition_net = ConditionNet(n_channels, *shape)
        del self.landmark_mean, self.landmark_std, self.lip_modes
        self.register_buffer("speech_mean", torch.zeros(n_channels))
        self.register_buffer("speech_std", torch.ones(n_channels))

    def condition(self, windows: Float[Tensor, "b w ..."]) -> Float[Tensor, "b c"]:
        """Condition vectors of windows (b, w, 16, n_channels) of speech, see `views.driving`."""
        check_windows(windows, (SPEECH_STEPS, len(self.speech_mean)), "speech")
        limit = self.config.clamp
        heard = (windows - self.speech_mean) / self.speech_std
        return self.condition_net(heard.clamp(-limit, limit))

    def learn_statistics(self, track: Float[Tensor, "t s c"]) -> None:
        """Takes mean and spread of the features of some frames."""
        flat = track.flatten(0, 1)
        self.speech_mean.copy_(flat.mean(0))
        self.speech_std.copy_(flat.std(0, correction=0).clamp(min=STD_FLOOR))
