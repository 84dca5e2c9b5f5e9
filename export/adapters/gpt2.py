"""Hugging Face GPT2LMHeadModel with cross-attention, from its state dict to graphs.

Sources: transformers' modeling_gpt2.py for the arithmetic (its eager form) and the tensors' names; docs/design.md for
the inputs and outputs. Names of values end in their shapes; fuseline.export.graph has the legend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from fuseline.errors import ExportError
from fuseline.kernels.bodies import add_bodies

from ..graph import (
    APPENDABLE_OPSETS,
    Activation,
    Array,
    Graph,
    Step,
    begin_step,
    cached_self_attention,
    cross_attention,
    cross_key_value,
    embedding,
    layer_norm,
    linear,
    lm_head,
    model_of,
    new_graph,
    table,
)
from ..weights import Scheme
from .registry import register

# config.json leaves out what equals these (GPT2Config of transformers).
_DEFAULTS: Mapping[str, Any] = {
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_inner": None,
    "n_positions": 1024,
    "vocab_size": 50257,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}
_ACTIVATIONS: Mapping[str, Activation] = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}
# Where a checkpoint keeps the decoder: VisionEncoderDecoderModel, GPT2LMHeadModel, GPT2Model inside either, GPT2Model.
_PREFIXES = ("decoder.transformer.", "transformer.", "decoder.", "")
_PROJECTION = "enc_to_dec_proj"


@dataclass(frozen=True)
class _Shape:
    """What of config.json decides the graph."""

    layers: int
    heads: int
    width: int
    inner: int
    vocab_size: int
    positions: int
    activation: str
    epsilon: float
    scale_by_size: bool
    scale_by_layer: bool
    tied: bool

    @property
    def head_size(self) -> int:
        return self.width // self.heads

    def scale(self, layer: int) -> float:
        """What attention scores of a layer are multiplied by."""
        scale = self.head_size**-0.5 if self.scale_by_size else 1.0
        return scale / (layer + 1) if self.scale_by_layer else scale


def build_decoder(
    state_dict: Mapping[str, Array],
    config: Mapping[str, Any],
    scheme: Scheme = "fp32",
    max_positions: int | None = None,
) -> onnx.ModelProto:
    """The decoder graph of docs/design.md, prompt and step in one.

    state_dict: of GPT2LMHeadModel, or of a VisionEncoderDecoderModel around it, as float arrays; config: the decoder's
    config.json; scheme: how weights are stored (positions and norms stay float32); max_positions: keep only the first
    of the position embeddings (default: all). Raises ExportError for a config or tensors that do not describe such a
    decoder.
    """
    shape = _read_config(config)
    weights = _read_weights(state_dict, shape)
    positions = _positions(shape, max_positions)
    g = new_graph("decoder")
    ids_RT = g.input("input_ids", TensorProto.INT64, ["R", "T"])
    position_1 = g.input("position", TensorProto.INT64, [1])
    beam_table_RC = g.input("beam_table", TensorProto.INT64, ["R", "C"])
    step = begin_step(g, ids_RT, position_1, beam_table_RC, shape.heads, shape.head_size)
    tokens = table(g, weights["wte.weight"], scheme, "wte")
    head = tokens if shape.tied else table(g, weights["lm_head.weight"], scheme, "lm_head")
    wpe = g.weight("wpe.weight", weights["wpe.weight"][:positions])
    placed_RTE = g.op("Add", embedding(g, ids_RT, tokens), g.op("Gather", wpe, step.positions_T))
    hidden_NE = g.op("Reshape", placed_RTE, g.ints(-1, shape.width))
    for layer in range(shape.layers):
        hidden_NE = _block(g, step, hidden_NE, weights, shape, layer, scheme)
    shape_RTE = g.op("Concat", step.shape_RT, g.ints(shape.width), axis=0)
    last_RE = g.op("Gather", g.op("Reshape", hidden_NE, shape_RTE), g.scalar(-1, np.int64), axis=1)
    normed_RE = _norm(g, last_RE, weights, shape, "ln_f")
    g.output(lm_head(g, normed_RE, head, "logits"), TensorProto.FLOAT, ["R", shape.vocab_size])
    for layer in range(shape.layers):
        for name in _kv_names("present", layer, "decoder"):
            g.output(name, TensorProto.FLOAT, ["C", "R", shape.width])
    return model_of(g)


def decoder_info(config: Mapping[str, Any], max_positions: int | None = None) -> dict[str, int]:
    """What fuseline.json says of the decoder that build_decoder makes of the same arguments."""
    shape = _read_config(config)
    return {
        "layers": shape.layers,
        "heads": shape.heads,
        "head_size": shape.head_size,
        "vocab_size": shape.vocab_size,
        "max_positions": _positions(shape, max_positions),
    }


def append_cross_kv(
    encoder: onnx.ModelProto,
    state_dict: Mapping[str, Array],
    config: Mapping[str, Any],
    hidden_name: str,
    scheme: Scheme = "fp32",
) -> onnx.ModelProto:
    """The encoder graph with every decoder layer's cross-attention K/V as its only outputs.

    hidden_name: the value float32[B, S, I] that the decoder attends to; enc_to_dec_proj is applied first where the
    state dict has it. The rest as in build_decoder. The encoder given is not changed.
    """
    shape = _read_config(config)
    weights = _read_weights(state_dict, shape)
    model = onnx.ModelProto()
    model.CopyFrom(encoder)
    _check_hidden(model, weights, shape, hidden_name)
    del model.graph.output[:]
    g = Graph(model.graph)
    hidden_BSE = hidden_name
    if f"{_PROJECTION}.weight" in weights:
        weight_IE = weights[f"{_PROJECTION}.weight"].T  # an nn.Linear, unlike all the rest: [out, in]
        hidden_BSE = linear(g, hidden_BSE, weight_IE, weights[f"{_PROJECTION}.bias"], scheme, _PROJECTION)
    for layer in range(shape.layers):
        for part, (weight_EE, bias_E) in _cross_kv(weights, shape, layer).items():
            name, result = f"h.{layer}.crossattention.{part}", f"past_key_values.{layer}.encoder.{part}"
            cross_key_value(g, hidden_BSE, weight_EE, bias_E, scheme, name, shape.heads, result)
    return add_bodies(model)


def _block(
    g: Graph, step: Step, hidden_NE: str, weights: Mapping[str, Array], shape: _Shape, layer: int, scheme: Scheme
) -> str:
    """One layer: self-attention, cross-attention and the two-layer network, each behind a norm, added to its input."""
    h = f"h.{layer}"

    def project(x: str, name: str, **ending: Any) -> str:
        return linear(g, x, weights[f"{name}.weight"], weights[f"{name}.bias"], scheme, name, **ending)

    past_CRE, present_CRE = _kv_names("past_key_values", layer, "decoder"), _kv_names("present", layer, "decoder")
    encoder_BSE = _kv_names("past_key_values", layer, "encoder")
    for names, outer in ((past_CRE, ("C", "R")), (encoder_BSE, ("B", "S"))):
        for name in names:
            g.input(name, TensorProto.FLOAT, [*outer, shape.width])
    with g.scope(h):
        qkv_N3E = project(_norm(g, hidden_NE, weights, shape, f"{h}.ln_1"), f"{h}.attn.c_attn")
        mixed_NE = cached_self_attention(g, step, qkv_N3E, past_CRE, present_CRE, shape.scale(layer))
        hidden_NE = project(mixed_NE, f"{h}.attn.c_proj", residual=hidden_NE)
        query_NE = project(_norm(g, hidden_NE, weights, shape, f"{h}.ln_cross_attn"), f"{h}.crossattention.q_attn")
        mixed_NE = cross_attention(g, query_NE, *encoder_BSE, shape.heads, shape.head_size, shape.scale(layer))
        hidden_NE = project(mixed_NE, f"{h}.crossattention.c_proj", residual=hidden_NE)
        normed_NE = _norm(g, hidden_NE, weights, shape, f"{h}.ln_2")
        inner_NI = project(normed_NE, f"{h}.mlp.c_fc", activation=_ACTIVATIONS[shape.activation])
        hidden_NE = project(inner_NI, f"{h}.mlp.c_proj", residual=hidden_NE)
    return hidden_NE


def _kv_names(time: str, layer: int, owner: str) -> tuple[str, str]:
    return f"{time}.{layer}.{owner}.key", f"{time}.{layer}.{owner}.value"


def _norm(g: Graph, x: str, weights: Mapping[str, Array], shape: _Shape, name: str) -> str:
    return layer_norm(g, x, weights[f"{name}.weight"], weights[f"{name}.bias"], shape.epsilon, name)


def _cross_kv(weights: Mapping[str, Array], shape: _Shape, layer: int) -> dict[str, tuple[Array, Array]]:
    """Weight and bias of a layer's cross-attention K and V, which the checkpoint keeps side by side as [E, 2E]."""
    name = f"h.{layer}.crossattention.c_attn"
    weight_E2E, bias_2E, width = weights[f"{name}.weight"], weights[f"{name}.bias"], shape.width
    return {
        "key": (weight_E2E[:, :width], bias_2E[:width]),
        "value": (weight_E2E[:, width:], bias_2E[width:]),
    }


