"""A Hugging Face checkpoint: finds it, checks its files, and reads its configuration and weights.

Weights are read from safetensors, or where there are none from pytorch_model.bin with weights_only=True: the captioner
that is used most (ViT with GPT-2) is published in that form alone, and that reader makes tensors and nothing else.
Nothing in a checkpoint is executed, and no file outside of it is read: neither code that it brings (auto_map), nor
weights that an index, a link or a configuration looks for elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from fuseline.errors import ExportError

from ..refusals import reason

_DOWNLOADED = ["*.json", "*.txt", "*.model", "*.safetensors", "pytorch_model*.bin"]
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
# Of config.json: another file of weights, and weights that a package of its own would have to read.
_ELSEWHERE = {"transformers_weights", "quantization_config"}
# Of a JSON file; tokenizers of large vocabularies have 30 MB, indices of weights a tenth of that.
_LARGEST_JSON = 64 << 20
# What a captioner has no use for: the model keeps it, and older checkpoints lack it.
_UNUSED = re.compile(r"^encoder\.pooler\.|\.position_ids$|\._float_tensor$")


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a checkpoint in it. config: config.json parsed."""

    path: Path
    config: Mapping[str, Any]

    def file(self, name: str) -> Path | None:
        """The file of that name, if there is one. Raises ExportError for a link that leads out of the checkpoint."""
        path = self.path / name
        if not path.is_file():
            return None
        # In the cache of the hub a snapshot's files are links to the blobs beside the snapshots.
        root = self.path.resolve()
        root = root.parents[1] if root.parent.name == "snapshots" else root
        if not path.resolve().is_relative_to(root):
            raise ExportError(f"{path} is a link out of the checkpoint, to {path.resolve()}; put the file itself there")
        return path

    def json(self, name: str) -> dict[str, Any] | None:
        """The object in a JSON file, None where there is no such file. Raises ExportError for anything else in it."""
        path = self.file(name)
        return None if path is None else _read_object(path)


def open_checkpoint(source: str | Path) -> Checkpoint:
    """The checkpoint in a local folder, or that of a hub id such as "org/name", which is downloaded first.

    Raises ExportError if there is none, or its config.json or weights are missing.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = _downloaded(str(source))
    checkpoint = Checkpoint(folder, {})
    config = checkpoint.json("config.json")
    if config is None:
        raise ExportError(f"{source} has no config.json; give the folder of a Hugging Face checkpoint")
    _check_weights(checkpoint, source, config)
    return Checkpoint(folder, config)


def _check_weights(checkpoint: Checkpoint, source: str | Path, config: Mapping[str, Any]) -> None:
    """Raises ExportError where transformers would look for weights elsewhere than in files of the checkpoint."""
    weights = next((name for name in _WEIGHTS if checkpoint.file(name)), None)
    if weights is None:
        raise ExportError(f"{source} has no weights; one of {', '.join(_WEIGHTS)} is needed")
    if checkpoint.file("adapter_config.json"):
        raise ExportError(f"{source} is an adapter of PEFT, whose weights lie elsewhere; merge it into its model first")
    named = sorted(_ELSEWHERE & config.keys())
    if named:
        raise ExportError(f"{source}: config.json has {', '.join(named)}, which is not supported; save the model anew")
    if not weights.endswith(".index.json"):
        return
    files = (checkpoint.json(weights) or {}).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        raise ExportError(f"{source}: {weights} must have an object called weight_map, of files by tensors")
    for name in sorted(set(files.values())):
        if PurePath(name).name != name or not name.endswith((".safetensors", ".bin")) or not checkpoint.file(name):
            raise ExportError(f"{source}: {weights} lists {name!r}, which is no file of weights in the checkpoint")


def load_model(checkpoint: Checkpoint, loader: str) -> Any:
    """The model of transformers, float32, in eval mode, on the CPU. loader: its class.

    Raises ExportError where a weight file is damaged, holds more than tensors, or lacks a tensor.
    """
    import torch
    import transformers

    try:
        loaded: Any = getattr(transformers, loader).from_pretrained(
            checkpoint.path,
            dtype=torch.float32,
            attn_implementation="eager",  # the one that follows every flag of the configurations
            local_files_only=True,
            trust_remote_code=False,
            weights_only=True,
            output_loading_info=True,
        )
    except MemoryError:
        raise
    except Exception as error:  # safetensors, torch and transformers have no common base for a damaged file
        raise ExportError(f"transformers cannot load {checkpoint.path}: {reason(error)}") from error
    model, info = loaded
    missing = sorted(name for name in info["missing_keys"] if not (_UNUSED.search(name) or _computed(model, name)))
    if missing:
        some = ", ".join(missing[:4]) + (", ..." if len(missing) > 4 else "")
        raise ExportError(f"the weights in {checkpoint.path} lack {len(missing)} tensors: {some}")
    return model.eval()


def _computed(model: Any, name: str) -> bool:
    """Whether transformers computes a tensor that is not in the file: Pegasus's sines are not always stored."""
    return "Sinusoidal" in type(model.get_submodule(name.rpartition(".")[0])).__name__


def _downloaded(name: str) -> Path:
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or ".." in name:
        raise ExportError(f"there is no folder {name}, and that is no name on the hub, which would be like org/name")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=_DOWNLOADED))
    except LocalEntryNotFoundError as error:
        raise ExportError(f"there is no folder {name}, and the hub cannot be reached to look for it there") from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ExportError(f"there is no folder {name}, and the hub does not give it: {reason(error)}") from error


def _read_object(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _LARGEST_JSON:
        raise ExportError(
            f"{path} has {path.stat().st_size} bytes and may have {_LARGEST_JSON}; it is no configuration"
        )
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ExportError(f"{path} must hold a JSON object")
    return value
