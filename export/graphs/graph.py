"""The vocabulary that decoders and text encoders are written in: a thin builder of ONNX graphs, and their blocks.

The names of values end in their shapes, one letter a dimension:
    B photos or texts    R rows = B x num_beams       T tokens of this step      N = R x T
    C cache capacity     P = position + T, in use     S encoder positions        G = (R / B) x T, queries of an input
    H heads              D head size                  E = H x D, width           V vocabulary
    I, O inputs and outputs of a linear layer; 1 stands for itself
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from fuseline.kernels.bodies import DOMAIN, add_bodies

from .weights import FORMATS, Scheme, Stored, store, table_scheme, tensor_type
from .weights_file import WeightsFile, add_inside

Array = npt.NDArray[Any]
Attribute = Any  # float, int, str or a list of int: what helper.make_node takes
Shape = Sequence[int | str]

OPSET = 20  # the first with Gelu; onnxruntime 1.20 takes up to 21
IR_VERSION = 9  # the one that came with opset 20
APPENDABLE_OPSETS = range(17, 22)  # LayerNormalization came with 17; what is used here means the same up to 21


@dataclass
class Graph:
    """A thin builder over onnx.GraphProto: values are their names, nodes come in the order of the calls.

    proto may hold nodes already (an encoder to append to): new names never collide with its names.
    """

    proto: onnx.GraphProto
    _prefix: str = ""
    _names: set[str] = field(default_factory=set)
    _model: onnx.ModelProto | None = None
    _outside: WeightsFile | None = None

    def __post_init__(self) -> None:
        for node in self.proto.node:
            self._names.update(node.output)
        self._names.update(value.name for value in [*self.proto.initializer, *self.proto.input])

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Name what is made inside `name/...`, so that an error of onnxruntime says where it is."""
        outer, self._prefix = self._prefix, f"{self._prefix}{name}/"
        try:
            yield
        finally:
            self._prefix = outer

    def input(self, name: str, dtype: int, shape: Shape | None) -> str:
        """Declare a graph input. dtype: a TensorProto type; shape: integers, and names for what varies; None: any."""
        self.proto.input.append(helper.make_tensor_value_info(name, dtype, shape))
        return self._take(name)

    def output(self, value: str, dtype: int, shape: Shape) -> None:
        """Declare a value as a graph output, under the name it has."""
        self.proto.output.append(helper.make_tensor_value_info(value, dtype, shape))

    def weight(self, name: str, array: Array) -> str:
        """Store a tensor under exactly this name; a name is given once."""
        content = np.asarray(array, order="C")
        add = add_inside if self._outside is None else self._outside.add
        add(self.proto, self._take(name), content.shape, tensor_type(content), content)
        return name

    def ints(self, *values: int) -> str:
        """A constant int64[len(values)], stored once."""
        return self.constant("x".join(map(str, values)), np.array(values, np.int64))

    def scalar(self, value: float, dtype: type[np.generic]) -> str:
        """A constant of no dimensions, stored once."""
        array = np.array(value, dtype)
        return self.constant(f"{value}_{array.dtype.name}", array)

    def constant(self, text: str, array: Array) -> str:
        """A constant that the text describes, stored once."""
        name = f"constant/{text}"
        return name if name in self._names else self.weight(name, array)

    def op(self, op_type: str, *inputs: str, name: str = "", **attributes: Attribute) -> str:
        """Append a node with one result. name: the result's exact name (default: made up from the scope)."""
        return self.ops(op_type, *inputs, names=(name,), **attributes)[0]

    def ops(self, op_type: str, *inputs: str, names: Sequence[str], **attributes: Attribute) -> list[str]:
        """Append a node with len(names) results; "" makes a name up. An input "" is one left out."""
        results = [self._take(name or self._unused(op_type)) for name in names]
        self.proto.node.append(helper.make_node(op_type, inputs, results, name=results[0], **attributes))
        return results

    def rename(self, value: str, name: str) -> str:
        """Give the result of a node, which nothing reads yet, exactly this name."""
        node = next(node for node in reversed(self.proto.node) if value in node.output)
        node.output[list(node.output).index(value)] = self._take(name)
        return name

    def _unused(self, op_type: str) -> str:
        stem = f"{self._prefix}{op_type}"
        return next(name for name in self._candidates(stem) if name not in self._names)

    def _candidates(self, stem: str) -> Iterator[str]:
        yield stem
        number = 1
        while True:
            yield f"{stem}_{number}"
            number += 1

    def _take(self, name: str) -> str:
        if name in self._names:
            raise ValueError(f"the graph has a value named {name!r} already")
        self._names.add(name)
        return name