def _read_config(config: Mapping[str, Any]) -> _Shape:
    """Check what the graph depends on. Raises ExportError for what has no form here."""
    of = {**_DEFAULTS, **config}
    activation, width, heads = of["activation_function"], int(of["n_embd"]), int(of["n_head"])
    if not of["add_cross_attention"]:
        raise ExportError("the GPT-2 decoder has no cross-attention: its config must say add_cross_attention = true")
    if activation not in _ACTIVATIONS:
        known = ", ".join(_ACTIVATIONS)
        raise ExportError(f"activation_function {activation!r} of the GPT-2 decoder is not known; known are {known}")
    if heads < 1 or width < 1 or width % heads:
        raise ExportError(f"n_embd {width} of the GPT-2 decoder must be a multiple of n_head {heads}, both positive")
    if of.get("pruned_heads"):
        raise ExportError("the GPT-2 decoder has pruned heads, which is not supported; export it before pruning")
    # reorder_and_upcast_attn only changes the order of operations in half precision, so it changes nothing here.
    return _Shape(
        layers=int(of["n_layer"]),
        heads=heads,
        width=width,
        inner=int(of["n_inner"] or 4 * width),
        vocab_size=int(of["vocab_size"]),
        positions=int(of["n_positions"]),
        activation=activation,
        epsilon=float(of["layer_norm_epsilon"]),
        scale_by_size=bool(of["scale_attn_weights"]),
        scale_by_layer=bool(of["scale_attn_by_inverse_layer_idx"]),
        tied=bool(of["tie_word_embeddings"]),
    )


