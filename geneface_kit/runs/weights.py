"""Weights: networks and checkpoints as safetensors files, never half written, never of another
network: tensors beside words and numbers, no code (no pickles)."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from geneface_kit.runs import replacing
from geneface_kit.runs.files import Facts, readable

DIGEST = "sha256"  # name, in a file's metadata, of what `_digest` gives


def save_weights(path: Path, module: nn.Module, **metadata: str) -> None:
    """Writes a network's tensors as safetensors; metadata names what it is (kind, encoder, ...)."""
    save_tensors(path, module.state_dict(), metadata)


def read_metadata(path: Path, **expected: str) -> dict[str, str]:
    """What `save_weights` wrote beside the tensors; raises what `load_weights` raises."""
    return load_tensors(path, **expected)[1]


def load_weights(path: Path, module: nn.Module, **expected: str) -> dict[str, str]:
    """Reads `save_weights`' file into a network and returns its metadata. Raises: FileNotFoundError
    when there is no file; ValueError, in one sentence, when the file is damaged, belongs to another
    network, or its metadata differs from `expected`."""
    tensors, metadata = load_tensors(path, **expected)
    own = module.state_dict()
    missing, foreign = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    shapes = [key for key in own.keys() & tensors.keys() if own[key].shape != tensors[key].shape]
    if wrong := missing + foreign + shapes:
        raise ValueError(
            f"{path.name} does not fit {type(module).__name__}: {len(missing)} tensors missing, "
            f"{len(foreign)} foreign, {len(shapes)} of another shape (first: {wrong[0]}); "
            "use the weights and the settings of one run"
        )
    module.load_state_dict(tensors)
    return metadata


def save_nested(path: Path, content: Facts) -> None:
    """Writes nested dicts and lists of tensors, numbers and words: the tensors as safetensors, all
    else as json in its metadata. Keys become words and tuples lists, as json has it."""
    tensors: dict[str, Tensor] = {}

    def numbered(tensor: Tensor) -> dict[str, str]:
        name = str(len(tensors))
        tensors[name] = tensor
        return {"@tensor": name}

    about = {"kind": "nested", "content": json.dumps(content, default=numbered)}
    save_tensors(path, tensors, about)


def load_nested(path: Path) -> Facts:
    """What `save_nested` wrote. Raises: ValueError, in one sentence, when the file is damaged."""
    tensors, metadata = load_tensors(path, kind="nested")

    def restored(found: Facts) -> Facts | Tensor:
        return tensors[found["@tensor"]] if "@tensor" in found else found

    return json.loads(metadata["content"], object_hook=restored)


def load_tensors(path: Path, **expected: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file of `save_tensors`, which is what it was to the last bit."""
    with readable(path), safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
        metadata = file.metadata() or {}
        if metadata.pop(DIGEST, "") != _digest(tensors, metadata):
            raise ValueError("its digest is another")
    for key, value in expected.items():
        if metadata.get(key) != value:
            found = metadata.get(key, "nothing")
            raise ValueError(f"{path.name} is for {key} {found!r}, but {key} {value!r} is needed")
    return tensors, metadata


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes tensors and words as safetensors, with a digest of both. The words are sorted, which
    the library leaves in any order, so that equal content is equal bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = metadata | {DIGEST: _digest(tensors, metadata)}
    with replacing(path) as partial:
        save_file(tensors, partial, metadata)
        with partial.open("r+b") as file:
            n_bytes = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(n_bytes)) | {"__metadata__": metadata}
            text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
            file.seek(8)
            file.write(text.encode().ljust(n_bytes))


def _digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """The sha256 of what a file of weights holds."""
    kinds = {name: [str(tensor.dtype), *tensor.shape] for name, tensor in tensors.items()}
    found = hashlib.sha256(json.dumps([kinds, metadata], sort_keys=True).encode())
    for name in sorted(tensors):
        found.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()
