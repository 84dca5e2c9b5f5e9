"""What the variables of a CTranslate2 model mean: a Transformer's weights in float32, and what its parts are made of.

Layers are those of TransformerSpec in ctranslate2/specs/transformer_spec.py; where the file says nothing, what counts
is what CTranslate2 takes then (src/layers and src/models of its 4.8). A variable that is not known here is refused,
since the answer would be another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fuseline.errors import ExportError

from .positions import distance_bias, sinusoids
from .reader import Binary
from .variables import Variables

Array = npt.NDArray[Any]

REVISIONS = range(2, 8)
_NAMES: Mapping[str, int] = {"TransformerBase": 8, "TransformerBig": 16, "TransformerSpec": 8}  # and their heads
_WITH_HEADS, _WITH_PARTS = 3, 5  # the revisions that say how many heads, and say things of each part
_OTHERS: Mapping[str, str] = {
    "TransformerDecoderSpec": "a decoder alone, which reads no source",
    "TransformerEncoderSpec": "an encoder alone, which writes no text",
    "Wav2Vec2Spec": "Wav2Vec2, which reads speech",
    "Wav2Vec2BertSpec": "Wav2Vec2-BERT, which reads speech",
}
# By their numbers in the file, in the words of transformers; quick_gelu is x * sigmoid(1.702 x).
_ACTIVATIONS = ("relu", "gelu_new", "silu", "gelu", "quick_gelu", "tanh", "sigmoid")
_RMS_EPSILON, _EPSILON = 1e-6, 1e-5
# How many tokens of a source CTranslate2 reads, max_input_length; so far positions that no table bounds are made.
POSITIONS = 1024
_FARTHEST = 1 << 16  # T5 has 128


@dataclass(frozen=True)
class Transformer:
    """What the adapter writes down. weights: float32 by the names of the file with dots, norms as weight and bias."""

    weights: Mapping[str, Array]
    encoder: Mapping[str, Any]
    decoder: Mapping[str, Any]
    options: Mapping[str, Any]
    """unk_token, bos_token, eos_token, decoder_start_token, add_source_bos, add_source_eos: of the texts"""


def transformer(binary: Binary, config: Mapping[str, Any]) -> Transformer:
    """What a model.bin and its config.json (empty where there is none) say.

    Raises ExportError for another specification, for what has no form here, and for what is missing.
    """
    heads = _heads(binary)
    if config.get("quantization_type"):
        raise ExportError(
            "the CTranslate2 model has AWQ weights (quantization_type in config.json), which are not read"
        )
    variables = dict(binary.variables)
    if binary.revision < _WITH_PARTS:
        for name in ("num_heads", "pre_norm", "activation"):
            if name in variables:
                found = variables.pop(name)
                variables |= {f"encoder/{name}": found, f"decoder/{name}": found}
    if binary.revision < _WITH_HEADS:
        variables |= {f"{part}/num_heads": np.array(heads, np.int8) for part in ("encoder", "decoder")}
    file = Variables(variables)
    options = _options(file, binary.version, config)
    encoder, decoder = (_part(file, part, config.get("layer_norm_epsilon")) for part in ("encoder", "decoder"))
    file.check_all_known()
    return Transformer(file.weights, encoder, {**decoder, "cross_width": encoder["width"]}, options)


def _heads(binary: Binary) -> int:
    """Of the models that do not say it."""
    if binary.specification not in _NAMES:
        what = _OTHERS.get(binary.specification, "not known")
        raise ExportError(
            f"the CTranslate2 model is of {binary.specification}, {what}; what can be exported is TransformerSpec, "
            "an encoder and a decoder, and WhisperSpec"
        )
    if binary.revision not in REVISIONS:
        raise ExportError(
            f"the CTranslate2 model has revision {binary.revision} of {binary.specification}, and {REVISIONS[0]} to "
            f"{REVISIONS[-1]} are known"
        )
    return _NAMES[binary.specification]


def _options(file: Variables, version: int, config: Mapping[str, Any]) -> dict[str, Any]:
    """What the file said before version 6, and config.json says since."""
    if version >= 6:
        own = {
            "unk_token": "<unk>",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "decoder_start_token": "<s>",
            "add_source_bos": False,
            "add_source_eos": False,
        }
        return {name: config.get(name, default) for name, default in own.items()}
    found: dict[str, Any] = {
        name: file.text(name, default)
        for name, default in (("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>"))
    }
    found |= {f"add_source_{end}": bool(file.number(f"with_source_{end}", 0)) for end in ("bos", "eos")}
    of_user, with_bos = file.number("user_decoder_start_tokens", 0), file.number("with_target_bos", 1)
    start = found["bos_token"] if with_bos else found["eos_token"]
    return found | {"decoder_start_token": None if of_user else start}


def _part(file: Variables, part: str, epsilon: float | None) -> dict[str, Any]:
    """The config of the encoder or the decoder, and its weights taken."""
    if file.number(f"{part}/alibi", 0):
        raise ExportError("the CTranslate2 model has ALiBi, which is not known here")
    first = f"{part}/embeddings" + ("_0" if file.has(f"{part}/embeddings_0/weight") else "")
    table_VE = file.take(f"{first}/weight", f"{part}/embeddings/weight")
    layers = 0
    while any(name.startswith(f"{part}/layer_{layers}/") for name in file.stored):
        layers += 1
    found = {_tuple(_layer(file, f"{part}/layer_{layer}", part == "decoder")) for layer in range(layers)}
    if len(found) != 1:
        what = "no layers" if not found else "layers of several kinds, which is not known here"
        raise ExportError(f"the {part} of the CTranslate2 model has {what}")
    config = dict(next(iter(found)))
    if table_VE.ndim != 2:
        raise ExportError(f"{first}/weight of the CTranslate2 model is {list(table_VE.shape)} and must be a table")
    heads, width = int(file.number(f"{part}/num_heads", 8)), table_VE.shape[1]
    head_size = config.pop("head_dim") or (width // heads if heads > 0 and width % heads == 0 else 0)
    if head_size < 1 or heads < 1:
        raise ExportError(f"the {part} of the CTranslate2 model has width {width} and {heads} heads, which do not fit")
    if config.pop("num_heads_kv") not in (0, heads):
        raise ExportError(f"the {part} of the CTranslate2 model has fewer heads for keys than for queries")
    for norm in ("layer_norm", "layernorm_embedding"):
        config[norm] = file.has(f"{part}/{norm}/gamma")
        if config[norm]:
            file.norm(f"{part}/{norm}")
    if part == "decoder":
        file.linear("decoder/projection")
        config["scale_outputs"] = file.number("decoder/scale_outputs", 1)
        config["start_from_zero_embedding"] = bool(file.number("decoder/start_from_zero_embedding", 0))
        config["tie_word_embeddings"] = _equal(table_VE, file.weights["decoder.projection.weight"])
    kind = int(file.number(f"{part}/activation", 0))
    return config | {
        "layers": layers,
        "heads": heads,
        "head_size": head_size,
        "width": width,
        "vocab_size": len(table_VE),
        "positions": _positions(file, part, width, bool(config["relative"])),
        "activation": _ACTIVATIONS[kind] if 0 <= kind < len(_ACTIVATIONS) else str(kind),
        "epsilon": epsilon if epsilon is not None else _RMS_EPSILON if config["rms_norm"] else _EPSILON,
        "pre_norm": bool(file.number(f"{part}/pre_norm", 1)),
        "embedding_scale": _embedding_scale(file, part, width),
        "queries_scale": config["queries_scale"] or float(head_size**-0.5),
    }


def _layer(file: Variables, at: str, crosses: bool) -> Iterator[tuple[str, Any]]:
    """What all layers must have alike, and a layer's weights taken."""
    own = f"{at}/self_attention"
    linears = [f"{own}/linear_{each}" for each in range(2)]
    linears += [f"{at}/attention/linear_{each}" for each in range(3 if crosses else 0)]
    attentions = [own, f"{at}/attention"] if crosses else [own]
    norms = [f"{name}/layer_norm" for name in (*attentions, f"{at}/ffn")]
    gated, relative = file.has(f"{at}/ffn/linear_0_noact/weight"), file.has(f"{own}/relative_attention_bias")
    ffn = ["linear_0", *(["linear_0_noact"] if gated else []), "linear_1"]
    inner = [file.linear(name) for name in (*linears, *(f"{at}/ffn/{name}" for name in ffn))][-1].shape[-1]
    for name in norms:
        file.norm(name)
    with_bias = {file.has(f"{name}/beta") for name in norms}
    if len(with_bias) > 1:
        raise ExportError(f"{at} of the CTranslate2 model has norms with and without beta, which is not known here")
    if relative:
        table_KH = file.take(f"{own}/relative_attention_bias")
        farthest = int(file.number(f"{own}/relative_attention_max_distance"))
        made = file.make(f"{own}/distance_bias", _distances(table_KH, farthest, both=not crosses))
        yield "distances", made.shape[-1]
    yield from {"gated": gated, "relative": relative, "rms_norm": False in with_bias, "inner": inner}.items()
    for name, default in (("queries_scale", 0.0), ("head_dim", 0), ("num_heads_kv", 0)):
        values = {type(default)(file.number(f"{each}/{name}", default)) for each in attentions}
        if len(values) > 1 or file.number(f"{own}/multi_query", 0):
            raise ExportError(f"{at} of the CTranslate2 model has attentions of several kinds, which is not known here")
        yield name, values.pop()


