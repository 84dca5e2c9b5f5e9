"""CTranslate2's WhisperSpec as transformers has the same model: its weights by their names there, and its config.json.

The layers are those of ctranslate2/specs/whisper_spec.py of CTranslate2 4.8. It joins what query, key and value are
made with, and so those of cross-attention's key and value. Keys have no bias in Whisper, so their part of a joined bias
is zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fuseline.errors import ExportError

from .reader import Binary
from .variables import Variables

Array = npt.NDArray[Any]

SPECIFICATION, REVISION = "WhisperSpec", 3
_GELU = 3  # its number in the file
_HALF_STEP = 2.0**-10  # between halves from 1 on
# Of a layer, the names here and there.
_NORMS = {"self_attention/layer_norm": "self_attn_layer_norm", "ffn/layer_norm": "final_layer_norm"}
_LINEARS = {"self_attention/linear_1": "self_attn.out_proj", "ffn/linear_0": "fc1", "ffn/linear_1": "fc2"}
_JOINED = {"self_attention/linear_0": ("self_attn", "qkv")}
# Of a decoder's layer beside.
_CROSS_NORMS = {"attention/layer_norm": "encoder_attn_layer_norm"}
_CROSS_LINEARS = {"attention/linear_0": "encoder_attn.q_proj", "attention/linear_2": "encoder_attn.out_proj"}
_CROSS_JOINED = {"attention/linear_1": ("encoder_attn", "kv")}


@dataclass(frozen=True)
class Whisper:
    """weights: float32 by the names of transformers' state dict; config: as WhisperConfig has it, but for tokens."""

    weights: Mapping[str, Array]
    config: Mapping[str, Any]


def whisper(binary: Binary) -> Whisper:
    """What a model.bin of WhisperSpec says. Raises ExportError for what is missing, and what Whisper has not."""
    if binary.revision != REVISION:
        raise ExportError(
            f"the CTranslate2 model has revision {binary.revision} of {SPECIFICATION}, and {REVISION} is known; "
            "convert it again with a version of 4"
        )
    file = Variables(binary.variables)
    table_VE = file.take("decoder/embeddings/weight", "model.decoder.embed_tokens.weight")
    head_VE = file.take("decoder/projection/weight", "proj_out.weight")
    for name in ("conv1", "conv2"):
        file.take(f"encoder/{name}/weight", f"model.encoder.{name}.weight")
        file.take(f"encoder/{name}/bias", f"model.encoder.{name}.bias")
    layers = {part: _part(file, part) for part in ("encoder", "decoder")}
    _check_kind(file)
    return Whisper(file.weights, _config(file, layers, table_VE, head_VE))


def _part(file: Variables, part: str) -> int:
    """Take what both parts have. Returns the number of layers."""
    crosses = part == "decoder"
    joined = _JOINED | (_CROSS_JOINED if crosses else {})
    linears = _LINEARS | (_CROSS_LINEARS if crosses else {})
    norms = _NORMS | (_CROSS_NORMS if crosses else {})
    layers = 0
    while any(name.startswith(f"{part}/layer_{layers}/") for name in file.stored):
        at, to = f"{part}/layer_{layers}", f"model.{part}.layers.{layers}"
        for name, theirs in linears.items():
            file.take(f"{at}/{name}/weight", f"{to}.{theirs}.weight")
            file.take(f"{at}/{name}/bias", f"{to}.{theirs}.bias")
        for name, theirs in norms.items():
            _norm(file, f"{at}/{name}", f"{to}.{theirs}")
        for name, (attention, parts) in joined.items():
            _split(file, f"{at}/{name}", [f"{to}.{attention}.{each}_proj" for each in parts])
        layers += 1
    _norm(file, f"{part}/layer_norm", f"model.{part}.layer_norm")
    file.weights[f"model.{part}.embed_positions.weight"] = _positions(file, f"{part}/position_encodings/encodings")
    return layers


