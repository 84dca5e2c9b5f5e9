"""What every operator of the domain `fuseline` computes, in standard ONNX operators.

A body is definition, fall-back and test oracle in one: a model carries the bodies of the operators it uses, and where
the kernel library is not registered (or on another device) onnxruntime runs them. Needs onnx; the runtime never does.

Dimensions: `R` rows, `T` tokens, N = R x T, `C` cache capacity, P = position + T, `B` photos, `S` encoder positions,
`H` heads, `D` head size, E = H x D, `I` inputs and `O` outputs of a linear layer, `K` = ceil(O / 16) blocks of outputs,
`V` vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

import onnx
from onnx import parser

DOMAIN = "fuseline"
VERSION = 1
OPSET = 20

FORMATS = ("Float", "Half", "Int8", "Int4")
# What a linear layer ends in, by the end of the operator's name.
ENDINGS: Mapping[str, str] = {
    "": "y = Identity(biased)",
    "Relu": "y = Relu(biased)",
    "Gelu": "y = Gelu(biased)",
    "GeluTanh": 'y = Gelu<approximate = "tanh">(biased)',
    "QuickGelu": """
        steepness = Constant<value = float {1.702}>()
        y = Mul(biased, Sigmoid(Mul(steepness, biased)))""",
    "Add": "y = Add(biased, residual)",
}

# Rows of x in 8 bits, each with a scale of its own, so that a photo's caption does not depend on its neighbours. Halves
# round to even. A row with NaN or infinity gets the scale NaN, which its outputs inherit.
_QUANTIZE = """
        last = Constant<value = int64[1] {-1}>()
        zero = Constant<value = float {0.0}>()
        seven_bits = Constant<value = float {0.007874015748031496}>()
        least = Constant<value = float {1e-30}>()
        broken = ReduceSum<keepdims = 1>(Mul(x, zero), last)
        step = Max(Mul(ReduceMax<keepdims = 1>(Abs(x), last), seven_bits), least)
        x_scale = Add(step, broken)
        steps = Round(Div(x, step))"""

# Weights lie in blocks of 16 outputs (docs/operators.md has a picture); padding is cut off again.
_CUT = """
        inputs = Shape<start = -1>(x)
        outputs = Shape(bias)
        ends = Concat<axis = 0>(inputs, outputs)
        starts = Constant<value = int64[2] {0, 0}>()
        axes = Constant<value = int64[2] {0, 1}>()
        weight_IO = Slice(weight_all, starts, ends, axes)"""

_PRODUCTS: Mapping[str, str] = {
    "Float": f"""
        weight_all = Flatten<axis = 1>(Transpose<perm = [1, 0, 2]>(weight)){_CUT}
        product = MatMul(x, weight_IO)""",
    "Half": f"""
        weight_f32 = Cast<to = 1>(weight)
        weight_all = Flatten<axis = 1>(Transpose<perm = [1, 0, 2]>(weight_f32)){_CUT}
        product = MatMul(x, weight_IO)""",
    "Int8": f"""{_QUANTIZE}
        weight_all = Flatten<axis = 2>(Transpose<perm = [1, 3, 0, 2]>(weight)){_CUT}
        middle = Constant<value = float {{128.0}}>()
        x_u8 = Cast<to = 2>(Add(steps, middle))
        zero_point = Constant<value = uint8 {{128}}>()
        whole = Cast<to = 1>(MatMulInteger(x_u8, weight_IO, zero_point, zero_point))
        product = Mul(Mul(whole, x_scale), scale)""",
    "Int4": f"""{_QUANTIZE}
        mask = Constant<value = uint8 {{15}}>()
        four = Constant<value = uint8 {{4}}>()
        two = Constant<value = int64[1] {{2}}>()
        first = Unsqueeze(BitwiseAnd(weight, mask), two)
        second = Unsqueeze(BitShift<direction = "RIGHT">(weight, four), two)
        codes = Cast<to = 1>(Concat<axis = 2>(first, second))
        codes_IO = Flatten<axis = 3>(Transpose<perm = [1, 2, 4, 0, 3]>(codes))
        eight = Constant<value = float {{8.0}}>()
        scale_f32 = Cast<to = 1>(scale)
        scale_GO = Flatten<axis = 1>(Transpose<perm = [1, 0, 2]>(scale_f32))
        groups = Shape<start = 0, end = 1>(scale_GO)
        padded_outputs = Shape<start = 1>(scale_GO)
        rest = Constant<value = int64[1] {{-1}}>()
        shape = Concat<axis = 0>(groups, rest, padded_outputs)
        one = Constant<value = int64[1] {{1}}>()
        grouped = Mul(Reshape(Sub(codes_IO, eight), shape), Unsqueeze(scale_GO, one))
        weight_all = Flatten<axis = 2>(grouped){_CUT}
        product = Mul(MatMul(steps, weight_IO), x_scale)""",
}

# The formats that tables of tokens have.
TABLES = ("Float", "Half", "Int8")

# A table lies as the weights of a linear layer from its width to its vocabulary, so that one tensor can be both. Gather
# would count negative tokens from the end; as `beyond` they are refused.
_ROWS = """
        first = Constant<value = int64[1] {0}>()
        vocabulary_0 = Constant<value_int: int = @vocabulary>()
        width_0 = Constant<value_int: int = @width>()
        ends = Concat<axis = 0>(Unsqueeze(vocabulary_0, first), Unsqueeze(width_0, first))
        starts = Constant<value = int64[2] {0, 0}>()
        axes = Constant<value = int64[2] {0, 1}>()
        table_VE = Slice(table_all, starts, ends, axes)
        nothing_less = Constant<value = int64 {0}>()
        beyond = Constant<value = int64 {9223372036854775807}>()
        known = Where(Less(ids, nothing_less), beyond, ids)
        stored = Gather(table_VE, known)"""

_EMBEDDINGS: Mapping[str, str] = {
    "Float": f"""
        table_all = Flatten<axis = 2>(Transpose<perm = [0, 2, 1]>(weight)){_ROWS}
        embedded = Identity(stored)""",
    "Half": f"""
        table_all = Flatten<axis = 2>(Transpose<perm = [0, 2, 1]>(weight)){_ROWS}
        embedded = Cast<to = 1>(stored)""",
    "Int8": f"""
        table_all = Flatten<axis = 2>(Transpose<perm = [0, 2, 1, 3]>(weight)){_ROWS}
        zero_point = Constant<value = float {{128.0}}>()
        last = Constant<value = int64[1] {{-1}}>()
        own_scale = Unsqueeze(Gather(scale, known), last)
        embedded = Mul(Sub(Cast<to = 1>(stored), zero_point), own_scale)""",
}

# onnxruntime can do without a bias, and where it cannot it crashes; an Identity cannot do without what it is of.
_LAYER_NORM = """
    <domain: "fuseline", opset_import: ["" : 20]>
    LayerNorm<epsilon>(x, scale, bias) => (y)
    {
        shift = Identity(bias)
        y = LayerNormalization<axis = -1, epsilon: float = @epsilon>(x, scale, shift)
    }"""

# Negative positions, and rows that the cache does not have, would be others' when counted from the end or from the next
# position; as `beyond` they are refused.
_SELF_ATTENTION = """
    <domain: "fuseline", opset_import: ["" : 20]>
    CachedSelfAttention<heads, scale>(qkv, past_key, past_value, position, beam_table)
        => (mixed, present_key, present_value)
    {
        first = Constant<value = int64[1] {0}>()
        heads_0 = Constant<value_int: int = @heads>()
        heads_1 = Unsqueeze(heads_0, first)
        factor = Constant<value_float: float = @scale>()
        zero = Constant<value = int64 {0}>()
        one = Constant<value = int64 {1}>()
        second = Constant<value = int64[1] {1}>()
        rest = Constant<value = int64[1] {-1}>()
        rows = Shape<start = 1, end = 2>(past_key)
        width = Shape<start = 2>(past_key)
        size = Div(width, heads_1)
        query, key, value = Split<axis = 1, num_outputs = 3>(qkv)
        tokens = Div(Shape<end = 1>(qkv), rows)
        end = Add(position, tokens)
        end_0 = Squeeze(end)
        new_positions = Range(Squeeze(position), end_0, one)
        all_positions = Range(zero, end_0, one)
        slab = Concat<axis = 0>(rows, tokens, width)
        index = Unsqueeze(new_positions, second)
        key_TRE = Transpose<perm = [1, 0, 2]>(Reshape<allowzero = 1>(key, slab))
        value_TRE = Transpose<perm = [1, 0, 2]>(Reshape<allowzero = 1>(value, slab))
        beyond = Constant<value = int64 {9223372036854775807}>()
        places = Where(Less(index, zero), beyond, index)
        present_key = ScatterND(past_key, places, key_TRE)
        present_value = ScatterND(past_value, places, value_TRE)
        table_PR = Transpose<perm = [1, 0]>(Slice(beam_table, first, end, second))
        there = And(GreaterOrEqual(table_PR, zero), Less(table_PR, rows))
        lines = Where(there, Add(Unsqueeze(Mul(all_positions, rows), second), table_PR), beyond)
        line = Concat<axis = 0>(rest, heads_1, size)
        key_PRHD = Gather(Reshape(present_key, line), lines)
        value_PRHD = Gather(Reshape(present_value, line), lines)
        split = Concat<axis = 0>(rows, tokens, heads_1, size)
        query_RHTD = Transpose<perm = [0, 2, 1, 3]>(Reshape<allowzero = 1>(query, split))
        key_RHDP = Transpose<perm = [1, 2, 3, 0]>(key_PRHD)
        value_RHPD = Transpose<perm = [1, 2, 0, 3]>(value_PRHD)
        seen_TP = LessOrEqual(all_positions, index)
        nothing = Constant<value = float {0.0}>()
        lowest = Constant<value = float {-3.4028234663852886e38}>()
        mask_TP = Where(seen_TP, nothing, lowest)
        scores = Add(Mul(MatMul(query_RHTD, key_RHDP), factor), mask_TP)
        mixed_RHTD = MatMul(Softmax<axis = -1>(scores), value_RHPD)
        together = Concat<axis = 0>(Shape<end = 1>(qkv), width)
        mixed = Reshape<allowzero = 1>(Transpose<perm = [0, 2, 1, 3]>(mixed_RHTD), together)
    }"""

_QUERIES = """
        first = Constant<value = int64[1] {0}>()
        heads_0 = Constant<value_int: int = @heads>()
        heads_1 = Unsqueeze(heads_0, first)
        factor = Constant<value_float: float = @scale>()
        photos = Shape<end = 1>(key)
        size = Div(Shape<start = 1>(query), heads_1)
        queries = Div(Shape<end = 1>(query), photos)
        of_query = Concat<axis = 0>(photos, queries, heads_1, size)
        query_BHGD = Transpose<perm = [0, 2, 1, 3]>(Reshape<allowzero = 1>(query, of_query))"""
# A photo's keys and values, of which halves have the positions of a head together.
_KEPT_FLOATS = """
        positions = Shape<start = 1, end = 2>(key)
        of_key = Concat<axis = 0>(photos, positions, heads_1, size)
        key_BHDS = Transpose<perm = [0, 2, 3, 1]>(Reshape<allowzero = 1>(key, of_key))
        value_BHSD = Transpose<perm = [0, 2, 1, 3]>(Reshape<allowzero = 1>(value, of_key))"""
_KEPT_HALVES = """
        key_BHDS = Transpose<perm = [0, 1, 3, 2]>(Cast<to = 1>(key))
        value_BHSD = Cast<to = 1>(value)"""
_MIXED = """
        scores = Mul(MatMul(query_BHGD, key_BHDS), factor)
        mixed_BHGD = MatMul(Softmax<axis = -1>(scores), value_BHSD)
        mixed = Reshape<allowzero = 1>(Transpose<perm = [0, 2, 1, 3]>(mixed_BHGD), Shape(query))"""


def operators() -> tuple[str, ...]:
    """The names of all operators."""
    linears = tuple(f"{form}Linear{ending}" for form in FORMATS for ending in ENDINGS)
    embeddings = tuple(f"{form}Embedding" for form in TABLES)
    return (*linears, *embeddings, "LayerNorm", "CachedSelfAttention", "CrossAttention", "HalfCrossAttention")


# A call among the arguments of another that has no call among its own.
_INNER = re.compile(r"(=.*[(,] ?)([A-Z]\w*(?:<[^<>]*>)?\([^()]*\))")


@cache
def text(operator: str) -> str:
    """The body of an operator in ONNX's textual form, calls within calls written out.

    Raises ValueError for a name that is none.
    """
    if operator not in operators():
        raise ValueError(f"there is no operator {operator!r}; there are {', '.join(operators())}")
    count = 0
    lines = []
    for line in _source(operator).splitlines():
        while inner := _INNER.search(line):
            value, count = f"value_{count}", count + 1
            lines.append(f"        {value} = {inner[2]}")
            line = line[: inner.start(2)] + value + line[inner.end(2) :]
        lines.append(line)
    return "\n".join(lines)


def _source(operator: str) -> str:
    if operator == "LayerNorm":
        return _LAYER_NORM
    if operator == "CachedSelfAttention":
        return _SELF_ATTENTION
    if operator.endswith("CrossAttention"):
        return _cross_attention(half=operator.startswith("Half"))
    if operator.endswith("Embedding"):
        return _embedding(operator.removesuffix("Embedding"))
    form, ending = operator.split("Linear")
    inputs = ["x", "weight", *(["scale"] if form.startswith("Int") else []), "bias"]
    inputs += ["residual"] if ending == "Add" else []
    return f"""
    <domain: "fuseline", opset_import: ["" : 20]>
    {operator}({", ".join(inputs)}) => (y)
    {{{_PRODUCTS[form]}
        biased = Add(product, bias)
        {ENDINGS[ending].strip()}
    }}"""


def _cross_attention(half: bool) -> str:
    return f"""
    <domain: "fuseline", opset_import: ["" : 20]>
    {"Half" if half else ""}CrossAttention<heads, scale>(query, key, value) => (mixed)
    {{{_QUERIES}{_KEPT_HALVES if half else _KEPT_FLOATS}{_MIXED}
    }}"""


def _embedding(form: str) -> str:
    inputs = ["ids", "weight", *(["scale"] if form == "Int8" else [])]
    return f"""
    <domain: "fuseline", opset_import: ["" : 20]>
    {form}Embedding<vocabulary, width>({", ".join(inputs)}) => (embedded)
    {{{_EMBEDDINGS[form]}
    }}"""


def body(operator: str) -> onnx.FunctionProto:
    """The body of an operator as a function of the model."""
    function: onnx.FunctionProto = parser.parse_function(text(operator))
    return function


def add_bodies(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give the model, in place, the bodies of the operators it uses; returned for convenience."""
    used = sorted({node.op_type for node in model.graph.node if node.domain == DOMAIN})
    have = {function.name for function in model.functions if function.domain == DOMAIN}
    model.functions.extend(body(operator) for operator in used if operator not in have)
    if used and not any(entry.domain == DOMAIN for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, VERSION))
    return model