def new_graph(name: str, outside: WeightsFile | None = None) -> Graph:
    """An empty graph, in a model of the opset that this vocabulary is written in. outside: where its weights go."""
    model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="fuseline")
    model.opset_import.append(helper.make_opsetid("", OPSET))
    model.graph.name = name
    return Graph(model.graph, _model=model, _outside=outside)


def model_of(graph: Graph) -> onnx.ModelProto:
    """The model of a graph from new_graph, which it is a part of: nothing is copied."""
    if graph._model is None:
        raise ValueError("the graph is a part of somebody else's model")
    return add_bodies(graph._model)


def linear(
    g: Graph,
    x: str,
    weight_IO: Array,
    bias_O: Array | None,
    scheme: Scheme,
    name: str,
    *,
    activation: Activation = "",
    residual: str = "",
    factor: str = "",
    result: str = "",
) -> str:
    """float32[..., I] -> float32[..., O]: activation(x @ weight + bias), or that sum + residual, or x factor.

    weight_IO: float32[I, O], stored as the scheme says under `name`.weight; activation, residual and factor: at most
    one of the three, the last two are values of the result's shape; result: the exact name of the result.
    """
    values, bias = _store(g, store(weight_IO, scheme), name), _bias(g, bias_O, name, weight_IO.shape[1])
    return _linear(g, x, FORMATS[scheme], values, bias, activation, residual, factor, result)


def _store(g: Graph, stored: Stored, name: str) -> list[str]:
    """Weight and, of codes, scale, as an operator reads them."""
    weight = g.weight(f"{name}.weight", stored.weight)
    return [weight] if stored.scale is None else [weight, g.weight(f"{name}.weight_scale", stored.scale)]


def _linear(
    g: Graph,
    x: str,
    form: str,
    weight: Sequence[str],
    bias: str,
    activation: Activation = "",
    residual: str = "",
    factor: str = "",
    result: str = "",
) -> str:
    if sum(map(bool, (activation, residual, factor))) > 1:
        raise ValueError("a linear layer ends in an activation, a residual or a factor, not in several")
    ending = "Add" if residual else "Mul" if factor else _ENDINGS[activation]
    inputs = [x, *weight, bias, *(each for each in (residual, factor) if each)]
    return g.op(f"{form}Linear{ending}", *inputs, name=result, domain=DOMAIN)


def _bias(g: Graph, bias_O: Array | None, name: str, outputs: int) -> str:
    """The operators always have a bias, which says how many outputs there are."""
    return g.weight(f"{name}.bias", np.zeros(outputs, np.float32) if bias_O is None else bias_O)


def layer_norm(g: Graph, x: str, weight_E: Array, bias_E: Array, epsilon: float, name: str) -> str:
    """float32[..., E] -> the same, normalized over the last dimension."""
    with g.scope(name):
        weight, bias = g.weight(f"{name}.weight", weight_E), g.weight(f"{name}.bias", bias_E)
        return g.op("LayerNorm", x, weight, bias, epsilon=epsilon, domain=DOMAIN)


def rms_norm(g: Graph, x: str, weight_E: Array, epsilon: float, name: str) -> str:
    """float32[..., E] -> the same, over the root of its mean square (arXiv:1910.07467): nothing is subtracted."""
    with g.scope(name):
        return g.op("RMSNorm", x, g.weight(f"{name}.weight", weight_E), epsilon=epsilon, domain=DOMAIN)


# What a linear layer may end in, by a name that says which formula: gelu is x * Phi(x) (Hendrycks and Gimpel,
# arXiv:1606.08415), gelu_tanh its tanh approximation (gelu_new of GPT-2), quick_gelu x * sigmoid(1.702 x), silu
# x * sigmoid(x), relu6 min(max(x, 0), 6).
Activation = Literal["", "relu", "gelu", "gelu_tanh", "quick_gelu", "silu", "relu6"]
# The names of transformers for what a two-layer network has between its layers.
ACTIVATIONS: Mapping[str, Activation] = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "relu": "relu",
    "quick_gelu": "quick_gelu",
    "silu": "silu",
    "swish": "silu",
}
_ENDINGS: Mapping[Activation, str] = {
    "": "",
    "relu": "Relu",
    "gelu": "Gelu",
    "gelu_tanh": "GeluTanh",
    "quick_gelu": "QuickGelu",
    "silu": "Silu",
    "relu6": "Relu6",
}


@dataclass(frozen=True)
class Table:
    """One tensor that embeds tokens and, where it is tied, makes logits too: the blocks of a linear layer E -> V."""

    form: str
    values: Sequence[str]  # weight and, in 8 bits, scale
    width: int
    vocab_size: int