def _norm(file: Variables, name: str, to: str) -> None:
    file.take(f"{name}/gamma", f"{to}.weight")
    file.take(f"{name}/beta", f"{to}.bias")


def _split(file: Variables, name: str, to: Sequence[str]) -> None:
    """Take linear layers that lie one below the other, [O, I] each."""
    weight, bias = file.read(f"{name}/weight"), file.read(f"{name}/bias")
    if weight.ndim != 2 or len(weight) % len(to) or bias.shape != weight.shape[:1]:
        raise ExportError(
            f"{name} of the CTranslate2 model is {list(weight.shape)} with a bias {list(bias.shape)} and must be "
            f"{len(to)} layers joined"
        )
    for each, rows, added in zip(to, np.split(weight, len(to)), np.split(bias, len(to)), strict=True):
        file.weights[f"{each}.weight"] = rows
        if not each.endswith("k_proj"):
            file.weights[f"{each}.bias"] = added
        elif added.any():
            raise ExportError(f"{name} of the CTranslate2 model has a bias for keys, which Whisper has not")


def _positions(file: Variables, name: str) -> Array:
    """A table of positions. Where sines are stored as halves, they are computed again, which undoes the rounding."""
    table_PE = file.read(name)
    if file.stored[name].dtype != np.float16 or table_PE.ndim != 2 or table_PE.shape[1] < 4 or table_PE.shape[1] % 2:
        return table_PE
    exact = _sinusoids(*table_PE.shape)
    return exact if float(np.abs(exact - table_PE).max()) < _HALF_STEP else table_PE


def _sinusoids(positions: int, width: int) -> Array:
    """float32[P, E]: sines and then cosines, as sinusoids in transformers' modeling_whisper.py has them.

    Rounded where torch rounds, and exact between: 1.6e-5 from torch's, and 1.3e-4 with numpy's own float32.
    """
    step = np.float32(np.log(10000) / (width // 2 - 1))
    powers = -step * np.arange(width // 2, dtype=np.float32)
    rates = np.exp(powers.astype(np.float64)).astype(np.float32)
    angles = (np.arange(positions, dtype=np.float32)[:, None] * rates).astype(np.float64)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def _check_kind(file: Variables) -> None:
    """Raises ExportError where a decoder is of another kind than Whisper's."""
    wanted = {"pre_norm": 1, "activation": _GELU, "scale_embeddings": 0, "start_from_zero_embedding": 0, "alibi": 0}
    for name, value in wanted.items():
        found = file.number(f"decoder/{name}", value)
        if found != value:
            raise ExportError(f"decoder/{name} of the CTranslate2 model is {found:g}, and Whisper's is {value}")


def _config(file: Variables, layers: Mapping[str, int], table_VE: Array, head_VE: Array) -> dict[str, Any]:
    conv1, inner = file.weights["model.encoder.conv1.weight"], file.weights.get("model.encoder.layers.0.fc1.bias")
    if conv1.ndim != 3 or table_VE.ndim != 2 or inner is None or not layers["decoder"]:
        raise ExportError(
            "the CTranslate2 model is no Whisper: its first convolution, embeddings or layers are missing"
        )
    heads = {part: int(file.number(f"{part}/num_heads")) for part in ("encoder", "decoder")}
    file.check_all_known()
    tied = head_VE is table_VE or np.array_equal(head_VE, table_VE)
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "is_encoder_decoder": True,
        "vocab_size": len(table_VE),
        "num_mel_bins": conv1.shape[1],
        "d_model": table_VE.shape[1],
        **{f"{part}_layers": count for part, count in layers.items()},
        **{f"{part}_attention_heads": count for part, count in heads.items()},
        **{f"{part}_ffn_dim": len(file.weights[f"model.{part}.layers.0.fc1.bias"]) for part in layers},
        "max_source_positions": len(file.weights["model.encoder.embed_positions.weight"]),
        "max_target_positions": len(file.weights["model.decoder.embed_positions.weight"]),
        "activation_function": "gelu",
        "scale_embedding": False,
        "tie_word_embeddings": bool(tied),
    }
