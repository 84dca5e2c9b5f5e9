"""What every operator of the domain `fuseline` computes, in standard ONNX operators.

A body is definition, fall-back and test oracle in one: a model carries the bodies of the operators it uses, and where
the kernel library is not registered (or on another device) onnxruntime runs them. Needs onnx; the runtime never does.

Dimensions: `R` rows, `T` tokens, N = R x T, `C` cache capacity, P = position + T, `B` inputs of a call (photos, texts),
`S` encoder positions, `H` heads, `D` head size, E = H x D, `M` distances or sources, `W` windows of P places, `I`
inputs and `O` outputs of a linear layer, `K` = ceil(O / 16) blocks of outputs, `V` vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

import onnx
from onnx import parser

from .convolution_bodies import BOTTLENECK, CONV_RELU6, SEPARABLE
from .source_bodies import FLAT, SEPARATE, SOURCES

DOMAIN = "fuseline"
VERSION = 1
OPSET = 20

FORMATS = ("Float", "Half", "Int8", "Int4", "BFloat16")
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
    "Silu": "y = Mul(biased, Sigmoid(biased))",
    "Relu6": """
        nothing = Constant<value = float {0.0}>()
        six = Constant<value = float {6.0}>()
        y = Clip(biased, nothing, six)""",
    "Mul": "y = Mul(biased, factor)",
}
# What the endings of two values call the other one.
SECOND: Mapping[str, str] = {"Add": "residual", "Mul": "factor"}

# Rows of x in 8 bits, each with a scale of its own, so that no row's result depends on its neighbours. Halves round to
# even. A row with NaN or infinity gets the scale NaN, which its outputs inherit.
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
    "BFloat16": f"""
        weight_f32 = Cast<to = 1>(weight)
        weight_all = Flatten<axis = 2>(Transpose<perm = [1, 3, 0, 2]>(weight_f32)){_CUT}
        x_rounded = Cast<to = 1>(Cast<to = 16>(x))
        product = MatMul(x_rounded, weight_IO)""",
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

# Zhang and Sennrich, arXiv:1910.07467; T5LayerNorm of transformers.
_RMS_NORM = """
    <domain: "fuseline", opset_import: ["" : 20]>
    RMSNorm<epsilon>(x, scale) => (y)
    {
        last = Constant<value = int64[1] {-1}>()
        least = Constant<value_float: float = @epsilon>()
        mean_square = ReduceMean<keepdims = 1>(Mul(x, x), last)
        y = Mul(Div(x, Sqrt(Add(mean_square, least))), scale)
    }"""

# Negative positions, and rows that the cache does not have, would be others' when counted from the end or from the next
# position; as `beyond` they are refused.
_CACHE = """
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
        mask_TP = Where(seen_TP, nothing, lowest)"""
_CACHED_SCORES = """
        scores = Add(Mul(MatMul(query_RHTD, key_RHDP), factor), mask_TP)"""
# What lies ahead of a query has distance 0 here, and is masked.
_CACHED_BIASED_SCORES = """
        distances_TP = Max(Sub(index, all_positions), zero)
        farthest = Sub(Shape<start = 1>(distance_bias), one)
        bias_HTP = Gather<axis = 1>(distance_bias, Min(distances_TP, farthest))
        scores = Add(Add(Mul(MatMul(query_RHTD, key_RHDP), factor), bias_HTP), mask_TP)"""
_CACHED_MIXED = """
        mixed_RHTD = MatMul(Softmax<axis = -1>(scores), value_RHPD)
        together = Concat<axis = 0>(Shape<end = 1>(qkv), width)
        mixed = Reshape<allowzero = 1>(Transpose<perm = [0, 2, 1, 3]>(mixed_RHTD), together)"""

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
# Keys and values of an input, of which halves have the positions of a head together.
_FLOAT_SOURCE = """
        positions = Shape<start = 1, end = 2>(key)
        of_key = Concat<axis = 0>(photos, positions, heads_1, size)
        key_BHDS = Transpose<perm = [0, 2, 3, 1]>(Reshape<allowzero = 1>(key, of_key))
        value_BHSD = Transpose<perm = [0, 2, 1, 3]>(Reshape<allowzero = 1>(value, of_key))"""
_HALF_SOURCE = """
        key_BHDS = Transpose<perm = [0, 1, 3, 2]>(Cast<to = 1>(key))
        value_BHSD = Cast<to = 1>(value)"""
_HALF_POSITIONS = """
        positions = Shape<start = 2, end = 3>(key)"""
_FORMS_OF_SOURCES: Mapping[str, Sequence[str]] = {"": (_FLOAT_SOURCE,), "Half": (_HALF_POSITIONS, _HALF_SOURCE)}
_MIXED = """
        scores = Mul(MatMul(query_BHGD, key_BHDS), factor)
        mixed_BHGD = MatMul(Softmax<axis = -1>(scores), value_BHSD)
        mixed = Reshape<allowzero = 1>(Transpose<perm = [0, 2, 1, 3]>(mixed_BHGD), Shape(query))"""

# Which of `positions` are within an input's length. A length that is none is refused as a position beyond the end.
_LENGTHS = """
        zero = Constant<value = int64 {0}>()
        one = Constant<value = int64 {1}>()
        beyond = Constant<value = int64 {9223372036854775807}>()
        positions_0 = Squeeze(positions)
        lengths_there = Range(zero, Add(positions_0, one), one)
        lengths_B1 = Gather(lengths_there, Where(Less(lengths, zero), beyond, lengths))
        seen_BS = Less(Range(zero, positions_0, one), lengths_B1)
        one_two = Constant<value = int64[2] {1, 2}>()
        one_three = Constant<value = int64[2] {1, 3}>()
        seen_B11S = Unsqueeze(seen_BS, one_two)
        seen_B1S1 = Unsqueeze(seen_BS, one_three)
        nothing = Constant<value = float {0.0}>()
        lowest = Log(nothing)"""
_PADDED_MIXED = """
        key_seen = Where(seen_B11S, key_BHDS, nothing)
        value_seen = Where(seen_B1S1, value_BHSD, nothing)
        scores = Where(seen_B11S, Mul(MatMul(query_BHGD, key_seen), factor), lowest)
        mixed_all = MatMul(Softmax<axis = -1>(scores), value_seen)
        two_three = Constant<value = int64[2] {2, 3}>()
        there_B111 = Less(zero, Unsqueeze(lengths_B1, two_three))
        mixed_BHGD = Where(there_B111, mixed_all, nothing)
        mixed = Reshape<allowzero = 1>(Transpose<perm = [0, 2, 1, 3]>(mixed_BHGD), Shape(query))"""

_ENCODER_SCORES = (
    """
        first = Constant<value = int64[1] {0}>()
        heads_0 = Constant<value_int: int = @heads>()
        heads_1 = Unsqueeze(heads_0, first)
        factor = Constant<value_float: float = @scale>()
        positions = Shape<start = 1, end = 2>(qkv)"""
    + _LENGTHS
    + """
        last = Constant<value = int64[1] {-1}>()
        three = Constant<value = int64 {3}>()
        seen_BS1 = Unsqueeze(seen_BS, last)
        width = Div(Shape<start = 2>(qkv), three)
        inputs = Shape<end = 1>(qkv)
        split = Concat<axis = 0>(inputs, positions, heads_1, Div(width, heads_1))
        query, key, value = Split<axis = 2, num_outputs = 3>(Where(seen_BS1, qkv, nothing))
        query_BHSD = Transpose<perm = [0, 2, 1, 3]>(Reshape<allowzero = 1>(query, split))
        key_BHDS = Transpose<perm = [0, 2, 3, 1]>(Reshape<allowzero = 1>(key, split))
        value_BHSD = Transpose<perm = [0, 2, 1, 3]>(Reshape<allowzero = 1>(value, split))
        weighed = Mul(MatMul(query_BHSD, key_BHDS), factor)"""
)
# The distance of position p from query q is p - q, from -(M - 1) on.
_ENCODER_BIAS = """
        two = Constant<value = int64 {2}>()
        farthest = Div(Shape<start = 1>(distance_bias), two)
        all_positions = Range(zero, positions_0, one)
        distances_SS = Sub(Unsqueeze(all_positions, first), Unsqueeze(all_positions, last))
        index_SS = Add(Max(Min(distances_SS, farthest), Neg(farthest)), farthest)
        biased = Add(weighed, Gather<axis = 1>(distance_bias, index_SS))"""
_ENCODER_MIXED = """
        mixed_BHSD = MatMul(Softmax<axis = -1>(Where(seen_B11S, {scores}, lowest)), value_BHSD)
        together = Concat<axis = 0>(inputs, positions, width)
        mixed_BSE = Reshape<allowzero = 1>(Transpose<perm = [0, 2, 1, 3]>(mixed_BHSD), together)
        mixed = Where(seen_BS1, mixed_BSE, nothing)"""

# In bfloat16 what is multiplied is rounded: queries, keys and values, and the weights before they are made to sum up
# to 1.
_SOFTMAX = re.compile(r"(mixed_\w+) = MatMul\(Softmax<axis = -1>\((Where\(.*\))\), (value_\w+)\)")
_ROUNDED_SOFTMAX = r"""scored = \2
        powers = Exp(Sub(scored, ReduceMax<keepdims = 1>(scored, last)))
        weights = Cast<to = 1>(Cast<to = 16>(powers))
        \1 = Div(MatMul(weights, \3), ReduceSum<keepdims = 1>(powers, last))"""


def _in_bfloat16(lines: str) -> str:
    """An encoder's attention with what is multiplied rounded."""
    for read in ("Where(seen_BS1, qkv, nothing)", "Gather<axis = 1>(qkv, known)"):
        lines = lines.replace(read, f"Cast<to = 1>(Cast<to = 16>({read}))")
    return _SOFTMAX.sub(_ROUNDED_SOFTMAX, lines)


