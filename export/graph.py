"""The vocabulary that decoders are written in: a thin builder of ONNX graphs, and the blocks that decoders are made of.

The names of values end in their shapes, one letter a dimension:
    B photos             R rows = B x num_beams       T tokens of this step      N = R x T
    C cache capacity     P = position + T, in use     S encoder positions        G = (R / B) x T, queries of a photo
    H heads              D head size                  E = H x D, width           V vocabulary
    I, O inputs and outputs of a linear layer; 1 stands for itself
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]
Attribute = Any  # float, int, str or a list of int: what helper.make_node takes
Scheme = Literal["fp32", "int8"]  # how a linear layer's weights are stored and multiplied
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
    _quantized: dict[str, tuple[str, str]] = field(default_factory=dict)  # value -> what quantize made of it

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

    def input(self, name: str, dtype: int, shape: Shape) -> str:
        """Declare a graph input. dtype: a TensorProto type; shape: integers, and names for what varies."""
        self.proto.input.append(helper.make_tensor_value_info(name, dtype, shape))
        return self._take(name)

    def output(self, value: str, dtype: int, shape: Shape) -> None:
        """Declare a value as a graph output, under the name it has."""
        self.proto.output.append(helper.make_tensor_value_info(value, dtype, shape))

    def weight(self, name: str, array: Array) -> str:
        """Store a tensor under exactly this name; a name is given once."""
        self.proto.initializer.append(numpy_helper.from_array(np.asarray(array, order="C"), self._take(name)))
        return name

    def ints(self, *values: int) -> str:
        """A constant int64[len(values)], stored once."""
        return self._constant("x".join(map(str, values)), np.array(values, np.int64))

    def scalar(self, value: float, dtype: type[np.generic]) -> str:
        """A constant of no dimensions, stored once."""
        array = np.array(value, dtype)
        return self._constant(f"{value}_{array.dtype.name}", array)

    def op(self, op_type: str, *inputs: str, name: str = "", **attributes: Attribute) -> str:
        """Append a node with one result. name: the result's exact name (default: made up from the scope)."""
        return self.ops(op_type, *inputs, names=(name,), **attributes)[0]

    def ops(self, op_type: str, *inputs: str, names: Sequence[str], **attributes: Attribute) -> list[str]:
        """Append a node with len(names) results; "" makes a name up. An input "" is one left out."""
        results = [self._take(name or self._unused(op_type)) for name in names]
        self.proto.node.append(helper.make_node(op_type, inputs, results, name=results[0], **attributes))
        return results

    def quantize(self, value: str) -> tuple[str, str]:
        """uint8[..., I] with zero point 128, and float32[..., 1] scales, of a float32 value; once for all its readers.

        Each row by itself, so that what a photo gives does not depend on which photos it is batched with.
        """
        if value not in self._quantized:
            with self.scope("quantize"):
                largest = self.op("ReduceMax", self.op("Abs", value), self.ints(-1), keepdims=1)
                scale = self.op("Mul", largest, self.scalar(1 / 127, np.float32))
                scale = self.op("Max", scale, self.scalar(1e-30, np.float32))  # a row of zeros: any scale is right
                steps = self.op("Round", self.op("Div", value, scale))
                shifted = self.op("Add", steps, self.scalar(128.0, np.float32))
                self._quantized[value] = self.op("Cast", shifted, to=TensorProto.UINT8), scale
        return self._quantized[value]

    def _constant(self, text: str, array: Array) -> str:
        name = f"constant/{text}"
        return name if name in self._names else self.weight(name, array)

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


def new_graph(name: str) -> Graph:
    """An empty graph."""
    return Graph(onnx.GraphProto(name=name))