def table(g: Graph, weight_VE: Array, scheme: Scheme, name: str) -> Table:
    """Store an embedding or a head, float32[V, E], as the scheme says; in 8 bits where
    that is int4, and as halves where it is bf16.

    The head in 4 bits costs ten times what all other layers together do: a divergence of 0.7e-3 nats between the next
    words' distributions of the default captioner, where 24 layers in 4 bits cost 0.07e-3.
    """
    scheme = table_scheme(scheme)
    stored = store(np.ascontiguousarray(weight_VE.T), scheme)
    values = _store(g, stored, name)
    return Table(FORMATS[scheme], values, weight_VE.shape[1], weight_VE.shape[0])


def embedding(g: Graph, ids_RT: str, tokens: Table) -> str:
    """int64[R, T] -> float32[R, T, E], the rows of the table, picked out of its blocks as they lie."""
    attributes: dict[str, Attribute] = {"vocabulary": tokens.vocab_size, "width": tokens.width, "domain": DOMAIN}
    with g.scope("embedding"):
        return g.op(f"{tokens.form}Embedding", ids_RT, *tokens.values, **attributes)


def lm_head(g: Graph, hidden_RE: str, tokens: Table, result: str, bias_V: Array | None = None) -> str:
    """float32[R, E] -> logits float32[R, V] under the name `result`: hidden @ table transposed + bias."""
    with g.scope("lm_head"):
        bias = _bias(g, bias_V, "lm_head", tokens.vocab_size)
        return _linear(g, hidden_RE, tokens.form, tokens.values, bias, result=result)


@dataclass(frozen=True)
class StepValues:
    """What all layers of one step share; see begin_step."""

    positions_T: str  # int64[T], position .. position + T - 1
    shape_RT: str  # int64[2], the values R, T
    position_1: str
    beam_table_RC: str
    heads: int
    head_size: int
    lengths_B1: str = ""
    """how many encoder positions each input has, int64[B, 1]; "" where all have the same"""


def begin_step(
    g: Graph,
    input_ids_RT: str,
    position_1: str,
    beam_table_RC: str,
    heads: int,
    head_size: int,
    lengths_B1: str = "",
) -> StepValues:
    """Compute what the layers share, from the step's inputs as docs/design.md defines them."""
    with g.scope("step"):
        end_1 = g.op("Add", position_1, g.op("Shape", input_ids_RT, start=1))
        positions_T = g.op("Range", g.op("Squeeze", position_1), g.op("Squeeze", end_1), g.scalar(1, np.int64))
        shape_RT = g.op("Shape", input_ids_RT)
        return StepValues(positions_T, shape_RT, position_1, beam_table_RC, heads, head_size, lengths_B1)


def self_attention(
    g: Graph, qkv_BS3E: str, lengths_B1: str, heads: int, scale: float, distance_bias: str = "", scheme: Scheme = "fp32"
) -> str:
    """An encoder's: the first lengths of an input's positions attend to each other, what lies beyond becomes zeros.

    qkv: float32[B, S, 3 E]; lengths: int64[B, 1]; distance_bias: float32[H, 2 M - 1], what is added to the scaled score
    of query position q and key position p, at clip(p - q, -(M - 1), M - 1) + M - 1; scheme: of the weights around it,
    see encoder_attention. Returns float32[B, S, E], heads side by side, before the output projection.
    """
    attributes: dict[str, Attribute] = {"heads": heads, "scale": scale, "domain": DOMAIN}
    if distance_bias:
        operator = encoder_attention("BiasedSelfAttention", scheme)
        return g.op(operator, qkv_BS3E, lengths_B1, distance_bias, **attributes)
    return g.op(encoder_attention("SelfAttention", scheme), qkv_BS3E, lengths_B1, **attributes)


def window_attention(
    g: Graph,
    qkv_BS3E: str,
    windows_WP: str,
    regions_WP: str,
    place_bias_HPP: str,
    heads: int,
    scale: float,
    scheme: Scheme = "fp32",
) -> str:
    """An encoder's in windows: a position attends to those of its window that have its region.

    qkv: float32[B, S, 3 E]; windows: int64[W, P], the positions of each window, every one of the S exactly once;
    regions: int64[W, P]; place_bias: float32[H, P, P], what is added to the scaled score by the places of query and
    key; scheme: as for self_attention. Returns float32[B, S, E], heads side by side, before the output projection.
    """
    inputs = (qkv_BS3E, windows_WP, regions_WP, place_bias_HPP)
    operator = encoder_attention("WindowSelfAttention", scheme)
    return g.op(operator, *inputs, heads=heads, scale=scale, domain=DOMAIN)