# Windows that have not every position once would give a result for some position twice, and none for another: where a
# position's count is not 1, and where a window has none that there is, it is refused as `beyond`.
_WINDOWS = """
        first = Constant<value = int64[1] {0}>()
        zero = Constant<value = int64 {0}>()
        one = Constant<value = int64 {1}>()
        last = Constant<value = int64[1] {-1}>()
        three = Constant<value = int64 {3}>()
        beyond = Constant<value = int64 {9223372036854775807}>()
        heads_0 = Constant<value_int: int = @heads>()
        heads_1 = Unsqueeze(heads_0, first)
        factor = Constant<value_float: float = @scale>()
        inputs = Shape<end = 1>(qkv)
        positions = Shape<start = 1, end = 2>(qkv)
        width = Div(Shape<start = 2>(qkv), three)
        places = Reshape(windows, last)
        all_places = Shape(places)
        known = Where(Less(places, zero), beyond, places)
        none = Expand(zero, positions)
        counts = ScatterElements<reduction = "add">(none, known, Expand(one, all_places))
        order = ScatterElements(none, known, Range(zero, Squeeze(all_places), one))
        back = Where(Equal(counts, one), order, beyond)
        split = Concat<axis = 0>(inputs, Shape(windows), heads_1, Div(width, heads_1))
        query, key, value = Split<axis = 2, num_outputs = 3>(Gather<axis = 1>(qkv, known))
        query_BWHPD = Transpose<perm = [0, 1, 3, 2, 4]>(Reshape<allowzero = 1>(query, split))
        key_BWHDP = Transpose<perm = [0, 1, 3, 4, 2]>(Reshape<allowzero = 1>(key, split))
        value_BWHPD = Transpose<perm = [0, 1, 3, 2, 4]>(Reshape<allowzero = 1>(value, split))
        biased = Add(Mul(MatMul(query_BWHPD, key_BWHDP), factor), place_bias)
        one_two = Constant<value = int64[2] {1, 2}>()
        one_three = Constant<value = int64[2] {1, 3}>()
        seen_W1PP = Equal(Unsqueeze(regions, one_two), Unsqueeze(regions, one_three))
        nothing = Constant<value = float {0.0}>()
        lowest = Log(nothing)
        mixed_BWHPD = MatMul(Softmax<axis = -1>(Where(seen_W1PP, biased, lowest)), value_BWHPD)
        together = Concat<axis = 0>(inputs, all_places, width)
        mixed_BWPHD = Transpose<perm = [0, 1, 3, 2, 4]>(mixed_BWHPD)
        mixed = Gather<axis = 1>(Reshape<allowzero = 1>(mixed_BWPHD, together), back)"""