def model_of(graph: Graph) -> onnx.ModelProto:
    """The graph as a model of the opset that this vocabulary is written in."""
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph.proto, opset_imports=opsets, ir_version=IR_VERSION, producer_name="fuseline")


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
    result: str = "",
) -> str:
    """float32[..., I] -> float32[..., O]: activation(x @ weight + bias) + residual.

    weight_IO: float32[I, O], stored as the scheme says under `name`.weight; activation: one of ACTIVATIONS; residual: a
    value of the result's shape, "" for none; result: the exact name of the result.
    """
    with g.scope(name):
        if scheme == "int8":
            weight_u8, scale_O = quantize_columns(weight_IO)
            weight, scale = g.weight(f"{name}.weight_int8", weight_u8), g.weight(f"{name}.weight_scale", scale_O)
            y = int8_linear(g, x, weight, scale, _bias(g, bias_O, name))
        else:
            y = g.op("MatMul", x, g.weight(f"{name}.weight", weight_IO))
            y = y if bias_O is None else g.op("Add", y, _bias(g, bias_O, name))
        y = ACTIVATIONS[activation](g, y)
        y = g.op("Add", y, residual) if residual else y
        return g.op("Identity", y, name=result) if result else y


def _bias(g: Graph, bias_O: Array | None, name: str) -> str:
    return "" if bias_O is None else g.weight(f"{name}.bias", bias_O)