def _positions(shape: _Shape, max_positions: int | None) -> int:
    if max_positions is None:
        return shape.positions
    if not 1 <= max_positions <= shape.positions:
        raise ExportError(
            f"max_positions {max_positions} must be 1 to {shape.positions}, the n_positions of the decoder"
        )
    return max_positions


def _read_weights(state_dict: Mapping[str, Array], shape: _Shape) -> dict[str, Array]:
    """The tensors the graphs need, float32, by their names in GPT2Model (and lm_head, enc_to_dec_proj).

    Raises one ExportError that names every tensor that is missing or has another shape. Others in the state dict are
    ignored: old checkpoints carry causal masks.
    """
    prefix = next((p for p in _PREFIXES if f"{p}wte.weight" in state_dict), "transformer.")
    outer = prefix.removesuffix("transformer.")
    weights: dict[str, Array] = {}
    problems: list[str] = []
    for name, expected in _expected(shape, state_dict).items():
        source = name if name.startswith(_PROJECTION) else (outer if name.startswith("lm_head") else prefix) + name
        array = state_dict.get(source)
        if array is None:
            problems.append(f"{source} is missing")
        elif array.shape != expected:
            problems.append(f"{source} is {list(array.shape)} and must be {list(expected)}")
        else:
            weights[name] = np.asarray(array, np.float32)
    if problems:
        raise ExportError(f"the GPT-2 decoder's tensors do not fit its config: {'; '.join(problems)}")
    return weights


