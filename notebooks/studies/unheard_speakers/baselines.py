"""Baselines: what a generator must beat. A ridge regression, and its own network without latent."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geneface_kit.motion.losses import continuity_loss, reconstruction_loss
from geneface_kit.motion.stage import MotionTask
from geneface_kit.motion.vae import STRIDE, MotionVAE
from geneface_kit.person.corpus import Sequences
from geneface_kit.person.speech.offset import in_context, predict_ridge
from notebooks.studies.mouth_ridge import solve_ridge


class Ridge:
    """Ridge regression from 7 frames of speech features to the motion, in closed form.

    features: (2t, c) of each utterance; motions: (t, 204), network units.
    """

    def __init__(
        self,
        features: Sequence[Float[np.ndarray, "_ c"]],
        motions: Sequence[Float[np.ndarray, "_ 204"]],
    ) -> None:
        self.ridge = solve_ridge([in_context(heard) for heard in features], list(motions))

    def predict(self, features: Float[np.ndarray, "s c"]) -> Float[np.ndarray, "_ 204"]:
        """Motion for speech of any length, s // 2 frames."""
        return predict_ridge(self.ridge, in_context(features))


class Regressor(MotionVAE):
    """The generator's speech condition and decoder without a latent: one motion for one sound.

    Its encoder is not used, and noise changes nothing.
    """

    def forward(
        self,
        speech: Float[Tensor, "b s c"],
        f0: Float[Tensor, "b s"],
        mask: Bool[Tensor, "b t"],
    ) -> Float[Tensor, "b t m"]:
        """Motion for a padded batch, zero where the mask is False."""
        condition, slow = self.condition(speech, f0)
        nothing = torch.zeros(slow.shape[0], self.latent, slow.shape[2], device=slow.device)
        return self.decode(nothing, mask, condition)

    def sample(
        self,
        speech: Float[Tensor, "b s c"],
        f0: Float[Tensor, "b s"],
        noise: Float[Tensor, "b z u"],
    ) -> Float[Tensor, "b t m"]:
        """Motion for speech; of the noise only the size matters."""
        mask = torch.ones(noise.shape[0], noise.shape[2] * STRIDE, dtype=torch.bool)
        return self(speech, f0, mask.to(noise.device))


class RegressorTask(MotionTask):
    """Trains a regressor with the generator's losses, all but the KL divergence."""

    vae: Regressor

    def losses(self, batch: Sequences, generator: torch.Generator) -> dict[str, Tensor]:
        """Every loss whose weight is not 0, unweighted."""
        active = self.weights()
        predicted = self.vae(batch.speech, batch.f0, batch.mask)
        compared = (predicted, batch.motion, batch.mask, self.weight)
        losses = {"mse": reconstruction_loss(*compared)}
        if active["continuity"]:
            losses["continuity"] = continuity_loss(*compared)
        if active["sync"]:
            heard = (batch.speech, predicted, self.n_windows, generator, batch.mask)
            losses["sync"] = self.expert.sync_loss(*heard)
        return losses