def encoder_attention(operator: str, scheme: Scheme) -> str:
    """An encoder's attention beside weights of a scheme, by the name of any of its forms: in bfloat16 where the layers
    around it lose more digits than that (8 and 4 bits) or as many.
    """
    plain = operator.removeprefix("BFloat16")
    return f"BFloat16{plain}" if scheme in ("bf16", "int8", "int4") else plain


def rotary(g: Graph, qkv_N3E: str, tables: tuple[str, str], position_1: str, rows: str, heads: int) -> str:
    """Rotary positions (arXiv:2104.09864) of the query and key in float32[N, 3 E], N = R x T, or [R, T, 3 E]; the same.

    tables: cosines and sines, float32[P, F] each, of the first F pairs of numbers of each head; position: int64[1], of
    the first token; rows: a value whose first dimension is R.
    """
    return g.op("Rotary", qkv_N3E, *tables, position_1, rows, heads=heads, domain=DOMAIN)


def cached_self_attention(
    g: Graph,
    step: StepValues,
    qkv_N3E: str,
    past: tuple[str, str],
    present: tuple[str, str],
    scale: float,
    distance_bias: str = "",
) -> str:
    """Write K and V of this step into the cache, and attend through the beam table to the positions in use.

    qkv_N3E: query, key and value of this step side by side, float32[N, 3 E]; past: key and value cache,
    float32[C, R, E]; present: the exact names of the caches after writing, bound to the same memory as the past; scale:
    what scores are multiplied by; distance_bias: float32[H, M], what is then added to the score of query position q and
    key position p, at min(q - p, M - 1). Returns float32[N, E], heads side by side, before the output projection.
    Causal among the T tokens; nothing else is masked.
    """
    inputs = [qkv_N3E, *past, step.position_1, step.beam_table_RC, *([distance_bias] if distance_bias else [])]
    attributes: dict[str, Attribute] = {"heads": step.heads, "scale": scale, "domain": DOMAIN}
    operator = "BiasedCachedSelfAttention" if distance_bias else "CachedSelfAttention"
    return g.ops(operator, *inputs, names=("", *present), **attributes)[0]


def cross_key_value(
    g: Graph,
    hidden_BSI: str,
    weight_IE: Array,
    bias_E: Array | None,
    scheme: Scheme,
    name: str,
    heads: int,
    result: str,
) -> None:
    """One of a layer's cross-attention key and value, as the graph output `result`, laid out for cross_attention.

    hidden_BSI: what the decoder attends to; weight_IE: float32[I, E]; bias_E: float32[E] or None.
    """
    linear(g, hidden_BSI, weight_IE, bias_E, scheme, name, result=result)
    g.output(result, TensorProto.FLOAT, ["B", "S", weight_IE.shape[1]])


def keeps_halves(scheme: Scheme) -> bool:
    """Whether a decoder reads cross-attention keys and values as halves: where its weights are less than float32 too.

    Every step reads them whole. Rounding them to 11 bits moves a logit far less than the weights' rounding does.
    """
    return scheme != "fp32"


def key_value_type(scheme: Scheme, heads: int, head_size: int) -> tuple[int, list[int | str]]:
    """The type and the shape of an input's keys, and values, as a decoder of this scheme reads them.

    Halves have the positions of a head together, which is the order they are read in.
    """
    if keeps_halves(scheme):
        return TensorProto.FLOAT16, ["B", heads, "S", head_size]
    return TensorProto.FLOAT, ["B", "S", heads * head_size]


def cross_operator(scheme: Scheme, padded: bool = False, ending: str = "") -> str:
    """The name of the operator that attends to them. padded: whether it reads how many positions each input has;
    ending: "Flat" or "Separate" of several sources."""
    return f"{'Half' if keeps_halves(scheme) else ''}{'Padded' if padded else ''}CrossAttention{ending}"


def cross_attention(
    g: Graph,
    query_NE: str,
    key: str,
    value: str,
    heads: int,
    head_size: int,
    scale: float,
    scheme: Scheme = "fp32",
    lengths_B1: str = "",
) -> str:
    """Attend from the rows of each input to that input's one key and value, of key_value_type, which are not repeated.

    query: float32[N, E]; the rows of an input lie together; lengths: int64[B, 1], how many positions of each are
    attended to (default: all). Returns float32[N, E], heads side by side, before the output projection.
    """
    inputs = [query_NE, key, value, *([lengths_B1] if lengths_B1 else [])]
    operator = cross_operator(scheme, padded=bool(lengths_B1))
    return g.op(operator, *inputs, heads=heads, scale=scale, domain=DOMAIN)