# Su et al., arXiv:2104.09864, of neighbouring numbers in pairs, as Moonshine of transformers has it; the rest of a head
# behind its pairs, and the values, stay. Positions that the tables do not have are refused, as in _CACHE.
_ROTARY = """
        zero = Constant<value = int64 {0}>()
        one = Constant<value = int64 {1}>()
        first = Constant<value = int64[1] {0}>()
        last = Constant<value = int64[1] {-1}>()
        second = Constant<value = int64[1] {1}>()
        two = Constant<value = int64[1] {2}>()
        three = Constant<value = int64[1] {3}>()
        most = Constant<value = int64[1] {9223372036854775807}>()
        heads_0 = Constant<value_int: int = @heads>()
        heads_1 = Unsqueeze(heads_0, first)
        inputs = Shape<end = 1>(rows)
        tokens = Div(Shape<end = 1>(Flatten<axis = -1>(qkv)), inputs)
        positions = Range(Squeeze(position), Squeeze(Add(position, tokens)), one)
        beyond = Constant<value = int64 {9223372036854775807}>()
        known = Where(Less(positions, zero), beyond, positions)
        around = Constant<value = int64[2] {1, 2}>()
        cosine = Unsqueeze(Gather(cosines, known), around)
        sine = Unsqueeze(Gather(sines, known), around)
        size = Div(Div(Shape<start = -1>(qkv), three), heads_1)
        split = Concat<axis = 0>(inputs, tokens, three, heads_1, size)
        all = Reshape<allowzero = 1>(qkv, split)
        pairs = Shape<start = 1>(cosines)
        turning = Mul(pairs, two)
        axis_2 = Constant<value = int64[1] {2}>()
        query_key = Slice(all, first, two, axis_2)
        value = Slice(all, two, three, axis_2)
        rest = Slice(query_key, turning, most, last)
        of_pairs = Concat<axis = 0>(inputs, tokens, two, heads_1, pairs, two)
        paired = Reshape<allowzero = 1>(Slice(query_key, first, turning, last), of_pairs)
        even = Squeeze(Slice(paired, first, second, last), last)
        odd = Squeeze(Slice(paired, second, two, last), last)
        cosine_5 = Unsqueeze(cosine, first)
        sine_5 = Unsqueeze(sine, first)
        new_even = Sub(Mul(even, cosine_5), Mul(odd, sine_5))
        new_odd = Add(Mul(odd, cosine_5), Mul(even, sine_5))
        both = Concat<axis = -1>(Unsqueeze(new_even, last), Unsqueeze(new_odd, last))
        together = Concat<axis = 0>(inputs, tokens, two, heads_1, turning)
        turned = Concat<axis = -1>(Reshape<allowzero = 1>(both, together), rest)
        rotated = Reshape<allowzero = 1>(Concat<axis = 2>(turned, value), Shape(qkv))"""


