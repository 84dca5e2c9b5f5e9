"""What linear layers and tables of tokens compute, in standard ONNX operators: lines of bodies.py."""

from __future__ import annotations

from collections.abc import Mapping

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

PRODUCTS: Mapping[str, str] = {
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

EMBEDDINGS: Mapping[str, str] = {
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