def quantize_columns(weight_IO: Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Symmetric 8 bits an output channel: uint8[I, O] with zero point 128, and float32[O] scales.

    weight = (quantized - 128) * scale, quantized in 1..255. Unsigned, because u8 x s8 saturates in 16 bits on CPUs with
    AVX2 only, and onnxruntime multiplies u8 x u8 exactly everywhere.
    """
    scale_O = np.abs(weight_IO).max(axis=0).astype(np.float32) / np.float32(127)
    scale_O[scale_O == 0] = 1  # a column of zeros: any scale is right
    return (np.rint(weight_IO / scale_O) + 128).astype(np.uint8), scale_O


def int8_linear(g: Graph, x: str, weight_IO: str, scale_O: str, bias_O: str = "", result: str = "") -> str:
    """float32[..., I] -> float32[..., O] in integers: weight uint8[I, O] with zero point 128, scale float32[O].

    Every row of x gets 8 bits and a scale of its own (see Graph.quantize). bias_O: "" for none; result: the exact name
    of the result. onnxruntime has a faster form with one scale for all of x (DynamicQuantizeLinear, which it fuses with
    the product), but there a caption depends on its neighbours in the batch.
    """
    x_u8, x_scale = g.quantize(x)
    zero = g.scalar(128, np.uint8)
    product_f32 = g.op("Cast", g.op("MatMulInteger", x_u8, weight_IO, zero, zero), to=TensorProto.FLOAT)
    scaled = g.op("Mul", g.op("Mul", product_f32, x_scale), scale_O, name="" if bias_O else result)
    return g.op("Add", scaled, bias_O, name=result) if bias_O else scaled


def layer_norm(g: Graph, x: str, weight_E: Array, bias_E: Array, epsilon: float, name: str) -> str:
    """float32[..., E] -> the same, normalized over the last dimension."""
    with g.scope(name):
        weight, bias = g.weight(f"{name}.weight", weight_E), g.weight(f"{name}.bias", bias_E)
        return g.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=epsilon)


# What a linear layer may end in, by a name that says which formula: gelu is x * Phi(x) (Hendrycks and Gimpel,
# arXiv:1606.08415), gelu_tanh its tanh approximation (gelu_new of GPT-2), quick_gelu x * sigmoid(1.702 x).
Activation = Literal["", "relu", "gelu", "gelu_tanh", "quick_gelu"]
ACTIVATIONS: Mapping[Activation, Callable[[Graph, str], str]] = {
    "": lambda g, x: x,
    "relu": lambda g, x: g.op("Relu", x),
    "gelu": lambda g, x: g.op("Gelu", x),
    "gelu_tanh": lambda g, x: g.op("Gelu", x, approximate="tanh"),
    "quick_gelu": lambda g, x: g.op("Mul", x, g.op("Sigmoid", g.op("Mul", x, g.scalar(1.702, np.float32)))),
}


@dataclass(frozen=True)
class Table:
    """One tensor that embeds tokens and, where it is tied, makes logits too.

    fp32: weight is float32[V, E] and scale "". int8: weight is uint8[E, V] with zero point 128, scale float32[V]: the
    layout that MatMulInteger wants, because the head reads all of it and an embedding a few columns.
    """

    weight: str
    scale: str


def table(g: Graph, weight_VE: Array, scheme: Scheme, name: str) -> Table:
    """Store an embedding or a head, float32[V, E], as the scheme says."""
    if scheme == "fp32":
        return Table(g.weight(f"{name}.weight", weight_VE), "")
    weight_EV, scale_V = quantize_columns(weight_VE.T)
    return Table(g.weight(f"{name}.weight_int8", weight_EV), g.weight(f"{name}.weight_scale", scale_V))


def embedding(g: Graph, ids_RT: str, tokens: Table) -> str:
    """int64[R, T] -> float32[R, T, E], the rows of the table."""
    with g.scope("embedding"):
        if not tokens.scale:
            return g.op("Gather", tokens.weight, ids_RT)
        columns_ERT = g.op("Cast", g.op("Gather", tokens.weight, ids_RT, axis=1), to=TensorProto.FLOAT)
        centred_RTE = g.op("Transpose", g.op("Sub", columns_ERT, g.scalar(128, np.float32)), perm=[1, 2, 0])
        scale_RT1 = g.op("Unsqueeze", g.op("Gather", tokens.scale, ids_RT), g.ints(-1))
        return g.op("Mul", centred_RTE, scale_RT1)


def lm_head(g: Graph, hidden_RE: str, tokens: Table, result: str, bias_V: Array | None = None) -> str:
    """float32[R, E] -> logits float32[R, V] under the name `result`: hidden @ table transposed + bias."""
    with g.scope("lm_head"):
        bias = _bias(g, bias_V, "lm_head")
        if not tokens.scale:
            # Gemm reads [V, E] as it lies; a Transpose before a MatMul would be folded into a second tensor at load.
            return g.op("Gemm", hidden_RE, tokens.weight, *([bias] if bias else []), transB=1, name=result)
        return int8_linear(g, hidden_RE, tokens.weight, tokens.scale, bias, result)


@dataclass(frozen=True)
class Step:
    """What all layers of one step share; see begin_step."""

    positions_T: str  # int64[T], position .. position + T - 1
    cache_rows_PR: str  # int64[P, R], where in [C * R, E] position p of row r lies
    mask_TP: str  # float32[T, P], 0 where the token may look and the lowest float where it may not
    shape_RT: str  # int64[2], the values R, T
    heads: int
    head_size: int


def begin_step(g: Graph, input_ids_RT: str, position_1: str, beam_table_RC: str, heads: int, head_size: int) -> Step:
    """Compute what the layers share, from the step's inputs as docs/design.md defines them.

    The table is cut to the positions in use first, so the cost grows with them and not with the capacity. Of the
    positions written in this step it must say that they are the rows' own.
    """
    with g.scope("step"):
        shape_RT = g.op("Shape", input_ids_RT)
        rows_1, tokens_1 = g.op("Shape", input_ids_RT, end=1), g.op("Shape", input_ids_RT, start=1)
        end_1 = g.op("Add", position_1, tokens_1)
        start, end, one = g.op("Squeeze", position_1), g.op("Squeeze", end_1), g.scalar(1, np.int64)
        positions_T = g.op("Range", start, end, one)
        positions_P = g.op("Range", g.scalar(0, np.int64), end, one)
        table_PR = g.op("Transpose", g.op("Slice", beam_table_RC, g.ints(0), end_1, g.ints(1)), perm=[1, 0])
        slabs_P1 = g.op("Unsqueeze", g.op("Mul", positions_P, rows_1), g.ints(1))
        seen_TP = g.op("LessOrEqual", positions_P, g.op("Unsqueeze", positions_T, g.ints(1)))
        lowest = g.scalar(float(np.finfo(np.float32).min), np.float32)
        mask_TP = g.op("Where", seen_TP, g.scalar(0.0, np.float32), lowest)
        return Step(positions_T, g.op("Add", slabs_P1, table_PR), mask_TP, shape_RT, heads, head_size)


def cached_self_attention(
    g: Graph, step: Step, qkv_N3E: str, past: tuple[str, str], present: tuple[str, str], scale: float
) -> str:
    """Write K and V of this step into the cache, and attend through the beam table to the positions in use.

    qkv_N3E: query, key and value of this step side by side, float32[N, 3 E]; past: key and value cache,
    float32[C, R, E]; present: the exact names of the caches after writing. When past and present are bound to the same
    memory, ScatterND copies nothing but the step's slab. scale: what scores are multiplied by. Returns float32[N, E],
    heads side by side, before the output projection. Causal among the T tokens; nothing else is masked.
    """
    heads, size = step.heads, step.head_size
    with g.scope("attention"):
        query_NE, *new = g.ops("Split", qkv_N3E, names=("", "", ""), axis=1, num_outputs=3)
        cached = [_cached_PRHD(g, step, *names) for names in zip(new, past, present, strict=True)]
        shape_RTHD = g.op("Concat", step.shape_RT, g.ints(heads, size), axis=0)
        query_RHTD = g.op("Transpose", g.op("Reshape", query_NE, shape_RTHD), perm=[0, 2, 1, 3])
        key_RHDP = g.op("Transpose", cached[0], perm=[1, 2, 3, 0])
        value_RHPD = g.op("Transpose", cached[1], perm=[1, 2, 0, 3])
        mixed_RHTD = _attend(g, query_RHTD, key_RHDP, value_RHPD, scale, step.mask_TP)
        mixed_RTHD = g.op("Transpose", mixed_RHTD, perm=[0, 2, 1, 3])
        return g.op("Reshape", mixed_RTHD, g.ints(-1, heads * size))


def _cached_PRHD(g: Graph, step: Step, new_NE: str, past_CRE: str, present_CRE: str) -> str:
    """Write the step's slab of one cache, and gather what each row's hypothesis has there: float32[P, R, H, D]."""
    width = step.heads * step.head_size
    shape_RTE = g.op("Concat", step.shape_RT, g.ints(width), axis=0)
    slab_TRE = g.op("Transpose", g.op("Reshape", new_NE, shape_RTE), perm=[1, 0, 2])
    index_T1 = g.op("Unsqueeze", step.positions_T, g.ints(1))
    written_CRE = g.op("ScatterND", past_CRE, index_T1, slab_TRE, name=present_CRE)
    lines = g.op("Reshape", written_CRE, g.ints(-1, step.heads, step.head_size))  # [C * R, H, D], the same memory
    return g.op("Gather", lines, step.cache_rows_PR)


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


def cross_attention(
    g: Graph, query_NE: str, key_BSE: str, value_BSE: str, heads: int, head_size: int, scale: float
) -> str:
    """Attend from the rows of each photo to that photo's one key and value, float32[B, S, E], which are not repeated.

    query: float32[N, E]; the rows of a photo lie together, so a reshape brings them to their photo.
    Returns float32[N, E], heads side by side, before the output projection. Nothing is masked.
    """
    with g.scope("cross_attention"):
        photos_1 = g.op("Shape", key_BSE, end=1)
        shape_BGHD = g.op("Concat", photos_1, g.ints(-1, heads, head_size), axis=0)
        shape_BSHD = g.ints(0, 0, heads, head_size)
        query_BHGD = g.op("Transpose", g.op("Reshape", query_NE, shape_BGHD), perm=[0, 2, 1, 3])
        key_BHDS = g.op("Transpose", g.op("Reshape", key_BSE, shape_BSHD), perm=[0, 2, 3, 1])
        value_BHSD = g.op("Transpose", g.op("Reshape", value_BSE, shape_BSHD), perm=[0, 2, 1, 3])
        mixed_BGHD = g.op("Transpose", _attend(g, query_BHGD, key_BHDS, value_BHSD, scale), perm=[0, 2, 1, 3])
        return g.op("Reshape", mixed_BGHD, g.ints(-1, heads * head_size))


def _attend(g: Graph, query: str, key: str, value: str, scale: float, mask: str = "") -> str:
    """softmax(query @ key * scale + mask) @ value, over the last two dimensions (Vaswani et al., arXiv:1706.03762)."""
    scores = g.op("Mul", g.op("MatMul", query, key), g.scalar(scale, np.float32))
    weights = g.op("Softmax", g.op("Add", scores, mask) if mask else scores, axis=-1)
    return g.op("MatMul", weights, value)
