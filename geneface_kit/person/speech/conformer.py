"""Conformer: 16 kHz sound -> hidden states and logits of phonemes, 50 a second.

The phoneme Conformer of the `hama` package (Apache-2.0) in torch: its weights are read from the
installed package, its engine is not needed. 4 blocks, 144 channels, 4 heads, no positional code.
"""

import functools
import hashlib
import io
import struct
from collections import OrderedDict
from collections.abc import Iterable
from importlib import resources
from importlib.metadata import version

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

CHANNELS, HEADS, N_BLOCKS = 144, 4, 4
HIDDEN_BLOCK = 3
"""Block (1 to 4) whose output serves as speech features. On held-out speakers it predicts the
mouth better than block 4: r of opening 0.57 against 0.51 by ridge regression (ours)."""
N_TOKENS = 191
HOP = 160  # samples between two mel frames; the stem halves their rate to 50 Hz
Steps = Float[Tensor, "s 144"]


class Conformer(nn.Module):
    """Sound to hidden states; parts are named as in hama's file."""

    version: str  # "hama 1.7.0, block 3, weights 0123456789ab" (start of their file's sha256)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("stft_real", torch.zeros(201, 1, 400))
        self.register_buffer("stft_imag", torch.zeros(201, 1, 400))
        self.register_buffer("mel_fb", torch.zeros(201, 80))
        self.stem = nn.Conv1d(80, CHANNELS, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block() for _ in range(N_BLOCKS))
        self.proj = nn.Linear(CHANNELS, N_TOKENS)

    def forward(self, audio: Float[Tensor, " n"], n_blocks: int = HIDDEN_BLOCK) -> list[Steps]:
        """What each of the first blocks says; of the last, `proj` makes logits of the phonemes.

        audio: mono 16 kHz in [-1, 1], at least 201 samples; step i is centred on sample 320 i,
        s = ceil((n // 160 + 1) / 2).
        """
        x = F.gelu(self.stem(self.log_mel(audio).T[None]))[0].T
        return [x := block(x) for block in self.blocks[:n_blocks]]

    def log_mel(self, audio: Float[Tensor, " n"]) -> Float[Tensor, "m 80"]:
        """Natural logarithm of the mel power spectrum, 100 frames a second, centred."""
        padded = F.pad(audio[None, None], (200, 200), mode="reflect")
        real = F.conv1d(padded, self.stft_real, stride=HOP)
        imaginary = F.conv1d(padded, self.stft_imag, stride=HOP)
        power = (real**2 + imaginary**2)[0].T  # (m, 201)
        return torch.log((power @ self.mel_fb).clamp_min(1e-10))


class Block(nn.Module):
    """Half feed-forward, attention, convolution, half feed-forward, layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.ffn1 = feed_forward()
        self.attn_norm = nn.LayerNorm(CHANNELS)
        self.attn = nn.MultiheadAttention(CHANNELS, HEADS)
        self.conv = Convolution()
        self.ffn2 = feed_forward()
        self.norm = nn.LayerNorm(CHANNELS)

    def forward(self, x: Steps) -> Steps:
        x = x + 0.5 * self.ffn1(x)
        asking = self.attn_norm(x)
        x = x + self.attn(asking, asking, asking, need_weights=False)[0]
        x = x + self.conv(x)
        x = x + 0.5 * self.ffn2(x)
        return self.norm(x)


class Convolution(nn.Module):
    """Layer norm, gated pointwise, 31 steps depthwise with SiLU, pointwise."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS)
        self.pointwise1 = nn.Conv1d(CHANNELS, 2 * CHANNELS, 1)
        self.depthwise = nn.Conv1d(CHANNELS, CHANNELS, 31, padding=15, groups=CHANNELS)
        self.pointwise2 = nn.Conv1d(CHANNELS, CHANNELS, 1)

    def forward(self, x: Steps) -> Steps:
        gated = F.glu(self.pointwise1(self.norm(x).T[None]), dim=1)
        return self.pointwise2(F.silu(self.depthwise(gated)))[0].T


def feed_forward() -> nn.Sequential:
    """Layer norm, 144 -> 576 -> 144 with SiLU."""
    layers = {"norm": nn.LayerNorm(CHANNELS), "fc1": nn.Linear(CHANNELS, 4 * CHANNELS)}
    layers |= {"silu": nn.SiLU(), "fc2": nn.Linear(4 * CHANNELS, CHANNELS)}
    return nn.Sequential(OrderedDict(layers))


@functools.cache
def load_conformer() -> Conformer:
    """The Conformer with the weights of the installed `hama` package, ready for use."""
    try:
        content = resources.files("hama.assets").joinpath("asr_waveform.hama").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError):
        raise FileNotFoundError(
            "the speech network's weights come with the package hama; pip install hama==1.7.0"
        ) from None
    with torch.random.fork_rng(devices=[]):  # who seeded it cannot know what is loaded already
        model = Conformer()
    model.load_state_dict(_state(read_hama_file(content), model.state_dict()), strict=True)
    digest = hashlib.sha256(content).hexdigest()[:12]
    model.version = f"hama {version('hama')}, block {HIDDEN_BLOCK}, weights {digest}"
    return model.eval().requires_grad_(False)


def read_hama_file(content: bytes) -> dict[str, Float[Tensor, "..."]]:
    """Tensors of a .hama file, in its order: magic, count, table of (name, type, shape, place), raw
    data.

    Raises: ValueError when the bytes are no .hama file.
    """
    if content[:6] != b"HAMAPK":
        raise ValueError("not a .hama file; reinstall hama==1.7.0")
    file, table = io.BytesIO(content[8:]), []

    def following(layout: str) -> tuple:
        return struct.unpack(f"<{layout}", file.read(struct.calcsize(f"<{layout}")))

    (count,) = following("I")
    for _ in range(count):
        (n_letters,) = following("H")
        name, kind, n_axes = following(f"{n_letters}sBB")
        shape, (start, n_bytes) = following(f"{n_axes}I"), following("QQ")
        kind = np.float32 if kind == 0 else np.float16
        table.append((name.decode(), kind, shape, start, n_bytes))
    data = len(content) - max(start + n_bytes for *_, start, n_bytes in table)
    return {
        name: torch.from_numpy(np.ndarray(shape, kind, content, data + start).astype(np.float32))
        for name, kind, shape, start, _ in table
    }


def _state(tensors: dict[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The tensors of the file, an exported graph's, under Conformer's names.

    Convolutions of the stem and over time, and the blocks' matrices, have lost their names there;
    they follow each other as in Conformer.
    """
    prefix = "acoustic_model.model."
    state = {name.removeprefix(prefix): tensors[name] for name in tensors if prefix in name}
    state |= {name: tensors[f"{name}_kernel"] for name in ("stft_real", "stft_imag")}
    state |= {"mel_fb": tensors["mel_fb"], "proj.weight": state["proj.weight"][..., 0]}
    convolutions, matrices = (
        iter([tensors[name] for name in tensors if name.startswith(f"onnx::{kind}_")])
        for kind in ("Conv", "MatMul")
    )
    for name in (name for name in names if name not in state):
        is_matrix = "stem" not in name and "depthwise" not in name
        state[name] = next(matrices).T.contiguous() if is_matrix else next(convolutions)
    return state
