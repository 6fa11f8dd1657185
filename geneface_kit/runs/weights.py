"""Weights: networks and checkpoints as safetensors files, never half written, never of another
network: tensors beside words and numbers, no code (no pickles). And classes by import path."""

import json
import pkgutil
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from geneface_kit.runs import replacing
from geneface_kit.runs.files import Facts


def save_weights(path: Path, module: nn.Module, **metadata: str) -> None:
    """Writes a network's tensors as safetensors; metadata names what it is (kind, encoder, ...)."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    with replacing(path) as partial:
        save_file(tensors, partial, metadata)


def read_metadata(path: Path, **expected: str) -> dict[str, str]:
    """What `save_weights` wrote beside the tensors; raises what `load_weights` raises."""
    return _load(path, **expected)[1]


def load_weights(path: Path, module: nn.Module, **expected: str) -> dict[str, str]:
    """Reads `save_weights`' file into a network and returns its metadata.

    Raises: FileNotFoundError when there is no file; ValueError, in one sentence, when the file
    is damaged, belongs to another network, or its metadata differs from `expected`.
    """
    tensors, metadata = _load(path, **expected)
    own = module.state_dict()
    missing = sorted(own.keys() - tensors.keys())
    foreign = sorted(tensors.keys() - own.keys())
    shapes = [key for key in own.keys() & tensors.keys() if own[key].shape != tensors[key].shape]
    if missing or foreign or shapes:
        example = (missing + foreign + shapes)[0]
        raise ValueError(
            f"{path.name} does not fit {type(module).__name__}: {len(missing)} tensors missing, "
            f"{len(foreign)} foreign, {len(shapes)} of another shape (first: {example}); "
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
        tensors[name] = tensor.detach().cpu().contiguous()
        return {"@tensor": name}

    metadata = {"kind": "nested", "content": json.dumps(content, default=numbered)}
    with replacing(path) as partial:
        save_file(tensors, partial, metadata)


def load_nested(path: Path) -> Facts:
    """What `save_nested` wrote. Raises: ValueError, in one sentence, when the file is damaged."""
    tensors, metadata = _load(path, kind="nested")

    def restored(found: Facts) -> Facts | Tensor:
        return tensors[found["@tensor"]] if "@tensor" in found else found

    return json.loads(metadata["content"], object_hook=restored)


def _load(path: Path, **expected: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file."""
    if not path.exists():
        raise FileNotFoundError(f"no weights at {path}: run the stage that makes them first")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"{path.name} is not a readable safetensors file ({error}): it is damaged or of "
            "another kind; run its stage again"
        ) from None
    for key, value in expected.items():
        if metadata.get(key) != value:
            found = metadata.get(key, "nothing")
            raise ValueError(f"{path.name} is for {key} {found!r}, but {key} {value!r} is needed")
    return tensors, metadata


def imported(path: str, setting: str, kind: type = object) -> type:
    """The class at an import path "package.module:Class".

    setting: which setting names it, for the errors. kind: what it has to be a subclass of.
    Raises: ValueError, in one sentence, when there is no such class or it is none of that kind.
    """
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{setting}={path} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise ValueError(
            f"{setting}={path} must be a subclass of {kind.__module__}.{kind.__name__}"
        )
    return found