def _function(name: str, attributes: Sequence[str], inputs: Sequence[str], outputs: Sequence[str], *lines: str) -> str:
    given = f"<{', '.join(attributes)}>" if attributes else ""
    return f"""
    <domain: "fuseline", opset_import: ["" : 20]>
    {name}{given}({", ".join(inputs)}) => ({", ".join(outputs)})
    {{{"".join(lines)}
    }}"""


_HEADS = ("heads", "scale")
_SOURCE = ("query", "key", "value")
_SOURCES_READ = (*_SOURCE, "lengths", "starts", "weights")
_CACHED = ("qkv", "past_key", "past_value", "position", "beam_table")
_PRESENT = ("mixed", "present_key", "present_value")
_PADDED = ("qkv", "lengths")
_DEPTHWISE = ("depthwise", "depthwise_bias", "project", "project_scale", "project_bias")
_BOTTLENECK = ("x", "expand", "expand_scale", "expand_bias", *_DEPTHWISE)
_GROUP = ("group", "strides")
_CHANNELS = ("channels", *_GROUP)
_ENCODERS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "SelfAttention": (_PADDED, (_ENCODER_SCORES, _ENCODER_MIXED.format(scores="weighed"))),
    "BiasedSelfAttention": (
        (*_PADDED, "distance_bias"), (_ENCODER_SCORES, _ENCODER_BIAS, _ENCODER_MIXED.format(scores="biased"))
    ),
    "WindowSelfAttention": (("qkv", "windows", "regions", "place_bias"), (_WINDOWS,)),
}  # fmt: skip
# All that have no formats.
OTHERS: Mapping[str, str] = {
    "LayerNorm": _LAYER_NORM,
    "RMSNorm": _RMS_NORM,
    "Rotary": _function("Rotary", ("heads",), ("qkv", "cosines", "sines", "position", "rows"), ("rotated",), _ROTARY),
    "CachedSelfAttention": _function(
        "CachedSelfAttention", _HEADS, _CACHED, _PRESENT, _CACHE, _CACHED_SCORES, _CACHED_MIXED
    ),
    "BiasedCachedSelfAttention": _function(
        "BiasedCachedSelfAttention", _HEADS, (*_CACHED, "distance_bias"), _PRESENT,
        _CACHE, _CACHED_BIASED_SCORES, _CACHED_MIXED,
    ),
    "CrossAttention": _function("CrossAttention", _HEADS, _SOURCE, ("mixed",), _QUERIES, _FLOAT_SOURCE, _MIXED),
    "HalfCrossAttention": _function("HalfCrossAttention", _HEADS, _SOURCE, ("mixed",), _QUERIES, _HALF_SOURCE, _MIXED),
    "PaddedCrossAttention": _function(
        "PaddedCrossAttention", _HEADS, (*_SOURCE, "lengths"), ("mixed",),
        _QUERIES, _FLOAT_SOURCE, _LENGTHS, _PADDED_MIXED,
    ),
    "HalfPaddedCrossAttention": _function(
        "HalfPaddedCrossAttention", _HEADS, (*_SOURCE, "lengths"), ("mixed",),
        _QUERIES, _HALF_POSITIONS, _HALF_SOURCE, _LENGTHS, _PADDED_MIXED,
    ),
    **{
        f"{form}CrossAttention{kind}": _function(
            f"{form}CrossAttention{kind}", _HEADS, _SOURCES_READ, (found, "share"), _QUERIES, *source, SOURCES, lines
        )
        for kind, found, lines in (("Flat", "mixed", FLAT), ("Separate", "parts", SEPARATE))
        for form, source in _FORMS_OF_SOURCES.items()
    },
    **{
        f"{form}{name}": _function(f"{form}{name}", _HEADS, inputs, ("mixed",), *map(rounded, lines))
        for form, rounded in (("", str), ("BFloat16", _in_bfloat16))
        for name, (inputs, lines) in _ENCODERS.items()
    },
    "ConvRelu6": _function("ConvRelu6", ("strides",), ("x", "weight", "bias"), ("y",), CONV_RELU6),
    "Int8SeparableConv": _function(
        "Int8SeparableConv", _GROUP, ("x", *_DEPTHWISE), ("y",), SEPARABLE, "\n        y = Identity(found)"
    ),
    "Int8InvertedBottleneck": _function(
        "Int8InvertedBottleneck", _CHANNELS, _BOTTLENECK, ("y",), BOTTLENECK, "\n        y = Identity(found)"
    ),
    "Int8InvertedBottleneckAdd": _function(
        "Int8InvertedBottleneckAdd", _CHANNELS, _BOTTLENECK, ("y",), BOTTLENECK, "\n        y = Add(found, x)"
    ),
}  # fmt: skip


def operators() -> tuple[str, ...]:
    """The names of all operators."""
    linears = tuple(f"{form}Linear{ending}" for form in FORMATS for ending in ENDINGS)
    embeddings = tuple(f"{form}Embedding" for form in TABLES)
    return (*linears, *embeddings, *OTHERS)


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
    if operator in OTHERS:
        return OTHERS[operator]
    if operator.endswith("Embedding"):
        form = operator.removesuffix("Embedding")
        inputs = ["ids", "weight", *(["scale"] if form == "Int8" else [])]
        return _function(operator, ("vocabulary", "width"), inputs, ["embedded"], _EMBEDDINGS[form])
    form, ending = operator.split("Linear")
    inputs = ["x", "weight", *(["scale"] if form.startswith("Int") else []), "bias"]
    inputs += [SECOND[ending]] if ending in SECOND else []
    lines = f"""{_PRODUCTS[form]}
        biased = Add(product, bias)
        {ENDINGS[ending].strip()}"""
    return _function(operator, (), inputs, ["y"], lines)


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
