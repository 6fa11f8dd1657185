"""Conformer: 16 kHz sound -> hidden states and phoneme log-probabilities, 50 a second.

The phoneme Conformer of the `hama` package (Apache-2.0) in torch: its weights are read from the
installed package, its engine is not needed. 4 blocks, 144 channels, 4 heads, no positional code.
"""

import functools
import hashlib
import struct
from importlib import resources
from importlib.metadata import version

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["CHANNELS", "Conformer", "conformer_version", "load_conformer", "read_hama_file"]

CHANNELS = 144
HEADS = 4
N_BLOCKS = 4
HIDDEN_BLOCK = 3
"""Block (1 to 4) whose output serves as speech features. On held-out speakers it predicts the
mouth better than block 4: r of opening 0.57 against 0.51 by ridge regression (ours)."""
N_TOKENS = 191
HOP = 160
"""Samples between two mel frames; the stem halves their rate to 50 Hz."""


class Conformer(nn.Module):
    """Sound to (hidden states of block HIDDEN_BLOCK, phoneme log-probabilities)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("stft_real", torch.zeros(201, 1, 400))
        self.register_buffer("stft_imaginary", torch.zeros(201, 1, 400))
        self.register_buffer("mel_bands", torch.zeros(201, 80))
        self.stem = nn.Conv1d(80, CHANNELS, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block() for _ in range(N_BLOCKS))
        self.phonemes = nn.Linear(CHANNELS, N_TOKENS)

    def forward(self, audio: Float[Tensor, " n"]) -> tuple[Float[Tensor, "s 144"], Tensor]:
        """audio: mono 16 kHz in [-1, 1], at least 201 samples; step i is centred on sample 320 i.

        Returns hidden (s, 144) and log-probabilities (s, 191), s = ceil((n // 160 + 1) / 2).
        """
        x = hidden = self.hidden(audio)
        for block in self.blocks[HIDDEN_BLOCK:]:
            x = block(x)
        return hidden, torch.log_softmax(self.phonemes(x), dim=-1)

    def layers(self, audio: Float[Tensor, " n"]) -> tuple[Float[Tensor, "4 s 144"], Tensor]:
        """What every block says, and the phoneme log-probabilities; else as `forward`."""
        x = F.gelu(self.stem(self.log_mel(audio).T[None]))[0].T  # (s, 144)
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return torch.stack(outputs), torch.log_softmax(self.phonemes(x), dim=-1)

    def hidden(self, audio: Float[Tensor, " n"]) -> Float[Tensor, "s 144"]:
        """The hidden states alone; blocks above HIDDEN_BLOCK are not computed."""
        x = F.gelu(self.stem(self.log_mel(audio).T[None]))[0].T  # (s, 144)
        for block in self.blocks[:HIDDEN_BLOCK]:
            x = block(x)
        return x

    def log_mel(self, audio: Float[Tensor, " n"]) -> Float[Tensor, "m 80"]:
        """Natural logarithm of the mel power spectrum, 100 frames a second, centred."""
        padded = F.pad(audio[None, None], (200, 200), mode="reflect")
        real = F.conv1d(padded, self.stft_real, stride=HOP)
        imaginary = F.conv1d(padded, self.stft_imaginary, stride=HOP)
        power = (real**2 + imaginary**2)[0].T  # (m, 201)
        return torch.log((power @ self.mel_bands).clamp_min(1e-10))


class Block(nn.Module):
    """Half feed-forward, attention, convolution, half feed-forward, layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = FeedForward()
        self.attention_norm = nn.LayerNorm(CHANNELS)
        self.queries_keys_values = nn.Linear(CHANNELS, 3 * CHANNELS)
        self.attention_out = nn.Linear(CHANNELS, CHANNELS)
        self.convolution_norm = nn.LayerNorm(CHANNELS)
        self.pointwise_in = nn.Conv1d(CHANNELS, 2 * CHANNELS, 1)
        self.depthwise = nn.Conv1d(CHANNELS, CHANNELS, 31, padding=15, groups=CHANNELS)
        self.pointwise_out = nn.Conv1d(CHANNELS, CHANNELS, 1)
        self.second = FeedForward()
        self.norm = nn.LayerNorm(CHANNELS)

    def forward(self, x: Float[Tensor, "s 144"]) -> Float[Tensor, "s 144"]:
        x = x + 0.5 * self.first(x)
        x = x + self._attend(self.attention_norm(x))
        x = x + self._convolve(self.convolution_norm(x))
        x = x + 0.5 * self.second(x)
        return self.norm(x)

    def _attend(self, x: Tensor) -> Tensor:
        split = self.queries_keys_values(x).reshape(len(x), 3, HEADS, -1).permute(1, 2, 0, 3)
        seen = F.scaled_dot_product_attention(*split[:, None])[0]  # (heads, s, c)
        return self.attention_out(seen.transpose(0, 1).reshape(len(x), -1))

    def _convolve(self, x: Tensor) -> Tensor:
        gated = F.glu(self.pointwise_in(x.T[None]), dim=1)
        return self.pointwise_out(F.silu(self.depthwise(gated)))[0].T


class FeedForward(nn.Module):
    """Layer norm, 144 -> 576 -> 144 with SiLU."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS)
        self.widen = nn.Linear(CHANNELS, 4 * CHANNELS)
        self.narrow = nn.Linear(4 * CHANNELS, CHANNELS)

    def forward(self, x: Float[Tensor, "s 144"]) -> Float[Tensor, "s 144"]:
        return self.narrow(F.silu(self.widen(self.norm(x))))


@functools.cache
def load_conformer() -> Conformer:
    """The Conformer with the weights of the installed `hama` package, ready for use.

    The global random stream is left alone: who seeded it cannot know what is loaded already.
    """
    with torch.random.fork_rng(devices=[]):
        model = Conformer()
    model.load_state_dict(_renamed(read_hama_file(_hama_file())), strict=True)
    return model.eval().requires_grad_(False)


@functools.cache
def conformer_version() -> str:
    """What made the features: "hama 1.7.0, block 3, weights 0123456789ab" (start of the sha256)."""
    digest = hashlib.sha256(_hama_file()).hexdigest()[:12]
    return f"hama {version('hama')}, block {HIDDEN_BLOCK}, weights {digest}"


def read_hama_file(content: bytes) -> dict[str, Float[Tensor, "..."]]:
    """Tensors of a .hama file: magic, count, table of (name, type, shape, place), raw data.

    Raises: ValueError when the bytes are no .hama file.
    """
    if content[:6] != b"HAMAPK":
        raise ValueError("not a .hama file; reinstall hama==1.7.0")
    (count,) = struct.unpack_from("<I", content, 8)
    place, table = 12, []
    for _ in range(count):
        (n_letters,) = struct.unpack_from("<H", content, place)
        name = content[place + 2 : place + 2 + n_letters].decode()
        place += 2 + n_letters
        kind, n_axes = content[place], content[place + 1]
        shape = struct.unpack_from(f"<{n_axes}I", content, place + 2)
        place += 2 + 4 * n_axes
        start, n_bytes = struct.unpack_from("<QQ", content, place)
        place += 16
        table.append((name, np.float32 if kind == 0 else np.float16, shape, start, n_bytes))
    data = len(content) - max(start + n_bytes for *_, start, n_bytes in table)
    tensors = {}
    for name, kind, shape, start, n_bytes in table:
        values = np.frombuffer(content, kind, n_bytes // np.dtype(kind).itemsize, data + start)
        tensors[name] = torch.from_numpy(values.reshape(shape).astype(np.float32))
    return tensors


def _hama_file() -> bytes:
    try:
        return resources.files("hama.assets").joinpath("asr_waveform.hama").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError):
        raise FileNotFoundError(
            "the speech network's weights come with the package hama; pip install hama==1.7.0"
        ) from None


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The file's names (an exported graph's) turned into those of Conformer."""

    def unnamed(kind: str) -> list[Tensor]:
        names = [name for name in tensors if name.startswith(f"onnx::{kind}_")]
        return [tensors[name] for name in sorted(names, key=lambda name: int(name.split("_")[1]))]

    prefix = "acoustic_model.model."
    convolutions, products = unnamed("Conv"), unnamed("MatMul")
    state = {
        "stft_real": tensors["stft_real_kernel"],
        "stft_imaginary": tensors["stft_imag_kernel"],
        "mel_bands": tensors["mel_fb"],
        "stem.weight": convolutions[0],
        "stem.bias": convolutions[1],
        "phonemes.weight": tensors[f"{prefix}proj.weight"][..., 0],
        "phonemes.bias": tensors[f"{prefix}proj.bias"],
    }
    matrices = (
        "first.widen",
        "first.narrow",
        "queries_keys_values",
        "attention_out",
        "second.widen",
        "second.narrow",
    )
    named = {
        "first.norm.weight": "ffn1.norm.weight",
        "first.norm.bias": "ffn1.norm.bias",
        "first.widen.bias": "ffn1.fc1.bias",
        "first.narrow.bias": "ffn1.fc2.bias",
        "attention_norm.weight": "attn_norm.weight",
        "attention_norm.bias": "attn_norm.bias",
        "queries_keys_values.bias": "attn.in_proj_bias",
        "attention_out.bias": "attn.out_proj.bias",
        "convolution_norm.weight": "conv.norm.weight",
        "convolution_norm.bias": "conv.norm.bias",
        "pointwise_in.weight": "conv.pointwise1.weight",
        "pointwise_in.bias": "conv.pointwise1.bias",
        "pointwise_out.weight": "conv.pointwise2.weight",
        "pointwise_out.bias": "conv.pointwise2.bias",
        "second.norm.weight": "ffn2.norm.weight",
        "second.norm.bias": "ffn2.norm.bias",
        "second.widen.bias": "ffn2.fc1.bias",
        "second.narrow.bias": "ffn2.fc2.bias",
        "norm.weight": "norm.weight",
        "norm.bias": "norm.bias",
    }
    for index in range(N_BLOCKS):
        for name, matrix in zip(matrices, products[6 * index : 6 * index + 6], strict=True):
            state[f"blocks.{index}.{name}.weight"] = matrix.T.contiguous()
        state[f"blocks.{index}.depthwise.weight"] = convolutions[2 + 2 * index]
        state[f"blocks.{index}.depthwise.bias"] = convolutions[3 + 2 * index]
        for ours, theirs in named.items():
            state[f"blocks.{index}.{ours}"] = tensors[f"{prefix}blocks.{index}.{theirs}"]
    return state