def _tuple(facts: Iterator[tuple[str, Any]]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(facts))


def _equal(one: Array, other: Array) -> bool:
    """Old versions have no aliases, and store what is tied twice."""
    return one is other or (one.shape == other.shape and bool((one == other).all()))


def _positions(file: Variables, part: str, width: int, relative: bool) -> int | None:
    """How many positions there are, of the file or made; None where nothing bounds them."""
    name = f"{part}/position_encodings/encodings"
    if relative:
        return None
    return len(file.take(name) if file.has(name) else file.make(name, sinusoids(POSITIONS, width)))


def _distances(table_KH: Array, farthest: int, both: bool) -> Array:
    if table_KH.ndim != 2 or len(table_KH) < 4 or farthest <= len(table_KH) // 2 or farthest > _FARTHEST:
        raise ExportError(
            f"the CTranslate2 model has relative_attention_bias {list(table_KH.shape)} and "
            f"relative_attention_max_distance {farthest}; the distance must be more than half the buckets, of at least "
            f"4, and at most {_FARTHEST}"
        )
    return distance_bias(table_KH, farthest, both)


def _embedding_scale(file: Variables, part: str, width: int) -> float:
    """What embeddings are multiplied by: a flag of 8 bits, and what is not said, stand for the root of the width."""
    names = (f"{part}/scale_embeddings", f"{part}/embeddings/multiply_by_sqrt_depth")
    name = next((each for each in names if file.has(each)), names[0])
    value = file.number(name, 1)
    flag = name not in file.stored or file.stored[name].dtype == np.int8
    return float(np.sqrt(np.float32(width))) if flag and value else 1.0 if flag else value
