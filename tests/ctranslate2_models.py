"""Small models of CTranslate2 with random weights that say varied things, written by CTranslate2's own specifications.

What CTranslate2 itself says of them is the reference. Sizes are odd where they may be.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import TransformerSpec
from ctranslate2.specs.common_spec import Activation
from ctranslate2.specs.model_spec import OPTIONAL, LayerSpec

HEADS, HEAD_SIZE, INNER, LAYERS = 3, 4, 20, (2, 3)
WIDTH = HEADS * HEAD_SIZE
MARKS = ("<blank>", "<s>", "</s>")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = [f"▁{first}{second}" for first in "bdfgk" for second in "aeiou"] + list("aeiou")

# What TransformerSpec.from_config takes, by a name that says what is particular; what is in _OWN is set in the
# specification afterwards. "table" and "linear" are how large weights are, found by trying: 12 texts give 5 or more
# different ones.
KINDS: Mapping[str, Mapping[str, Any]] = {
    "pre-norm": {"table": 0.3},
    "post-norm": {"pre_norm": False, "activation": Activation.SWISH, "start_from_zero_embedding": True, "linear": 1.0},
    "bart": {
        "pre_norm": False,
        "layernorm_embedding": True,
        "activation": Activation.GELU,
        "positions": 40,
        "scale_embeddings": 1.0,
        "linear": 1.0,
    },
    "m2m": {
        "activation": Activation.RELU,
        "positions": 40,
        "scale_embeddings": 3.5,
        "tied": True,
        "table": 0.3,
    },
    "gelus": {"activation": Activation.GELUSigmoid, "pre_norm": True, "no_final_norm": True, "table": 0.3},
    "t5": {
        "relative_attention_bias": True,
        "rms_norm": True,
        "scale_embeddings": False,
        "bias": False,
        "queries_scale": 1.0,
        "scale_outputs": WIDTH**-0.5,
        "tied": True,
    },
    "umt5": {  # every layer has distances of its own
        "relative_attention_bias": True,
        "rms_norm": True,
        "scale_embeddings": False,
        "bias": False,
        "queries_scale": 1.0,
        "own_distances": True,
    },
    "t5 v1.1": {
        "relative_attention_bias": True,
        "rms_norm": True,
        "ffn_glu": True,
        "activation": Activation.GELUTanh,
        "scale_embeddings": False,
        "bias": False,
        "queries_scale": 1.0,
    },
}
_OWN = (
    "positions",
    "scale_embeddings",
    "bias",
    "queries_scale",
    "scale_outputs",
    "tied",
    "start_from_zero_embedding",
    "table",
    "linear",
    "own_distances",
)


def ctranslate2_folder(
    folder: Path,
    kind: str = "pre-norm",
    quantization: str | None = None,
    *,
    seed: int = 0,
    source: Sequence[str] = (*MARKS, *LETTERS, "<unk>"),
    target: Sequence[str] = (*MARKS, *LETTERS[::-1], "é", "<unk>"),
    config: Mapping[str, Any] | None = None,
    version: int = 6,
    change: Callable[[TransformerSpec], None] = lambda spec: None,
) -> Path:
    """A folder as CTranslate2's converters write it.

    quantization: as theirs; config: changes to config.json; version: of model.bin, where an older one is asked for;
    change: what else is set in the specification before it is written.
    """
    spec = _spec(kind, seed, len(source), len(target))
    spec.register_source_vocabulary(list(source))
    spec.register_target_vocabulary(list(target))
    spec.validate()
    spec.optimize(quantization=quantization)
    for name, value in (config or {}).items():
        spec.config.add_attribute(name, value)
    change(spec)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    if version < 6:
        _write_old(folder, spec, version)
    return folder


def _write_old(folder: Path, spec: TransformerSpec, version: int) -> None:
    """model.bin as older versions of CTranslate2 wrote it: what is in config.json since 6 was in the file."""
    variables = spec.variables(ordered=True)
    found = {name: value.numpy() for name, value in variables if not isinstance(value, str)}
    aliases = {name: value for name, value in variables if isinstance(value, str)}
    if version < 3:
        found |= {name: found[other] for name, other in aliases.items()}
        scales = {f"{name}_scale": f"{other}_scale" for name, other in aliases.items()}
        found |= {name: found[other] for name, other in scales.items() if other in found}
    options = json.loads((folder / "config.json").read_text())
    (folder / "config.json").unlink()
    for name in ("unk", "bos", "eos"):
        found[f"{name}_token"] = np.frombuffer(options[f"{name}_token"].encode(), np.int8)
    for name in ("bos", "eos"):
        found[f"with_source_{name}"] = np.array(options[f"add_source_{name}"], np.int8)
    found["with_target_bos"] = np.array(options["decoder_start_token"] == options["bos_token"], np.int8)
    (folder / "model.bin").write_bytes(binary(found, aliases, version=version))


def binary(
    variables: Mapping[str, np.ndarray],
    aliases: Mapping[str, str] | None = None,
    *,
    version: int = 6,
    specification: str = "TransformerSpec",
    revision: int = 7,
) -> bytes:
    """The bytes of a model.bin."""
    types = ("float32", "int8", "int16", "int32", "float16", "bfloat16")

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value.encode()) + 1) + value.encode() + b"\0"

    parts = [struct.pack("<I", version), text(specification), struct.pack("<II", revision, len(variables))]
    for name, value in variables.items():
        parts += [text(name), struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)]
        if version >= 4:
            parts.append(struct.pack("<BI", types.index(value.dtype.name), value.nbytes))
        else:
            parts.append(struct.pack("<BI", value.itemsize, value.size))
        parts.append(value.tobytes())
    if version >= 3:
        parts.append(struct.pack("<I", len(aliases or {})))
        parts += [text(alias) + text(name) for alias, name in (aliases or {}).items()]
    return b"".join(parts)


def sources(folder: Path, count: int, seed: int = 0, longest: int = 12) -> list[list[str]]:
    """Tokens of source texts, without marks."""
    found = [folder / f"{name}_vocabulary.json" for name in ("shared", "source")]
    known = json.loads(next(path for path in found if path.exists()).read_text())
    plain = [token for token in known if not token.startswith("<")]
    chance = np.random.default_rng(seed)
    return [list(chance.choice(plain, chance.integers(1, longest + 1))) for _ in range(count)]


def _spec(kind: str, seed: int, source: int, target: int) -> TransformerSpec:
    options = dict(KINDS[kind])
    own = {name: options.pop(name) for name in _OWN if name in options}
    spec = TransformerSpec.from_config(LAYERS, HEADS, **options)
    chance = np.random.default_rng(seed)
    for part, size in ((spec.encoder, source), (spec.decoder, target)):
        part.scale_embeddings = own.get("scale_embeddings", True)
        table = part.embeddings[0] if isinstance(part.embeddings, list) else part.embeddings
        table.weight = _random(chance, size, WIDTH, scale=own.get("table", 1.0))
        if "positions" in own:
            part.position_encodings.encodings = _random(chance, own["positions"], WIDTH, scale=1.0)
        first = part.layer[0].self_attention
        for layer in part.layer:
            for name, attention in vars(layer).items():
                if name.endswith("attention"):
                    _fill_attention(chance, attention, own, first)
            _fill_linear(chance, layer.ffn.linear_0, WIDTH, INNER, own)
            _fill_linear(chance, layer.ffn.linear_1, INNER, WIDTH, own)
            if hasattr(layer.ffn, "linear_0_noact"):
                _fill_linear(chance, layer.ffn.linear_0_noact, WIDTH, INNER, own)
        _fill_norms(chance, part)
    if own.get("tied"):
        spec.decoder.projection.weight = spec.decoder.embeddings.weight
    _fill_linear(
        chance, spec.decoder.projection, WIDTH, target, {"bias": own.get("projection_bias", "tied" not in own)}
    )
    if "scale_outputs" in own:
        spec.decoder.scale_outputs = np.float32(own["scale_outputs"])
    spec.decoder.start_from_zero_embedding = own.get("start_from_zero_embedding", False)
    return spec


def _random(chance: np.random.Generator, *shape: int, scale: float) -> np.ndarray:
    return (chance.standard_normal(shape) * scale).astype(np.float32)


def _fill_linear(chance: np.random.Generator, linear: Any, inputs: int, outputs: int, own: Mapping[str, Any]) -> None:
    if linear.weight is None:
        linear.weight = _random(chance, outputs, inputs, scale=own.get("linear", 2.0) * inputs**-0.5)
    if own.get("bias", True):
        linear.bias = _random(chance, outputs, scale=0.3)


def _fill_attention(chance: np.random.Generator, attention: Any, own: Mapping[str, Any], first: Any) -> None:
    outputs = (3 * WIDTH, WIDTH) if len(attention.linear) == 2 else (WIDTH, 2 * WIDTH, WIDTH)
    for linear, size in zip(attention.linear, outputs, strict=True):
        _fill_linear(chance, linear, WIDTH, size, own)
    if "queries_scale" in own:
        attention.queries_scale = np.float32(own["queries_scale"])
    if hasattr(attention, "relative_attention_bias"):
        if attention is first or own.get("own_distances"):
            attention.relative_attention_bias = _random(chance, 8, HEADS, scale=1.0)
            attention.relative_attention_max_distance = np.int32(9)
        else:
            attention.relative_attention_bias = first.relative_attention_bias
            attention.relative_attention_max_distance = first.relative_attention_max_distance


def _fill_norms(chance: np.random.Generator, layer: Any) -> None:
    """All norms below a layer, which have no weights yet."""
    for value in vars(layer).values():
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, LayerSpec):
                continue
            _fill_norms(chance, each)
            if hasattr(each, "gamma"):
                each.gamma = 1 + _random(chance, WIDTH, scale=0.2)
            if hasattr(each, "beta") and not (isinstance(each.beta, str) and each.beta == OPTIONAL):
                each.beta = _random(chance, WIDTH, scale=0.2)
