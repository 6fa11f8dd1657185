"""A trained generator, and its files: those of a run, and those that come with the kit."""

import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from geneface_kit.motion.sync_expert import SyncExpert
from geneface_kit.motion.vae import STRIDE, MotionVAE, VAESizes
from geneface_kit.person.clip import FPS
from geneface_kit.person.speech import Speech
from geneface_kit.person.speech.encoders import counted_name
from geneface_kit.runs.files import readable
from geneface_kit.runs.weights import load_weights, read_metadata, save_weights

MOTION, SYNC = "motion.safetensors", "sync.safetensors"  # the generator, the sync expert
SHIPPED = Path(__file__).parent  # where the weights are that come with the kit


@dataclass(frozen=True)
class Motion:
    """A trained generator with its sync expert, ready to use."""

    vae: MotionVAE
    expert: SyncExpert
    encoder: str  # the speech features it reads
    unit: float  # inter-ocular distances per network unit
    terms: str = ""  # what the recordings that it heard allow; "" where nothing is known

    def sample(
        self, speech: Speech, *, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> Float[np.ndarray, "t 68 3"]:
        """Displacements from a speaker's mean landmarks, inter-ocular distances, s // 2 frames.

        temperature: 0 gives the most likely motion and draws nothing; 1 is the prior (code).
        Raises: ValueError for features of another encoder or width, or of less than one latent
        step (4 frames, 0.16 s).
        """
        self.check(speech)
        motion = self.vae.generate(speech, temperature=temperature, generator=generator)
        return (self.unit * motion).reshape(-1, 68, 3)

    def check(self, speech: Speech) -> None:
        """Raises ValueError, one sentence, for speech that `sample` cannot read."""
        if counted_name(speech.encoder) != counted_name(self.encoder):
            raise ValueError(
                f"this generator reads {self.encoder!r} features, got {speech.encoder!r}; "
                "encode the sound with the generator's encoder"
            )
        channels, n_frames = self.vae.standardise.mean.numel(), len(speech) // 2
        if speech.features.shape[1] != channels:
            raise ValueError(
                f"{self.encoder!r} features have {channels} channels, "
                f"got {speech.features.shape[1]}; encode the sound anew"
            )
        if n_frames < STRIDE:
            raise ValueError(
                f"the speech lasts {n_frames / FPS:.2f} s and the generator makes "
                f"{STRIDE / FPS:.2f} s at a time; use a longer recording"
            )


def load(folder: Path = SHIPPED) -> Motion:
    """The generator and sync expert of a motion run; those that come with the kit read "hama".
    Raises what `load_weights` raises."""
    about = read_metadata(folder / MOTION, kind="motion")
    with readable(folder / MOTION):
        channels, encoder, unit = int(about["channels"]), about["encoder"], float(about["unit"])
        vae = MotionVAE(channels, VAESizes(**json.loads(about["sizes"])))
        expert = SyncExpert(channels, width=int(about["sync_width"]))
    load_weights(folder / MOTION, vae)
    load_weights(folder / SYNC, expert, kind="sync", encoder=encoder)
    for network in (vae, expert):
        network.eval().requires_grad_(False)
    return Motion(vae, expert, encoder, unit, about.get("terms", ""))


def save(folder: Path, motion: Motion, origin: str) -> None:
    """Writes both networks. origin: the id of the run that trained them, or "shipped"."""
    sizes = {field.name: getattr(motion.vae.sizes, field.name) for field in fields(VAESizes)}
    channels, width = motion.vae.standardise.mean.numel(), motion.expert.width
    about = {"encoder": motion.encoder, "unit": repr(motion.unit), "sizes": json.dumps(sizes)}
    about |= {"channels": str(channels), "sync_width": str(width), "origin": origin}
    about |= {"terms": motion.terms} if motion.terms else {}
    save_weights(folder / MOTION, motion.vae, kind="motion", **about)
    save_weights(folder / SYNC, motion.expert, kind="sync", **about)
