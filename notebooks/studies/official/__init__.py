"""Official: checkpoints of the authors' code <-> this kit's networks, and nothing but weights.

`python -m notebooks.studies.official CHECKPOINT` says what of a file fits.
Reads files {"state_dict": {child: tensors}} with weights-only loading; converts names both ways.
Networks: vae, vae_pitch, syncnet, postnet, discriminator, both ways;
radnerf_head and radnerf_torso, the grid renderer, only in.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from geneface_kit.adaptation.postnet import Discriminator, PostNet
from geneface_kit.motion.sync_expert import SyncExpert
from geneface_kit.motion.vae import MotionVAE, VAESizes
from notebooks.studies.official.renderer import RENDERERS, check_fit

SIZES = {
    "hidden": 256,
    "encoder_layers": 8,
    "flow_hidden": 64,
    "both_steps": False,
    "dropout": 0.0,
}
"""Where the official generator differs from the kit's defaults."""

WAVENET = [
    ("wavenet.cond_layer.", "wavenet.condition."),
    ("wavenet.in_layers.", "wavenet.gates."),
    ("wavenet.res_skip_layers.", "wavenet.exits."),
    ("weight_g", "parametrizations.weight.original0"),
    ("weight_v", "parametrizations.weight.original1"),
]
FLOW = [
    (f"vae.prior_flow.flows.{2 * k}.{theirs}.", f"flow.couplings.{k}.{ours}.")
    for k in range(4)
    for theirs, ours in (("pre", "enter"), ("enc", "wavenet"), ("post", "leave"))
]
"""The official flow counts the channel reversals between the couplings."""
VAE = [
    ("mel_encoder.0.", "speech.enter."),
    ("mel_encoder.1.", "speech.norm."),
    ("mel_encoder.3.", "speech.leave."),
    ("pitch_embed.", "pitch.embedding."),
    ("pitch_encoder.0.", "pitch.condition.enter."),
    ("pitch_encoder.1.", "pitch.condition.norm."),
    ("pitch_encoder.3.", "pitch.condition.leave."),
    ("vae.g_pre_net.0.", "to_latent_rate."),
    ("vae.encoder.pre_net.0.", "posterior.enter."),
    ("vae.encoder.wn.", "posterior.wavenet."),
    ("vae.encoder.out_proj.", "posterior.leave."),
    *FLOW,
    ("vae.decoder.pre_net.0.", "decoder.enter."),
    ("vae.decoder.wn.", "decoder.wavenet."),
    ("vae.decoder.out_proj.", "decoder.leave."),
    *WAVENET,
]
"""(official, ours), replaced in this order; backwards in the reverse order."""
BLOCKS = [("conv_block.0.", "convolution."), ("conv_block.1.", "norm.")]
SYNC = [("hubert_encoder.", "speech_tower."), ("mouth_encoder.", "mouth_tower."), *BLOCKS]
POSTNET = [("block1.", "first."), ("block2.", "second."), ("block3.", "third."), *BLOCKS]
DISCRIMINATOR = [("backbone.", "layers.")]
OURS_ONLY = {"standardise.mean": 0.0, "standardise.std": 1.0, "amplitude": 1.0}
"""Buffers the official networks lack -> the value at which they do nothing."""


@dataclass(frozen=True)
class Network:
    """child: where a checkpoint keeps it; build: ours in official sizes; rules: its names."""

    child: str
    build: Callable[[], nn.Module]
    rules: list[tuple[str, str]]


NETWORKS = {
    "vae": Network("model", lambda: MotionVAE(1024, VAESizes(**SIZES)), VAE),
    "vae_pitch": Network("model", lambda: MotionVAE(1024, VAESizes(**SIZES, pitch=True)), VAE),
    "syncnet": Network("model", lambda: SyncExpert(1024, width=128), SYNC),
    "postnet": Network("model", PostNet, POSTNET),
    "discriminator": Network("disc_model", Discriminator, DISCRIMINATOR),
}
"""Name of each network -> how to build and rename it."""


def load_official(path: Path | str, network: str) -> nn.Module:
    """One network of an official checkpoint file, in evaluation mode.

    Raises: FileNotFoundError; ValueError in one sentence.
    """
    return from_checkpoint(read_checkpoint(path), network)


def read_checkpoint(path: Path | str) -> dict[str, dict[str, Tensor]]:
    """The tensors of a checkpoint file: name of a child -> its state dict.

    The file is read weights-only: tensors and plain containers; anything else is refused,
    not executed. Raises: FileNotFoundError; ValueError in one sentence.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; name the official .ckpt file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path.name} is refused: it is damaged or holds more than tensors ({reason}); "
            "keep only its state_dict in a process you trust, then load that"
        ) from None
    children = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(children, dict):
        raise ValueError(f"{path.name} has no state_dict: it is no official checkpoint")
    return {name: child for name, child in children.items() if isinstance(child, dict)}


def from_checkpoint(children: dict[str, dict[str, Tensor]], network: str) -> nn.Module:
    """Our network with what `read_checkpoint` found, ready for inference.

    Raises: ValueError when the checkpoint is of another network.
    """
    spec = RENDERERS.get(network) or _network(network)
    if spec.child not in children:
        raise ValueError(
            f"the checkpoint has no state_dict with a child {spec.child!r}: it is no official "
            f"{network} checkpoint"
        )
    return from_official(network, children[spec.child])


def from_official(network: str, state: dict[str, Tensor]) -> nn.Module:
    """Our network holding official tensors ready for inference."""
    if network in RENDERERS:
        return RENDERERS[network].convert(state)
    spec = _network(network)
    module = spec.build()
    renamed = {_ours(name, spec.rules): value for name, value in state.items()}
    own = module.state_dict()
    neutral = {name: own[name] for name in OURS_ONLY.keys() & own.keys() - renamed.keys()}
    check_fit(network, own, renamed | neutral)
    module.load_state_dict(renamed | neutral)
    return module.eval()


def to_official(network: str, module: nn.Module) -> dict[str, Tensor]:
    """The tensors of our network under their official names.

    Raises: ValueError when the network uses something the official one lacks.
    """
    spec = _network(network)
    state = module.state_dict()
    for name, neutral in OURS_ONLY.items():
        if name in state and not bool((state.pop(name) == neutral).all()):
            raise ValueError(f"{name} is not neutral: the official {network} has no such thing")
    return {_theirs(name, spec.rules): value for name, value in state.items()}


def _network(name: str) -> Network:
    if name not in NETWORKS:
        known = ", ".join([*NETWORKS, *RENDERERS])
        raise ValueError(f"network must be one of {known}, got {name!r}")
    return NETWORKS[name]


def _ours(name: str, rules: list[tuple[str, str]]) -> str:
    for theirs, ours in rules:
        name = name.replace(theirs, ours)
    return name


def _theirs(name: str, rules: list[tuple[str, str]]) -> str:
    for theirs, ours in reversed(rules):
        name = name.replace(ours, theirs)
    return name