def _expected(shape: _Shape, state_dict: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    """Every tensor's shape. Linear layers are Conv1D: [in, out], the transpose of nn.Linear."""
    width, inner = shape.width, shape.inner
    expected: dict[str, tuple[int, ...]] = {
        "wte.weight": (shape.vocab_size, width),
        "wpe.weight": (shape.positions, width),
    }
    linears = {
        "attn.c_attn": (width, 3 * width),
        "attn.c_proj": (width, width),
        "crossattention.q_attn": (width, width),
        "crossattention.c_attn": (width, 2 * width),
        "crossattention.c_proj": (width, width),
        "mlp.c_fc": (width, inner),
        "mlp.c_proj": (inner, width),
    }
    norms = [f"h.{layer}.{norm}" for layer in range(shape.layers) for norm in ("ln_1", "ln_cross_attn", "ln_2")]
    for norm in [*norms, "ln_f"]:
        expected |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    for layer in range(shape.layers):
        for name, dims in linears.items():
            expected |= {f"h.{layer}.{name}.weight": dims, f"h.{layer}.{name}.bias": (dims[1],)}
    if not shape.tied:
        expected["lm_head.weight"] = (shape.vocab_size, width)
    projection = state_dict.get(f"{_PROJECTION}.weight")
    if projection is not None:  # its input is the encoder's width, which only the encoder knows
        expected |= {f"{_PROJECTION}.weight": (width, projection.shape[-1]), f"{_PROJECTION}.bias": (width,)}
    return expected


def _check_hidden(model: onnx.ModelProto, weights: Mapping[str, Array], shape: _Shape, hidden_name: str) -> None:
    """Raises ExportError if the decoder cannot read the encoder's hidden states."""
    opset = next((entry.version for entry in model.opset_import if entry.domain == ""), 0)
    if opset not in APPENDABLE_OPSETS:
        low, high = APPENDABLE_OPSETS[0], APPENDABLE_OPSETS[-1]
        raise ExportError(f"the encoder graph has ONNX opset {opset}; it must be {low} to {high}")
    values = [*model.graph.output, *model.graph.value_info]
    hidden = next((value.type.tensor_type for value in values if value.name == hidden_name), None)
    if hidden is None:
        outputs = [value.name for value in model.graph.output]
        raise ExportError(f"the encoder graph has no value {hidden_name!r}; its outputs are {outputs}")
    dims = [dim.dim_param or dim.dim_value for dim in hidden.shape.dim]
    width = weights[f"{_PROJECTION}.weight"].shape[1] if f"{_PROJECTION}.weight" in weights else shape.width
    if hidden.elem_type != TensorProto.FLOAT or len(dims) != 3 or dims[2] != width:
        kind = TensorProto.DataType.Name(hidden.elem_type).lower()
        raise ExportError(f"the encoder's {hidden_name!r} is {kind}{dims} and must be float[B, S, {width}]")


@register("GPT2LMHeadModel", "gpt2")
class Gpt2:
    """The functions of this file under the names of DecoderAdapter."""

    build_decoder = staticmethod(build_decoder)
    append_cross_kv = staticmethod(append_cross_kv)
    decoder_info = staticmethod(decoder_info)
